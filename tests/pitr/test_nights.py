"""The night itself: the lines of the pages, and a server that is gone with all that it had."""

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from tests.pitr.conftest import Archived, needs_barman
from tests.processes import ROOT, environment
from tests.servers import Server, server_account

pytestmark = [needs_barman, pytest.mark.thorough]


def blocks(page: str, section: str) -> list[str]:
    body = (ROOT / "docs" / page).read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", body, re.DOTALL)


def shell(archived: Archived, script: str, **env: str) -> str:
    """Run lines as somebody would type them."""
    program = archived.folder / "typed" / "leadctl"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m leadctl "$@"\n')
    program.chmod(0o755)
    given = archived.env | env | {"PATH": f"{program.parent}:{archived.env['PATH']}"}
    done = subprocess.run(
        ["/bin/sh", "-ec", script],
        env=environment(given, archived.folder),
        cwd=archived.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def two_tables(archived: Archived) -> str:
    """Make two tables; return a moment at which they are whole, and lose what is in them."""
    for name in ("orders", "users"):
        archived.query(f"DROP TABLE IF EXISTS {name}")
        archived.query(f"CREATE TABLE {name} (id int PRIMARY KEY, note text)")
        archived.query(f"INSERT INTO {name} SELECT i, md5(i::text) FROM generate_series(1, 50) i")
    moment = archived.now()
    archived.query("DROP TABLE orders")
    archived.query("DELETE FROM users WHERE id > 10")
    return moment


COUNTS = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM users)"


def test_just_before_it_happened(archived: Archived) -> None:
    moment = two_tables(archived)
    first, second, third = blocks("recovery.md", "Just before it happened")
    shell(archived, first, BEFORE_THE_DROP=moment)
    assert archived.query(COUNTS) == [(50, 10)]
    shell(archived, second, BEFORE_THE_DROP=moment)
    assert archived.query(COUNTS) == [(50, 50)]
    assert archived.query(COUNTS, "shop_then") == [(50, 50)]
    archived.query("DROP DATABASE shop_then")
    made, merged = archived.query(
        "SELECT id FROM leadctl.run WHERE command = 'restore' ORDER BY id"
    )
    refused = archived.leadctl("restore", "--before-run", str(made[0]), "--into", "x", code=1)
    assert "its beginning is not in the journal" in refused.stderr
    archived.query("DELETE FROM users")
    shell(archived, third, RUN=str(merged[0]))
    assert archived.query(COUNTS) == [(50, 10)]  # as it was before that restore
    assert archived.left() == []


def test_the_page_on_point_in_time(archived: Archived) -> None:
    setting_up, looking_after = (
        blocks("pitr.md", "Setting it up"),
        blocks("pitr.md", "Monitoring it"),
    )
    for lines in (*setting_up, *looking_after):
        shell(archived, lines)
    two_tables(archived)
    (going,) = blocks("pitr.md", "Going back")
    assert going.count("leadctl restore --at") == 2
    now = archived.now()
    archived.query("DELETE FROM users")
    lines = going.replace("2026-11-28 14:02 Europe/Berlin", now).replace("2026-11-28 14:02", now)
    archived.query("CREATE TABLE orders AS SELECT 1 AS id")
    with pytest.raises(AssertionError, match="no table orders"):
        shell(archived, lines)  # at that moment it was gone
    shell(archived, "\n".join(lines.splitlines()[1:2]))
    assert archived.query("SELECT count(*) FROM users", "shop_then") == [(10,)]
    archived.query("DROP DATABASE shop_then")


@contextmanager
def counting() -> Iterator[tuple[int, list[object]]]:
    """Listen on a port, and count who connects."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        met: list[object] = []

        def meet() -> None:
            while True:
                try:
                    connection, who = listener.accept()
                except OSError:
                    return
                met.append(who)
                connection.close()

        threading.Thread(target=meet, daemon=True).start()
        yield listener.getsockname()[1], met


def as_it_is(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return when each file of a folder was written to, and its mode."""
    found = {path: path.stat() for path in (folder, *folder.rglob("*"))}
    return {path: (stat.st_mtime_ns, stat.st_mode) for path, stat in found.items()}


@pytest.fixture
def space(archived: Archived) -> Iterator[Path]:
    """A folder in which the archived server has a tablespace."""
    folder = archived.server.data.parent / "space"
    folder.mkdir()
    shutil.chown(folder, server_account().pw_name)
    archived.query(f"CREATE TABLESPACE fast LOCATION '{folder}'", "postgres")
    archived.query("DROP TABLE IF EXISTS placed")
    # A vacuum of the server's own would write among the files that are compared
    archived.query(
        "CREATE TABLE placed (id int PRIMARY KEY) WITH (autovacuum_enabled = false) TABLESPACE fast"
    )
    archived.query("INSERT INTO placed SELECT generate_series(1, 77)")
    yield folder
    with suppress(psycopg.OperationalError):  # a test may have stopped it
        archived.query("DROP TABLE placed")
        archived.query("DROP TABLESPACE fast", "postgres")
    shutil.rmtree(folder)


def test_a_tablespace_that_is_younger_than_the_base_backup(archived: Archived, space: Path) -> None:
    """To replay its CREATE TABLESPACE is to write among the files of the server that runs."""
    archived.query("CHECKPOINT", "postgres")
    archived.query("DELETE FROM placed WHERE id > 7")  # is in memory only
    kept, moment = as_it_is(space), archived.now()
    refused = archived.leadctl("restore", "--at", moment, "--into", "shop_then", code=1)
    assert "A tablespace was created" in refused.stderr
    assert "leadctl pitr backup" in refused.stderr
    assert as_it_is(space) == kept
    assert archived.query("SELECT count(*) FROM placed") == [(7,)]
    assert archived.left() == []
    status = json.loads(archived.leadctl("pitr", "status", "-o", "json", code=1).stdout)
    assert status["problem"] == "the newest base backup is older than the tablespace fast"
    health = archived.leadctl("health-check", code=2)
    assert "older than the tablespace fast" in health.stdout
    archived.leadctl("pitr", "backup")
    time.sleep(1)  # of the second in which it ended nothing can be had
    moment = archived.now()
    archived.query("DELETE FROM placed")
    archived.leadctl("restore", "--at", moment, "--into", "shop_then")
    assert archived.query("SELECT count(*) FROM placed", "shop_then") == [(7,)]
    archived.query("DROP DATABASE shop_then")


def test_a_server_that_is_gone_comes_back_elsewhere(
    archived: Archived, space: Path, server: Server, tmp_path: Path
) -> None:
    """Its tablespace is not touched, its prepared transactions are known, and nobody is called."""
    with counting() as (port, met):
        archived.query(
            f"CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port={port} dbname=x'"
            " PUBLICATION p WITH (connect = false, slot_name = 'sub')"
        )
        archived.query("ALTER SUBSCRIPTION s ENABLE")
        archived.query(
            f"ALTER SYSTEM SET archive_command = 'touch {tmp_path}/archived'", "postgres"
        )
        archived.query("ALTER SYSTEM SET hba_file = '/nowhere/pg_hba.conf'", "postgres")
        archived.query("ALTER SYSTEM SET shared_preload_libraries = 'nowhere'", "postgres")
        archived.leadctl("pitr", "backup")
        time.sleep(1)  # of the second in which it ended nothing can be had
        archived.query("BEGIN; DELETE FROM placed; PREPARE TRANSACTION 'held'")
        moment = archived.now()
        archived.query("COMMIT PREPARED 'held'")
        ((files,),) = archived.query(f"SELECT count(*) FROM pg_ls_dir('{space}')")
        archived.server.shut_down()
        before = as_it_is(space)
        met.clear()
        server.drop("shop")
        try:
            elsewhere = server.url("shop")
            archived.leadctl("restore", "--at", moment, "--yes", DATABASE_URL=elsewhere)
            with server.connect("shop") as connection:
                found = connection.execute("SELECT count(*) FROM placed").fetchall()
            late = archived.leadctl(
                "restore", "--at", "0s", "--into", "x", code=1, DATABASE_URL=elsewhere
            )
        finally:
            drop_with_subscription(server)
        assert (found, files) == ([(77,)], 1)
        assert met == []
        assert as_it_is(space) == before
        assert not (tmp_path / "archived").exists()
        assert 'Take that moment: --at "' in late.stderr
        assert "is refused" in late.stderr or "connection" in late.stderr
    assert archived.left() == []


def drop_with_subscription(server: Server) -> None:
    with server.connect("shop") as connection:
        for statement in ("DISABLE", "SET (slot_name = NONE)"):
            connection.execute(f"ALTER SUBSCRIPTION s {statement}")
        connection.execute("DROP SUBSCRIPTION s")
    server.drop("shop")
