"""Models and migrated schema agree both ways, by our own comparison of catalogs."""

from pathlib import Path

import pytest

from leadctl.apps.metadata import load_metadata
from leadctl.apps.registry import all_apps, builtin_migrations
from leadctl.catalog.definitions import Catalog, compare, read_catalog
from leadctl.postgres.connect import connect
from leadctl.postgres.engine import run_engine
from leadctl.postgres.target import Target
from leadctl.settings import load_settings
from tests.conftest import Cli, Prepare, Prepared
from tests.processes import python
from tests.servers import Server

APPS = sorted(all_apps(load_settings(cwd=Path("/"), environ={})))


def catalog_of_models(target: Target, app: str, settings: object) -> Catalog:
    """Create the models' tables in a scratch schema and read its catalog."""
    from dataclasses import replace

    metadata = load_metadata(all_apps(settings)[app])  # type: ignore[arg-type]
    scratch = replace(target, schema="scratch")
    with connect(target, rows=True) as connection:
        connection.execute("CREATE SCHEMA scratch")
    with run_engine(scratch, "test").connect() as connection:
        metadata.create_all(connection)
        connection.commit()
        return read_catalog(connection.connection.driver_connection, "scratch")


@pytest.mark.parametrize("app", APPS)
def test_models_are_what_the_migrations_make(app: str, prepared: object) -> None:
    database: Prepared = prepared(app)  # type: ignore[operator]
    target = database.target(app=app)
    with connect(target, rows=True) as connection:
        migrated = read_catalog(connection, "public")
    models = catalog_of_models(target, app, database.settings(app=app))
    assert compare(models, migrated) == []


def test_the_shop_is_what_its_migrations_make(
    shop: Path, database: str, server: object, cli: Cli
) -> None:
    url = server.url(database)  # type: ignore[attr-defined]
    assert cli("migrate", url=url).code == 0
    settings = load_settings(environ={"DATABASE_URL": url})
    from leadctl.postgres.target import resolve

    target = resolve(settings, app="shop")
    with connect(target, rows=True) as connection:
        migrated = read_catalog(connection, "public")
    assert compare(catalog_of_models(target, "shop", settings), migrated) == []


CHANGES = {
    "DROP TABLE webhook_deliveries": ["missing table webhook_deliveries"],
    "CREATE TABLE extra (id int)": ["extra table extra"],
    "ALTER TABLE leads DROP CONSTRAINT pk_leads CASCADE": [
        "missing constraint leads.pk_leads",
        "missing constraint webhook_deliveries.fk_webhook_deliveries_lead_id_leads",
    ],
    "ALTER TABLE leads ALTER form_id TYPE varchar(20)": ["changed column leads.form_id"],
    "ALTER TABLE leads ALTER form_id DROP NOT NULL": ["changed column leads.form_id"],
    "ALTER TABLE leads ALTER status DROP DEFAULT": ["changed column leads.status"],
    "ALTER TABLE leads ADD note text": ["extra column leads.note"],
    "ALTER TABLE leads ADD CONSTRAINT c CHECK (form_id <> '')": ["extra constraint leads.c"],
    "ALTER TYPE lead_status ADD VALUE 'LOST' BEFORE 'FAILED'": ["changed enum lead_status"],
    "DROP INDEX idx_leads_form_id": ["missing index idx_leads_form_id"],
    "CREATE INDEX again ON leads (form_id) WHERE status = 'NEW'": ["extra index again"],
    "COMMENT ON COLUMN leads.form_id IS 'x'": ["changed column leads.form_id"],
    "CREATE VIEW v AS SELECT 1 AS one": ["extra view v"],
    "CREATE MATERIALIZED VIEW v AS SELECT 1 AS one": ["extra view v"],
    "CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql RETURN a": ["extra function f(integer)"],
    "CREATE SEQUENCE s": ["extra sequence s"],
    "CREATE DOMAIN d AS text CHECK (value <> '')": ["extra domain d"],
    "CREATE TYPE pair AS (a int, b int)": ["extra type pair"],
    "ALTER TABLE leads ENABLE ROW LEVEL SECURITY": ["changed table leads"],
    "CREATE POLICY p ON leads USING (form_id = 'x')": ["extra policy leads.p"],
    "CREATE STATISTICS s ON form_id, page_id FROM leads": ["extra statistics s"],
    "CREATE TRIGGER t BEFORE UPDATE ON leads FOR EACH ROW"
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()": ["extra trigger leads.t"],
    "ALTER TABLE webhooks ALTER retry_count DROP DEFAULT,"
    " ALTER retry_count ADD GENERATED ALWAYS AS IDENTITY": ["changed column webhooks.retry_count"],
    "ALTER TABLE leads ADD twice text GENERATED ALWAYS AS (form_id || form_id) STORED": [
        "extra column leads.twice"
    ],
    "CREATE TABLE p (at date) PARTITION BY RANGE (at)": ["extra table p"],
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_kind_of_change_is_seen(leadconnector: Prepared, change: str) -> None:
    with connect(leadconnector.target(), rows=True) as connection:
        before = read_catalog(connection, "public")
        connection.execute(change)
        differences = compare(before, read_catalog(connection, "public"))
    assert [f"{found.change} {found.object}" for found in differences] == CHANGES[change]


def test_what_an_extension_brings_is_not_the_schema_s_own(leadconnector: Prepared) -> None:
    ((extension,),) = leadconnector.query(
        "SELECT min(name) FROM pg_available_extensions WHERE name IN ('pgstattuple', 'vector')"
    )
    with connect(leadconnector.target(), rows=True) as connection:
        before = read_catalog(connection, "public")
        connection.execute(f"CREATE EXTENSION {extension}")
        assert compare(before, read_catalog(connection, "public")) == []


@pytest.mark.thorough
@pytest.mark.parametrize("app", APPS)
def test_plain_alembic_makes_the_same_and_takes_it_back(
    app: str, prepared: Prepare, database: str, server: Server
) -> None:
    def alembic(*arguments: str) -> str:
        ini = builtin_migrations() / app / "alembic.ini"
        env = {"DATABASE_URL": server.url(database)}
        return python("-m", "alembic", "-c", ini, *arguments, env=env)

    ours = prepared(app)

    def is_the_same() -> None:
        with (
            connect(ours.target(app=app), rows=True) as here,
            server.connect(database) as theirs,
        ):
            theirs.execute("SET search_path = public")
            assert compare(read_catalog(here, "public"), read_catalog(theirs, "public")) == []

    alembic("upgrade", "head")
    is_the_same()
    assert "No new upgrade operations" in alembic("check")
    alembic("downgrade", "base")
    with server.connect(database) as theirs:
        assert read_catalog(theirs, "public").objects == {}
    alembic("upgrade", "head")
    is_the_same()
