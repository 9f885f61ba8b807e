"""What belongs to the database itself comes back, as pg_dump --create has it."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from leadctl.postgres.binaries import dump_programs
from tests.backups import Place
from tests.processes import wait_for
from tests.restore.test_counted import place

__all__ = ["place"]

EVERYTHING = r"""
ALTER DATABASE counted SET app.json = '"quoted"';
ALTER DATABASE counted SET search_path = '$user', 'odd, "one"', public;
ALTER DATABASE counted SET app.text = E'it''s; a\nnew line \\ and "more"';
ALTER DATABASE counted SET synchronous_commit = 'local';
ALTER ROLE "counted; role" IN DATABASE counted SET work_mem = '8MB';
ALTER ROLE counted_database IN DATABASE counted SET statement_timeout = '1h';
REVOKE ALL ON DATABASE counted FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE counted TO "counted; role" WITH GRANT OPTION;
SET ROLE "counted; role";
GRANT CONNECT ON DATABASE counted TO counted_database;
RESET ROLE;
COMMENT ON DATABASE counted IS E'DATABASE "x" IS;\n\\connect other; -- it''s';
ALTER DATABASE counted OWNER TO counted_database;
ALTER DATABASE counted CONNECTION LIMIT 17;
ALTER DATABASE counted IS_TEMPLATE true;
CREATE TABLE t AS SELECT generate_series(1, 10) AS id;
"""
ROLES = ('"counted; role"', "counted_database")


@pytest.fixture
def roles(place: Place) -> Iterator[None]:
    for role in ROLES:
        place.query(f"CREATE ROLE {role}")
    yield
    for (name,) in place.query("SELECT datname FROM pg_database WHERE datname ~ '^counted'"):
        place.query(f'ALTER DATABASE "{name}" IS_TEMPLATE false')
        for role in ROLES:
            place.query(f"REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}", name)
    for role in ROLES:
        place.query(f"DROP ROLE {role}")


def of_itself(place: Place, name: str, *options: str) -> list[str]:
    """Return what pg_dump --create says of a database, under one name for all."""
    program = dump_programs(place.server.major, place.server.major).path("pg_dump")
    where = ["-h", place.server.socket, "-p", str(place.server.port), "-U", "postgres"]
    what = ["--create", "--schema-only", "--exclude-schema=*", *options]
    done = subprocess.run([program, *where, *what, name], capture_output=True, check=True)
    text = done.stdout.decode().replace(f" {name}", " counted")
    lines = [line for line in text.splitlines() if not line.startswith(("\\", "--"))]
    return [line for line in lines if line and "EXTENSION" not in line and "SCHEMA" not in line]


@pytest.mark.thorough
@pytest.mark.usefixtures("roles")
def test_everything_that_pg_dump_says_of_it(place: Place) -> None:
    place.query(EVERYTHING)
    before = of_itself(place, place.name)
    assert sum("DATABASE counted" in line for line in before) >= 12
    assert place.leadctl("backup").code == 0
    outcome = place.leadctl("restore", "latest", "--into", "counted_copy")
    assert (outcome.code, "Left out" in outcome.err) == (0, False), outcome.err
    assert of_itself(place, "counted_copy") == before
    outcome = place.leadctl("restore", "latest", "--confirm", place.name, "--drop-old")
    assert (outcome.code, "Left out" in outcome.err) == (0, False), outcome.err
    assert of_itself(place, place.name) == before


@pytest.mark.usefixtures("roles")
def test_without_owners_the_rest_comes_back(place: Place) -> None:
    place.query(EVERYTHING)
    before = of_itself(place, place.name, "--no-owner", "--no-privileges")
    assert place.leadctl("backup").code == 0
    outcome = place.leadctl("restore", "latest", "--into", "counted_copy", "--no-owner")
    assert outcome.code == 0, outcome.err
    assert of_itself(place, "counted_copy", "--no-owner") == before


@pytest.mark.usefixtures("roles")
def test_a_script_becomes_the_database_that_it_replaces(place: Place) -> None:
    place.query(EVERYTHING)
    before = of_itself(place, place.name)
    script = place.backups.parent / "dump.sql"
    script.write_text("CREATE TABLE other AS SELECT 1 AS id;\n")
    outcome = place.leadctl("restore", str(script), "--confirm", place.name)
    assert outcome.code == 0, outcome.err
    assert of_itself(place, place.name) == before
    assert place.query("SELECT id FROM other") == [(1,)]


def test_a_name_that_has_to_be_quoted(place: Place) -> None:
    name = 'counted"; x'
    place.query("CREATE TABLE t AS SELECT 1 AS id")
    place.query("COMMENT ON DATABASE counted IS 'it is'")
    assert place.leadctl("backup").code == 0
    assert place.leadctl("restore", "latest", "--into", name).code == 0
    comment = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{}'"
    assert place.query(comment.format(name)) == [("it is",)]


def alone(place: Place) -> None:
    """Wait for the end of the sessions that were on the database."""
    sessions = f"SELECT FROM pg_stat_activity WHERE datname = '{place.name}'"
    wait_for(lambda: not place.query(sessions, "postgres"))


@pytest.mark.thorough
def test_tablespaces(place: Place) -> None:
    of_database = (
        "SELECT spcname FROM pg_database d JOIN pg_tablespace s ON s.oid = dattablespace"
        " WHERE datname = '{}'"
    )
    of_table = (
        "SELECT coalesce(spcname, 'of the database') FROM pg_class c"
        " LEFT JOIN pg_tablespace s ON s.oid = reltablespace WHERE relname = 't'"
    )
    with place.server.connect() as connection:
        connection.execute("SET allow_in_place_tablespaces = on")
        for name in ("counted_one", '"counted two"'):
            connection.execute(f"CREATE TABLESPACE {name} LOCATION ''")
        alone(place)
        connection.execute("ALTER DATABASE counted SET TABLESPACE counted_one")
    try:
        place.query('CREATE TABLE t (id int) TABLESPACE "counted two"; INSERT INTO t VALUES (1)')
        assert place.leadctl("backup").code == 0
        assert place.leadctl("restore", "latest", "--into", "counted_copy").code == 0
        assert place.query(of_database.format("counted_copy")) == [("counted_one",)]
        assert place.query(of_table, "counted_copy") == [("counted two",)]
        place.server.drop("counted_copy")
        place.query("DROP TABLE t")
        place.query('DROP TABLESPACE "counted two"')
        with place.server.connect() as connection:
            alone(place)
            connection.execute("ALTER DATABASE counted SET TABLESPACE pg_default")
            connection.execute("DROP TABLESPACE counted_one")
        planned = place.leadctl("restore", "latest", "--dry-run", "-o", "json").json
        assert planned["missing_tablespaces"] == ["counted two", "counted_one"]
        verified = place.leadctl("backup", "verify", "latest", "--restore")
        assert verified.code == 0, verified.out
        outcome = place.leadctl("restore", "latest", "--into", "counted_copy")
        assert (outcome.code, "counted two" in outcome.err) == (0, True), outcome.err
        assert place.query("SELECT * FROM t", "counted_copy") == [(1,)]
        assert place.query(of_table, "counted_copy") == [("of the database",)]
    finally:
        place.server.drop("counted_copy")
        place.query("DROP TABLE IF EXISTS t")
        with place.server.connect() as connection:
            alone(place)
            connection.execute("ALTER DATABASE counted SET TABLESPACE pg_default")
            for name in ("counted_one", '"counted two"'):
                connection.execute(f"DROP TABLESPACE IF EXISTS {name}")


def test_rows_are_loaded_with_the_modules_of_the_database(place: Place) -> None:
    """As of labels for security, which nothing else can make."""
    place.query("ALTER DATABASE counted SET session_preload_libraries = plpgsql")
    place.query(
        "CREATE MATERIALIZED VIEW v AS SELECT current_setting('session_preload_libraries') AS loaded"
    )
    assert place.leadctl("backup").code == 0
    outcome = place.leadctl("restore", "latest", "--into", "counted_copy")
    assert (outcome.code, "Left out" in outcome.err) == (0, False), outcome.err
    assert place.query("SELECT loaded FROM v", "counted_copy") == [("plpgsql",)]
    place.server.drop("counted_copy")


def test_modules_that_the_server_lacks_shut_nobody_out(place: Place) -> None:
    ((folder,),) = place.query("SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR'")
    found = next(Path(folder).glob("dict_snowball.*"))
    module = Path(place.server.socket, f"counted{found.suffix}")
    shutil.copy(found, module)
    module.chmod(0o755)
    place.query(f"ALTER DATABASE counted SET session_preload_libraries = '{module}'")
    try:
        assert place.leadctl("backup").code == 0
    finally:
        module.unlink()
        with place.connect("postgres") as connection:
            connection.execute("ALTER DATABASE counted RESET session_preload_libraries")
    outcome = place.leadctl("restore", "latest", "--into", "counted_copy")
    assert outcome.code == 0, outcome.err
    assert "Left out: the modules that sessions of the database load" in outcome.err
    assert place.query("SELECT current_database()", "counted_copy") == [("counted_copy",)]
    place.server.drop("counted_copy")
