"""Point in time: an archive by Barman, and what is recovered from it."""

import json
import signal
import stat
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from leadctl.settings.durations import parse_moment
from tests.conftest import Cli
from tests.pitr.conftest import SETTINGS, Archived, needs_barman, with_rsync
from tests.processes import run, start, wait_for
from tests.servers import MAJOR, PASSWORD, RunningServer, find_binaries

ORDERS = """
DROP TABLE IF EXISTS orders;
CREATE TABLE orders (id int PRIMARY KEY, total int CHECK (total > 0));
INSERT INTO orders SELECT i, i FROM generate_series(1, 1000) i
"""
SUM = "SELECT count(*), sum(total) FROM orders"


def made(archived: Archived) -> str:
    """Make a table; return a moment at which it is whole, and lose it."""
    for statement in ORDERS.split(";"):
        archived.query(statement)
    moment = archived.now()
    archived.query("UPDATE orders SET total = 7")
    archived.query("DROP TABLE orders")
    return moment


@pytest.mark.thorough
@needs_barman
def test_a_dropped_table_comes_back_by_one_command(archived: Archived) -> None:
    moment = made(archived)
    archived.leadctl("restore", "--at", moment, "--table", "orders")
    assert archived.query(SUM) == [(1000, 500500)]
    constraints = archived.query(
        "SELECT contype::text FROM pg_constraint"
        " WHERE conrelid = 'orders'::regclass AND contype <> 'n' ORDER BY 1"
    )
    assert constraints == [("c",), ("p",)]
    assert archived.left() == []


@needs_barman
@pytest.mark.thorough
def test_into_another_database_and_the_last_moment(archived: Archived) -> None:
    """The moment of the last commit has none behind it, and is the newest that can be named."""
    made(archived)
    try:
        archived.barman("receive-wal", "--stop", "leadctl")
        status = json.loads(archived.leadctl("pitr", "status", "-o", "json", code=1).stdout)
        assert "does not run" in status["problem"]
        assert status["slot_state"]["lag_bytes"] is None  # nobody is there who could be behind
        archived.query("CREATE TABLE later ()")  # which the archive does not get
        dry = archived.leadctl(
            "restore", "--at", status["ends_at"], "--into", "then", "--dry-run", "-o", "json"
        )
        assert json.loads(dry.stdout)["made_at"] == status["ends_at"]
        archived.leadctl("restore", "--at", status["ends_at"], "--into", "then")
        assert archived.query("SELECT to_regclass('orders'), to_regclass('later')", "then") == [
            (None, None)
        ]
    finally:
        archived.receive()
        archived.query('DROP DATABASE IF EXISTS "then" WITH (FORCE)')
    assert archived.left() == []


@pytest.mark.thorough
@needs_barman
def test_what_the_archive_does_not_have_is_refused_with_what_it_has(archived: Archived) -> None:
    status = json.loads(archived.leadctl("pitr", "status", "-o", "json").stdout)
    assert status["problem"] is None
    before = archived.leadctl("restore", "--at", "2020-01-31 00:00", "--into", "x", code=1)
    first = status["begins_at"].removesuffix("Z").replace("T", " ")
    assert f"its first base backup ended at {first} UTC" in before.stderr
    ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat(" ")
    assert "is in the future" in archived.leadctl("restore", "--at", ahead, "--yes", code=1).stderr
    assert archived.left() == []


@needs_barman
@pytest.mark.thorough
def test_before_a_run(archived: Archived) -> None:
    archived.query("DROP TABLE IF EXISTS later, orders")
    for statement in ORDERS.split(";"):
        archived.query(statement)
    archived.leadctl("backup", "--to", str(archived.folder / "dumps"))
    ((run,),) = archived.query("SELECT coalesce(max(id), 0) + 1 FROM leadctl.run")
    archived.leadctl(
        "restore", "--from", str(archived.folder / "dumps"), "--table", "orders", "--data-only",
        "--yes",
    )  # fmt: skip
    ((found, command),) = archived.query(
        "SELECT id, command FROM leadctl.run ORDER BY id DESC LIMIT 1"
    )
    assert command == "restore"
    archived.query("DELETE FROM orders")
    archived.leadctl(
        "restore", "--before-run", str(found), "--table", "orders", "--data-only", "--yes"
    )
    assert archived.query(SUM) == [(1000, 500500)]
    missing = archived.leadctl("restore", "--before-run", "987654", code=5)
    assert "needs confirmation" in missing.stderr
    missing = archived.leadctl("restore", "--before-run", "987654", "--yes", code=1)
    assert "no run 987654" in missing.stderr
    assert run <= found


@needs_barman
@pytest.mark.thorough
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_nothing_or_the_next_removes_it(
    archived: Archived, how: signal.Signals
) -> None:
    moment = made(archived)
    process = start(
        "restore", "--at", moment, "--table", "orders", env=archived.env, cwd=archived.folder
    )
    wait_for(lambda: [line for line in archived.left() if "postgres" in line])
    process.send_signal(how)
    process.communicate(timeout=60)
    if how is not signal.SIGKILL:
        assert archived.left() == []
    archived.leadctl("restore", "--at", moment, "--table", "orders")
    assert archived.query(SUM) == [(1000, 500500)]
    assert archived.left() == []


@needs_barman
@pytest.mark.thorough
def test_barman_ends_with_a_run_that_is_killed(archived: Archived) -> None:
    moment = made(archived)
    (place := archived.folder / "tmp").mkdir()
    env = {**archived.env, "TMPDIR": str(place)}
    process = start("restore", "--at", moment, "--table", "orders", env=env, cwd=archived.folder)
    wait_for(lambda: "rsync" in archived.processes())
    process.kill()
    process.communicate(timeout=60)
    wait_for(lambda: "rsync" not in archived.processes())
    archived.leadctl("restore", "--at", moment, "--table", "orders", TMPDIR=str(place))
    assert archived.left() == []
    assert not list(place.iterdir())


@needs_barman
@pytest.mark.thorough
def test_a_rehearsal_finds_what_was_committed_last(archived: Archived) -> None:
    archived.query("CREATE TABLE IF NOT EXISTS counted AS SELECT generate_series(1, 321)")
    found = json.loads(archived.leadctl("pitr", "rehearse", "-o", "json").stdout)
    tables = archived.query("SELECT relid FROM pg_stat_user_tables")
    assert (found["ok"], found["last_commit"], found["tables"]) == (True, True, len(tables))
    status = json.loads(archived.leadctl("pitr", "status", "-o", "json").stdout)
    assert status["rehearsal"]["ok"]
    assert archived.left() == []


@needs_barman
@pytest.mark.thorough
def test_barman_finds_it_good(archived: Archived) -> None:
    assert json.loads(archived.leadctl("pitr", "check", "-o", "json").stdout)["ok"]
    assert "FAILED" not in archived.barman("check", "leadctl")
    assert "DONE" in archived.barman("show-backup", "leadctl", "latest")


@pytest.mark.thorough
@needs_barman
def test_no_password_is_where_others_may_read_it(archived: Archived) -> None:
    running = archived.processes()
    assert "pg_receivewal" in running
    assert PASSWORD not in running
    files = [path for path in (archived.folder / "pitr").glob("*") if path.is_file()]
    telling = [path for path in files if PASSWORD in path.read_text(errors="replace")]
    assert [path.name for path in telling] == ["pgpass"]
    assert stat.S_IMODE(telling[0].stat().st_mode) == 0o600
    assert stat.S_IMODE((archived.folder / "pitr").stat().st_mode) == 0o700


@pytest.mark.thorough
@needs_barman
def test_the_archive_of_another_server_is_refused(
    archived: Archived, cli: Cli, server: object
) -> None:
    from tests.servers import Server

    assert isinstance(server, Server)
    env = {"PATH": archived.env["PATH"], "PITR_DIR": str(archived.folder / "pitr")}
    other = cli("pitr", "setup", url=server.url("postgres"), env=env)
    assert (other.code, "archive of another server" in other.err) == (5, True), other.err


def test_what_is_not_set_up_says_so(cli: Cli, tmp_path: Path) -> None:
    for arguments in (("status",), ("check",), ("backup",), ("rehearse",)):
        found = cli("pitr", *arguments, url="postgresql://nobody@127.0.0.1:1/x")
        assert found.code == 3, found.err
        assert "leadctl pitr setup" in found.err


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-28 14:02", "2026-11-28T14:02:00+00:00"),
        ("2026-11-28T14:02:03.5+01:00", "2026-11-28T13:02:03.500000+00:00"),
        ("2026-11-28 14:02 Europe/Berlin", "2026-11-28T13:02:00+00:00"),
        ("2026-11-28 14:02 UTC", "2026-11-28T14:02:00+00:00"),
        ("2026-11-28", "2026-11-28T00:00:00+00:00"),
    ],
)
def test_moments(text: str, moment: str) -> None:
    assert parse_moment(text).astimezone(UTC).isoformat() == moment


@pytest.mark.parametrize(
    "text",
    [
        "", "yesterday", "2026", "14:02", "2026-11-28 14:02 Middle/Earth", "2026-13-01",
        "2026-10-25 02:30 Europe/Berlin",  # comes twice
        "2026-03-29 02:30 Europe/Berlin",  # does not come
        "2026-11-28 14:02+01:00 Europe/Berlin", "2026-11-28 ../../etc/passwd",
    ],
)  # fmt: skip
def test_no_moments(text: str, cli: Cli) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_moment(text)
    found = cli("restore", "--at", text, url="postgresql://nobody@127.0.0.1:1/x")
    assert found.code == 2, found.err


def checked(archived: Archived, name: str) -> tuple[str, str]:
    """Return what a check of health says."""
    done = run("health-check", "--check", name, "-o", "json", env=archived.env, cwd=archived.folder)
    (found,) = json.loads(done.stdout)["checks"]
    return found["status"], found["message"]


@needs_barman
@pytest.mark.thorough
def test_health_sees_a_receiver_that_stands_still_and_a_slot_that_is_gone(
    archived: Archived,
) -> None:
    assert checked(archived, "pitr-archive")[0] == "ok"
    record = archived.folder / "pitr" / "rehearsal.json"
    record.unlink(missing_ok=True)
    assert checked(archived, "pitr-rehearsal")[0] == "warning"
    days = {0: "ok", 36: "warning", 101: "critical"}
    for age, expected in days.items():
        at = (datetime.now(UTC) - timedelta(days=age)).isoformat()
        record.write_text(
            json.dumps({"at": at, "ok": True, "moment": at, "rows": 5, "seconds": 1.0})
        )
        assert checked(archived, "pitr-rehearsal")[0] == expected
    record.write_text(record.read_text().replace("true", "false"))
    assert checked(archived, "pitr-rehearsal") == (
        "critical",
        "the last rehearsal, 101 days ago, failed",
    )
    archived.barman("receive-wal", "--stop", "leadctl")
    status, message = checked(archived, "pitr-archive")
    assert (status, "the receiver does not run" in message) == ("critical", True)
    archived.barman("receive-wal", "--drop-slot", "leadctl")
    status, message = checked(archived, "pitr-archive")
    assert (status, "the server has no slot" in message) == ("critical", True)
    told = archived.leadctl("health-check", "--check", "pitr-archive", code=2).stdout
    assert "leadctl pitr setup" in told
    assert "Start the receiver" not in told
    archived.leadctl("pitr", "backup", code=1)
    archived.leadctl("pitr", "setup")  # which makes it again
    archived.receive()
    assert checked(archived, "pitr-archive")[0] == "ok"


@needs_barman
@pytest.mark.thorough
def test_off_is_guarded_and_leaves_what_restores(archived: Archived) -> None:
    moment = made(archived)
    archived.query("CREATE TABLE behind ()")
    time.sleep(1)  # until the receiver has it
    archived.leadctl("db", "environment", "production", "--protect")
    try:
        slot = "SELECT slot_name FROM pg_replication_slots"
        for consent in ([], ["--yes"], ["--confirm", "wrong"]):
            assert "Nothing was changed" in archived.leadctl("pitr", "off", *consent, code=5).stderr
        assert archived.query(slot)
        archived.leadctl("pitr", "off", "--confirm", "shop")
        assert archived.query(slot) == []
        assert archived.processes() == ""
        archived.leadctl("restore", "--at", moment, "--table", "orders")
        assert archived.query(SUM) == [(1000, 500500)]
    finally:
        unprotect = ("db", "environment", "development", "--unprotect", "--confirm", "shop")
        archived.leadctl(*unprotect)
        archived.leadctl("pitr", "setup")
        archived.receive()
        archived.leadctl("pitr", "backup")


@needs_barman
@pytest.mark.slow
def test_a_million_rows_on_the_embedded_server(tmp_path: Path) -> None:
    env = {"PATH": with_rsync(tmp_path)}
    try:
        assert run("migrate", env=env, cwd=tmp_path).returncode == 0
        url = json.loads(run("db", "url", "-o", "json", env=env, cwd=tmp_path).stdout)["url"]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE orders (id int PRIMARY KEY, note text)")
            connection.execute("ALTER SYSTEM SET checkpoint_completion_target = 0")
            connection.execute("SELECT pg_reload_conf()")
            archived = Embedded(tmp_path, env)
            archived.leadctl("pitr", "setup")
            archived.receive(connection)
            archived.leadctl("pitr", "backup")
            connection.execute(
                "INSERT INTO orders SELECT i, md5(i::text) FROM generate_series(1, 1000000) i"
            )
            told = "SELECT count(*), md5(string_agg(note, ',' ORDER BY id)) FROM orders"
            before = connection.execute(told).fetchall()
            (dropped,) = connection.execute("SELECT clock_timestamp() + '1s'").fetchone() or ()
            time.sleep(1.1)
            connection.execute("DROP TABLE orders")
            moment = (dropped - timedelta(seconds=1)).astimezone(UTC).isoformat(" ")
            archived.leadctl("restore", "--at", moment, "--table", "orders")
            assert connection.execute(told).fetchall() == before
            archived.leadctl("pitr", "rehearse")
            archived.leadctl("pitr", "off", "--yes")
    finally:
        run("db", "destroy", "--yes", env=env, cwd=tmp_path)


class Embedded:
    """The embedded server of a folder, and its archive."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self._folder, self._env = folder, env

    def leadctl(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        done = run(*arguments, env=self._env, cwd=self._folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def receive(self, connection: "psycopg.Connection[tuple[object, ...]]") -> None:
        line = self.leadctl("schedule", "cron", "pitr").stdout.split(" ", 5)[5]
        subprocess.run(["/bin/sh", "-c", line], check=True, env=self._env, cwd=self._folder)
        reading = "SELECT 1 FROM pg_stat_replication"
        wait_for(lambda: connection.execute(reading).fetchone())


@needs_barman
@pytest.mark.slow
def test_moments_before_and_after_a_failover(tmp_path: Path) -> None:
    """The archive goes on behind the promoted server; what neither has is refused, not cut short."""
    path = f"{find_binaries(MAJOR)}:{with_rsync(tmp_path)}"
    with (
        RunningServer(MAJOR, **SETTINGS) as primary,
        RunningServer(MAJOR, standby_of=primary) as standby,
    ):
        before, after = (
            Archived(each, tmp_path, {"PATH": path, "DATABASE_URL": each.info.url("shop")})
            for each in (primary, standby)
        )
        before.query("CREATE DATABASE shop", "postgres")
        before.leadctl("db", "environment", "development", "--unprotect")
        before.leadctl("pitr", "setup")
        before.receive()
        before.leadctl("pitr", "backup")
        time.sleep(1)
        before.query("CREATE TABLE orders AS SELECT generate_series(1, 100) id")
        on_the_old = before.now()
        before.query("INSERT INTO orders SELECT generate_series(101, 150)")
        ((lsn,),) = before.query("SELECT pg_current_wal_flush_lsn()")
        wait_for(lambda: after.query(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'") == [(True,)])
        refused = after.leadctl("pitr", "setup", code=4)
        assert "This server is a standby" in refused.stderr
        primary.shut_down()
        after.query("SELECT pg_promote()", "postgres")
        after.query("INSERT INTO orders SELECT generate_series(151, 200)")
        in_between = after.now()
        after.leadctl("pitr", "setup")
        after.receive()
        try:
            after.leadctl("pitr", "backup")
            time.sleep(1)
            after.query("INSERT INTO orders SELECT generate_series(201, 300)")
            on_the_new = after.now()
            after.query("DROP TABLE orders")
            for name, moment, rows in (("old", on_the_old, 100), ("new", on_the_new, 300)):
                after.leadctl("restore", "--at", moment, "--into", f"shop_{name}")
                assert after.query("SELECT count(*) FROM orders", f"shop_{name}") == [(rows,)]
            gap = after.leadctl("restore", "--at", in_between, "--into", "shop_gap", code=1)
            assert "before configured recovery target was reached" in gap.stderr
            assert after.left() == []
        finally:
            after.barman("receive-wal", "--stop", "leadctl")
