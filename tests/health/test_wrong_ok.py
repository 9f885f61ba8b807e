"""States that looked well: each is made for real, and told by the server or another tool, too."""

import re
from contextlib import ExitStack

import psycopg
import pytest

from tests.conftest import Cli, Prepared
from tests.health.test_facts import eventually, status
from tests.health.test_server import HAS_CONTRIB
from tests.servers import MAJOR, RunningServer

SEQUENCES = {
    "the default of an int, not owned": (
        "CREATE SEQUENCE s; CREATE TABLE fed (id int DEFAULT nextval('s'), t text)",
        2_147_483_647,
    ),
    "the default of an int in another schema": (
        "CREATE SEQUENCE s; CREATE SCHEMA other;"
        "CREATE TABLE other.wide (id bigint DEFAULT nextval('public.s'));"
        "CREATE TABLE fed (id smallint DEFAULT nextval('s'), t text)",
        32_767,
    ),
    "a domain over a domain over an int": (
        "CREATE DOMAIN d AS int; CREATE DOMAIN e AS d; CREATE TABLE fed (id e, t text);"
        "CREATE SEQUENCE s OWNED BY fed.id; ALTER TABLE fed ALTER id SET DEFAULT nextval('s')",
        2_147_483_647,
    ),
    "beside one of all bigints": (
        "CREATE SEQUENCE whole MINVALUE -9223372036854775808 START 1; SELECT nextval('whole');"
        "CREATE SEQUENCE s; CREATE TABLE fed (id int DEFAULT nextval('s'), t text)",
        2_147_483_647,
    ),
}


@pytest.mark.parametrize("made", SEQUENCES)
def test_a_sequence_is_as_full_as_what_it_feeds(
    leadconnector: Prepared, cli: Cli, made: str
) -> None:
    statements, last = SEQUENCES[made]
    leadconnector.query(statements)
    assert status(cli, leadconnector.url, "sequences") == "ok"
    leadconnector.query("SELECT setval('s', %s)", last)
    with pytest.raises(psycopg.errors.NumericValueOutOfRange):
        leadconnector.query("INSERT INTO fed (t) VALUES ('x')")
    leadconnector.query("SELECT setval('s', %s)", last)
    assert status(cli, leadconnector.url, "sequences") == "critical"
    reports = cli("inspect", "sequences", "-o", "json", url=leadconnector.url).json["reports"]
    (row,) = [row for row in reports[0]["rows"] if row["sequence"] == "s"]
    assert (row["column"], row["last_possible"], row["used_percent"]) == ("fed.id", last, 100.0)


@pytest.mark.parametrize(
    ("options", "last", "used"),
    [
        ("INCREMENT -1 MINVALUE 1 MAXVALUE 1000 START 1000", 101, 89.9),
        ("INCREMENT -1 MINVALUE -1000 MAXVALUE -1", -900, 89.9),
        ("MINVALUE -1000 MAXVALUE -1 START -1000", -101, 89.9),
    ],
)
def test_a_sequence_of_any_direction(
    leadconnector: Prepared, cli: Cli, options: str, last: int, used: float
) -> None:
    leadconnector.query(f"CREATE SEQUENCE s {options}")
    leadconnector.query("SELECT setval('s', %s)", last)
    reports = cli("inspect", "sequences", "-o", "json", url=leadconnector.url).json["reports"]
    (row,) = reports[0]["rows"]
    assert row["used_percent"] == used


@pytest.mark.skipif(not HAS_CONTRIB, reason="there is no pgstattuple")
def test_a_table_that_was_emptied_is_bloat(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query(
        "CREATE UNLOGGED TABLE big (n int, t text STORAGE PLAIN)"
        " WITH (autovacuum_enabled = false, vacuum_truncate = false);"
        "INSERT INTO big SELECT n, repeat('x', 1000) FROM generate_series(1, 180000) n"
    )
    leadconnector.query("DELETE FROM big")
    leadconnector.query("VACUUM big")
    leadconnector.query("CREATE EXTENSION pgstattuple")
    ((free, size),) = leadconnector.query(
        "SELECT free_percent, table_len FROM pgstattuple('big'::regclass)"
    )
    assert free > 90
    assert status(cli, leadconnector.url, "bloat") == "warning"
    (row,) = cli("inspect", "bloat", "-o", "json", url=leadconnector.url).json["reports"][0]["rows"]
    assert (row["name"], row["bytes"], row["wasted_bytes"]) == ("big", size, size)


def test_a_server_that_does_not_count_or_vacuum(cli: Cli) -> None:
    with RunningServer(MAJOR, track_counts="off") as running:
        url = running.info.url("postgres")
        with running.info.connect() as connection:
            connection.execute("CREATE TABLE much AS SELECT generate_series(1, 50000) AS n")
            connection.execute("DELETE FROM much")
            assert status(cli, url, "vacuum") == "skipped"
            assert status(cli, url, "statistics") == "skipped"
            connection.execute("ALTER SYSTEM SET track_counts = on")
            connection.execute("ALTER SYSTEM SET autovacuum = off")
            connection.execute("SELECT pg_reload_conf()")
        eventually("warning", lambda: status(cli, url, "vacuum"))


def test_a_standby_that_has_lost_its_primary(cli: Cli) -> None:
    with (
        RunningServer(MAJOR) as primary,
        RunningServer(MAJOR, standby_of=primary) as standby,
        primary.info.connect() as writer,
        standby.info.connect() as reader,
    ):
        url, its_url = primary.info.url("postgres"), standby.info.url("postgres")
        writer.execute("SELECT pg_create_physical_replication_slot('sb1', true)")
        reader.execute("ALTER SYSTEM SET primary_slot_name = 'sb1'")
        reader.execute("SELECT pg_reload_conf()")
        eventually("ok", lambda: status(cli, url, "replication-slots"))
        eventually("ok", lambda: status(cli, its_url, "replication"))
        reader.execute("ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'")
        reader.execute("SELECT pg_reload_conf()")
        eventually("critical", lambda: status(cli, its_url, "replication"))
        eventually("warning", lambda: status(cli, url, "replication-slots"))
        writer.execute("CREATE TABLE missed AS SELECT 1 AS n")
        assert writer.execute("SELECT count(*) FROM pg_stat_replication").fetchone() == (0,)
        assert reader.execute("SELECT to_regclass('missed')").fetchone() == (None,)


ALIKE = {
    "EXCLUDE with other operators": (
        "CREATE TABLE t (a int4range, EXCLUDE USING gist (a WITH &&), EXCLUDE USING gist (a WITH =))",
        [],
    ),
    "a GiST index with other parameters": (
        "CREATE TABLE t (v tsvector);"
        "CREATE INDEX ON t USING gist (v tsvector_ops (siglen = 64));"
        "CREATE INDEX ON t USING gist (v tsvector_ops (siglen = 128))",
        [],
    ),
    "partitions": (
        "CREATE TABLE t (n int) PARTITION BY RANGE (n);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9);"
        "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (9) TO (19);"
        "CREATE INDEX one ON t (n); CREATE INDEX two ON t (n)",
        ["DROP INDEX two"],
    ),
    "a constraint twice": (
        "CREATE TABLE t (n int); ALTER TABLE t ADD CONSTRAINT one UNIQUE (n);"
        "ALTER TABLE t ADD CONSTRAINT two UNIQUE (n)",
        ["ALTER TABLE t DROP CONSTRAINT two"],
    ),
    "a partition's own beside its part of the parent's": (
        "CREATE TABLE t (n int) PARTITION BY RANGE (n);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9);"
        "CREATE INDEX one ON t (n); CREATE INDEX own ON t1 (n)",
        ["DROP INDEX CONCURRENTLY own"],
    ),
}


@pytest.mark.parametrize("made", ALIKE)
def test_duplicates_are_those_that_can_go(leadconnector: Prepared, cli: Cli, made: str) -> None:
    """The server drops what is said, and the other index stays."""
    statements, remedies = ALIKE[made]
    leadconnector.query(statements)
    url = leadconnector.url
    rows = cli("inspect", "duplicate-indexes", "-o", "json", url=url).json["reports"][0]["rows"]
    assert [row["remedy"] for row in rows] == remedies
    for row in rows:
        leadconnector.query(row["remedy"])
        assert leadconnector.query("SELECT to_regclass(%s) IS NULL", row["same_as"]) == [(False,)]
    assert status(cli, url, "duplicate-indexes") == "ok"


def test_the_remedy_of_a_missing_index_is_one_that_the_server_runs(
    leadconnector: Prepared, cli: Cli
) -> None:
    leadconnector.query(
        "CREATE TABLE t (lead text REFERENCES leads) PARTITION BY LIST (lead);"
        "CREATE TABLE t1 PARTITION OF t DEFAULT"
    )
    url = leadconnector.url
    (row,) = cli("inspect", "missing-indexes", "-o", "json", url=url).json["reports"][0]["rows"]
    leadconnector.query(row["remedy"])
    assert status(cli, url, "missing-indexes") == "ok"


@pytest.mark.parametrize("kind", ["ROLE", "DATABASE"])
def test_a_connection_limit_of_its_own(leadconnector: Prepared, cli: Cli, kind: str) -> None:
    """The server refuses the next session."""
    database = leadconnector
    role = f"limited_{database.name}"
    database.query(f"CREATE ROLE {role} LOGIN PASSWORD 'limited'")
    try:
        limited = role if kind == "ROLE" else database.name
        database.query(f"ALTER {kind} {limited} CONNECTION LIMIT 3")
        url = re.sub("//postgres:[^@]+@", f"//{role}:limited@", database.url)
        assert status(cli, database.url, "connections") == "ok"
        with ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(psycopg.connect(url))
            with pytest.raises(psycopg.OperationalError, match="too many connections"):
                psycopg.connect(url)
            assert status(cli, database.url, "connections") == "critical"
    finally:
        database.query(f"DROP ROLE {role}")
