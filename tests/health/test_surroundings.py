"""All checks at once, wherever leadctl may run: none says ok of what is known to be wrong.

One database, on a server of its own, is made as sick as it can be; each surrounding takes something
of the sight of it.  Which check each state is for is in OF_OBJECTS, OF_SESSIONS and OF_SERVER; those
of ELSEWHERE need another place to be wrong in, and are tried there.

Each check has a test, too, that makes its state for real and compares the number with a witness that
is not ours: WITNESSES names it, and a test asks that no check is left out.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from leadctl.health import activity
from leadctl.health.run import CHECKS
from tests.conftest import KEY, Cli, Prepared
from tests.health.test_server import HAS_CONTRIB, wear_out
from tests.postgres.test_pooler import PROGRAM, pgbouncer  # noqa: F401 - a fixture
from tests.processes import run, wait_for
from tests.servers import MAJOR, RunningServer, Server

OF_OBJECTS = {
    "schema": "DROP TABLE webhook_deliveries CASCADE",
    "migrations": "UPDATE leadctl.migration SET checksum = 'x' || checksum",
    "drift": "ALTER TABLE leads DROP COLUMN form_name",
    "seed": "CREATE TABLE saved AS TABLE page_webhook_configs; DELETE FROM page_webhook_configs",
    "indexes": "DROP INDEX idx_leads_form_id",
    "encryption": "UPDATE users SET access_token = 'plain'",
    "cleanup": "INSERT INTO leadctl.run (command, app, schema, run_by, session, session_start,"
    " ended_at, outcome, summary) VALUES ('cleanup', 'leadconnector', 'public', 'x', 1, now(),"
    ' now() - interval \'3 days\', \'done\', \'{"rules": {"archived-leads": {"status": "done"}}}\')',
    "duplicate-indexes": "CREATE INDEX a ON leads (id, page_id); CREATE INDEX b ON leads (id, page_id)",
    "missing-indexes": "CREATE TABLE child (id int PRIMARY KEY, lead text REFERENCES leads)",
    "unvalidated-constraints": "ALTER TABLE leads ADD CONSTRAINT late CHECK (id <> '') NOT VALID",
    "narrow-foreign-keys": "CREATE TABLE wide (id bigint PRIMARY KEY);"
    "CREATE TABLE narrow (id int PRIMARY KEY REFERENCES wide)",
    "sequences": "CREATE TABLE fed (id smallserial); SELECT setval('fed_id_seq', 32000)",
    "vacuum": "CREATE TABLE dead (n int) WITH (autovacuum_enabled = false);"
    "INSERT INTO dead SELECT generate_series(1, 30000); DELETE FROM dead",
    "statistics": "CREATE TABLE never (n int) WITH (autovacuum_enabled = false);"
    "INSERT INTO never SELECT generate_series(1, 20000)",
    "invalid-indexes": "CREATE TABLE twice AS SELECT 1 AS n FROM generate_series(1, 2)",
}
"""What is made wrong for each check."""
OF_SESSIONS = (
    "blocking",
    "idle-in-transaction",
    "long-queries",
    "long-transactions",
    "oldest-xmin",
)
OF_SERVER = (
    "latency",
    "connections",
    "kept-by-restores",
    "backups",
    "bloat",
    "cache-hit",
    "index-usage",
    "prepared-transactions",
    *(["slow-queries"] if HAS_CONTRIB else []),
    "transaction-age",
    "multixact-age",
    "deadlocks",
    "temporary-files",
    "checksums",
    "replication",
    "replication-slots",
    "archiving",
)
"""What `wear_out` and `burden` make wrong, or a threshold does."""
ELSEWHERE = {"server", "pitr-archive", "pitr-rehearsal", "citus-nodes"}
ALL = (*OF_OBJECTS, *OF_SESSIONS, *OF_SERVER)
SECONDS = 20
WITNESSES = {
    "server": "test_health.test_unreachable_is_critical: nothing listens",
    "latency": "test_health.test_pgbench_finds_the_same_latency: pgbench through a relay that delays",
    "schema": "test_wrong_ok.test_a_table_that_is_gone_is_critical_and_comes_first: DROP TABLE",
    "connections": "test_witnesses.test_as_many_connections_and_waiting_sessions: check_postgres",
    "migrations": "test_health.test_a_fault_is_seen_and_its_mending_too: plain SQL",
    "drift": "test_wrong_ok.test_a_column_that_is_gone_is_critical: ALTER TABLE",
    "seed": "test_health.test_a_fault_is_seen_and_its_mending_too: DELETE",
    "indexes": "test_health.test_a_fault_is_seen_and_its_mending_too: DROP INDEX",
    "encryption": "test_counted.test_ciphertext_of_another_hand: the library's own AES-GCM",
    "cleanup": "test_wrong_ok.test_each_rule_of_cleanup_has_its_own_last_run: rows of the journal",
    "kept-by-restores": "test_restore.test_what_restores_left: the databases that psql lists",
    "backups": "test_counted.test_the_age_of_a_backup_is_that_of_its_files: the file system",
    "pitr-archive": "test_pitr.test_barman_finds_it_good: barman check",
    "pitr-rehearsal": "test_pitr.test_a_rehearsal_finds_what_was_committed_last: rows of the recovered server",
    "invalid-indexes": "test_facts.test_a_fault_is_seen_and_its_mending_too: a build that fails",
    "duplicate-indexes": "test_wrong_ok.test_duplicates_are_those_that_can_go: the server drops one",
    "missing-indexes": "test_wrong_ok.test_the_remedy_of_a_missing_index_is_one_that_the_server_runs: its CREATE INDEX",
    "unvalidated-constraints": "test_facts.test_a_fault_is_seen_and_its_mending_too: VALIDATE CONSTRAINT",
    "narrow-foreign-keys": "test_wrong_ok.test_a_foreign_key_narrower_than_its_key: an INSERT that is refused",
    "sequences": "test_wrong_ok.test_a_sequence_is_as_full_as_what_it_feeds: an INSERT that is refused; check_postgres",
    "vacuum": "test_counted.test_dead_rows_that_nobody_counts_any_more: pgstattuple",
    "statistics": "test_counted.test_statistics_are_those_that_the_planner_has: pg_statistic",
    "bloat": "test_witnesses.test_as_much_bloat: check_postgres; pgstattuple",
    "cache-hit": "test_counted.test_as_many_blocks_and_scans_as_plans_say: EXPLAIN",
    "index-usage": "test_counted.test_as_many_blocks_and_scans_as_plans_say: EXPLAIN",
    "blocking": "test_convoy.test_each_that_waits_stands_once: pg_blocking_pids; check_postgres",
    "idle-in-transaction": "test_witnesses.test_two_tools_see_the_same: check_postgres",
    "long-queries": "test_witnesses.test_two_tools_see_the_same: check_postgres",
    "long-transactions": "test_witnesses.test_two_tools_see_the_same: check_postgres",
    "oldest-xmin": "test_transactions.test_who_holds_back_vacuum: VACUUM and pgstattuple",
    "prepared-transactions": "test_witnesses.test_two_tools_see_the_same: check_postgres",
    "slow-queries": "test_server.test_slow_queries: statements that sleep, counted by hand",
    "transaction-age": "test_witnesses.test_two_tools_see_the_same: check_postgres; pg_resetwal",
    "multixact-age": "test_server.test_ids_that_near_their_end: pg_resetwal",
    "deadlocks": "test_facts.test_deadlocks: sessions that the server ends",
    "temporary-files": "test_counted.test_as_many_bytes_as_sorts_write: EXPLAIN",
    "checksums": "test_server.test_checksums: a byte that is changed on disk",
    "replication": "test_standby.test_the_first_write_after_a_quiet_time_is_as_late_as_it_is: a clock",
    "citus-nodes": "test_citus.test_nodes_are_told: a node that is stopped",
    "replication-slots": "test_witnesses.test_two_tools_see_the_same: check_postgres",
    "archiving": "test_witnesses.test_as_many_segments_wait_for_the_archive: files of the server's folder",
}
"""Where each check's state is made for real, on each version of the server, and who is the witness."""


def test_each_check_has_a_witness_and_is_tried_in_each_surrounding() -> None:
    names = [check.name for check in CHECKS]
    assert list(WITNESSES) == names
    assert {*ALL, *ELSEWHERE} >= {*names} - (set() if HAS_CONTRIB else {"slow-queries"})
    folder = Path(__file__).parents[1]
    for entry in WITNESSES.values():
        file, _, test = entry.partition(":")[0].partition(".")
        found = [path.read_text() for path in folder.glob(f"*/{file}.py")]
        assert any(f"def {test}(" in text for text in found), entry


@pytest.fixture(scope="module")
def own_server() -> Iterator[RunningServer]:
    """A server that prepares, archives in vain and has used most of its ids."""
    library = {"shared_preload_libraries": "pg_stat_statements"} if HAS_CONTRIB else {}
    with RunningServer(
        MAJOR,
        archive_mode="on",
        archive_command="false",
        max_prepared_transactions="5",
        shared_buffers="16MB",
        autovacuum_freeze_max_age="2000000000",
        autovacuum_multixact_freeze_max_age="2000000000",
        **library,
    ) as running:
        yield running


@pytest.fixture(scope="module")
def server(own_server: RunningServer) -> Server:
    """That one is the tests' here."""
    return own_server.info


def sicken(server: Server, name: str) -> None:
    with server.connect(name) as connection:
        for statement in OF_OBJECTS.values():
            connection.execute(statement)
        with suppress(psycopg.errors.UniqueViolation):
            connection.execute("CREATE UNIQUE INDEX CONCURRENTLY twice_n ON twice (n)")


def burden(server: Server, name: str) -> None:
    """Make the server do what it should not: badly read, sorted on disk, locked in circles, kept."""
    with server.connect(name) as connection:
        connection.execute(
            "CREATE UNLOGGED TABLE emptied (t text)"
            " WITH (autovacuum_enabled = false, vacuum_truncate = false);"
            "ALTER TABLE emptied ALTER t SET STORAGE PLAIN;"
            "INSERT INTO emptied SELECT repeat('x', 8000) FROM generate_series(1, 20000) n"
        )
        connection.execute("DELETE FROM emptied")
        connection.execute("VACUUM emptied")
        for _ in range(6):
            connection.execute("SELECT count(*) FROM emptied")
        for _ in range(101):
            connection.execute("SELECT count(*) FROM never")
        connection.execute("SET work_mem = '64kB'")
        connection.execute("SELECT n FROM generate_series(1, 300000) n ORDER BY -n")
        connection.execute("SELECT pg_create_physical_replication_slot('forgotten', true)")
        connection.execute("SELECT pg_logical_emit_message(true, 'x', 'x')")
        connection.execute("SELECT pg_switch_wal()")
        connection.execute("BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'gone'")
        if HAS_CONTRIB:
            connection.execute("CREATE EXTENSION pg_stat_statements")
            for _ in range(105):
                connection.execute("SELECT pg_sleep(0.021)")
        connection.execute(f"CREATE DATABASE {name}_before_20200101T000000Z")
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (nobody)'")
        connection.execute("SELECT pg_reload_conf()")
    deadlock(server, name)


def deadlock(server: Server, name: str) -> None:
    both = threading.Barrier(2)

    def lock(first: str, second: str) -> None:
        with server.connect(name) as connection, suppress(psycopg.errors.DeadlockDetected):
            connection.execute(f"BEGIN; SET deadlock_timeout = '50ms'; LOCK {first}")
            both.wait()
            connection.execute(f"LOCK {second}")

    pair = [threading.Thread(target=lock, args=each) for each in (("a1", "a2"), ("a2", "a1"))]
    with server.connect(name) as connection:
        connection.execute("CREATE TABLE a1 (n int); CREATE TABLE a2 (n int)")
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join()


@pytest.fixture(scope="module")
def sick(own_server: RunningServer) -> Iterator[Prepared]:
    """A database in which nothing is as it should be, with sessions that do what they should not."""
    info = own_server.info
    database = Prepared("sick", info.url("sick"), info)
    variables = {"DATABASE_URL": database.url, "ENCRYPTION_KEY": KEY}
    for verb in ("migrate", "seed"):
        assert run(verb, env=variables).returncode == 0
    with info.connect("sick") as connection:
        connection.execute(
            "CREATE TABLE broken AS SELECT generate_series(1, 1000) AS n; CHECKPOINT"
        )
    wear_out(own_server, "sick", "broken")
    database.query("SELECT pg_stat_reset()")
    with suppress(psycopg.errors.DataCorrupted):
        database.query("SELECT count(*) FROM broken")
    database.query("DROP TABLE broken")
    sicken(info, "sick")
    burden(info, "sick")
    with ExitStack() as stack:
        holder = stack.enter_context(info.connect("sick"))
        holder.execute("BEGIN; LOCK saved; SELECT pg_current_xact_id()")
        for statement in ("TABLE saved", "SELECT pg_sleep(300)"):
            session = stack.enter_context(info.connect("sick"))
            session.pgconn.send_query(statement.encode())
            stack.callback(_end, database, session)
        for _ in range(3):
            database.query("SELECT pg_current_xact_id()")
        database.wait_for(
            "SELECT 1 FROM pg_stat_user_tables WHERE relname = 'dead' AND n_dead_tup >= 30000"
        )
        database.wait_for("SELECT 1 FROM pg_stat_database WHERE datname = 'sick' AND deadlocks > 0")
        database.wait_for("SELECT 1 FROM pg_stat_archiver WHERE failed_count > 0")
        database.wait_for("SELECT 1 FROM pg_locks WHERE now() - waitstart > interval '1 second'")
        yield database


def _end(database: Prepared, session: psycopg.Connection[Any]) -> None:
    database.query("SELECT pg_terminate_backend(%s)", session.info.backend_pid)
    session.close()


@pytest.fixture(autouse=True)
def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thresholds that what was just made is over, and a folder without a backup."""
    monkeypatch.setattr(activity, "_COUNTED_MS", 1000)  # a test does not run for a minute
    monkeypatch.setenv("BACKUP_DIR", str(tmp_path / "backups"))
    limits = {"oldest-xmin": 1, **dict.fromkeys(OF_SESSIONS[1:4], 0.5)}
    limits |= {"latency": 0, "connections": 1, "temporary-files": 1, "slow-queries": 1}
    tables = [f"[health.{check}]\nwarning = {limit}" for check, limit in limits.items()]
    (tmp_path / "leadctl.toml").write_text("\n".join(['app = "leadconnector"', *tables]))


def statuses(cli: Cli, url: str, *flags: str) -> dict[str, str]:
    began = time.monotonic()
    outcome = cli("health-check", *flags, "-o", "json", url=url)
    assert time.monotonic() - began < SECONDS
    assert outcome.err == ""
    checks = outcome.json["checks"]
    assert all(check["message"] for check in checks)
    assert outcome.code == {"warning": 1, "critical": 2, "unknown": 3}[outcome.json["status"]]
    return {check["name"]: check["status"] for check in checks}


def none_is_ok(found: dict[str, str], *names: str) -> None:
    assert {name: found[name] for name in names if found[name] == "ok"} == {}


def as_role(database: Prepared, role: str) -> str:
    return re.sub("//postgres:[^@]+@", f"//{role}:guest@", database.url)


@pytest.fixture
def guest(sick: Prepared) -> Iterator[Callable[..., str]]:
    """Make a role that may connect, and has more where that is given; return its URL."""
    role = f"guest_{sick.name}"

    def make(*statements: str) -> str:
        sick.query(f"CREATE ROLE {role} LOGIN PASSWORD 'guest'")
        for statement in statements:
            sick.query(statement.format(role=role, database=sick.name))
        return as_role(sick, role)

    yield make
    sick.query(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.thorough
def test_a_superuser_sees_all_of_it(sick: Prepared, cli: Cli) -> None:
    found = statuses(cli, sick.url)
    good = {n for n in ALL if found[n] not in {"warning", "critical"}}
    assert good == set()


@pytest.mark.thorough
def test_by_a_role_that_may_only_connect(
    sick: Prepared, guest: Callable[..., str], cli: Cli
) -> None:
    url = guest()
    none_is_ok(statuses(cli, url), *ALL)
    for report in cli("inspect", "all", "-o", "json", url=url).json["reports"]:
        assert report["rows"] or report["skipped"] or report["note"] or report["report"], report


@pytest.mark.thorough
def test_by_a_monitor(sick: Prepared, guest: Callable[..., str], cli: Cli) -> None:
    found = statuses(cli, guest("GRANT pg_monitor TO {role}"))
    none_is_ok(found, *ALL)
    unseen = {name for name in (*OF_SESSIONS, *OF_SERVER) if found[name] == "skipped"}
    assert unseen == {"backups"}, unseen  # which of them are of this database it may not read


SETTINGS = (
    {"DateStyle": "'SQL, DMY'", "IntervalStyle": "'sql_standard'", "TimeZone": "'Asia/Kolkata'"},
    {"DateStyle": "'German'", "IntervalStyle": "'postgres_verbose'", "extra_float_digits": "-15"},
    {
        "search_path": "'nowhere'",
        "quote_all_identifiers": "on",
        "standard_conforming_strings": "off",
    },
    {"statement_timeout": "'50ms'", "lock_timeout": "'1ms'", "idle_session_timeout": "'5s'"},
    {
        "default_transaction_isolation": "'serializable'",
        "default_transaction_deferrable": "on",
        "row_security": "off",
        "bytea_output": "'escape'",
    },
    {"enable_hashjoin": "off", "enable_seqscan": "off", "work_mem": "'64kB'", "lc_messages": "'C'"},
)


@pytest.mark.thorough
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda found: next(iter(found)))
def test_under_settings_of_the_role(
    sick: Prepared, guest: Callable[..., str], cli: Cli, settings: dict[str, str]
) -> None:
    """What a role is set to changes nothing of what is found."""
    grants = ["GRANT pg_monitor, pg_read_all_data TO {role}"]
    url = guest(*grants, *(f"ALTER ROLE {{role}} SET {k} = {v}" for k, v in settings.items()))
    with ExitStack() as stack:
        # Somebody writes in a serializable transaction: a deferrable one would wait for it.
        writer = stack.enter_context(sick.server.connect(sick.name))
        writer.execute("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM pages")
        writer.execute("SELECT pg_current_xact_id()")
        found = statuses(cli, url)
    plain = statuses(cli, sick.url)
    assert {n: found[n] for n in ALL} == {n: plain[n] for n in ALL}
    assert cli("stats", url=url).code == 0
    listed = [cli("cleanup", "--list", url=each) for each in (url, sick.url)]
    assert (listed[0].code, listed[0].err) == (listed[1].code, listed[1].err)
    reports = cli("inspect", "all", "-o", "json", url=url).json["reports"]
    assert {r["report"] for r in reports if r["skipped"]} - {"slow-queries"} == {"nodes"}


@pytest.mark.thorough
def test_while_somebody_holds_the_tables(sick: Prepared, cli: Cli) -> None:
    with sick.server.connect(sick.name) as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE leads, users, pages, narrow, child, twice, fed")
        found = statuses(cli, sick.url, "--timeout", "8s")
        none_is_ok(found, *ALL)


@pytest.mark.thorough
@pytest.mark.skipif(PROGRAM is None, reason="there is no pgbouncer")
def test_behind_a_pooler(
    sick: Prepared,
    server: Server,
    pgbouncer: Callable[[str], int],  # noqa: F811
    cli: Cli,
) -> None:
    pooled = sick.url.replace(f":{server.port}/", f":{pgbouncer('session')}/")
    found = statuses(cli, pooled)
    assert {found[name] for name in ALL} <= {"warning", "critical"}
    pooled = sick.url.replace(f":{server.port}/", f":{pgbouncer('transaction')}/")
    refused = cli("health-check", url=pooled)
    assert (refused.code, "transaction mode" in refused.err) == (3, True)
    assert f"127.0.0.1:{pooled.rpartition(':')[2].partition('/')[0]}" in refused.err  # which pooler
    direct = cli("health-check", "-o", "json", url=pooled, env={"DIRECT_URL": sick.url})
    assert direct.json["status"] == "critical"


@pytest.mark.thorough
def test_on_a_standby(cli: Cli, tmp_path: Path) -> None:
    """Objects are as sick there; what nobody counts there is not known."""
    with RunningServer(MAJOR) as primary:
        url = primary.info.url("postgres")
        assert cli("migrate", url=url).code == 0
        assert cli("seed", url=url).code == 0
        sicken(primary.info, "postgres")
        with RunningServer(MAJOR, standby_of=primary) as standby:
            its_url = standby.info.url("postgres")
            wait_for(lambda: cli("health-check", "--check", "replication", url=its_url).code == 0)
            found = statuses(cli, its_url)
            none_is_ok(found, *OF_OBJECTS)
            fixed = cli("health-check", "--fix", "--yes", url=its_url)
            assert "standby" in fixed.err
            assert fixed.code == 3


@pytest.mark.thorough
@pytest.mark.parametrize("tables", [300, pytest.param(5000, marks=pytest.mark.slow)])
def test_with_many_tables(server: Server, database: str, cli: Cli, tables: int) -> None:
    with server.connect(database) as connection:
        for first in range(0, tables, 100):
            connection.execute(
                ";".join(
                    f"CREATE TABLE t{n} (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, a int,"
                    f" b text, up int REFERENCES t{max(0, n - 1)}); CREATE INDEX ON t{n} (a)"
                    for n in range(first, first + 100)
                )
            )
        connection.execute("CREATE INDEX again ON t7 (a)")
        connection.execute("CREATE TABLE wide (id bigint PRIMARY KEY)")
        connection.execute("CREATE TABLE narrow (id int PRIMARY KEY REFERENCES wide)")
    found = statuses(cli, server.url(database))
    assert found["duplicate-indexes"] == found["narrow-foreign-keys"] == "warning"
    assert found["missing-indexes"] == "warning"
    assert found["sequences"] == "ok"
