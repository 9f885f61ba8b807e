"""Point in time: an archive by Barman, and what is recovered from it."""

import json
import signal
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from leadctl.settings.durations import parse_moment
from tests.conftest import Cli
from tests.pitr.conftest import Archived, needs_barman
from tests.processes import start, wait_for
from tests.servers import PASSWORD

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
    process = start(
        "restore", "--at", moment, "--table", "orders", env=archived.env, cwd=archived.folder
    )
    wait_for(lambda: "rsync" in archived.processes())
    process.kill()
    process.communicate(timeout=60)
    wait_for(lambda: "rsync" not in archived.processes())
    archived.leadctl("restore", "--at", moment, "--table", "orders")
    assert archived.left() == []


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
