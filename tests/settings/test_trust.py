"""What belongs to somebody else is not believed: real files of real other users."""

import os
import re
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from leadctl.backup.storage import BackupFolder
from leadctl.errors import UntrustedFile
from leadctl.files import trusted, write_private
from tests.conftest import Cli, Prepared
from tests.leads import fill
from tests.processes import run
from tests.servers import Server

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
STRANGER = 4711
RUNS = "touch ran"


def write(path: Path, text: str, *, uid: int = 0, gid: int = 0, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, uid, gid)
    return path


FILES = {
    "leadctl.toml": 'lock_wait = "7s"\n',
    "pyproject.toml": '[tool.leadctl]\nlock_wait = "7s"\n',
    ".env": f"ENCRYPTION_KEY_COMMAND={RUNS}\n",
    ".env.local": f"ENCRYPTION_KEY_COMMAND={RUNS}\n",
}


@pytest.mark.few(7)
@ROOT_ONLY
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("line", [["config"], ["keys", "status"], ["health-check"]])
def test_a_strangers_file_is_named_and_not_used(name: str, line: list[str], tmp_path: Path) -> None:
    file = write(tmp_path / name, FILES[name], uid=STRANGER, gid=STRANGER)
    below = tmp_path / "ours"
    below.mkdir()
    where = below if not name.startswith(".env") else tmp_path
    done = run(*line, cwd=where)
    assert done.returncode == 3
    assert f"{file} is not used" in done.stderr
    assert f"LEADCTL_TRUST={file}" in done.stderr
    assert not list(tmp_path.rglob("ran"))


@ROOT_ONLY
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("alembic.ini", "[alembic]\nscript_location = history\n"),
        ("pyproject.toml", '[tool.alembic]\nscript_location = "history"\n'),
    ],
)
@pytest.mark.parametrize("mode", [0o644, 0o666])
def test_alembics_settings_of_a_stranger_name_no_code(
    name: str, text: str, mode: int, server: Server, database: str, tmp_path: Path
) -> None:
    declared = '[apps.mine]\nmodels = "mine:Base"\nmigrations = "history/versions"\n'
    write(tmp_path / "leadctl.toml", declared)
    write(tmp_path / "mine.py", "from sqlalchemy.orm import declarative_base as b\nBase = b()\n")
    write(tmp_path / "history" / "env.py", "open('ran', 'w')\nraise SystemExit\n")
    (tmp_path / "history" / "versions").mkdir()
    uid = STRANGER if mode == 0o644 else 0
    file = write(tmp_path / name, text, uid=uid, mode=mode)
    env = {"DATABASE_URL": server.url(database)}
    done = run("migrate", "--app", "mine", env=env, cwd=tmp_path)
    assert (done.returncode, f"{file} is not used" in done.stderr) == (3, True), done.stderr
    assert not (tmp_path / "ran").exists()
    run("migrate", "--app", "mine", env=env | {"LEADCTL_TRUST": str(file)}, cwd=tmp_path)
    assert (tmp_path / "ran").exists()


@pytest.mark.few(3)
@ROOT_ONLY
@pytest.mark.parametrize(
    ("uid", "gid", "mode", "env", "used"),
    [
        (0, 0, 0o644, {}, True),
        (STRANGER, 0, 0o644, {}, False),
        (STRANGER, 0, 0o644, {"SUDO_UID": str(STRANGER)}, True),
        (STRANGER, 0, 0o644, {"SUDO_UID": "12"}, False),
        (STRANGER, 0, 0o644, {"SUDO_UID": "x"}, False),
        (STRANGER, STRANGER, 0o664, {"SUDO_UID": str(STRANGER)}, True),
        (0, 0, 0o666, {}, False),
        (0, 0, 0o602, {}, False),
        (0, 0, 0o664, {}, True),
        (0, 1, 0o664, {}, False),
        (0, 1, 0o644, {}, True),
        (STRANGER, 0, 0o666, {"LEADCTL_TRUST": "{file}"}, True),
        (STRANGER, 0, 0o644, {"LEADCTL_TRUST": "/nowhere:{folder}"}, True),
        (STRANGER, 0, 0o644, {"LEADCTL_TRUST": "{folder}2:{file}.old"}, False),
        (STRANGER, 0, 0o644, {"LEADCTL_TRUST": ""}, False),
        (STRANGER, 0, 0o644, {"LEADCTL_TRUST": ":"}, False),
    ],
)
def test_who_may_write_it(
    uid: int, gid: int, mode: int, env: Mapping[str, str], used: bool, tmp_path: Path
) -> None:
    file = write(tmp_path / "leadctl.toml", FILES["leadctl.toml"], uid=uid, gid=gid, mode=mode)
    variables = {name: text.format(file=file, folder=tmp_path) for name, text in env.items()}
    done = run("config", env=variables, cwd=tmp_path)
    taken = re.search(r"LEADCTL_LOCK_WAIT +7 ", done.stdout) is not None
    assert (done.returncode, taken) == ((0, True) if used else (3, False)), done


@ROOT_ONLY
def test_trust_does_not_come_from_a_file(tmp_path: Path) -> None:
    write(tmp_path / "leadctl.toml", "", uid=STRANGER)
    write(tmp_path / ".env", f"LEADCTL_TRUST={tmp_path}\n")
    assert run("config", cwd=tmp_path).returncode == 3


@ROOT_ONLY
def test_a_link_of_a_stranger_is_his_word(tmp_path: Path) -> None:
    ours = write(tmp_path / "ours.toml", FILES["leadctl.toml"])
    link = tmp_path / "leadctl.toml"
    link.symlink_to(ours)
    assert run("config", cwd=tmp_path).returncode == 0
    os.lchown(link, STRANGER, STRANGER)
    assert run("config", cwd=tmp_path).returncode == 3
    link.unlink()
    link.symlink_to(write(tmp_path / "his.toml", FILES["leadctl.toml"], uid=STRANGER))
    assert run("config", cwd=tmp_path).returncode == 3


@ROOT_ONLY
def test_a_stranger_s_link_leads_no_backup_elsewhere(
    leadconnector: Prepared, cli: Cli, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = tmp_path / "backups"
    link.symlink_to(elsewhere)
    os.lchown(link, STRANGER, STRANGER)
    archive = tmp_path / "archive"
    archive.symlink_to(elsewhere)
    os.lchown(archive, STRANGER, STRANGER)
    fill(leadconnector, 200)
    for command in (
        ["backup", "--to", str(link)],
        ["cleanup", "--rule", "archived-leads", "--archive", str(archive)],
    ):
        refused = cli(*command, url=leadconnector.url)
        assert refused.code == 3, refused.err
        assert "is not used: it belongs to another user" in refused.err
    assert list(elsewhere.iterdir()) == []
    os.lchown(link, 0, 0)  # one's own leads to another disk
    assert cli("backup", "--to", str(link), url=leadconnector.url).code == 0


@ROOT_ONLY
@pytest.mark.parametrize(("owner", "used"), [(0, True), (65534, True), (STRANGER, False)])
def test_another_user_believes_root_and_himself(owner: int, used: bool) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # where another user may look
        folder = Path(name)
        folder.chmod(0o755)
        file = write(folder / "leadctl.toml", "", uid=owner)
        pid = os.fork()
        if pid == 0:  # pragma: no cover - the child
            try:
                os.setgroups([])
                os.setuid(65534)
                trusted(file)
            except UntrustedFile:
                os._exit(3)
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == (0 if used else 3)


def test_looking_at_settings_runs_nothing(tmp_path: Path) -> None:
    write(
        tmp_path / "leadctl.toml",
        f'[env.prod]\nurl_command = "{RUNS}; echo postgresql://h/d"\n',
        uid=os.geteuid(),
        gid=os.getegid(),
    )
    env = {"ENCRYPTION_KEY_COMMAND": RUNS, "LEADCTL_ENV": "prod"}
    for line in (["config"], ["config", "-o", "json"]):
        assert run(*line, env=env, cwd=tmp_path).returncode == 0
    assert not (tmp_path / "ran").exists()


# --- Links, where leadctl writes and removes --------------------------------------------------


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    return write(tmp_path / "victim" / "file", "precious", mode=0o600)


def untouched(victim: Path) -> bool:
    return victim.read_text() == "precious"


@pytest.mark.few(1)
@pytest.mark.parametrize("name", [".gitignore", "lock", "home", "encryption.key", "server.log"])
def test_links_in_the_servers_folder_are_not_followed(
    name: str, victim: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "project" / ".leadctl"
    folder.mkdir(parents=True, mode=0o700)
    (folder / name).symlink_to(victim)
    run("db", "start", cwd=folder.parent)
    try:
        assert untouched(victim)
        assert stat.S_IMODE(victim.stat().st_mode) == 0o600
    finally:
        (folder / name).unlink(missing_ok=True)
        run("db", "destroy", "--yes", cwd=folder.parent)
    assert untouched(victim)


@pytest.mark.few(1)
@pytest.mark.parametrize("how", ["link", "stranger", "everybody"])
def test_a_servers_folder_of_others_is_refused(how: str, victim: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    folder = project / ".leadctl"
    project.mkdir()
    if how == "link":
        folder.symlink_to(victim.parent)
    else:
        folder.mkdir(mode=0o700)
        if how == "everybody":
            folder.chmod(0o777)
        elif os.geteuid() == 0:
            os.chown(folder, STRANGER, STRANGER)
        else:
            pytest.skip("only root can give files away")
    for line in (["stats"], ["migrate"], ["db", "start"], ["db", "destroy", "--yes"]):
        done = run(*line, cwd=project)
        assert done.returncode == 3, (line, done.stderr)
        assert f"{folder} is not used" in done.stderr
    assert untouched(victim)
    assert [path.name for path in victim.parent.iterdir()] == ["file"]
    assert how == "link" or list(folder.iterdir()) == []


def test_links_in_a_folder_of_backups_are_left_alone(
    leadconnector: Prepared, cli: Cli, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    for name in ("partial", "whole"):
        write(elsewhere / name / "manifest.json", "precious", mode=0o600)
    backups = tmp_path / "backups"
    backups.mkdir()
    begun, whole = backups / "20260103T000000-000Z.partial", backups / "20200103T000000-000Z"
    begun.symlink_to(elsewhere / "partial")
    whole.symlink_to(elsewhere / "whole")
    assert cli("backup", url=leadconnector.url).code == 0
    kept = BackupFolder(backups).remove(BackupFolder(backups).find(whole.name))
    assert kept == "it is a link"
    for name in ("partial", "whole"):
        assert (elsewhere / name / "manifest.json").read_text() == "precious"
    assert begun.is_symlink()
    assert whole.is_symlink()


def test_a_private_file_is_no_link(victim: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        write_private(link, "x")
    assert untouched(victim)
