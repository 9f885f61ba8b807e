"""`blocking` while many sessions wait: each once, whatever they wait for and for whom."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest

from tests.conftest import Cli, Prepared
from tests.processes import wait_for
from tests.servers import MAJOR, RunningServer

WAITERS = 40
ROW, TABLE = "UPDATE queue SET n = n", "BEGIN; LOCK queue"
WAITING = "SELECT pid FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"


@contextmanager
def convoy(database: Prepared, holds: str, waits: list[str]) -> Iterator[int]:
    """Hold something, and let sessions wait one after another; return the holder's pid."""
    with ExitStack() as stack:
        holder = stack.enter_context(database.server.connect(database.name))
        holder.autocommit = False
        holder.execute(holds.removeprefix("BEGIN; "))
        for number, statement in enumerate(waits, 1):
            session = stack.enter_context(database.server.connect(database.name))
            stack.callback(_end, database, session)
            session.pgconn.send_query(statement.encode())
            wait_for(lambda number=number: len(set(database.query(WAITING))) == number)  # type: ignore[misc]
        try:
            yield holder.info.backend_pid
        finally:
            holder.rollback()


def _end(database: Prepared, session: psycopg.Connection[Any]) -> None:
    database.query("SELECT pg_terminate_backend(%s)", session.info.backend_pid)
    session.close()


@pytest.mark.parametrize(
    ("holds", "waits"),
    [
        (ROW, [ROW] * WAITERS),
        (TABLE, [TABLE] * WAITERS),
        ("LOCK queue IN SHARE MODE", [TABLE, *["TABLE queue"] * WAITERS]),
        (TABLE, ["BEGIN; LOCK other; LOCK queue", "BEGIN; LOCK other"]),
    ],
    ids=["one row", "one table", "readers behind a writer", "a chain"],
)
def test_each_that_waits_stands_once(
    leadconnector: Prepared, cli: Cli, holds: str, waits: list[str]
) -> None:
    leadconnector.query("CREATE TABLE queue AS SELECT 1 AS n")
    leadconnector.query("CREATE TABLE other (n int)")
    with convoy(leadconnector, holds, waits) as holder:
        waiting = {pid for (pid,) in leadconnector.query(WAITING)}
        outcome = cli("inspect", "blocking", "-o", "json", url=leadconnector.url)
        rows = outcome.json["reports"][0]["rows"]
        found = {int(row["session"]): row["blocked_by"] for row in rows}
        assert len(found) == len(rows) == len(waits) + 1
        assert found.pop(holder) is None
        assert found.keys() == waiting
        for pid, blocker in found.items():
            ((blockers,),) = leadconnector.query("SELECT pg_blocking_pids(%s)", pid)
            assert blocker in blockers
        (check,) = cli(
            "health-check", "--check", "blocking", "-o", "json", url=leadconnector.url
        ).json["checks"]
        assert check["message"].startswith(f"{len(waits)} sessions wait for {holder}, ")


def test_a_prepared_transaction_is_no_session_to_end(cli: Cli) -> None:
    with RunningServer(MAJOR, max_prepared_transactions="2") as running, ExitStack() as stack:
        with running.info.connect() as connection:
            connection.execute("CREATE TABLE one (n int)")
            connection.execute("BEGIN")
            connection.execute("LOCK one")
            connection.execute("PREPARE TRANSACTION 'it''s left'")
        session = stack.enter_context(running.info.connect())
        session.pgconn.send_query(b"TABLE one")
        with running.info.connect() as connection:
            warned = f"{WAITING} AND waitstart < clock_timestamp() - interval '1.1 s'"
            wait_for(lambda: connection.execute(warned).fetchall())
        flags = ("--check", "blocking", "-o", "json")
        (check,) = cli("health-check", *flags, url=running.info.url("postgres")).json["checks"]
        assert "1 session waits for prepared transaction" in check["message"]
        assert "ROLLBACK PREPARED" in check["hint"]
        assert "pg_terminate_backend" not in check["hint"]
        flags = ("--check", "prepared-transactions", "-o", "json")
        (named,) = cli("health-check", *flags, url=running.info.url("postgres")).json["checks"]
        assert named["hint"].endswith("ROLLBACK PREPARED 'it''s left'."), named
        with running.info.connect() as connection:
            connection.execute("ROLLBACK PREPARED 'it''s left'")
        while session.pgconn.get_result() is not None:
            pass
