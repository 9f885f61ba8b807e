"""Bulk seed on real databases: whole, the same for a seed, and harmless to what is there."""

import os
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from types import MappingProxyType

import pytest

from leadctl.apps.registry import find_app
from leadctl.apps.synthetic.layout import Calendar
from leadctl.catalog.definitions import Catalog, compare, read_catalog
from leadctl.crypto import Key, Keyring, decrypt
from leadctl.errors import MissingKey, Protected, SeedFailed
from leadctl.journal.guard import Consent
from leadctl.postgres.connect import Timeouts, connect
from leadctl.postgres.target import resolve
from leadctl.seed.bulk.load import BulkResult, bulk_seed
from leadctl.seed.bulk.plan import BulkOptions
from tests.conftest import KEY, Cli, Prepare, Prepared
from tests.servers import Server

APPS = ("leadconnector", "viralmommy", "whatsapp", "cleack", "salesagent")
RING = Keyring([Key.from_hex("test", KEY)])
CALENDAR = Calendar(date(2026, 1, 1), 365)
ROWS = 6000
SECRETS = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = 'public' AND data_type = 'text'
  AND column_name IN ('access_token', 'refresh_token', 'webhook_verify_token', 'iban')
"""
"""The encrypted columns: no value comes twice."""


def quiet(*_: object) -> None:
    pass


def fill(
    database: Prepared,
    rows: int = ROWS,
    *,
    app: str = "leadconnector",
    seed: int = 1,
    keyring: Keyring = RING,
    consent: Consent | None = None,
    like: Mapping[str, int] = MappingProxyType({}),
    **scale: int,
) -> BulkResult:
    found = database.settings(app=app)
    return bulk_seed(
        resolve(found, app=found.app),
        find_app(found),
        keyring,
        BulkOptions(rows, seed, scale, CALENDAR, **like),
        consent or Consent(),
        timeouts=Timeouts(5, 5),
        narrate=quiet,
        progress=quiet,
    )


def contents(database: Prepared) -> dict[str, object]:
    """Return a hash of each table, without what is encrypted and what the server makes up."""
    secret = set(database.query(SECRETS))
    found: dict[str, object] = {}
    for (table,) in database.query(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        " AND tablename NOT IN ('alembic_version', 'draw_history') ORDER BY 1"
    ):
        columns = [
            f'"{name}"'
            for (name,) in database.query(
                "SELECT column_name FROM information_schema.columns"
                " WHERE table_schema = 'public' AND table_name = %s ORDER BY 1",
                table,
            )
            if (table, name) not in secret
        ]
        found[table] = database.query(
            f"SELECT count(*), md5(string_agg(md5(ROW({', '.join(columns)})::text), '' "
            f"ORDER BY ROW({', '.join(columns)})::text)) FROM {table}"
        )
    return found


def catalog(database: Prepared) -> Catalog:
    with connect(database.target(), rows=True) as connection:
        return read_catalog(connection, "public")


@pytest.fixture
def bare(prepared: Prepare) -> Callable[[str], Prepared]:
    """A database with an app's tables and no rows."""

    def make(app: str) -> Prepared:
        database = prepared(app)
        (tables,) = database.query(
            "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables"
            " WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        )[0]
        database.query(f"TRUNCATE {tables}")
        return database

    return make


SUSPENDED = {"suspend_from": 1}
"""Few rows are loaded as many are: without their indexes."""


@pytest.mark.few(1)
@pytest.mark.parametrize("app", APPS)
def test_the_rows_of_an_app(app: str, prepared: Prepare) -> None:
    database = prepared(app)
    before = catalog(database)
    result = fill(database, app=app, like=SUSPENDED)
    assert result.rows == ROWS == sum(table.rows for table in result.tables)
    assert compare(before, catalog(database)) == []
    for table in result.tables:
        rows = database.query(f"SELECT count(*) FROM {table.table}")[0][0]
        assert rows >= table.rows
    estimates = "SELECT count(*) FROM pg_class WHERE reltuples < 0 AND relname = ANY (%s)"
    assert database.query(estimates, [table.table for table in result.tables]) == [(0,)]


@pytest.mark.parametrize(
    "app", [APPS[0], *(pytest.param(app, marks=pytest.mark.thorough) for app in APPS[1:])]
)
@pytest.mark.thorough
def test_the_same_seed_makes_the_same_rows_in_any_way(
    app: str,
    bare: Callable[[str], Prepared],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, quick, other = bare(app), bare(app), bare(app)
    fill(plain, app=app)
    with monkeypatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: 4)
        fill(quick, app=app, like=SUSPENDED | {"rows_a_process": 2000})
    assert contents(plain) == contents(quick)
    fill(other, seed=2, app=app)
    assert contents(plain) != contents(other)


@pytest.mark.few(1)
@pytest.mark.parametrize("app", APPS)
def test_a_second_run_adds_as_many(app: str, prepared: Prepare) -> None:
    database = prepared(app)
    assert fill(database, 2000, app=app).series == 0
    again = fill(database, 2000, app=app)
    assert (again.series, again.rows) == (1, 2000)


def test_secrets_are_encrypted(leadconnector: Prepared) -> None:
    fill(leadconnector)
    for table, column in leadconnector.query(SECRETS):
        context = f"leadconnector.{table}.{column}"
        for (value,) in leadconnector.query(f"SELECT {column} FROM {table}"):
            if value is not None:
                assert decrypt(value, RING, context)


def test_without_a_key_nothing_is_written(leadconnector: Prepared) -> None:
    before = contents(leadconnector)
    with pytest.raises(MissingKey):
        fill(leadconnector, keyring=Keyring([]))
    assert contents(leadconnector) == before


def test_scale_gives_a_table_its_rows(leadconnector: Prepared) -> None:
    result = fill(leadconnector, 3000, leads=2500)
    counts = {table.table: table.rows for table in result.tables}
    assert counts["leads"] == 2500
    assert sum(counts.values()) == 3000


def test_rows_belong_together(leadconnector: Prepared) -> None:
    fill(leadconnector, 20_000)
    strangers = leadconnector.query(
        "SELECT count(*) FROM webhook_deliveries d JOIN leads l ON l.id = d.lead_id"
        " JOIN pages p ON p.id = l.page_id JOIN webhooks w ON w.id = d.webhook_id"
        " WHERE w.user_id <> p.user_id"
    )
    early = leadconnector.query(
        "SELECT count(*) FROM leads l JOIN pages p ON p.id = l.page_id"
        " JOIN webhook_deliveries d ON d.lead_id = l.id"
        " WHERE l.created_at < p.created_at OR d.created_at < l.created_at"
    )
    assert (strangers, early) == ([(0,)], [(0,)])


@pytest.mark.thorough
def test_credits_are_the_ledger_of_the_server(prepared: Prepare) -> None:
    database = prepared("cleack")
    fill(database, app="cleack")
    wrong = database.query(
        "SELECT count(*) FROM (SELECT balance, sum(amount) OVER w AS total, entry,"
        " row_number() OVER w AS number FROM credits"
        " WINDOW w AS (PARTITION BY user_id ORDER BY entry)) c"
        " WHERE balance <> total OR entry <> number"
    )
    steps = database.query(
        "SELECT count(*) FROM draws WHERE id NOT IN (SELECT draw_id FROM draw_history)"
    )
    assert (wrong, steps) == ([(0,)], [(0,)])


@pytest.mark.thorough
def test_messages_of_salesagent_stay_within_an_organisation(
    prepared: Prepare,
) -> None:
    database = prepared("salesagent")
    fill(database, app="salesagent")
    wrong = database.query(
        "SELECT count(*) FROM messages m JOIN sequence_steps s ON s.id = m.step_id"
        " JOIN campaigns c ON c.id = m.campaign_id WHERE s.sequence_id <> c.sequence_id"
    )
    with_step = database.query("SELECT count(*) > 0 FROM messages WHERE step_id IS NOT NULL")
    assert (wrong, with_step) == ([(0,)], [(True,)])


def test_a_protected_database_wants_its_name(leadconnector: Prepared, cli: Cli) -> None:
    cli("db", "environment", "production", "--protect", url=leadconnector.url)
    before = contents(leadconnector)
    for consent in (Consent(), Consent(yes=True), Consent(confirm="wrong")):
        with pytest.raises(Protected):
            fill(leadconnector, consent=consent)
    assert contents(leadconnector) == before
    assert fill(leadconnector, consent=Consent(confirm=leadconnector.name)).rows == ROWS


def test_what_cannot_be_made_again_is_kept(leadconnector: Prepared) -> None:
    leadconnector.query("COMMENT ON INDEX ix_leads_status IS 'mine'")
    leadconnector.query("CLUSTER leads USING ix_leads_created_at")
    leadconnector.query(
        "CREATE VIEW by_lead AS SELECT l.id, l.status, count(*) FROM leads l"
        " JOIN webhook_deliveries d ON d.lead_id = l.id GROUP BY l.id"
    )
    leadconnector.query("CREATE TABLE notes (lead_id text REFERENCES leads ON DELETE SET NULL)")
    leadconnector.query("ALTER TABLE leads ADD CONSTRAINT late UNIQUE (id, status) DEFERRABLE")
    before = catalog(leadconnector)
    fill(leadconnector, like=SUSPENDED)
    assert compare(before, catalog(leadconnector)) == []
    kept = leadconnector.query(
        "SELECT obj_description('ix_leads_status'::regclass),"
        " (SELECT indisclustered FROM pg_index WHERE indexrelid = 'ix_leads_created_at'::regclass)"
    )
    assert kept == [("mine", True)]


def test_a_refused_row_leaves_everything_as_it_was(leadconnector: Prepared) -> None:
    leadconnector.query(
        "CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION"
        " USING ERRCODE = 'check_violation', CONSTRAINT = 'never', TABLE = TG_TABLE_NAME; END $$;"
        "CREATE TRIGGER never BEFORE INSERT ON webhook_deliveries FOR EACH ROW EXECUTE FUNCTION never()"
    )
    before, rows = catalog(leadconnector), contents(leadconnector)
    with pytest.raises(SeedFailed, match="webhook_deliveries") as caught:
        fill(leadconnector, like=SUSPENDED)
    assert "never" in caught.value.hint
    assert compare(before, catalog(leadconnector)) == []
    assert contents(leadconnector) == rows


@pytest.mark.thorough
def test_a_table_in_use_is_not_waited_for_for_ever(leadconnector: Prepared) -> None:
    with leadconnector.server.connect(leadconnector.name) as other:
        other.execute("BEGIN; LOCK TABLE leads IN ACCESS SHARE MODE")
        with pytest.raises(SeedFailed, match="in use"):
            fill(leadconnector, like=SUSPENDED)


def test_a_run_is_in_the_journal(leadconnector: Prepared) -> None:
    fill(leadconnector)
    row = leadconnector.query(
        "SELECT outcome, summary ->> 'rows', summary ->> 'random_seed' FROM leadctl.run"
        " WHERE command = 'seed --bulk'"
    )
    assert row == [("done", str(ROWS), "1")]


def test_numbers_of_a_sequence_go_on(server: Server, shop: Path, database: str, cli: Cli) -> None:
    url = server.url(database)
    assert cli("migrate", "--app", "shop", url=url).code == 0
    assert cli("seed", "--app", "shop", url=url).code == 0
    assert cli("seed", "--app", "shop", "--bulk", "3000", url=url).code == 0
    with server.connect(database) as connection:
        row = connection.execute(
            "INSERT INTO customers (email) VALUES ('new@example.com') RETURNING id"
        ).fetchone()
        most = connection.execute("SELECT max(id), count(*) FROM customers").fetchone()
    assert row is not None
    assert most == (row[0], row[0])
