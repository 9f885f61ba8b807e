"""Restores onto servers that cannot take them: said clearly, and the target is as it was."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg import sql

from leadctl.backup.manifest import NAME, ExtensionFacts, render
from leadctl.backup.storage import BackupFolder, write_private
from tests.backup.test_backup_faults import fill
from tests.backups import Place, create, encrypted_backups, left_by_restores, plain_dump
from tests.conftest import KEY, Cli, Prepared
from tests.processes import run, start
from tests.restore.test_restore_faults import half_made
from tests.servers import MAJOR, PASSWORD, RunningServer, Server, server_account, small_disk

ROWS = 100_000


@pytest.fixture
def env(leadconnector: Prepared, tmp_path: Path) -> Iterator[dict[str, str]]:
    ours = {"DATABASE_URL": leadconnector.url, "ENCRYPTION_KEY": KEY}
    yield encrypted_backups(tmp_path) | ours
    for name in left_by_restores(leadconnector):
        leadconnector.server.drop(name)


def back_up(cli: Cli, env: dict[str, str]) -> None:
    done = cli("backup", env=env)
    assert done.code == 0, done.err


def databases(server: Server) -> set[str]:
    with server.connect() as connection:
        return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}


@pytest.mark.thorough
def test_a_full_disk(leadconnector: Prepared, env: dict[str, str], cli: Cli) -> None:
    fill(leadconnector, ROWS)
    back_up(cli, env)
    with small_disk("52m") as folder, RunningServer(MAJOR) as server:
        with server.info.connect() as connection:
            connection.execute("CREATE DATABASE tight")
        with server.info.connect("tight") as connection:
            connection.execute("CREATE TABLE precious AS SELECT generate_series(1, 100) n")
        server.shut_down()
        base = server.data / "base"
        shutil.copytree(base, folder / "base")
        shutil.rmtree(base)
        base.symlink_to(folder / "base")
        entry = server_account()
        subprocess.run(["chown", "-R", f"{entry.pw_uid}:{entry.pw_gid}", folder], check=True)
        server.launch()
        before = databases(server.info)
        tight = env | {"DATABASE_URL": server.info.url("tight")}
        assert cli("db", "environment", "test", "--unprotect", env=tight).code == 0
        for arguments in (["--yes"], ["--into", "other"]):
            failed = cli("restore", *arguments, env=tight)
            assert failed.code == 1, failed.err
            assert "A disk is full" in failed.err
            assert databases(server.info) == before
        with server.info.connect("tight") as connection:
            assert connection.execute("SELECT count(*) FROM precious").fetchone() == (100,)


@pytest.mark.thorough
def test_a_connection_that_breaks(leadconnector: Prepared, env: dict[str, str], cli: Cli) -> None:
    fill(leadconnector, ROWS)
    back_up(cli, env)
    leadconnector.query("DELETE FROM leads")
    before = plain_dump(leadconnector.server, leadconnector.name)
    process = start("restore", "--yes", env=env)
    broken = False
    while process.poll() is None and not broken:
        for name in half_made(leadconnector):
            with leadconnector.server.connect() as connection:
                broken = bool(
                    connection.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE datname = %s AND query LIKE 'COPY%%'",
                        (name,),
                    ).fetchall()
                )
        time.sleep(0.01)
    _, said = process.communicate(timeout=60)
    assert broken
    assert process.returncode in {1, 4}, said
    assert "Traceback" not in said
    assert "terminat" in said or "connection" in said
    assert not left_by_restores(leadconnector)
    assert plain_dump(leadconnector.server, leadconnector.name) == before


@pytest.mark.thorough
def test_what_was_restored_survives_a_crash(tmp_path: Path, cli: Cli) -> None:
    """Loading waits for no disk; what says that it is done does."""
    # Nothing is written but what somebody waits for.
    with RunningServer(MAJOR, wal_writer_delay="10s", synchronous_commit="on") as server:
        script = "CREATE TABLE t AS SELECT i, md5(i::text) FROM generate_series(1, 5000) i"
        place = Place(server.info, create(server.info, "shop", script), cli, tmp_path)
        assert place.leadctl("backup").code == 0
        place.query("DELETE FROM t WHERE i > 10")
        place.leadctl("db", "environment", "test", "--unprotect")
        for arguments, name in ((["--into", "copy"], "copy"), (["--yes"], "shop")):
            done = place.leadctl("restore", "latest", *arguments)
            server.crash()
            server.launch()
            assert done.code == 0, done.err
            assert place.query("SELECT count(*) FROM t", name) == [(5000,)]
            asked = place.query("SELECT count(*) FROM pg_db_role_setting")
            assert asked == [(0,)], "what was set for loading is not left"


@pytest.mark.thorough
def test_an_extension_that_the_server_does_not_have(
    leadconnector: Prepared, env: dict[str, str], cli: Cli
) -> None:
    back_up(cli, env)
    backup = BackupFolder(Path(env["BACKUP_DIR"])).find("latest")
    needs = (ExtensionFacts("nobody_has_it", "1.0", "public"),)
    write_private(backup.path / NAME, render(replace(backup.manifest, extensions=needs)))
    for arguments in (["--into", "other"], ["--dry-run"], ["--schema-only", "--yes"]):
        failed = cli("restore", *arguments, env=env)
        assert (failed.code, "nobody_has_it" in failed.err) == (1, True), failed.err
    assert "other" not in databases(leadconnector.server)
    assert not left_by_restores(leadconnector)


@pytest.mark.thorough
@pytest.mark.skipif(MAJOR == 15, reason="there is no older one")
def test_a_server_that_is_older_than_the_backup(
    leadconnector: Prepared, env: dict[str, str], cli: Cli
) -> None:
    back_up(cli, env)
    with RunningServer(MAJOR - 1) as older:
        url = {"DATABASE_URL": older.info.url("postgres")}
        for arguments in (["--into", "other"], ["--dry-run"], ["--yes"]):
            failed = cli("restore", *arguments, env=env | url)
            assert failed.code == 1, failed.err
            assert f"this server is {MAJOR - 1}" in failed.err
        assert "other" not in databases(older.info)


def test_a_role_that_may_not(
    leadconnector: Prepared, env: dict[str, str], cli: Cli, tmp_path: Path
) -> None:
    back_up(cli, env)
    script = tmp_path / "some.sql"
    script.write_text("CREATE TABLE t (n int);")
    role = f"role_{leadconnector.name}"
    leadconnector.query(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}' IN ROLE pg_read_all_data")
    url = {"DATABASE_URL": leadconnector.url.replace("//postgres:", f"//{role}:")}
    try:
        for grant, says in (("NOCREATEDB", "may not create"), ("CREATEDB", "does not own")):
            leadconnector.query(f"ALTER ROLE {role} {grant}")
            for arguments in (["--dry-run"], ["--yes"]):
                failed = cli("restore", *arguments, env=env | url)
                assert (failed.code, says in failed.err) == (4, True), failed.err
                assert "--in-place" in failed.err
            failed = cli("restore", str(script), "--dry-run", env=env | url)
            assert (failed.code, says in failed.err) == (4, True), failed.err
            assert "--in-place" not in failed.err  # that takes backups alone
        assert not left_by_restores(leadconnector)
    finally:
        leadconnector.query(f"DROP OWNED BY {role}; DROP ROLE {role}")


OPTIONS = [
    ["--yes"],
    ["--into", "never_made"],
    ["--table", "users"],
    ["--data-only", "--table", "users", "--yes"],
    ["--data-only", "--yes"],
    ["--schema-only", "--yes"],
    ["--no-owner", "--yes"],
    ["--jobs", "1", "--yes"],
    ["--dry-run"],
    ["--table", "users", "--dry-run"],
]


@pytest.mark.few(2)
@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
@pytest.mark.thorough
def test_a_damaged_backup_whatever_the_option(
    leadconnector: Prepared, env: dict[str, str], cli: Cli, options: list[str]
) -> None:
    back_up(cli, env)
    first = next(Path(env["BACKUP_DIR"]).glob("2*"))
    other = Path(shutil.copytree(first, first.parent.parent / "copy"))
    back_up(cli, env)
    (second,) = set(Path(env["BACKUP_DIR"]).glob("2*")) - {first}
    leadconnector.query("DELETE FROM users")
    before = plain_dump(leadconnector.server, leadconnector.name)

    def refused() -> None:
        failed = cli("restore", first.name, *options, env=env)
        assert (failed.code, "damaged" in failed.err) == (1, True), failed.err

    for path in sorted(other.iterdir()):
        damaged = first / path.name
        data = path.read_bytes()
        changed = bytearray(data)
        changed[len(data) // 2] ^= 1
        damaged.write_bytes(changed)
        refused()
        damaged.write_bytes(data[: len(data) // 2])
        refused()
        damaged.write_bytes((second / path.name).read_bytes())
        refused()
        damaged.write_bytes(data)
    assert plain_dump(leadconnector.server, leadconnector.name) == before
    assert not left_by_restores(leadconnector)
    with leadconnector.server.connect() as connection:
        query = sql.SQL("SELECT FROM pg_database WHERE datname = 'never_made'")
        assert connection.execute(query).fetchone() is None


@pytest.mark.thorough
def test_a_full_folder_for_temporary_files(
    leadconnector: Prepared, env: dict[str, str], tmp_path: Path
) -> None:
    """Whichever file has no room, messages among them: the backup is not called damaged for it."""
    env = {**env, "DATABASE_URL": leadconnector.url}
    assert run("backup", env=env).returncode == 0
    with small_disk("256k") as folder:
        for room in range(4, 65, 12):
            (folder / "fill").write_bytes(b"x" * (256 - room) * 1024)
            line = ("backup", "verify", "latest", "--restore")
            done = run(*line, env={**env, "TMPDIR": str(folder)})
            assert "damaged" not in done.stdout, (room, done.stdout)
            assert "Traceback" not in done.stderr, (room, done.stderr)
            full = (
                f"{folder}: No space left" in done.stderr or f"of {folder} is full" in done.stdout
            )
            assert full or done.returncode == 0, (room, done.stdout, done.stderr)
