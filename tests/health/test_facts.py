"""The checks whose facts are inspect's: each sees a real fault come and go."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import Cli, Prepared
from tests.servers import MAJOR, RunningServer

Fault = Callable[[Prepared], Any]


def status(cli: Cli, url: str, check: str, *flags: str) -> str:
    outcome = cli("health-check", "--check", check, *flags, "-o", "json", url=url)
    (found,) = outcome.json["checks"]
    assert found["name"] == check
    assert found["message"], found
    assert bool(found["hint"]) == (found["status"] in {"warning", "critical"}), found
    code = {"ok": 0, "warning": 1, "critical": 2, "skipped": 3}[found["status"]]
    assert outcome.code == code, found
    return str(found["status"])


def thresholds(folder: Path, check: str, **values: float) -> None:
    lines = [f"{name} = {value}" for name, value in values.items()]
    (folder / "leadctl.toml").write_text("\n".join([f"[health.{check}]", *lines]))


@contextmanager
def statement(database: Prepared, do: str, undo: str) -> Iterator[None]:
    for each in do.split(";\n"):
        database.query(each)
    yield
    for each in undo.split(";\n"):
        database.query(each)


@contextmanager
def a_build_that_failed(database: Prepared) -> Iterator[None]:
    database.query("CREATE TABLE twice AS SELECT 1 AS n FROM generate_series(1, 2)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.query("CREATE UNIQUE INDEX CONCURRENTLY twice_n ON twice (n)")
    yield
    database.query("DROP INDEX CONCURRENTLY twice_n")


def a_duplicate_index(database: Prepared) -> Any:
    return statement(database, "CREATE INDEX again ON leads (form_id)", "DROP INDEX again")


def a_foreign_key_without_index(database: Prepared) -> Any:
    return statement(
        database,
        "CREATE TABLE notes (id int PRIMARY KEY, lead_id text REFERENCES leads)",
        "CREATE INDEX ON notes (lead_id)",
    )


def a_constraint_not_validated(database: Prepared) -> Any:
    return statement(
        database,
        "ALTER TABLE leads ADD CONSTRAINT short CHECK (length(form_name) < 99) NOT VALID",
        "ALTER TABLE leads VALIDATE CONSTRAINT short",
    )


def a_domain_s_constraint_not_validated(database: Prepared) -> Any:
    return statement(
        database,
        "CREATE DOMAIN little AS int;\nCREATE TABLE few (n little);\n"
        "ALTER DOMAIN little ADD CONSTRAINT low CHECK (VALUE < 9) NOT VALID",
        "ALTER DOMAIN little VALIDATE CONSTRAINT low",
    )


@contextmanager
def a_rebuild_of_toast_that_was_cut(database: Prepared) -> Iterator[None]:
    """What is too long for a row has an index of its own, in no schema of the app's."""
    database.query("CREATE TABLE long (t text)")
    with (
        another_session(database, "TABLE long"),
        database.server.connect(database.name) as connection,
    ):
        connection.execute("SET statement_timeout = '500ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("REINDEX TABLE CONCURRENTLY long")
    yield
    invalid = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
    for (name,) in database.query(invalid):
        assert name.startswith("pg_toast.")
        database.query(f"DROP INDEX CONCURRENTLY {name}")


def a_sequence_at_90_percent(database: Prepared) -> Any:
    return statement(
        database,
        "SELECT setval('counted_n_seq', 29500)",
        "ALTER SEQUENCE counted_n_seq RESTART",
    )


def a_sequence_at_95_percent(database: Prepared) -> Any:
    """The sequence itself is a bigint; its column is not."""
    return statement(
        database,
        "ALTER SEQUENCE counted_n_seq AS bigint;\nSELECT setval('counted_n_seq', 31200)",
        "ALTER SEQUENCE counted_n_seq RESTART",
    )


def dead_rows(database: Prepared) -> Any:
    return statement(
        database,
        "INSERT INTO counted (t) SELECT 'x' FROM generate_series(1, 30000);\n"
        "ANALYZE counted;\nDELETE FROM counted WHERE n <= 25000",
        "VACUUM ANALYZE counted",
    )


def a_table_never_analysed(database: Prepared) -> Any:
    return statement(
        database,
        "INSERT INTO counted (t) SELECT 'x' FROM generate_series(1, 20000)",
        "ANALYZE counted",
    )


FAULTS: list[tuple[Fault, str, str]] = [
    (a_build_that_failed, "invalid-indexes", "warning"),
    (a_rebuild_of_toast_that_was_cut, "invalid-indexes", "warning"),
    (a_domain_s_constraint_not_validated, "unvalidated-constraints", "warning"),
    (a_duplicate_index, "duplicate-indexes", "warning"),
    (a_foreign_key_without_index, "missing-indexes", "warning"),
    (a_constraint_not_validated, "unvalidated-constraints", "warning"),
    (a_sequence_at_90_percent, "sequences", "warning"),
    (a_sequence_at_95_percent, "sequences", "critical"),
    (dead_rows, "vacuum", "warning"),
    (a_table_never_analysed, "statistics", "warning"),
]

COUNTED = (
    "CREATE TABLE counted (n smallserial, t text) WITH (autovacuum_enabled = false);"
    "ALTER SEQUENCE counted_n_seq OWNED BY counted.n"
)


def eventually(wanted: str, look: Callable[[], str]) -> None:
    """Wait until a check says what it must: counters reach the server's memory with a delay."""
    deadline = time.monotonic() + 20
    while (found := look()) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("fault", "check", "expected"), FAULTS, ids=[fault[0].__name__ for fault in FAULTS]
)
def test_a_fault_is_seen_and_its_mending_too(
    leadconnector: Prepared, cli: Cli, fault: Fault, check: str, expected: str
) -> None:
    leadconnector.query(COUNTED)
    assert status(cli, leadconnector.url, check) == "ok"
    with fault(leadconnector):
        eventually(expected, lambda: status(cli, leadconnector.url, check))
    eventually("ok", lambda: status(cli, leadconnector.url, check))


@contextmanager
def another_session(
    database: Prepared, *statements: str, waits: bool = False
) -> Iterator[psycopg.Connection[Any]]:
    """A transaction of somebody else's; `waits`: its last statement goes on in the background."""
    with database.server.connect(database.name, application_name="somebody") as connection:
        connection.execute("BEGIN")
        for each in statements[: -1 if waits else None]:
            connection.execute(each)
        worker = None
        if waits:
            worker = threading.Thread(target=_quietly, args=(connection, statements[-1]))
            worker.start()
        try:
            yield connection
        finally:
            if worker:
                connection.cancel()
                worker.join()
            connection.rollback()


def _quietly(connection: psycopg.Connection[Any], query: str) -> None:
    with suppress(psycopg.Error):
        connection.execute(query)


@pytest.mark.thorough
def test_a_blocked_lock(leadconnector: Prepared, cli: Cli, tmp_path: Path) -> None:
    url = leadconnector.url
    assert status(cli, url, "blocking") == "ok"
    with ExitStack() as stack:
        stack.enter_context(another_session(leadconnector, "LOCK TABLE leads"))
        stack.enter_context(another_session(leadconnector, "LOCK TABLE leads", waits=True))
        eventually("warning", lambda: status(cli, url, "blocking"))
        thresholds(tmp_path, "blocking", warning=0.1, critical=0.2)
        assert status(cli, url, "blocking") == "critical"
        tree = cli("inspect", "blocking", "-o", "json", url=url).json["reports"][0]["rows"]
        assert [row["blocked_by"] is None for row in tree] == [True, False]
        assert tree[1]["session"] == f"  {tree[1]['session'].strip()}"
        assert tree[1]["wants"] == "AccessExclusiveLock"
        assert tree[1]["relation"] == "leads"
    assert status(cli, url, "blocking") == "ok"


@pytest.mark.parametrize(
    ("check", "query"),
    [("idle-in-transaction", "SELECT 1"), ("long-queries", "SELECT pg_sleep(60)")],
)
def test_a_session_that_takes_long(
    leadconnector: Prepared, cli: Cli, tmp_path: Path, check: str, query: str
) -> None:
    url = leadconnector.url
    thresholds(tmp_path, check, warning=0.2)
    assert status(cli, url, check) == "ok"
    with another_session(leadconnector, query, waits="sleep" in query):
        eventually("warning", lambda: status(cli, url, check))
        (row,) = cli("inspect", check, "-o", "json", url=url).json["reports"][0]["rows"]
        assert row["application"] == "somebody"
    eventually("ok", lambda: status(cli, url, check))


@pytest.mark.thorough
def test_deadlocks(leadconnector: Prepared, cli: Cli) -> None:
    """Of counters whose age is not known only a rate of two looks can be told."""
    url = leadconnector.url
    assert status(cli, url, "deadlocks") == "ok"
    barrier = threading.Barrier(2)

    def lock(first: str, second: str) -> None:
        with another_session(leadconnector, "SET LOCAL deadlock_timeout = '50ms'") as connection:
            connection.execute(f"LOCK TABLE {first}")
            barrier.wait()
            _quietly(connection, f"LOCK TABLE {second}")

    def deadlock() -> None:
        pair = [
            threading.Thread(target=lock, args=tables)
            for tables in (("leads", "users"), ("users", "leads"))
        ]
        for thread in pair:
            thread.start()
        for thread in pair:
            thread.join()

    deadlock()
    eventually("skipped", lambda: status(cli, url, "deadlocks"))
    assert status(cli, url, "deadlocks", "--interval", "200ms") == "ok"
    timer = threading.Timer(0.5, deadlock)
    timer.start()
    try:
        assert status(cli, url, "deadlocks", "--interval", "4s") == "warning"
    finally:
        timer.join()
    leadconnector.query("SELECT pg_stat_reset()")
    eventually("ok", lambda: status(cli, url, "deadlocks"))
    deadlock()
    eventually("warning", lambda: status(cli, url, "deadlocks"))


def test_temporary_files(leadconnector: Prepared, cli: Cli, tmp_path: Path) -> None:
    url = leadconnector.url
    thresholds(tmp_path, "temporary-files", warning=1_000_000)
    leadconnector.query("SELECT pg_stat_reset()")
    eventually("ok", lambda: status(cli, url, "temporary-files"))
    with leadconnector.server.connect(leadconnector.name) as connection:
        connection.execute("SET work_mem = '64kB'")
        connection.execute("SELECT n FROM generate_series(1, 300000) n ORDER BY random()")
    eventually("warning", lambda: status(cli, url, "temporary-files"))
    assert status(cli, url, "temporary-files", "--interval", "200ms") == "ok"


def test_index_usage(leadconnector: Prepared, cli: Cli) -> None:
    url = leadconnector.url
    leadconnector.query(
        "CREATE TABLE big (n int PRIMARY KEY);"
        "INSERT INTO big SELECT generate_series(1, 20000); ANALYZE big"
    )
    assert status(cli, url, "index-usage") == "skipped"

    def read(condition: str) -> None:
        with leadconnector.server.connect(leadconnector.name) as connection:
            for _ in range(120):
                connection.execute(f"SELECT count(*) FROM big WHERE {condition}")

    read("n + 1 = 5")
    eventually("warning", lambda: status(cli, url, "index-usage"))
    leadconnector.query("SELECT pg_stat_reset()")
    leadconnector.query("ANALYZE big")
    read("n = 5")
    eventually("ok", lambda: status(cli, url, "index-usage"))


@pytest.mark.thorough
def test_cache_hit(cli: Cli) -> None:
    with RunningServer(MAJOR, shared_buffers="1MB") as small:
        url = small.info.url("postgres")
        with small.info.connect() as connection:
            connection.execute("CREATE TABLE big (n int PRIMARY KEY, t text)")
            connection.execute(
                "INSERT INTO big SELECT n, repeat('x', 500) FROM generate_series(1, 90000) n"
            )
        eventually("skipped", lambda: _reset(small) or status(cli, url, "cache-hit"))
        with small.info.connect() as connection:
            for _ in range(20):
                connection.execute("SELECT count(t) FROM big")
        eventually("critical", lambda: status(cli, url, "cache-hit"))
        with small.info.connect() as connection:
            connection.execute("SELECT pg_stat_reset()")
            connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
            connection.execute(
                "DO $$ BEGIN FOR i IN 1..60000 LOOP PERFORM t FROM big WHERE n = 7; END LOOP; END $$"
            )
        eventually("ok", lambda: status(cli, url, "cache-hit"))


def _reset(server: RunningServer) -> str:
    with server.info.connect() as connection:
        connection.execute("SELECT pg_stat_reset()")
    return ""


@pytest.mark.thorough
def test_bloat(leadconnector: Prepared, cli: Cli) -> None:
    url = leadconnector.url
    assert status(cli, url, "bloat") == "ok"
    leadconnector.query(
        "CREATE UNLOGGED TABLE big WITH (autovacuum_enabled = false) AS"
        " SELECT n, repeat('x', 1000) AS t FROM generate_series(1, 200000) n;"
        "ALTER TABLE big ALTER COLUMN t SET STORAGE PLAIN"
    )
    leadconnector.query("VACUUM ANALYZE big")
    assert status(cli, url, "bloat") == "ok"
    leadconnector.query("DELETE FROM big WHERE n < 190000")
    leadconnector.query("VACUUM ANALYZE big")
    assert status(cli, url, "bloat") == "warning"
    (row,) = cli("inspect", "bloat", "-o", "json", url=url).json["reports"][0]["rows"]
    assert (row["name"], row["wasted_percent"] > 90) == ("big", True)
    leadconnector.query("VACUUM FULL big")
    leadconnector.query("VACUUM ANALYZE big")
    assert status(cli, url, "bloat") == "ok"


@pytest.mark.thorough
def test_checks_that_hang_leave_time_for_the_others(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query(COUNTED)
    with another_session(
        leadconnector,
        "LOCK TABLE users, pages",
        "ALTER SEQUENCE counted_n_seq INCREMENT 2",
    ):
        outcome = cli("health-check", "--timeout", "4s", "-o", "json", url=leadconnector.url)
    found = {check["name"]: check for check in outcome.json["checks"]}
    hung = {name for name, check in found.items() if "no answer within" in check["message"]}
    assert hung == {"seed", "drift", "encryption", "sequences"}
    assert {check["status"] for name, check in found.items() if name not in hung} == {
        "ok",
        "skipped",
    }
    assert not [check for check in found.values() if "for all checks were over" in check["message"]]
