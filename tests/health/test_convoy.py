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
# Of this database alone: the server has other tests' sessions and autovacuum workers, too.
WAITING = (
    "SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid)"
    " WHERE NOT granted AND datname = current_database() AND backend_type = 'client backend'"
    " AND pid <> pg_backend_pid()"
)


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


@pytest.mark.thorough
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


def test_workers_wait_as_their_session(leadconnector: Prepared, cli: Cli) -> None:
    """A function that calls itself safe reads a table that somebody holds, in each worker."""
    leadconnector.query(
        "CREATE TABLE queue AS SELECT 1 AS n; CREATE TABLE other (n int);"
        "CREATE TABLE large AS SELECT generate_series(1, 20000) AS n;"
        "CREATE FUNCTION looks(i int) RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE AS"
        " $$ BEGIN RETURN (SELECT count(*) FROM public.queue) + i; END $$"
    )
    parallel = (
        "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;"
        " SET parallel_leader_participation = off; SET min_parallel_table_scan_size = 0; BEGIN;"
        " LOCK other; SELECT sum(looks(n)) FROM large"
    )
    leadconnector.query("ANALYZE large")
    with (
        leadconnector.server.connect(leadconnector.name) as holder,
        leadconnector.server.connect(leadconnector.name) as leader,
        leadconnector.server.connect(leadconnector.name) as behind,
    ):
        holder.execute("BEGIN; LOCK queue")
        leader.pgconn.send_query(parallel.encode())
        leadconnector.wait_for(
            "SELECT 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            " WHERE NOT granted AND leader_pid IS NOT NULL AND datname = current_database()"
        )
        behind.pgconn.send_query(b"TABLE other")
        leadconnector.wait_for(
            "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'other'::regclass"
        )
        outcome = cli("inspect", "blocking", "-o", "json", url=leadconnector.url)
        found = [(int(r["session"]), r["blocked_by"]) for r in outcome.json["reports"][0]["rows"]]
        first, second, third = (c.info.backend_pid for c in (holder, leader, behind))
        assert found == [(first, None), (second, first), (third, second)]
        ((blockers,),) = leadconnector.query("SELECT pg_blocking_pids(%s)", third)
        assert blockers == [second]
        for session in (behind, leader):
            _end(leadconnector, session)


@pytest.mark.thorough
def test_a_deferrable_transaction_waits_for_writers(leadconnector: Prepared, cli: Cli) -> None:
    """No lock is wanted, and pg_blocking_pids knows of none."""
    with (
        leadconnector.server.connect(leadconnector.name) as writer,
        leadconnector.server.connect(leadconnector.name) as reader,
    ):
        writer.execute("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM leads")
        writer.execute("SELECT pg_current_xact_id()")
        reader.pgconn.send_query(
            b"BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE; SELECT count(*) FROM pages"
        )
        waits = "wait_event = 'SafeSnapshot' AND query_start < clock_timestamp() - interval '1.1 s'"
        leadconnector.wait_for(
            f"SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND {waits}"
        )
        pids = [session.info.backend_pid for session in (writer, reader)]
        ((safe, plain),) = leadconnector.query(
            "SELECT pg_safe_snapshot_blocking_pids(%s), pg_blocking_pids(%s)", pids[1], pids[1]
        )
        assert (safe, plain) == ([pids[0]], [])
        (check,) = cli(
            "health-check", "--check", "blocking", "-o", "json", url=leadconnector.url
        ).json["checks"]
        assert check["status"] == "warning"
        assert check["message"].startswith(f"1 session waits for {pids[0]}, ")
        _end(leadconnector, reader)
