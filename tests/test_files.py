"""Files that appear whole: whoever else writes them, whatever was killed before."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from subprocess import PIPE
from urllib.parse import unquote, urlsplit

import pytest

from leadctl.files import object_url, temporary_folder, write_whole
from tests.conftest import Cli
from tests.processes import environment, wait_for

WRITES = """
import sys
from pathlib import Path
from leadctl.files import write_whole
for number in range(200):
    write_whole(Path(sys.argv[1]), sys.argv[2] * 5000, 0o600)
"""
HANGS = """
import os, sys, time
from pathlib import Path
from leadctl.files import write_whole
os.fsync = lambda _: time.sleep(60)
write_whole(Path(sys.argv[1]), "half", 0o600)
"""


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_whole(tmp_path / "report", "half", 0o600)
    assert caught.value.filename == str(tmp_path / "report")
    assert not list(tmp_path.iterdir())


@pytest.mark.thorough
def test_processes_that_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "facts.prom"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITES, path, letter], env=environment())
        for letter in "abc"
    ]
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            assert path.read_text() in {letter * 5000 for letter in "abc"}
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert [each.name for each in tmp_path.iterdir()] == ["facts.prom"]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "facts.prom"
    writer = subprocess.Popen([sys.executable, "-c", HANGS, path], env=environment())
    wait_for(lambda: list(tmp_path.glob(".facts.prom.*.partial")))
    (left,) = tmp_path.glob(".facts.prom.*.partial")
    wait_for(lambda: left.stat().st_size > 0)
    an_hour_ago = time.time() - 3600
    os.utime(left, (an_hour_ago, an_hour_ago))
    write_whole(path, "another", 0o600)
    assert left.exists()  # its writer lives
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    write_whole(path, "again", 0o600)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [
        ("facts.prom", "again")
    ]


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:secret-1@bucket/pre", "s3://secret-1@bucket", "s3://bucket/pre?token=secret-1",
        "s3://bucket/pre#secret-1", "s3://bucket/../secret-1", "s3://bucket//secret-1", "gs:///secret-1",
        "az://container/%2E%2e/secret-1", "S3://bucket/secret-1", "s3://", "s3a://bucket/secret-1",
        "https://bucket.example/secret-1", "abfs://secret-1@account/pre", "file:///tmp/secret-1",
    ],
)  # fmt: skip
def test_a_second_place_is_where_it_is_said_to_be(url: str, cli: Cli, tmp_path: Path) -> None:
    """What the client would pass over, or make a local folder of, is refused and not repeated."""
    for outcome in (
        cli("backup", "list", env={"BACKUP_DIR": url}),
        cli("backup", "list", "--from", url),
        cli("backup", "copy", "latest", "--to", url),
        cli("config", env={"BACKUP_COPY_TO": url}),
    ):
        assert outcome.code in {2, 3}, outcome.out
        assert "secret-1" not in outcome.out + outcome.err
        assert "unexpectedly" not in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_one_part_of_a_url() -> None:
    """Whoever reads the URL undoes what is written of the name, once."""
    for name in ("20260131T120000-000Z", "a/b", "%2E%2E", "a?b#c", "é %41"):
        place = object_url("s3://bucket/pre/")
        assert place is not None
        found = urlsplit(place / name)
        assert [unquote(part) for part in found.path.split("/")] == ["", "pre", name]


_HOLDS = """
import sys
import tempfile
from leadctl.files import temporary_folder
with temporary_folder("leadctl-some-") as folder:
    (folder / "rows").write_text("x")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_temporary_folder_of_a_killed_process_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    running, killed = (
        subprocess.Popen([sys.executable, "-c", _HOLDS], env=env, stdin=PIPE, stdout=PIPE)
        for _ in range(2)
    )
    folders = []
    for process in (running, killed):
        assert process.stdout is not None
        folders.append(Path(process.stdout.readline().decode().strip()))
    killed.kill()
    killed.communicate()
    (tmp_path / "leadctl-some-link").symlink_to(tmp_path / "else", target_is_directory=True)
    (tmp_path / "else").mkdir()
    for folder in (*folders, tmp_path / "else"):
        os.utime(folder, (0, 0))
    with temporary_folder("leadctl-some-") as own:
        assert own.stat().st_mode & 0o777 == 0o700
        assert [folder.exists() for folder in folders] == [True, False]
        assert (tmp_path / "else").exists()
    running.communicate(b"")
    assert not [each for each in tmp_path.glob("leadctl-some-*") if not each.is_symlink()]


def test_every_temporary_folder_is_known_to_the_next_run() -> None:
    """Its name says that it is leadctl's; those of db.py have the number of their process."""
    package = Path(__file__).parents[1] / "leadctl"
    makes = ("TemporaryDirectory(", "mkdtemp(", "NamedTemporaryFile(", "mkstemp(")
    found = {
        path.name
        for path in package.rglob("*.py")
        if any(each in path.read_text(encoding="utf-8") for each in makes)
    }
    assert found == {"files.py", "db.py"}
