"""What a role or database sets for its sessions changes nothing of backup and restore."""

from pathlib import Path

import psycopg
import pytest

from leadctl.errors import DatabaseInUse
from leadctl.postgres.connect import Connection
from leadctl.postgres.target import resolve
from leadctl.restore import database
from leadctl.restore.database import maintenance
from leadctl.settings import load_settings
from tests.backups import Place, left_by_restores
from tests.processes import run
from tests.restore.test_counted import place
from tests.servers import MAJOR, PASSWORD, RunningServer

__all__ = ["place"]

SLOW = """
CREATE TABLE t (id int PRIMARY KEY, at timestamptz DEFAULT now(), span interval DEFAULT '3 days');
INSERT INTO t SELECT generate_series(1, 10);
CREATE MATERIALIZED VIEW slow AS SELECT count(*), pg_sleep(0.6)::text FROM (SELECT 1) q;
CREATE FUNCTION slowly(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT n FROM pg_sleep(0.05)';
CREATE TABLE p (id int) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (20);
INSERT INTO p SELECT generate_series(1, 12);
CREATE INDEX slow_to_build ON p (slowly(id));
COMMENT ON INDEX p1_slowly_idx IS 'Two things wait for it, and one worker for them.';
"""
CLOSED = """
CREATE TABLE t (id serial PRIMARY KEY, v text);
INSERT INTO t (v) VALUES ('a');
CREATE MATERIALIZED VIEW m AS SELECT * FROM t;
CREATE FUNCTION closed() RETURNS event_trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'ddl is closed'; END $$;
CREATE EVENT TRIGGER nd ON ddl_command_start EXECUTE FUNCTION closed();
ALTER EVENT TRIGGER nd ENABLE ALWAYS;
"""


@pytest.mark.thorough
def test_timeouts_and_styles_of_the_role(place: Place) -> None:
    place.query(SLOW)
    settings = {
        "statement_timeout": "300ms",
        "lock_timeout": "300ms",
        "idle_in_transaction_session_timeout": "300ms",
        "idle_session_timeout": "200ms",
        "DateStyle": "German",
        "IntervalStyle": "sql_standard",
        "extra_float_digits": "-9",
        "bytea_output": "escape",
    }
    if place.server.major >= 17:
        settings["transaction_timeout"] = "400ms"
    role = "DROP ROLE IF EXISTS counted_hasty; CREATE ROLE counted_hasty LOGIN SUPERUSER PASSWORD"
    place.query(f"{role} '{PASSWORD}'")
    url = place.server.url(place.name).replace("//postgres:", "//counted_hasty:")
    try:
        for name, value in settings.items():
            place.query(f"ALTER ROLE counted_hasty SET {name} = '{value}'")
        for arguments in (
            ["backup"],
            ["backup", "verify", "latest", "--restore"],
            ["restore", "latest", "--into", "counted_copy"],
            ["restore", "latest", "--table", "t"],
            ["restore", "latest", "--data-only", "--table", "t", "--yes"],
            ["restore", "latest", "--yes"],
            ["stats"],
        ):
            outcome = place.leadctl(*arguments, "--url", url)
            assert outcome.code == 0, (arguments, outcome.out, outcome.err)
    finally:
        for (name,) in place.query("SELECT datname FROM pg_database WHERE datname ~ '^counted'"):
            place.query("REASSIGN OWNED BY counted_hasty TO postgres", name)
        place.query("DROP ROLE counted_hasty")


def test_an_event_trigger_that_refuses_statements(place: Place) -> None:
    if place.server.major < 17:
        return  # no switch for them
    place.query(CLOSED)
    assert place.leadctl("backup").code == 0
    outcome = place.leadctl("backup", "verify", "latest", "--restore", "-o", "json")
    assert (outcome.code, outcome.json["depth"]) == (0, "restored"), outcome.out


def test_values_of_settings_come_back_as_they_are(place: Place) -> None:
    place.query("CREATE TABLE t (id int)")
    for setting in (
        "app.json = '\"quoted\"'",
        "app.list = '\"a\", b'",
        "search_path = '$user', 'odd, \"one\"', public",
        "app.empty = ''",
    ):
        place.query(f"ALTER DATABASE {place.name} SET {setting}")
    assert place.leadctl("backup").code == 0
    assert place.leadctl("restore", "latest", "--into", "counted_copy").code == 0
    found = place.query(
        "SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase"
        " WHERE datname IN ('counted', 'counted_copy')"
    )
    assert len(found) == 2
    assert found[0] == found[1]


def test_a_swap_that_fails_leaves_no_copy_behind(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.query("CREATE TABLE t (id int)")
    assert place.leadctl("backup").code == 0

    def in_use(*_: object, **__: object) -> str:
        raise DatabaseInUse("It has sessions that do not end.")

    monkeypatch.setattr("leadctl.restore.restore.swap", in_use)
    outcome = place.leadctl("restore", "latest", "--confirm", place.name)
    assert (outcome.code, "do not end" in outcome.err) == (1, True), outcome.err
    assert left_by_restores(place) == []  # other tests restore on the same server


def test_statistics_whose_function_finds_its_table_by_the_search_path(place: Place) -> None:
    """Neither counting nor ANALYZE can evaluate them; the rows are there all the same."""
    place.query(
        "CREATE TABLE looked_up AS SELECT 3 AS v; CREATE TABLE t AS SELECT generate_series(1, 30) AS i;"
        "CREATE FUNCTION f(n int) RETURNS int LANGUAGE sql IMMUTABLE AS"
        " 'SELECT n + v FROM looked_up LIMIT 1'; CREATE STATISTICS st ON (f(i)), (f(i + 1)) FROM t"
    )
    assert place.leadctl("backup").code == 0
    rehearsed = place.leadctl("backup", "verify", "latest", "--restore")
    assert rehearsed.code == 0, rehearsed.out
    outcome = place.leadctl("restore", "latest", "--confirm", place.name)
    assert (outcome.code, "ANALYZE failed" in outcome.err) == (0, True), outcome.err
    assert place.query("SELECT * FROM t") == [(n,) for n in range(1, 31)]


def test_a_client_that_connects_again_at_once_does_not_keep_a_restore_from_its_end(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.query("CREATE TABLE t AS SELECT 1 AS id")
    assert place.leadctl("backup").code == 0
    place.query("DELETE FROM t")
    original, clients = database.set_database_name, [place.server.connect(place.name)]

    def slipped_in(connection: Connection, old: str, new: str) -> None:
        if old == place.name:  # behind the end of its sessions, before the rename holds it
            clients.append(place.server.connect(old))
        original(connection, old, new)

    monkeypatch.setattr(database, "set_database_name", slipped_in)
    outcome = place.leadctl("restore", "latest", "--confirm", place.name)
    assert outcome.code == 0, outcome.err
    assert (place.query("SELECT id FROM t"), len(clients)) == ([(1,)], 2)
    for client in clients:
        with pytest.raises(psycopg.OperationalError):
            client.execute("SELECT 1")


def test_the_maintenance_database_itself(place: Place) -> None:
    target = resolve(
        load_settings({}, environ={"DATABASE_URL": place.server.url("postgres")}),
        app="leadconnector",
    )
    with maintenance(target) as connection:
        assert connection.info.dbname == "template1"


@pytest.mark.thorough
def test_the_database_that_others_are_maintained_from(tmp_path: Path) -> None:
    with RunningServer(MAJOR) as own:
        env = {"BACKUP_DIR": str(tmp_path / "backups"), "DATABASE_URL": own.info.url("postgres")}
        with own.info.connect("postgres") as connection:
            connection.execute("CREATE TABLE t AS SELECT generate_series(1, 7) AS id")
        assert run("backup", env=env).returncode == 0
        done = run("db", "environment", "dev", "--unprotect", env=env)
        assert done.returncode == 0, done.stderr
        with own.info.connect("postgres") as connection:
            connection.execute("DELETE FROM t")
        done = run("restore", "--yes", env=env)
        assert done.returncode == 0, done.stderr
        with own.info.connect("postgres") as connection:
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (7,)
            names = connection.execute("SELECT datname FROM pg_database WHERE datname ~ '_'")
            assert [name[:16] for (name,) in names] == ["postgres_before_"]
