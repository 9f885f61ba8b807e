"""Backups that are damaged, killed, cut off: what is damaged is found, what is half is not listed."""

import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from leadctl.backup.create import _Dumper
from leadctl.backup.reader import BackupReader, verify
from leadctl.backup.storage import BackupFolder, StoredBackup
from leadctl.backup.stream import Label, NullSink, read_identities, unpack
from leadctl.errors import BackupDamaged
from tests.backups import key_pair
from tests.conftest import KEY, Cli, Prepared
from tests.processes import run, start
from tests.servers import PASSWORD


@pytest.fixture
def keys(tmp_path: Path) -> tuple[str, Path]:
    return key_pair(tmp_path)


@pytest.fixture
def env(leadconnector: Prepared, keys: tuple[str, Path], tmp_path: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": leadconnector.url,
        "BACKUP_DIR": str(tmp_path / "backups"),
        "BACKUP_RECIPIENTS": keys[0],
        "BACKUP_IDENTITY_FILE": str(keys[1]),
        "ENCRYPTION_KEY": KEY,
    }


def make(env: dict[str, str]) -> StoredBackup:
    done = run("backup", env=env)
    assert done.returncode == 0, done.stderr
    return BackupFolder(Path(env["BACKUP_DIR"])).find("latest")


def fill(database: Prepared, rows: int) -> None:
    database.query(
        "INSERT INTO leads (id, facebook_lead_id, page_id, form_id, form_name, lead_data)"
        " SELECT 'x' || n, 'x' || n, (SELECT min(id) FROM pages), 'f', md5(n::text),"
        " jsonb_build_object('n', md5((n * 7)::text)) FROM generate_series(1, %s) n",
        rows,
    )


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


@contextmanager
def restored(path: Path) -> Iterator[None]:
    """Put a file back as it was."""
    before = path.read_bytes()
    yield
    path.write_bytes(before)


def files_of(backup: StoredBackup) -> list[Path]:
    return [backup.path / "manifest.json", *(backup.path / f.name for f in backup.manifest.files)]


def is_good(backup: StoredBackup, identities: Any) -> bool:
    """Verify with fresh eyes: what was read of the manifest is not remembered."""
    return verify(BackupReader(StoredBackup(backup.path), identities), None).ok


@pytest.mark.thorough
@pytest.mark.parametrize("encrypted", [True, False])
def test_flips_truncations_and_appended_bytes_are_found(
    env: dict[str, str], keys: tuple[str, Path], encrypted: bool
) -> None:
    backup = make(env if encrypted else env | {"BACKUP_RECIPIENTS": ""})
    identities = read_identities(keys[1])
    assert is_good(backup, identities)
    rng = random.Random(9)
    paths = files_of(backup)
    for number in range(1000):
        path = paths[number % len(paths)]
        with restored(path):
            flip(path, rng)
            assert not is_good(backup, identities), (number, path)
    for number in range(100):
        path = paths[number % len(paths)]
        with restored(path):
            os.truncate(path, rng.randrange(path.stat().st_size))
            assert not is_good(backup, identities), (number, path)
    for path in paths:
        with restored(path):
            path.write_bytes(path.read_bytes() + b"\0")
            assert not is_good(backup, identities), path
        moved = path.rename(path.with_name("away"))
        assert not is_good(backup, identities), path
        moved.rename(path)
    assert is_good(backup, identities)


def test_authentication_finds_flips_without_the_manifest(
    env: dict[str, str], keys: tuple[str, Path]
) -> None:
    backup = make(env)
    identities = read_identities(keys[1])
    for file in backup.manifest.files:
        path, label = backup.path / file.name, Label(backup.id, file.name)
        rng = random.Random(1)
        for _ in range(150):
            with restored(path):
                flip(path, rng)
                with pytest.raises(Exception) as caught:  # noqa: PT011 - two causes, both right
                    unpacked(path, identities, label)
                assert caught.type.__name__ in {"BackupDamaged", "InvalidIdentity"}


def unpacked(path: Path, identities: Any, label: Label) -> int:
    with path.open("rb") as file:
        return unpack(file, identities, label, NullSink())


def test_swapped_files_are_found(env: dict[str, str], keys: tuple[str, Path]) -> None:
    first, second = make(env), make(env)
    assert first.id != second.id
    identities = read_identities(keys[1])
    for path in files_of(second):
        with restored(path):
            shutil.copyfile(first.path / path.name, path)
            assert not is_good(second, identities), path.name
    # Even where the manifest is made to fit: the label inside the encryption does not.
    name = second.manifest.files[0].name
    with pytest.raises(BackupDamaged, match="swapped"):
        unpacked(first.path / name, identities, Label(second.id, name))
    # And a whole folder under the name of another.
    shutil.rmtree(second.path)
    shutil.copytree(first.path, second.path)
    assert not is_good(second, identities)


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(8, marks=pytest.mark.thorough),
        pytest.param(50, marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_moment(
    leadconnector: Prepared, env: dict[str, str], keys: tuple[str, Path], kills: int
) -> None:
    fill(leadconnector, 60_000)
    folder = BackupFolder(Path(env["BACKUP_DIR"]))
    identities = read_identities(keys[1])
    rng = random.Random(kills)
    for _ in range(kills):
        process = start("backup", env=env)
        time.sleep(rng.uniform(0.15, 0.9))
        process.kill()
        process.communicate()
        assert all(is_good(backup, identities) for backup in folder.backups())
        listed = run("backup", "list", "-o", "json", env=env)
        assert {b["damage"] for b in json.loads(listed.stdout)["backups"]} <= {None}
    before = len(folder.backups())
    make(env)
    assert len(folder.backups()) == before + 1
    assert not list(folder.path.glob("*.partial"))


@pytest.fixture
def held(leadconnector: Prepared, env: dict[str, str]) -> Iterator[Callable[[], Any]]:
    """Start a backup that waits for a table, so that something can happen to it."""
    with leadconnector.server.connect(leadconnector.name) as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE leads")
        processes = []

        def begin() -> Any:
            processes.append(start("backup", env=env))
            leadconnector.wait_for(
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
                " AND wait_event_type = 'Lock' AND application_name = 'leadctl'"
            )
            return processes[0]

        yield begin
        for process in processes:
            process.kill()
            process.communicate()


def ends(process: Any, env: dict[str, str]) -> tuple[int, str]:
    """Wait for the end; see that nothing is left in the folder."""
    _, err = process.communicate(timeout=60)
    assert not [p for p in Path(env["BACKUP_DIR"]).glob("*") if p.name != ".gitignore"]
    assert "Traceback" not in err
    return process.returncode, err


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_signals(held: Callable[[], Any], env: dict[str, str], sent: int, code: int) -> None:
    process = held()
    process.send_signal(sent)
    assert ends(process, env)[0] == code


def test_a_broken_connection(
    leadconnector: Prepared, held: Callable[[], Any], env: dict[str, str]
) -> None:
    process = held()
    leadconnector.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name LIKE 'leadctl%%'"
    )
    code, err = ends(process, env)
    assert (code, "lost" in err) == (4, True), err


def test_a_pg_dump_that_finds_no_snapshot_any_more(
    leadconnector: Prepared, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own words say nothing of why: the connection that held the snapshot was lost."""
    pg_dump = _Dumper.pg_dump

    def later(dumper: _Dumper, *arguments: str) -> Any:
        leadconnector.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'leadctl%%'"
        )
        return pg_dump(dumper, *arguments)

    monkeypatch.setattr(_Dumper, "pg_dump", later)
    failed = cli("backup", url=leadconnector.url, env={"BACKUP_DIR": str(tmp_path / "backups")})
    assert (failed.code, "connection to the server was lost" in failed.err) == (4, True), failed.err


def test_pg_dump_dies(held: Callable[[], Any], env: dict[str, str]) -> None:
    process = held()
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(process.pid)],
        capture_output=True,
        text=True,
        check=True,
    )
    for line in listed.stdout.splitlines():
        os.kill(int(line.split()[0]), signal.SIGKILL)
    code, err = ends(process, env)
    assert (code, "pg_dump" in err) == (1, True), err


def test_no_secret_in_the_process_list(held: Callable[[], Any], keys: tuple[str, Path]) -> None:
    family = {held().pid}
    shown = subprocess.run(
        ["ps", "axww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    lines = {tuple(map(int, line.split()[:2])): line for line in shown.stdout.splitlines()}
    while children := {pid for pid, parent in lines if parent in family} - family:
        family |= children
    own = "\n".join(line for (pid, _), line in lines.items() if pid in family)
    assert "pg_dump" in own
    private = keys[1].read_text().splitlines()[1]
    for secret in (PASSWORD, PASSWORD.replace(" ", "%20"), KEY, private):
        assert secret not in own


@pytest.mark.thorough
def test_a_full_disk(leadconnector: Prepared, env: dict[str, str]) -> None:
    fill(leadconnector, 60_000)
    import sys

    from tests.processes import environment

    done = subprocess.run(
        ["/bin/sh", "-c", f"ulimit -f 200; exec {sys.executable} -m leadctl backup"],
        env=environment(env),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "free space" in done.stderr
    assert not list(Path(env["BACKUP_DIR"]).glob("2*"))
    assert run("backup", env=env).returncode == 0


def test_two_at_once(env: dict[str, str]) -> None:
    ended: list[tuple[int, str]] = []

    def back_up() -> None:
        done = run("backup", env=env)
        ended.append((done.returncode, done.stderr if done.returncode else ""))

    threads = [threading.Thread(target=back_up) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == [(0, "")] * 3
    assert len(BackupFolder(Path(env["BACKUP_DIR"])).backups()) == 3


def test_two_that_begin_in_the_same_millisecond(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter(["20260101T000000-000Z"] * 3 + ["20260101T000000-001Z"])
    monkeypatch.setattr("leadctl.backup.storage.new_id", lambda: next(moments))
    folder = BackupFolder(tmp_path / "backups")
    with folder.begin() as one, folder.begin() as other:
        assert (one.id, other.id) == ("20260101T000000-000Z", "20260101T000000-001Z")
