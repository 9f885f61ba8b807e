"""States that looked well: each is made for real, and told by the server or another tool, too."""

import re
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Cli, Prepared
from tests.health.test_facts import eventually, status, thresholds
from tests.health.test_server import HAS_CONTRIB
from tests.leads import fill
from tests.processes import wait_for
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
    "the default of a domain over an int": (
        "CREATE SEQUENCE s; CREATE DOMAIN d AS int DEFAULT nextval('s');"
        "CREATE TABLE fed (id d, t text)",
        2_147_483_647,
    ),
    "a name in a text, as old dumps have it": (
        "CREATE SEQUENCE s; CREATE TABLE fed (id int DEFAULT nextval(('s'::text)::regclass), t text)",
        2_147_483_647,
    ),
    "a numeric of six digits": (
        "CREATE SEQUENCE s; CREATE TABLE fed (id numeric(8, 2) DEFAULT nextval('s'), t text)",
        999_999,
    ),
    "one that goes round later than its column is full": (
        "CREATE SEQUENCE s CYCLE; CREATE TABLE fed (id int DEFAULT nextval('s'), t text)",
        2_147_483_647,
    ),
    "an array of ints": (
        "CREATE SEQUENCE s; CREATE DOMAIN d AS int;"
        "CREATE TABLE fed (id d[] DEFAULT ARRAY[nextval('s')], t text)",
        2_147_483_647,
    ),
    "an oid": (
        "CREATE SEQUENCE s; CREATE TABLE fed (id oid DEFAULT nextval('s'), t text)",
        4_294_967_295,
    ),
    "a text of five": (
        "CREATE SEQUENCE s; CREATE TABLE fed (id varchar(5) DEFAULT nextval('s'), t text)",
        99_999,
    ),
    "a default that is cast": (
        "CREATE SEQUENCE s; CREATE TABLE fed (id bigint DEFAULT nextval('s')::int, t text)",
        2_147_483_647,
    ),
    "a text in a default that is cast": (
        "CREATE SEQUENCE s; CREATE TABLE fed"
        " (id bigint DEFAULT nextval(('s'::text)::regclass)::smallint, t text)",
        32_767,
    ),
    "an identity of a partitioned table": (
        "CREATE TABLE fed (id smallint GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME s), t text)"
        " PARTITION BY LIST (t); CREATE TABLE fed_x PARTITION OF fed DEFAULT",
        32_767,
    ),
}


@pytest.mark.few(6)
@pytest.mark.parametrize("made", SEQUENCES)
def test_a_sequence_is_as_full_as_what_it_feeds(
    leadconnector: Prepared, cli: Cli, made: str
) -> None:
    statements, last = SEQUENCES[made]
    leadconnector.query(statements)
    assert status(cli, leadconnector.url, "sequences") == "ok"
    leadconnector.query("SELECT setval('s', %s)", last)
    with pytest.raises(psycopg.DataError):  # its type is full, or the sequence
        leadconnector.query("INSERT INTO fed (t) VALUES ('x')")
    leadconnector.query("SELECT setval('s', %s)", last)
    assert status(cli, leadconnector.url, "sequences") == "critical"
    reports = cli("inspect", "sequences", "-o", "json", url=leadconnector.url).json["reports"]
    (row,) = [row for row in reports[0]["rows"] if row["sequence"] == "s"]
    assert (row["column"], row["last_possible"], row["used_percent"]) == ("fed.id", last, 100.0)


def test_a_column_that_holds_none_of_its_sequence(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query(
        "CREATE SEQUENCE s; CREATE TABLE fed (id numeric(2, 2) DEFAULT nextval('s'), t text)"
    )
    with pytest.raises(psycopg.errors.NumericValueOutOfRange):
        leadconnector.query("INSERT INTO fed (t) VALUES ('x')")
    (found,) = cli(
        "health-check", "--check", "sequences", "-o", "json", url=leadconnector.url
    ).json["checks"]
    assert (found["status"], found["value"]) == ("critical", 100.0), found


@pytest.mark.parametrize(
    "at_the_end",
    [
        "SELECT setval('s', 2147483648, false)",  # as scripts say it after an import
        "ALTER SEQUENCE s RESTART WITH 2147483648",
        "ALTER SEQUENCE s START WITH 2147483648 RESTART",
    ],
)
def test_a_sequence_that_was_set_and_not_called_since(
    leadconnector: Prepared, cli: Cli, at_the_end: str
) -> None:
    leadconnector.query("CREATE SEQUENCE s; CREATE TABLE fed (id int DEFAULT nextval('s'), t text)")
    assert status(cli, leadconnector.url, "sequences") == "ok"
    leadconnector.query(at_the_end)
    assert status(cli, leadconnector.url, "sequences") == "critical"
    with pytest.raises(psycopg.DataError):
        leadconnector.query("INSERT INTO fed (t) VALUES ('x')")


@pytest.mark.parametrize(
    ("made", "last"),
    [
        ("CREATE SEQUENCE s AS int; CREATE TABLE fed (id bigint DEFAULT nextval('s'))", 2**31 - 1),
        ("CREATE SEQUENCE s MAXVALUE 99; CREATE TABLE fed (id int DEFAULT nextval('s'))", 99),
        ("CREATE SEQUENCE s INCREMENT -1 MINVALUE -99 MAXVALUE -1 START -1", -99),
        ("CREATE SEQUENCE s; CREATE TABLE fed (id bigint DEFAULT nextval('s'))", 2**63 - 1),
        ("CREATE TABLE fed (id bigint GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME s))", 2**63 - 1),
    ],
)
def test_the_advice_at_a_sequence_s_end_gives_numbers(
    leadconnector: Prepared, cli: Cli, made: str, last: int
) -> None:
    """Whatever ends it: the server runs what the hint says, and goes on."""
    leadconnector.query(made)
    leadconnector.query("SELECT setval('s', %s)", last)
    with pytest.raises(psycopg.DataError, match="reached m"):
        leadconnector.query("SELECT nextval('s')")
    done = cli("health-check", "--check", "sequences", "-o", "json", url=leadconnector.url)
    (found,) = done.json["checks"]
    assert found["status"] == "critical"
    (advised,) = re.findall(r"ALTER SEQUENCE s .*", found["hint"])
    leadconnector.query(advised.replace("WITH N", "WITH 1"))
    leadconnector.query("SELECT nextval('s')")
    assert "a bigint." not in found["hint"]


@pytest.mark.parametrize(
    ("options", "last", "used"),
    [
        ("INCREMENT -1 MINVALUE 1 MAXVALUE 1000 START 1000", 101, 89.9),
        ("INCREMENT -1 MINVALUE -1000 MAXVALUE -1", -900, 89.9),
        ("MINVALUE -1000 MAXVALUE -1 START -1000", -101, 89.9),
        ("AS smallint INCREMENT -1", -32768, 100.0),
        ("MAXVALUE 100 CYCLE", 100, None),
    ],
)
def test_a_sequence_of_any_direction(
    leadconnector: Prepared, cli: Cli, options: str, last: int, used: float | None
) -> None:
    leadconnector.query(f"CREATE SEQUENCE s {options}")
    leadconnector.query("SELECT setval('s', %s)", last)
    reports = cli("inspect", "sequences", "-o", "json", url=leadconnector.url).json["reports"]
    (row,) = reports[0]["rows"]
    assert row["used_percent"] == used


@pytest.mark.skipif(not HAS_CONTRIB, reason="there is no pgstattuple")
def test_a_table_that_was_emptied_is_bloat(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query(
        "CREATE UNLOGGED TABLE big (n int, t text)"
        " WITH (autovacuum_enabled = false, vacuum_truncate = false);"
        "ALTER TABLE big ALTER t SET STORAGE PLAIN;"
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


@pytest.mark.skipif(not HAS_CONTRIB, reason="there is no pgstattuple")
@pytest.mark.parametrize("looked_at", [True, False], ids=["vacuumed", "never looked at"])
def test_what_a_table_keeps_beside_itself_is_bloat(
    leadconnector: Prepared, cli: Cli, looked_at: bool
) -> None:
    """Its own pages are few; and of one that nobody analysed nothing is known."""
    leadconnector.query(
        "CREATE UNLOGGED TABLE big (n int, t text)"
        " WITH (autovacuum_enabled = false, toast.vacuum_truncate = false);"
        "ALTER TABLE big ALTER t SET STORAGE EXTERNAL;"
        "INSERT INTO big SELECT n, repeat('x', 100000) FROM generate_series(1, 2000) n"
    )
    leadconnector.query("DELETE FROM big WHERE n > 50")
    if looked_at:
        leadconnector.query("VACUUM ANALYZE big")
    leadconnector.query("CREATE EXTENSION pgstattuple")
    ((free, size),) = leadconnector.query(
        "SELECT free_space + dead_tuple_len, table_len FROM pgstattuple("
        "(SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'big'::regclass))"
    )
    assert free > 0.9 * size > 150e6
    assert status(cli, leadconnector.url, "bloat") == ("warning" if looked_at else "skipped")
    rows = cli("inspect", "bloat", "-o", "json", url=leadconnector.url).json["reports"][0]["rows"]
    (row,) = [row for row in rows if row["kind"] == "TOAST"]
    assert (row["name"], row["bytes"]) == ("big", size)
    if looked_at:
        assert row["wasted_bytes"] == pytest.approx(free, rel=0.05)


def test_dead_rows_of_what_a_table_keeps_beside_itself(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query(
        "CREATE TABLE long (n int, t text)"
        " WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false);"
        "ALTER TABLE long ALTER t SET STORAGE EXTERNAL;"
        "INSERT INTO long SELECT n, repeat('x', 100000) FROM generate_series(1, 300) n;"
        "UPDATE long SET t = t || 'y'"
    )
    eventually("warning", lambda: status(cli, leadconnector.url, "vacuum"))

    def vacuumed() -> str:
        leadconnector.query(
            "VACUUM ANALYZE long"
        )  # another's standby may hold the rows for a while
        return status(cli, leadconnector.url, "vacuum")

    eventually("ok", vacuumed)


def test_autovacuum_that_is_off_for_one_table(leadconnector: Prepared, cli: Cli) -> None:
    """The dead rows are too few to start it, and it would not start."""
    url = leadconnector.url
    leadconnector.query("CREATE TABLE kept AS SELECT generate_series(1, 100000) AS n")
    leadconnector.query("VACUUM ANALYZE kept")
    leadconnector.query("ALTER TABLE kept SET (autovacuum_enabled = off)")
    assert status(cli, url, "vacuum") == "ok"
    leadconnector.query("DELETE FROM kept WHERE n <= 12000")
    eventually("warning", lambda: status(cli, url, "vacuum"))
    (found,) = cli("health-check", "--check", "vacuum", "-o", "json", url=url).json["checks"]
    assert "autovacuum is off for kept" in found["message"]
    assert "ALTER TABLE kept RESET (autovacuum_enabled)" in found["hint"]
    leadconnector.query("ALTER TABLE kept RESET (autovacuum_enabled)")
    assert status(cli, url, "vacuum") == "ok"


@pytest.mark.thorough
def test_a_server_that_does_not_count_or_vacuum(cli: Cli) -> None:
    with RunningServer(MAJOR, track_counts="off") as running:
        url = running.info.url("postgres")
        with running.info.connect() as connection:
            connection.execute("CREATE TABLE much AS SELECT generate_series(1, 50000) AS n")
            connection.execute("DELETE FROM much")
            assert status(cli, url, "vacuum") == "skipped"
            assert status(cli, url, "statistics") == "skipped"
            for report in ("vacuum", "index-usage", "cache-hit", "unused-indexes", "indexes"):
                (found,) = cli("inspect", report, "-o", "json", url=url).json["reports"]
                assert "track_counts is off" in found["skipped"]
            (table,) = cli("stats", "-o", "json", url=url).json["tables"]
            assert (table["name"], table["dead_rows"]) == ("much", None)
            for check in ("deadlocks", "temporary-files", "checksums"):
                assert status(cli, url, check) == "skipped"
            connection.execute("ALTER SYSTEM SET track_counts = on")
            connection.execute("ALTER SYSTEM SET autovacuum = off")
            connection.execute("SELECT pg_reload_conf()")
        eventually("warning", lambda: status(cli, url, "vacuum"))


@pytest.mark.thorough
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
    "a BRIN index of other ranges": (
        "CREATE TABLE t (n int); CREATE INDEX ON t USING brin (n) WITH (pages_per_range = 8);"
        "CREATE INDEX ON t USING brin (n) WITH (pages_per_range = 128)",
        [],
    ),
    "what is beside the keys, and pages less full": (
        "CREATE TABLE t (n int, m int); CREATE INDEX a ON t (n) INCLUDE (m);"
        "CREATE INDEX b ON t (n); CREATE INDEX c ON t (n) WITH (fillfactor = 70)",
        ["DROP INDEX CONCURRENTLY c"],
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
    "a primary key that is the younger": (
        "CREATE TABLE t (n int NOT NULL); ALTER TABLE t ADD CONSTRAINT one UNIQUE (n);"
        "ALTER TABLE t ADD CONSTRAINT two PRIMARY KEY (n)",
        ["ALTER TABLE t DROP CONSTRAINT one"],
    ),
    "one that a foreign key is in need of": (
        "CREATE TABLE t (n int); CREATE UNIQUE INDEX one ON t (n);"
        "CREATE TABLE u (n int REFERENCES t (n)); CREATE INDEX ON u (n);"
        "ALTER TABLE t ADD CONSTRAINT two UNIQUE (n)",
        ["ALTER TABLE t DROP CONSTRAINT two"],
    ),
    "one that tells rows apart for replication": (
        "CREATE TABLE t (n int NOT NULL, UNIQUE (n)); CREATE UNIQUE INDEX two ON t (n);"
        "ALTER TABLE t REPLICA IDENTITY USING INDEX two",
        ["ALTER TABLE t DROP CONSTRAINT t_n_key"],
    ),
    "a constraint that waits for the commit": (
        "CREATE TABLE t (n int, UNIQUE (n), CONSTRAINT late UNIQUE (n) DEFERRABLE)",
        [],
    ),
    "NULLs that are alike in one of two": (
        "CREATE TABLE t (n int, UNIQUE (n), UNIQUE NULLS NOT DISTINCT (n))",
        [],
    ),
    "other collations, operator classes and predicates": (
        'CREATE TABLE t (a text); CREATE INDEX ON t (a); CREATE INDEX ON t (a COLLATE "C");'
        "CREATE INDEX ON t (a text_pattern_ops); CREATE INDEX ON t (a DESC);"
        "CREATE INDEX ON t (a) WHERE a > 'b'; CREATE INDEX ON t (a) WHERE a > 'c';"
        "CREATE INDEX ON t USING hash (a)",
        [],
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


@pytest.mark.parametrize(
    "made",
    [
        "CREATE TABLE t (lead text REFERENCES leads) PARTITION BY LIST (lead);"
        "CREATE TABLE t1 PARTITION OF t DEFAULT",
        pytest.param(
            "CREATE TABLE p (id int4range, at daterange, PRIMARY KEY (id, at WITHOUT OVERLAPS));"
            "CREATE TABLE t (id int4range, at daterange,"
            " FOREIGN KEY (id, PERIOD at) REFERENCES p (id, PERIOD at))",
            marks=pytest.mark.skipif(MAJOR < 18, reason="keys of spans are new in 18"),
        ),
    ],
)
def test_the_remedy_of_a_missing_index_is_one_that_the_server_runs(
    leadconnector: Prepared, cli: Cli, made: str
) -> None:
    leadconnector.query(made)
    url = leadconnector.url
    (row,) = cli("inspect", "missing-indexes", "-o", "json", url=url).json["reports"][0]["rows"]
    leadconnector.query(row["remedy"])
    assert status(cli, url, "missing-indexes") == "ok"


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["ROLE", "DATABASE"])
def test_a_connection_limit_of_its_own(cli: Cli, kind: str) -> None:
    """The server refuses the next session; to another database of the server it means nothing."""
    with RunningServer(MAJOR) as running, running.info.connect() as owner, ExitStack() as stack:
        owner.execute("CREATE ROLE limited LOGIN PASSWORD 'pass-word'")
        owner.execute("CREATE DATABASE limited")
        owner.execute(f"ALTER {kind} limited CONNECTION LIMIT 3")
        its_url = running.info.url("limited")
        url = re.sub("//postgres:[^@]+@", "//limited:pass-word@", its_url)
        assert status(cli, its_url, "connections") == "ok"
        for _ in range(3):
            stack.enter_context(psycopg.connect(url))
        with pytest.raises(psycopg.OperationalError, match="too many connections"):
            psycopg.connect(url)
        refused = cli("migrate", "status", url=url)
        assert (refused.code, "raise max_connections" in refused.err) == (4, False)
        assert f'ALTER {kind.lower()} "limited" CONNECTION LIMIT' in refused.err
        done = cli("health-check", "--check", "connections", "-o", "json", url=its_url)
        (found,) = done.json["checks"]
        assert found["status"] == "critical"
        assert status(cli, running.info.url("postgres"), "connections") == "ok"
        owner.execute(re.findall(r"ALTER .*", found["hint"])[0])
        stack.enter_context(psycopg.connect(url))


def test_a_limit_of_none(cli: Cli) -> None:
    """Nobody but a superuser may connect, who sees none of it."""
    with RunningServer(MAJOR) as running, running.info.connect() as owner:
        owner.execute("CREATE ROLE app LOGIN PASSWORD 'pass-word'")
        owner.execute("CREATE DATABASE closed")
        url = running.info.url("closed")
        assert status(cli, url, "connections") == "ok"
        owner.execute("ALTER DATABASE closed CONNECTION LIMIT 0")
        with pytest.raises(psycopg.OperationalError, match="too many connections"):
            psycopg.connect(re.sub("//postgres:[^@]+@", "//app:pass-word@", url))
        done = cli("health-check", "--check", "connections", "-o", "json", url=url)
        (found,) = done.json["checks"]
        assert found["status"] == "critical"
        owner.execute(re.findall(r"ALTER .*", found["hint"])[0])
        psycopg.connect(re.sub("//postgres:[^@]+@", "//app:pass-word@", url)).close()


def _may_write(url: str) -> bool:
    with psycopg.connect(url) as session:
        return session.execute("SHOW transaction_read_only").fetchone() == ("off",)


@pytest.mark.parametrize("where", ['DATABASE "a ""b"', "SYSTEM", "ROLE ALL"])
def test_where_nobody_may_write(cli: Cli, where: str) -> None:
    """What one role has set for itself says nothing of the others: that of a monitor is usual."""
    with RunningServer(MAJOR) as running, running.info.connect() as owner:
        owner.execute('CREATE DATABASE "a ""b"')
        owner.execute("CREATE ROLE monitor LOGIN PASSWORD 'pass-word'")
        owner.execute("ALTER ROLE monitor SET default_transaction_read_only = on")
        url = running.info.url("a%20%22b")
        monitor = re.sub("//postgres:[^@]+@", "//monitor:pass-word@", url)
        assert {status(cli, each, "server") for each in (url, monitor)} == {"ok"}
        owner.execute(f"ALTER {where} SET default_transaction_read_only = 'yes'")
        owner.execute("SELECT pg_reload_conf()")
        wait_for(lambda: not _may_write(url))
        done = cli("health-check", "--check", "server", "-o", "json", url=url)
        (found,) = done.json["checks"]
        assert (done.code, found["status"]) == (1, "warning")
        if where != "SYSTEM":
            assert status(cli, monitor, "server") == "warning"
        with psycopg.connect(url, autocommit=True) as session:
            session.execute(found["hint"].removeprefix("To let them: "))
        assert _may_write(url)
        assert {status(cli, each, "server") for each in (url, monitor)} == {"ok"}


def test_workers_take_no_connections(cli: Cli) -> None:
    with (
        RunningServer(MAJOR, max_parallel_workers="6", max_worker_processes="12") as running,
        running.info.connect() as owner,
        ExitStack() as stack,
    ):
        owner.execute("CREATE DATABASE limited CONNECTION LIMIT 5")
        url = running.info.url("limited")
        with running.info.connect("limited") as filler:
            filler.execute(
                "CREATE TABLE large AS SELECT generate_series(1, 4000) AS n; ANALYZE large"
            )
            filler.execute("ALTER TABLE large SET (parallel_workers = 4)")
        query = (
            "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;"
            " SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 4;"
            " SELECT count(*) FROM large WHERE n > 0 AND pg_sleep(0.05) IS NOT NULL"
        )
        session = stack.enter_context(running.info.connect("limited"))
        session.pgconn.send_query(query.encode())
        workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'"
        wait_for(lambda: owner.execute(workers).fetchone() == (4,))
        assert status(cli, url, "connections") == "ok"
        for _ in range(2):  # the server counts as we do
            stack.enter_context(running.info.connect("limited"))
        session.cancel()
        while session.pgconn.get_result() is not None:
            pass


@pytest.mark.parametrize(
    ("child", "parent", "expected"),
    [
        ("int", "bigint", "warning"),
        ("smallint", "int", "warning"),
        ("whole", "bigint", "warning"),
        ("int", "long", "warning"),
        ("bigint", "bigint", "ok"),
        ("bigint", "int", "ok"),
        ("long", "bigint", "ok"),
    ],
)
def test_a_foreign_key_narrower_than_its_key(
    leadconnector: Prepared, cli: Cli, child: str, parent: str, expected: str
) -> None:
    leadconnector.query(
        "CREATE DOMAIN whole AS int; CREATE DOMAIN longer AS bigint; CREATE DOMAIN long AS longer;"
        f"CREATE TABLE parents (id {parent} PRIMARY KEY);"
        f"CREATE TABLE children (id {child} PRIMARY KEY REFERENCES parents)"
    )
    assert status(cli, leadconnector.url, "narrow-foreign-keys") == expected
    leadconnector.query("INSERT INTO parents VALUES (32768)")
    if expected == "warning" and parent != "int":
        leadconnector.query("INSERT INTO parents VALUES (2147483648)")
        with pytest.raises(psycopg.errors.NumericValueOutOfRange):
            leadconnector.query("INSERT INTO children SELECT max(id) FROM parents")


def test_a_table_that_is_gone_is_critical_and_comes_first(
    leadconnector: Prepared, cli: Cli
) -> None:
    """Its indexes and its fixtures are no news beside it."""
    leadconnector.query("DROP TABLE webhook_deliveries")
    outcome = cli("health-check", "-o", "json", url=leadconnector.url)
    found = {check["name"]: check for check in outcome.json["checks"]}
    assert outcome.code == 2
    assert found["schema"]["status"] == found["drift"]["status"] == "critical"
    assert found["schema"]["message"] == "the table webhook_deliveries is missing"
    assert "leadctl restore latest --table webhook_deliveries" in found["schema"]["hint"]
    assert found["indexes"]["status"] == "ok"
    line = cli("health-check", "-o", "nagios", url=leadconnector.url).out
    assert line.startswith("LEADCTL CRITICAL - schema: the table webhook_deliveries is missing")
    fixed = cli("health-check", "--fix", "--yes", "-o", "json", url=leadconnector.url)
    assert [fix for fix in fixed.json["fixes"] if fix["check"] == "indexes"] == []
    leadconnector.query("DROP TABLE users CASCADE")
    found = {
        check["name"]: check
        for check in cli("health-check", "-o", "json", url=leadconnector.url).json["checks"]
    }
    assert "users" in found["schema"]["message"]
    assert found["seed"]["message"].startswith(
        "3 fixtures, and the tables of 1 more fixtures are missing"
    )


def test_a_column_that_is_gone_is_critical(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query("ALTER TABLE leads DROP COLUMN form_name; DROP INDEX idx_leads_form_id")
    (found,) = cli("health-check", "--check", "drift", "-o", "json", url=leadconnector.url).json[
        "checks"
    ]
    assert found["status"] == "critical"
    assert found["message"].startswith("column leads.form_name is missing")
    assert "leadctl restore latest --table leads" in found["hint"]


def test_each_rule_of_cleanup_has_its_own_last_run(leadconnector: Prepared, cli: Cli) -> None:
    """Whatever ran since, a rule that failed or never ran is late."""
    url, flags = leadconnector.url, ("health-check", "--check", "cleanup", "-o", "json")
    leadconnector.query("UPDATE leads SET status = 'ARCHIVED', created_at = now() - interval '1 y'")
    listed = cli("cleanup", "--list", "-o", "json", url=url).json["rules"]
    names = [rule["rule"] for rule in listed]
    assert len(names) > 1
    assert cli("cleanup", "--confirm", leadconnector.name, url=url).code == 0
    (found,) = cli(*flags, url=url).json["checks"]
    assert found["status"] == "ok"
    leadconnector.query("UPDATE leadctl.run SET ended_at = now() - interval '3 days'")
    for _ in range(60):  # more than any list of the last runs has
        leadconnector.query(
            "INSERT INTO leadctl.run (command, app, schema, run_by, session, session_start, ended_at,"
            " outcome, summary) SELECT command, app, schema, run_by, session, session_start, now(),"
            " outcome, jsonb_build_object('rules', jsonb_build_object(%s::text, summary -> 'rules' ->"
            " %s::text)) FROM leadctl.run WHERE command = 'cleanup' ORDER BY id LIMIT 1",
            names[0],
            names[0],
        )
    (found,) = cli(*flags, url=url).json["checks"]
    assert found["status"] == "warning"
    assert found["message"].startswith(f"no recent success of {', '.join(names[1:])};")
    leadconnector.query(
        "DELETE FROM leadctl.run WHERE id = (SELECT min(id) FROM leadctl.run"
        " WHERE command = 'cleanup')"
    )
    (found,) = cli(*flags, url=url).json["checks"]
    assert found["message"].startswith(f"no recent success of {', '.join(names[1:])};")
    assert cli("cleanup", url=url).code == 0
    assert status(cli, url, "cleanup") == "ok"


def test_runs_that_did_nothing_hide_no_other(leadconnector: Prepared, cli: Cli) -> None:
    """Not one beside another, one that was stopped at once, nor one that failed before it counted."""
    url, flags = leadconnector.url, ("health-check", "--check", "cleanup", "-o", "json")
    line = ("cleanup", "--confirm", leadconnector.name)
    fill(leadconnector, leads=5, deliveries=0)
    leadconnector.query("UPDATE leads SET status = 'ARCHIVED', created_at = now() - interval '1 y'")
    leadconnector.query("CREATE TABLE held (lead text PRIMARY KEY REFERENCES leads)")
    leadconnector.query("INSERT INTO held SELECT min(id) FROM leads")
    assert cli(*line, url=url).code == 7
    (found,) = cli(*flags, url=url).json["checks"]
    refused = "due rows that cannot be deleted: 1 of archived-leads; 1 due rows remain"
    assert (found["status"], found["message"]) == ("warning", refused)

    with leadconnector.server.connect(leadconnector.name) as session:
        session.execute(
            "SELECT pg_advisory_lock(hashtext('leadctl cleanup'), hashtext('public.archived-leads'))"
        )
        assert cli(*line, "-o", "json", url=url).json["rules"][0]["status"] == "overlap"
    (found,) = cli(*flags, url=url).json["checks"]
    assert (found["status"], found["message"]) == ("warning", refused)

    leadconnector.query("UPDATE leadctl.run SET ended_at = now() - interval '3 days'")
    with leadconnector.server.connect(leadconnector.name) as session, session.transaction():
        session.execute("LOCK TABLE leads IN ACCESS EXCLUSIVE MODE")
        stopped = cli(*line, "-o", "json", url=url).json["rules"][0]
        assert (stopped["status"], stopped["rows"]) == ("stopped", 0)
    (found,) = cli(*flags, url=url).json["checks"]
    assert found["message"].startswith("no recent success of archived-leads; ")
    assert found["message"].endswith("those of archived-leads not counted")


def test_a_run_with_a_longer_age_is_no_success_of_a_rule(leadconnector: Prepared, cli: Cli) -> None:
    """It leaves rows that the rule would take, whatever it says of its own."""
    url, rule = leadconnector.url, "archived-leads"
    leadconnector.query("UPDATE leads SET status = 'ARCHIVED', created_at = now() - interval '1 y'")
    others = [r["rule"] for r in cli("cleanup", "--list", "-o", "json", url=url).json["rules"]]
    rules = [word for name in others if name != rule for word in ("--rule", name)]
    assert cli("cleanup", *rules, "--confirm", leadconnector.name, url=url).code == 0
    for days, expected in (("9000", "warning"), ("1", "ok")):
        line = ("--rule", rule, "--days", days, "--confirm", leadconnector.name)
        assert cli("cleanup", *line, url=url).code == 0
        assert status(cli, url, "cleanup") == expected
    assert leadconnector.query("SELECT count(*) FROM leads WHERE status = 'ARCHIVED'") == [(0,)]


def test_sessions_of_which_nothing_is_told(leadconnector: Prepared, cli: Cli) -> None:
    with leadconnector.server.connect(leadconnector.name) as session:
        session.execute("SET track_activities = off")
        session.execute("BEGIN")
        for check in ("idle-in-transaction", "long-transactions", "long-queries"):
            eventually("skipped", lambda check=check: status(cli, leadconnector.url, check))  # type: ignore[misc]
        session.execute("ROLLBACK")
    eventually("ok", lambda: status(cli, leadconnector.url, "long-transactions"))


@pytest.mark.parametrize(
    ("command", "expected"), [("", "critical"), ("sleep 20", "warning")], ids=["none", "one hangs"]
)
@pytest.mark.thorough
def test_an_archive_that_gets_nothing(
    cli: Cli, tmp_path: Path, command: str, expected: str
) -> None:
    """The server counts no failure: it does not try, or has not come back."""
    thresholds(tmp_path, "archiving", warning=3)
    with RunningServer(MAJOR, archive_mode="on", archive_command=command) as running:
        url = running.info.url("postgres")
        with running.info.connect() as connection:
            for _ in range(4):
                connection.execute("SELECT pg_logical_emit_message(true, 'x', 'x')")
                connection.execute("SELECT pg_switch_wal()")
            row = connection.execute("SELECT failed_count, archived_count FROM pg_stat_archiver")
            assert row.fetchone() == (0, 0)
        assert status(cli, url, "archiving") == expected
