"""The five apps in one database, each in a schema of its own."""

from pathlib import Path

import pytest
from psycopg import sql

from leadctl.apps.registry import all_apps
from leadctl.settings import load_settings
from leadctl.settings.model import DEFAULT_APP
from tests.conftest import Cli
from tests.servers import Server

pytestmark = pytest.mark.thorough

APPS = sorted(all_apps(load_settings({}, environ={})))


def content(server: Server, database: str, schema: str) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of a schema, with what was recorded of it."""
    with server.connect(database) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1", (schema,)
        ).fetchall()
        rows = {
            table: sorted(
                connection.execute(
                    sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(schema, table))
                ).fetchall()
            )
            for (table,) in tables
        }
        rows["recorded"] = connection.execute(
            "SELECT app, revision, applied_at FROM leadctl.migration WHERE schema = %s ORDER BY 2",
            (schema,),
        ).fetchall()
        return rows


@pytest.fixture
def together(server: Server, database: str, cli: Cli) -> str:
    """The URL of a database with all apps, migrated and seeded."""
    url = server.url(database)
    for app in APPS:
        for command in ("migrate", "seed"):
            done = cli(command, "--app", app, "--schema", app, "-q", url=url)
            assert done.code == 0, (app, command, done.err)
    return url


def test_there_are_five() -> None:
    assert APPS == ["cleack", "leadconnector", "salesagent", "viralmommy", "whatsapp"]


def test_none_disturbs_another(together: str, server: Server, database: str, cli: Cli) -> None:
    before = {app: content(server, database, app) for app in APPS}
    assert all(len(before[app]) > 4 for app in APPS)
    for app in APPS:
        place = ("--app", app, "--schema", app)
        assert cli("migrate", *place, url=together).out.startswith("Nothing to do")
        assert cli("migrate", "status", *place, url=together).code == 0
        assert cli("stats", *place, url=together).code == 0
        health = cli("health-check", *place, "-o", "json", url=together)
        assert health.code == 0, health.out
        reset = cli("reset", "--yes", *place, url=together)
        assert reset.code == 0, reset.err
        for other in APPS:
            if other != app:
                assert content(server, database, other) == before[other], (app, other)
        before[app] = content(server, database, app)


def test_two_in_one_schema_are_refused(
    together: str, server: Server, database: str, cli: Cli
) -> None:
    before = {app: content(server, database, app) for app in APPS}
    for app in APPS:
        for other in APPS:
            if app == other:
                continue
            for command in (["migrate"], ["migrate", "status"], ["reset", "--yes"]):
                place = ("--app", app, "--schema", other)
                refused = cli(*command, *place, url=together)
                assert refused.code == 5, (command, app, other, refused.err)
                assert other in refused.err
    assert {app: content(server, database, app) for app in APPS} == before


def test_tables_in_the_way_are_named(
    server: Server, database: str, cli: Cli, tmp_path: Path
) -> None:
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE campaigns (id int); CREATE TABLE users (id int)")
    for app in ("whatsapp", "salesagent"):
        refused = cli("migrate", "--app", app, url=server.url(database))
        assert refused.code == 5
        assert "campaigns" in refused.err
        assert "users" in refused.err


def test_the_core_names_no_product() -> None:
    package = Path(__file__).parents[2] / "leadctl"
    core = [
        file
        for file in package.rglob("*")
        if file.suffix in {".py", ".sql", ".toml"}
        and not file.is_relative_to(package / "products")
        and not file.is_relative_to(package / "cli" / "commands")  # examples in their help
    ]
    named = {(app, file.name) for app in APPS for file in core if app in file.read_text()}
    assert named <= {(DEFAULT_APP, "model.py")}
