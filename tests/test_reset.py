"""`leadctl reset`: the app's own objects go, everything else in the schema stays."""

import time
from pathlib import Path

import pytest

from tests.conftest import KEY, Cli, Prepared
from tests.processes import run, start
from tests.servers import Server


def test_reset_brings_back_the_beginning(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query("UPDATE users SET name = 'changed'; DROP INDEX idx_leads_form_id")
    leadconnector.query("ALTER TYPE lead_status ADD VALUE 'LOST'")
    outcome = cli("reset", "--yes", "-o", "json", url=leadconnector.url)
    assert outcome.code == 0
    assert len(outcome.json["dropped"]) == 10
    assert [step["revision"] for step in outcome.json["applied"]] == [
        "leadconnector_0001",
        "leadconnector_0002",
    ]
    assert leadconnector.query("SELECT name FROM users") == [("Test User",)]
    assert cli("health-check", url=leadconnector.url).code == 0


@pytest.mark.thorough
def test_other_inhabitants_of_the_schema_stay(server: Server, database: str, cli: Cli) -> None:
    url = server.url(database)
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE before_us (id int); INSERT INTO before_us VALUES (1)")
        connection.execute("CREATE TYPE theirs AS ENUM ('a')")
        assert cli("migrate", url=url).code == 0
        connection.execute("CREATE TABLE after_us (id int); INSERT INTO after_us VALUES (2)")
        connection.execute("CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1")
        outcome = cli("reset", "--yes", "-o", "json", url=url)
        assert outcome.code == 0, outcome.err
        assert connection.execute("SELECT * FROM before_us, after_us").fetchall() == [(1, 2)]
        assert connection.execute("SELECT 'a'::theirs, f()").fetchall() == [("a", 1)]


def test_what_others_need_is_refused_and_named(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query("CREATE VIEW report AS SELECT id FROM leads")
    outcome = cli("reset", "--yes", url=leadconnector.url)
    assert outcome.code == 5
    assert "view report" in outcome.err
    assert leadconnector.query("SELECT count(*) FROM users") == [(1,)]


def test_a_schema_migrated_without_records(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query("DROP SCHEMA leadctl CASCADE")
    assert cli("reset", "--yes", url=leadconnector.url).code == 5
    assert cli("db", "environment", "test", "--unprotect", url=leadconnector.url).code == 0
    assert cli("reset", "--yes", url=leadconnector.url).code == 0
    assert cli("migrate", "status", url=leadconnector.url).code == 0


def test_an_empty_server(server: Server, cli: Cli) -> None:
    name = server.create()
    server.drop(name)
    try:
        assert cli("reset", "--yes", url=server.url(name)).code == 0
    finally:
        server.drop(name)


def test_reset_without_a_key_changes_nothing(leadconnector: Prepared, cli: Cli) -> None:
    outcome = cli("reset", "--yes", url=leadconnector.url, env={"ENCRYPTION_KEY": ""})
    assert outcome.code == 3
    assert leadconnector.query("SELECT count(*) FROM users") == [(1,)]


def test_views_functions_and_cycles_go(shop: Path, server: Server, database: str, cli: Cli) -> None:
    (shop / "migrations" / "0002_more.py").write_text(
        '"""More."""\nfrom alembic import op\nrevision = "shop_0002"\ndown_revision = "shop_0001"\n'
        'def upgrade():\n    op.execute("""\n'
        "    ALTER TABLE customers ADD favourite int REFERENCES orders;\n"
        "    CREATE VIEW a AS SELECT id FROM customers;\n"
        "    CREATE VIEW b AS SELECT id FROM a;\n"
        "    CREATE MATERIALIZED VIEW c AS SELECT id FROM b;\n"
        "    CREATE FUNCTION plus(n int) RETURNS int LANGUAGE sql RETURN n + 1;\n"
        "    CREATE FUNCTION of_row(r customers) RETURNS int LANGUAGE sql RETURN 1;\n"
        "    CREATE VIEW d AS SELECT plus(id) FROM customers;\n"
        "    CREATE DOMAIN positive AS int CHECK (value > 0);\n"
        "    CREATE TYPE pair AS (a positive, b int);\n"
        "    CREATE SEQUENCE numbers;\n"
        '    CREATE TABLE "We""ird name" (n int DEFAULT nextval(\'numbers\'));\n'
        '    """)\n'
    )
    url = server.url(database)
    assert cli("migrate", url=url).code == 0
    outcome = cli("reset", "--yes", "-o", "json", url=url)
    assert outcome.code == 0, outcome.err
    assert 'table "We""ird name"' in outcome.json["dropped"]
    assert cli("migrate", "status", url=url).code == 0


@pytest.mark.thorough
@pytest.mark.parametrize("delay", [0.4, 0.6, 0.7, 0.8, 1.0])
def test_killed_reset_is_finished_by_the_next_migrate(
    server: Server, leadconnector: Prepared, delay: float
) -> None:
    env = {"DATABASE_URL": leadconnector.url, "ENCRYPTION_KEY": KEY}
    process = start("reset", "--yes", env=env)
    time.sleep(delay)
    process.kill()
    process.communicate()
    assert run("migrate", env=env).returncode == 0
    assert run("seed", env=env).returncode == 0
    assert run("health-check", env=env).returncode == 0
