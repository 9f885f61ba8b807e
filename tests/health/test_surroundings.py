"""All checks at once, wherever leadctl may run: none says ok of what is known to be wrong.

One database is made as sick as it can be; each surrounding takes something of the sight of it.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import Cli, Prepared, copies
from tests.postgres.test_pooler import PROGRAM, pgbouncer  # noqa: F401 - a fixture
from tests.processes import wait_for
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
SECONDS = 20


def sicken(server: Server, name: str) -> None:
    with server.connect(name) as connection:
        for statement in OF_OBJECTS.values():
            connection.execute(statement)
        with suppress(psycopg.errors.UniqueViolation):
            connection.execute("CREATE UNIQUE INDEX CONCURRENTLY twice_n ON twice (n)")


@pytest.fixture(scope="module")
def sick(server: Server, template: Callable[[str], str]) -> Iterator[Prepared]:
    """A database in which nothing is as it should be, with sessions that do what they should not."""
    with copies(server) as copy, ExitStack() as stack:
        database = copy(template("leadconnector"))
        sicken(server, database.name)
        holder = stack.enter_context(server.connect(database.name))
        holder.execute("BEGIN; LOCK saved; SELECT pg_current_xact_id()")
        for statement in ("TABLE saved", "SELECT pg_sleep(300)"):
            session = stack.enter_context(server.connect(database.name))
            session.pgconn.send_query(statement.encode())
            stack.callback(_end, database, session)
        for _ in range(3):
            database.query("SELECT pg_current_xact_id()")
        database.wait_for(
            "SELECT 1 FROM pg_stat_user_tables WHERE relname = 'dead' AND n_dead_tup >= 30000"
        )
        database.wait_for("SELECT 1 FROM pg_locks WHERE now() - waitstart > interval '1 second'")
        yield database


def _end(database: Prepared, session: psycopg.Connection[Any]) -> None:
    database.query("SELECT pg_terminate_backend(%s)", session.info.backend_pid)
    session.close()


@pytest.fixture(autouse=True)
def impatient(tmp_path: Path) -> None:
    """Thresholds that what was just made is over."""
    limits = {"oldest-xmin": 1, **dict.fromkeys(OF_SESSIONS[1:4], 0.5)}
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


def test_a_superuser_sees_all_of_it(sick: Prepared, cli: Cli) -> None:
    found = statuses(cli, sick.url)
    good = {n for n in (*OF_OBJECTS, *OF_SESSIONS) if found[n] not in {"warning", "critical"}}
    assert good == set()


def test_by_a_role_that_may_only_connect(
    sick: Prepared, guest: Callable[..., str], cli: Cli
) -> None:
    url = guest()
    none_is_ok(statuses(cli, url), *OF_OBJECTS, *OF_SESSIONS)
    for report in cli("inspect", "all", "-o", "json", url=url).json["reports"]:
        assert report["rows"] or report["skipped"] or report["note"] or report["report"], report


def test_by_a_monitor(sick: Prepared, guest: Callable[..., str], cli: Cli) -> None:
    found = statuses(cli, guest("GRANT pg_monitor TO {role}"))
    none_is_ok(found, *OF_OBJECTS, *OF_SESSIONS)
    assert {found[name] for name in OF_SESSIONS} <= {"warning", "critical"}


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


@pytest.mark.few(2)
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
    names = {*OF_OBJECTS, *OF_SESSIONS}
    assert {n: found[n] for n in names} == {n: plain[n] for n in names}
    assert cli("stats", url=url).code == 0
    listed = [cli("cleanup", "--list", url=each) for each in (url, sick.url)]
    assert (listed[0].code, listed[0].err) == (listed[1].code, listed[1].err)
    reports = cli("inspect", "all", "-o", "json", url=url).json["reports"]
    assert {r["report"] for r in reports if r["skipped"]} == {"slow-queries", "nodes"}


def test_while_somebody_holds_the_tables(sick: Prepared, cli: Cli) -> None:
    with sick.server.connect(sick.name) as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE leads, users, pages, narrow, child, twice, fed")
        found = statuses(cli, sick.url, "--timeout", "8s")
        none_is_ok(found, *OF_OBJECTS, *OF_SESSIONS)


@pytest.mark.skipif(PROGRAM is None, reason="there is no pgbouncer")
def test_behind_a_pooler(
    sick: Prepared,
    server: Server,
    pgbouncer: Callable[[str], int],  # noqa: F811
    cli: Cli,
) -> None:
    pooled = sick.url.replace(f":{server.port}/", f":{pgbouncer('session')}/")
    found = statuses(cli, pooled)
    assert {found[name] for name in (*OF_OBJECTS, *OF_SESSIONS)} <= {"warning", "critical"}
    pooled = sick.url.replace(f":{server.port}/", f":{pgbouncer('transaction')}/")
    refused = cli("health-check", url=pooled)
    assert (refused.code, "transaction mode" in refused.err) == (3, True)
    assert f"127.0.0.1:{pooled.rpartition(':')[2].partition('/')[0]}" in refused.err  # which pooler
    direct = cli("health-check", "-o", "json", url=pooled, env={"DIRECT_URL": sick.url})
    assert direct.json["status"] == "critical"


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
            none_is_ok(found, *(OF_OBJECTS.keys() - {"vacuum", "statistics"}))
            fixed = cli("health-check", "--fix", "--yes", url=its_url)
            assert "standby" in fixed.err
            assert fixed.code == 3


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
