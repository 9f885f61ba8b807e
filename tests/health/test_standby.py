"""A standby's lag, by what it received and when; the primary knows the truth."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import Cli
from tests.health.test_facts import eventually, status, thresholds
from tests.processes import wait_for
from tests.servers import MAJOR, RunningServer


@pytest.fixture
def pair() -> Iterator[tuple[RunningServer, RunningServer]]:
    """A primary and its standby."""
    with RunningServer(MAJOR) as primary, RunningServer(MAJOR, standby_of=primary) as standby:
        run(primary, "CREATE TABLE moved (n int)")
        yield primary, standby


def run(server: RunningServer, *statements: str) -> list[tuple[Any, ...]]:
    with server.info.connect() as connection:
        for each in statements:
            cursor = connection.execute(each)
        return cursor.fetchall() if cursor.description else []


def grade(cli: Cli, url: str) -> dict[str, Any]:
    (check,) = cli("health-check", "--check", "replication", "-o", "json", url=url).json["checks"]
    return dict(check)


def caught_up(primary: RunningServer) -> bool:
    return run(
        primary,
        "SELECT bool_and(replay_lsn >= pg_current_wal_insert_lsn()) FROM pg_stat_replication",
    ) == [(True,)]


@pytest.mark.thorough
def test_the_first_write_after_a_quiet_time_is_as_late_as_it_is(
    pair: tuple[RunningServer, RunningServer], cli: Cli, tmp_path: Path
) -> None:
    """The last transaction that was replayed is old, and says nothing."""
    primary, standby = pair
    its_url = standby.info.url("postgres")
    thresholds(tmp_path, "replication", warning=2, critical=60)
    run(primary, "INSERT INTO moved VALUES (1)")
    eventually("ok", lambda: status(cli, its_url, "replication"))
    time.sleep(7)
    assert status(cli, its_url, "replication") == "ok"
    run(standby, "SELECT pg_wal_replay_pause()")
    began = time.monotonic()
    run(primary, "INSERT INTO moved VALUES (2)")
    ((quiet,),) = run(
        standby, "SELECT extract(epoch FROM now() - pg_last_xact_replay_timestamp())::float8"
    )
    assert quiet > 6
    time.sleep(2.5)
    found = grade(cli, its_url)
    assert found["status"] == "warning"
    assert 2 <= found["value"] <= time.monotonic() - began
    assert "pg_wal_replay_resume" in found["hint"]
    run(standby, "SELECT pg_wal_replay_resume()")
    eventually("ok", lambda: status(cli, its_url, "replication"))


@pytest.mark.thorough
def test_a_large_transaction_is_followed_while_it_runs(
    pair: tuple[RunningServer, RunningServer], cli: Cli, tmp_path: Path
) -> None:
    """Nothing commits for long, and all of it is replayed at once."""
    primary, standby = pair
    its_url = standby.info.url("postgres")
    thresholds(tmp_path, "replication", warning=1.5)
    with primary.info.connect() as writer:
        writer.execute("BEGIN")
        for _ in range(20):
            writer.execute("INSERT INTO moved SELECT generate_series(1, 1000)")
            time.sleep(0.1)
        run(primary, "SELECT pg_create_restore_point('sent to here')")
        ((quiet,),) = run(
            standby, "SELECT extract(epoch FROM now() - pg_last_xact_replay_timestamp())::float8"
        )
        assert quiet > 1.5
        assert status(cli, its_url, "replication") == "ok"
        writer.execute("COMMIT")


@pytest.mark.thorough
def test_replay_that_stands_still_is_never_ok(
    pair: tuple[RunningServer, RunningServer], cli: Cli
) -> None:
    """The primary goes on writing, so what was received last is always new."""
    primary, standby = pair
    its_url = standby.info.url("postgres")
    eventually("ok", lambda: status(cli, its_url, "replication"))
    run(standby, "SELECT pg_wal_replay_pause()")
    for n in range(8):
        time.sleep(0.2)
        run(primary, f"INSERT INTO moved VALUES ({n})")
    assert status(cli, its_url, "replication") == "warning"
    run(standby, "SELECT pg_wal_replay_resume()")
    eventually("ok", lambda: status(cli, its_url, "replication"))
    # A query of the standby holds replay up: its lock is on the way of the primary's.
    run(standby, "ALTER SYSTEM SET max_standby_streaming_delay = -1", "SELECT pg_reload_conf()")
    with standby.info.connect() as reader, reader.transaction():
        reader.execute("TABLE moved")
        run(primary, "TRUNCATE moved", "INSERT INTO moved VALUES (1)")
        eventually("warning", lambda: status(cli, its_url, "replication"))
        eventually("warning", lambda: status(cli, its_url, "blocking"))
    eventually("ok", lambda: status(cli, its_url, "replication"))


@pytest.mark.thorough
def test_an_archive_that_does_not_go_on(cli: Cli, tmp_path: Path) -> None:
    """Without a receiver what counts is how old the last is that was replayed."""
    with RunningServer(MAJOR) as primary, RunningServer(MAJOR, standby_of=primary) as standby:
        its_url = standby.info.url("postgres")
        run(primary, "CREATE TABLE moved (n int)")
        eventually("ok", lambda: status(cli, its_url, "replication"))
        wait_for(lambda: caught_up(primary))
        thresholds(tmp_path, "replication", warning=2, critical=5)
        run(
            standby,
            "ALTER SYSTEM SET restore_command = 'false'",
            "ALTER SYSTEM SET primary_conninfo = ''",
            "SELECT pg_reload_conf()",
        )
        run(primary, "INSERT INTO moved VALUES (1)")
        eventually("critical", lambda: status(cli, its_url, "replication"))
        found = grade(cli, its_url)
        ((age,),) = run(
            standby, "SELECT extract(epoch FROM now() - pg_last_xact_replay_timestamp())::float8"
        )
        assert found["value"] == pytest.approx(age, abs=2)
        assert "archive" in found["hint"]


@pytest.mark.thorough
def test_a_receiver_that_hears_nothing(
    pair: tuple[RunningServer, RunningServer], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The primary's end hangs, and nothing bounds how long the receiver waits."""
    from leadctl.health import server

    monkeypatch.setattr(server, "_SILENT_SECONDS", 1.0)
    primary, standby = pair
    its_url = standby.info.url("postgres")
    eventually("ok", lambda: status(cli, its_url, "replication"))
    wait_for(lambda: caught_up(primary))
    run(standby, "ALTER SYSTEM SET wal_receiver_timeout = 0", "SELECT pg_reload_conf()")
    ((sender,),) = run(primary, "SELECT pid FROM pg_stat_replication")
    os.kill(sender, signal.SIGSTOP)
    try:
        run(primary, "INSERT INTO moved VALUES (1)")
        eventually("skipped", lambda: status(cli, its_url, "replication"))
        assert run(standby, "TABLE moved") == []
    finally:
        os.kill(sender, signal.SIGCONT)


@pytest.mark.thorough
def test_a_standby_that_does_not_reply_is_behind_as_long(
    pair: tuple[RunningServer, RunningServer], cli: Cli, tmp_path: Path
) -> None:
    primary, standby = pair
    url = primary.info.url("postgres")
    eventually("ok", lambda: status(cli, url, "replication"))
    wait_for(lambda: caught_up(primary))
    thresholds(tmp_path, "replication", warning=1)
    ((receiver,),) = run(standby, "SELECT pid FROM pg_stat_wal_receiver")
    os.kill(receiver, signal.SIGSTOP)
    try:
        run(primary, "INSERT INTO moved VALUES (1)")
        eventually("warning", lambda: status(cli, url, "replication"))
    finally:
        os.kill(receiver, signal.SIGCONT)
    eventually("ok", lambda: caught_up(primary) and status(cli, url, "replication"))  # type: ignore[arg-type,return-value]


@pytest.mark.thorough
def test_commits_that_wait_for_a_standby_that_is_gone(cli: Cli) -> None:
    with RunningServer(MAJOR) as primary:
        url = primary.info.url("postgres")
        assert status(cli, url, "replication") == "skipped"
        run(primary, "CREATE TABLE moved (n int)")
        run(
            primary,
            "ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (one)'",
            "SELECT pg_reload_conf()",
        )
        eventually("critical", lambda: status(cli, url, "replication"))
        with primary.info.connect() as writer:
            writer.execute("SET synchronous_commit = on")
            writer.execute("SET statement_timeout = '500ms'")
            with pytest.raises(psycopg.errors.QueryCanceled):
                writer.execute("SELECT pg_sleep(0.6)")
        run(primary, "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
        eventually("skipped", lambda: status(cli, url, "replication"))


@pytest.mark.thorough
def test_a_receiver_that_has_not_caught_up(cli: Cli) -> None:
    """It is sent what is old and takes nothing: the server measures no lag, and knows the bytes."""
    with RunningServer(MAJOR, wal_keep_size="1GB") as primary:
        url = primary.info.url("postgres")
        ((begin,),) = run(primary, "SELECT pg_current_wal_lsn()::text")
        for _ in range(8):
            run(primary, "SELECT pg_logical_emit_message(true, 'x', repeat('x', 8000000))")
        with primary.info.connect("postgres", replication="true") as receiver:
            result = receiver.pgconn.exec_(f"START_REPLICATION PHYSICAL {begin}".encode())
            assert result.status == psycopg.pq.ExecStatus.COPY_BOTH
            ((state, lag),) = run(primary, "SELECT state, replay_lag FROM pg_stat_replication")
            assert (state, lag) == ("catchup", None)
            assert status(cli, url, "replication") == "warning"
            receiver.pgconn.finish()


def test_a_replay_that_is_paused_while_there_is_nothing_to_replay(
    pair: tuple[RunningServer, RunningServer], cli: Cli
) -> None:
    primary, standby = pair
    its_url = standby.info.url("postgres")
    eventually("ok", lambda: status(cli, its_url, "replication"))
    wait_for(lambda: caught_up(primary))
    run(standby, "SELECT pg_wal_replay_pause()")
    found = grade(cli, its_url)
    assert (found["status"], "paused" in found["message"]) == ("warning", True), found
    assert "pg_wal_replay_resume" in found["hint"]
    run(standby, "SELECT pg_wal_replay_resume()")
    eventually("ok", lambda: status(cli, its_url, "replication"))


@pytest.mark.thorough
def test_what_only_the_primary_knows_is_not_ok_on_a_standby(cli: Cli) -> None:
    """A standby counts no dead rows, and shows nothing that is prepared."""
    with RunningServer(MAJOR, max_prepared_transactions="2") as primary:
        run(primary, "CREATE TABLE dead (n int) WITH (autovacuum_enabled = off)")
        run(primary, "INSERT INTO dead SELECT generate_series(1, 40000)", "DELETE FROM dead")
        with primary.info.connect() as writer:
            writer.execute("BEGIN; INSERT INTO dead VALUES (1); PREPARE TRANSACTION 'forgotten'")
        with RunningServer(MAJOR, standby_of=primary) as standby:
            wait_for(lambda: caught_up(primary))
            for check in ("vacuum", "prepared-transactions"):
                eventually(
                    "warning", lambda name=check: status(cli, primary.info.url("postgres"), name)
                )  # type: ignore[misc]
                assert status(cli, standby.info.url("postgres"), check) == "skipped"
            assert status(cli, standby.info.url("postgres"), "statistics") == "skipped"
        run(primary, "ROLLBACK PREPARED 'forgotten'")


def test_what_takes_a_base_backup_is_no_standby(cli: Cli) -> None:
    with RunningServer(MAJOR, wal_keep_size="1GB") as primary:
        url = primary.info.url("postgres")
        with primary.info.connect("postgres", replication="true") as backup:
            backup.pgconn.exec_(b"BASE_BACKUP (LABEL 'x', CHECKPOINT 'fast')")
            wait_for(lambda: run(primary, "SELECT state FROM pg_stat_replication") == [("backup",)])
            assert status(cli, url, "replication") == "skipped"
            backup.pgconn.finish()
        wait_for(lambda: run(primary, "SELECT state FROM pg_stat_replication") == [])
