"""cleanup: what makes it give way.  The patience is cut short, since a test has none."""

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import Cli, Prepared
from tests.leads import fill
from tests.processes import wait_for
from tests.servers import MAJOR, RunningServer


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadctl.cleanup.context._PATIENCE", 0.0)


def test_a_vacuum_of_the_table(filled: Prepared, cli: Cli) -> None:
    with filled.server.connect(filled.name) as other:
        other.execute("SET vacuum_cost_delay = 100")
        other.execute("SET vacuum_cost_limit = 1")
        vacuum = threading.Thread(target=lambda: swallow(other, "VACUUM leads"))
        vacuum.start()
        try:
            wait_for(
                lambda: (
                    filled.query(
                        "SELECT 1 FROM pg_stat_progress_vacuum WHERE datname = current_database()"
                    )
                    != []
                )
            )
            outcome = cli("cleanup", "--rule", "archived-leads", "-o", "json", url=filled.url)
        finally:
            other.cancel()
            vacuum.join()
    (rule,) = outcome.json["rules"]
    assert (outcome.code, rule["rows"], rule["reason"]) == (0, 0, "vacuum")
    assert "Waiting" in outcome.err


def with_leads(running: RunningServer, cli: Cli) -> Prepared:
    """Make a database with 200 leads on a server of the test's own."""
    server = running.info
    name = server.create()
    database = Prepared(name, server.url(name), server)
    assert cli("migrate", url=database.url).code == 0
    assert cli("seed", url=database.url).code == 0
    fill(database, 200)
    return database


@pytest.mark.thorough
def test_wal_that_waits_to_be_archived(cli: Cli) -> None:
    with RunningServer(MAJOR, archive_mode="on", archive_command="test ! -e stop") as running:
        database = with_leads(running, cli)
        switch = "SELECT pg_switch_wal() FROM pg_logical_emit_message(true, '', 'x')"
        database.query(switch)
        wait_for(lambda: database.query("SELECT archived_count FROM pg_stat_archiver") > [(0,)])
        stop = Path(database.server.socket) / "data" / "stop"
        stop.touch()
        for _ in range(50):
            database.query(switch)
        flags = ("cleanup", "--rule", "archived-leads", "-o", "json")
        (rule,) = cli(*flags, url=database.url).json["rules"]
        assert (rule["rows"], rule["reason"]) == (0, "wal_archiving")
        stop.unlink()
        database.query("SELECT pg_switch_wal()")
        ready = "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%%.ready'"
        wait_for(lambda: database.query(ready) == [(0,)], 90)
        (rule,) = cli(*flags, url=database.url).json["rules"]
        assert (rule["rows"], rule["reason"]) == (22, None)


@pytest.mark.thorough
def test_a_replica_that_lags(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadctl.cleanup.context._REPLICA_LAG", 1.0)
    with RunningServer(MAJOR, wal_level="replica", wal_receiver_status_interval="1s") as primary:
        database = with_leads(primary, cli)
        flags = ("cleanup", "--rule", "archived-leads", "-o", "json")
        lags = "SELECT 1 FROM pg_stat_replication WHERE replay_lag > interval '1 second'"
        with (
            RunningServer(MAJOR, standby_of=primary) as standby,
            standby.info.connect() as replica,
        ):
            replica.execute("SELECT pg_wal_replay_pause()")
            database.query("UPDATE leads SET form_name = 'Other'")
            wait_for(lambda: database.query(lags) != [])
            outcome = cli(*flags, url=database.url)
            (rule,) = outcome.json["rules"]
            assert (outcome.code, rule["rows"], rule["reason"]) == (0, 0, "replica_lag")
            assert "Waiting: a replica" in outcome.err
            monkeypatch.setattr("leadctl.cleanup.context._PATIENCE", 60.0)
            resume = threading.Timer(2, replica.execute, ("SELECT pg_wal_replay_resume()",))
            resume.start()
            outcome = cli(*flags, url=database.url)
            resume.join()
        (rule,) = outcome.json["rules"]
        assert "Waiting: a replica" in outcome.err
        assert (rule["rows"], rule["reason"]) == (22, None)


def swallow(connection: Any, statement: str) -> None:
    with suppress(psycopg.errors.QueryCanceled):
        connection.execute(statement)
