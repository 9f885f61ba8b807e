"""The numbers of the checks beside those of check_postgres, a tool that knows nothing of ours.

https://bucardo.org/check_postgres/
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli
from tests.servers import CACHE, MAJOR, RunningServer

PROGRAMS = ("/usr/bin/check_postgres", str(CACHE / "usr/bin/check_postgres"))
PROGRAM = next(filter(os.path.exists, PROGRAMS), None)

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="tests/get_servers.sh brings check_postgres"),
    pytest.mark.skipif(shutil.which("perl") is None, reason="there is no perl"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """A server that prepares and archives."""
    settings = {"max_prepared_transactions": "5", "archive_mode": "on", "archive_command": "true"}
    with RunningServer(MAJOR, **settings) as running:
        yield running


def witness(server: RunningServer, action: str, *arguments: str) -> tuple[int, str]:
    """Run an action of check_postgres; return its exit code and its line."""
    where = [f"--host={server.info.socket}", f"--port={server.info.port}", "--dbuser=postgres"]
    psql = "/usr/lib/postgresql/15/bin"
    found = subprocess.run(
        [PROGRAM, f"--action={action}", *where, "--dbname=postgres", *arguments],
        env={**os.environ, "PATH": f"{psql}:{CACHE}{psql}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return found.returncode, found.stdout


Made = Callable[[ExitStack, RunningServer], None]


def sql(server: RunningServer, *statements: str) -> None:
    with server.info.connect() as connection:
        for each in statements:
            connection.execute(each)


@contextmanager
def undone(server: RunningServer, do: str, undo: str) -> Iterator[None]:
    sql(server, *do.split(";\n"))
    yield
    sql(server, *undo.split(";\n"))


def in_background(stack: ExitStack, server: RunningServer, statement: str) -> None:
    session = server.info.connect()
    session.pgconn.send_query(statement.encode())
    stack.callback(session.close)
    stack.callback(sql, server, f"SELECT pg_terminate_backend({session.info.backend_pid})")


def nearly_full_sequence(stack: ExitStack, server: RunningServer) -> None:
    do = "CREATE TABLE fed (id serial PRIMARY KEY);\nSELECT setval('fed_id_seq', 1900000000)"
    stack.enter_context(undone(server, do, "DROP TABLE fed"))


def idle_session(stack: ExitStack, server: RunningServer) -> None:
    stack.enter_context(server.info.connect()).execute("BEGIN; SELECT 1")
    time.sleep(2)


def long_query(stack: ExitStack, server: RunningServer) -> None:
    in_background(stack, server, "SELECT pg_sleep(300)")
    time.sleep(2)


def waiting_session(stack: ExitStack, server: RunningServer) -> None:
    stack.enter_context(undone(server, "CREATE TABLE held (n int)", "DROP TABLE held"))
    holder = stack.enter_context(server.info.connect())
    holder.execute("BEGIN; LOCK held")
    for _ in range(3):
        in_background(stack, server, "TABLE held")
    time.sleep(1.5)


def prepared_transaction(stack: ExitStack, server: RunningServer) -> None:
    sql(server, "BEGIN", "CREATE TABLE later (n int)", "PREPARE TRANSACTION 'gone'")
    stack.callback(sql, server, "ROLLBACK PREPARED 'gone'")
    time.sleep(2)


def forgotten_slot(stack: ExitStack, server: RunningServer) -> None:
    sql(server, "SELECT pg_create_physical_replication_slot('forgotten', true)")
    stack.callback(sql, server, "SELECT pg_drop_replication_slot('forgotten')")
    sql(server, "SELECT pg_logical_emit_message(false, 'x', repeat('x', 5000000))", "CHECKPOINT")


def half_empty(stack: ExitStack, server: RunningServer) -> None:
    do = (
        "CREATE TABLE half WITH (autovacuum_enabled = off) AS"
        " SELECT n, repeat('x', 100) AS t FROM generate_series(1, 200000) n;\n"
        "DELETE FROM half WHERE n % 2 = 0;\nVACUUM ANALYZE half"
    )
    stack.enter_context(undone(server, do, "DROP TABLE half"))


def waiting_segments(stack: ExitStack, server: RunningServer) -> None:
    switch = ("SELECT pg_logical_emit_message(true, 'x', 'x')", "SELECT pg_switch_wal()")
    sql(server, *switch)
    with server.info.connect() as connection:
        archived = "SELECT archived_count > 0 FROM pg_stat_archiver"
        deadline = time.monotonic() + 30
        while connection.execute(archived).fetchone() != (True,):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    sql(server, "ALTER SYSTEM SET archive_command = 'false'", "SELECT pg_reload_conf()")
    stack.callback(sql, server, "ALTER SYSTEM RESET archive_command", "SELECT pg_reload_conf()")
    for _ in range(4):
        sql(server, *switch)


def nothing(stack: ExitStack, server: RunningServer) -> None:
    pass


CASES: dict[str, tuple[Made, tuple[str, ...], str, float]] = {
    # check: the state, the action, where its number is, how far off ours may be
    "sequences": (nearly_full_sequence, ("sequence",), r"fed_id_seq=(\d+)%;", 1),
    "idle-in-transaction": (idle_session, ("txn_idle", "-w=1", "-c=99"), r"time=(\d+)s;", 3),
    "long-transactions": (idle_session, ("txn_time", "-w=1", "-c=99"), r"time=(\d+)s;", 3),
    "long-queries": (long_query, ("query_time", "-w=1", "-c=99"), r"query_time=(\d+)s;", 3),
    "prepared-transactions": (prepared_transaction, ("prepared_txns", "-w=1"), r"=(\d+)s;1", 3),
    "transaction-age": (nothing, ("txn_wraparound",), r"postgres=(\d+);", 20),
    "replication-slots": (
        forgotten_slot,
        ("replication_slots", "-w=1MB", "-c=99MB"),
        r"forgotten=(\d+);",
        300_000,
    ),
}


def ours(cli: Cli, server: RunningServer, check: str) -> dict[str, Any]:
    url = server.info.url("postgres")
    (found,) = cli("health-check", "--check", check, "-o", "json", url=url).json["checks"]
    return dict(found)


@pytest.mark.few(2)
@pytest.mark.parametrize("check", CASES)
def test_two_tools_see_the_same(
    server: RunningServer, cli: Cli, tmp_path: Path, check: str
) -> None:
    made, action, number, off = CASES[check]
    limits = dict.fromkeys(("idle-in-transaction", "long-transactions", "long-queries"), 1)
    limits |= {"replication-slots": 1_000_000}
    (tmp_path / "leadctl.toml").write_text(
        "\n".join(f"[health.{name}]\nwarning = {limit}" for name, limit in limits.items())
    )
    with ExitStack() as stack:
        made(stack, server)
        code, line = witness(server, *action)
        found = ours(cli, server, check)
    seen = re.search(number, line)
    assert seen, line
    assert found["value"] == pytest.approx(float(seen[1]), abs=off), line
    assert (found["status"] == "ok") == (code == 0), (found, line)


@pytest.mark.thorough
def test_as_many_connections_and_waiting_sessions(server: RunningServer, cli: Cli) -> None:
    with ExitStack() as stack:
        waiting_session(stack, server)
        _, line = witness(server, "backends")
        connections = ours(cli, server, "connections")
        seen = re.search(r"(\d+) of 200 connections", line)
        assert seen, line
        assert connections["message"].startswith(f"{seen[1]} of ")
        code, line = witness(server, "locks", "-w=waiting=1")
        assert (code, 'total "waiting" locks: 3' in line) == (1, True), line
        blocking = ours(cli, server, "blocking")
        assert blocking["status"] == "warning"
        assert blocking["message"].startswith("3 sessions wait for ")


def test_as_much_bloat(server: RunningServer, cli: Cli) -> None:
    with ExitStack() as stack:
        half_empty(stack, server)
        _, line = witness(server, "bloat", "-w=1MB", "-c=1GB")
        url = server.info.url("postgres")
        rows = cli("inspect", "bloat", "-o", "json", url=url).json["reports"][0]["rows"]
    seen = re.search(r"public\.half=(\d+)B", line)
    assert seen, line
    (row,) = [row for row in rows if (row["name"], row["kind"]) == ("half", "table")]
    assert row["wasted_bytes"] == pytest.approx(int(seen[1]), rel=0.1)


def test_as_many_segments_wait_for_the_archive(server: RunningServer, cli: Cli) -> None:
    """check_postgres 2.25 says 0 whatever waits, so the folder is asked."""
    with ExitStack() as stack:
        waiting_segments(stack, server)
        found = ours(cli, server, "archiving")
        ready = list((server.data / "pg_wal" / "archive_status").glob("*.ready"))
    assert len(ready) >= 4
    assert found["value"] == len(ready)
