"""Transactions that are open for long, and what holds back VACUUM: each made, the server a witness."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli, Prepared
from tests.health.test_facts import another_session, eventually, status, thresholds
from tests.servers import MAJOR, RunningServer


@pytest.fixture(scope="module")
def primary() -> Iterator[RunningServer]:
    """A server with slots and prepared transactions."""
    with RunningServer(MAJOR, wal_level="logical", max_prepared_transactions="5") as running:
        yield running


def grade(cli: Cli, url: str, check: str) -> dict[str, Any]:
    (found,) = cli("health-check", "--check", check, "-o", "json", url=url).json["checks"]
    return dict(found)


@pytest.mark.thorough
def test_a_long_transaction_of_small_statements(
    leadconnector: Prepared, cli: Cli, tmp_path: Path
) -> None:
    """It is never idle for long, and no statement of it is long."""
    url = leadconnector.url
    (tmp_path / "leadctl.toml").write_text(
        "".join(
            f"[health.{name}]\nwarning = 2\n"
            for name in ("long-transactions", "idle-in-transaction", "long-queries")
        )
    )
    assert status(cli, url, "long-transactions") == "ok"
    with another_session(leadconnector) as session:
        began = time.monotonic()
        while time.monotonic() - began < 2.5:
            session.execute("SELECT count(*) FROM leads")
            time.sleep(0.2)
        assert status(cli, url, "idle-in-transaction") == "ok"
        assert status(cli, url, "long-queries") == "ok"
        found = grade(cli, url, "long-transactions")
        ((age,),) = leadconnector.query(
            "SELECT extract(epoch FROM clock_timestamp() - xact_start)::float8"
            " FROM pg_stat_activity WHERE pid = %s",
            session.info.backend_pid,
        )
        assert found["status"] == "warning"
        assert found["value"] == pytest.approx(age, abs=1)
        assert str(session.info.backend_pid) in found["hint"]
    eventually("ok", lambda: status(cli, url, "long-transactions"))


def dead_rows_that_stay(server: RunningServer) -> int:
    """Delete a row, and let the server say how many rows VACUUM may not remove yet."""
    with server.info.connect() as connection:
        connection.execute("DROP TABLE IF EXISTS kept")
        connection.execute("CREATE TABLE kept WITH (autovacuum_enabled = off) AS SELECT 1 AS n")
        connection.execute("DELETE FROM kept")
        connection.execute("VACUUM kept")
        connection.execute("CREATE EXTENSION IF NOT EXISTS pgstattuple")
        row = connection.execute(
            "SELECT dead_tuple_count + tuple_count + (table_len > 0)::int FROM pgstattuple('kept')"
        ).fetchone()
        assert row is not None
        return int(row[0])


def spend(server: RunningServer, count: int = 5) -> None:
    with server.info.connect() as connection:
        for _ in range(count):
            connection.execute("SELECT pg_current_xact_id()")


@pytest.mark.skipif(MAJOR == 16, reason="there is no pgstattuple")
@pytest.mark.parametrize("kind", ["session", "prepared", "standby"])
def test_who_holds_back_vacuum(primary: RunningServer, cli: Cli, tmp_path: Path, kind: str) -> None:
    """While one does, VACUUM leaves a row that is dead; after it, it removes the whole page."""
    url = primary.info.url("postgres")
    thresholds(tmp_path, "oldest-xmin", warning=3)
    assert status(cli, url, "oldest-xmin") == "ok"
    assert dead_rows_that_stay(primary) == 0
    with ExitStack() as stack:
        if kind == "standby":
            standby = stack.enter_context(RunningServer(MAJOR, standby_of=primary))
            holder = stack.enter_context(standby.info.connect())
            holder.execute("ALTER SYSTEM SET hot_standby_feedback = on")
            holder.execute("ALTER SYSTEM SET wal_receiver_status_interval = 1")
            holder.execute("SELECT pg_reload_conf()")
        else:
            holder = stack.enter_context(primary.info.connect())
        holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT count(*) FROM pg_class")
        name = str(holder.info.backend_pid)
        if kind == "prepared":
            holder.execute("SELECT pg_current_xact_id()")
            holder.execute("PREPARE TRANSACTION 'forgotten'")
            name = "forgotten"
        if kind == "standby":
            fed = "SELECT pid FROM pg_stat_replication WHERE backend_xmin IS NOT NULL"
            with primary.info.connect() as connection:
                deadline = time.monotonic() + 20
                while not (rows := connection.execute(fed).fetchall()):
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            name = str(rows[0][0])
        spend(primary)
        found = grade(cli, url, "oldest-xmin")
        assert found["status"] == "warning"
        assert found["message"].startswith(f"{kind} {name} holds back VACUUM by ")
        assert found["value"] >= 5
        assert dead_rows_that_stay(primary) > 0
        holder.execute("ROLLBACK PREPARED 'forgotten'" if kind == "prepared" else "ROLLBACK")
    eventually("ok", lambda: status(cli, url, "oldest-xmin"))
    assert dead_rows_that_stay(primary) == 0


def test_a_slot_holds_back_vacuum(primary: RunningServer, cli: Cli, tmp_path: Path) -> None:
    url = primary.info.url("postgres")
    thresholds(tmp_path, "oldest-xmin", warning=3)
    with primary.info.connect() as connection:
        connection.execute("SELECT pg_create_logical_replication_slot('forgotten', 'pgoutput')")
        spend(primary)
        found = grade(cli, url, "oldest-xmin")
        ((age,),) = connection.execute(
            "SELECT age(catalog_xmin) FROM pg_replication_slots"
        ).fetchall()
        assert found["status"] == "warning"
        assert found["message"].startswith("slot forgotten holds back VACUUM by ")
        assert found["value"] == age
        assert "pg_drop_replication_slot('forgotten')" in found["hint"]
        connection.execute("SELECT pg_drop_replication_slot('forgotten')")
    assert status(cli, url, "oldest-xmin") == "ok"


def test_vacuum_itself_holds_back_nobody(leadconnector: Prepared, cli: Cli, tmp_path: Path) -> None:
    thresholds(tmp_path, "oldest-xmin", warning=1)
    leadconnector.query("CREATE TABLE large AS SELECT generate_series(1, 300000) AS n")
    with leadconnector.server.connect(leadconnector.name) as vacuum:
        vacuum.execute("SET vacuum_cost_delay = 10; SET vacuum_cost_limit = 10")
        vacuum.pgconn.send_query(b"VACUUM large")
        leadconnector.wait_for("SELECT 1 FROM pg_stat_progress_vacuum")
        for _ in range(3):
            leadconnector.query("SELECT pg_current_xact_id()")
        rows = cli("inspect", "transactions", "-o", "json", url=leadconnector.url).json["reports"]
        pids = [row["pid"] for row in rows[0]["rows"]]
        assert vacuum.info.backend_pid not in pids
        vacuum.cancel()
        while vacuum.pgconn.get_result() is not None:
            pass
