"""What the programs that leadctl starts may know: read from /proc, as anybody could."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import KEY, Cli, Prepared
from tests.processes import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")

SECRET = "s3cret-of-leadctl"
OURS = {
    "ENCRYPTION_KEY": KEY,
    "ENCRYPTION_KEYS": f"a:{KEY}",
    "ENCRYPTION_KEY_FILE": f"/nowhere/{SECRET}",
    "DIRECT_URL": f"postgresql://u:{SECRET}@direct/d",
    "BACKUP_IDENTITY_FILE": f"/nowhere/{SECRET}",
    "LEADCTL_MIGRATE_URL": f"postgresql://u:{SECRET}@other/d",
    "LEADCTL_URL": f"postgresql://u:{SECRET}@other/d",
}
THEIRS = {"AWS_SECRET_ACCESS_KEY": "the user's own", "HOME": "/root", "PGTZ": "Europe/Berlin"}
NEVER = {*OURS, "DATABASE_URL"}


def variables(text: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in text.split("\0") if line)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """The environments of the programs that this process starts, by the program's name."""
    found: dict[str, dict[str, str]] = {}

    class Watched(subprocess.Popen[Any]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            text = ""
            while not text and self.poll() is None:  # it is empty while the program begins
                with suppress(OSError):  # it may have ended by now
                    text = Path(f"/proc/{self.pid}/environ").read_text()
            if text:
                found[Path(str(self.args[0])).name] = variables(text)  # type: ignore[index]

    monkeypatch.setattr(subprocess, "Popen", Watched)
    return found


def check(found: dict[str, str], *, password: str | None = None) -> None:
    assert not NEVER & found.keys()
    assert not [name for name, value in found.items() if SECRET in value or KEY in value]
    assert found["AWS_SECRET_ACCESS_KEY"] == "the user's own"
    assert found.get("PGPASSWORD") == password


@pytest.mark.thorough
def test_programs_of_postgresql(
    leadconnector: Prepared,
    cli: Cli,
    children: dict[str, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {**OURS, **THEIRS}.items():
        monkeypatch.setenv(name, value)
    env = {"ENCRYPTION_KEYS": "", "ENCRYPTION_KEY_FILE": "", "DIRECT_URL": ""}
    env |= {"BACKUP_IDENTITY_FILE": ""}
    lines = (["backup"], ["schema", "dump"], ["restore", "--table", "users"], ["restore", "--yes"])
    for line in lines:
        outcome = cli(*line, url=leadconnector.url, env=env)
        assert outcome.code == 0, outcome.err
    assert {"pg_dump", "pg_restore"} <= children.keys()
    check(children["pg_dump"], password="correct horse battery")
    for name, found in children.items():
        if "PGPASSWORD" not in found:
            check(found)
        assert not NEVER & found.keys(), name


@pytest.mark.thorough
def test_commands_of_the_user(leadconnector: Prepared, tmp_path: Path) -> None:
    show = f"cat /proc/self/environ > {tmp_path}"
    (tmp_path / "leadctl.toml").write_text(
        f"[env.x]\nurl_command = \"{show}/url; echo '{leadconnector.url}'\"\n"
        f'[backup]\non_success = "{show}/success"\non_failure = "{show}/failure"\n'
    )
    env = {**THEIRS, "LEADCTL_URL": f"postgresql://{SECRET}", "BACKUP_IDENTITY_X": SECRET}
    env |= {"ENCRYPTION_KEY_COMMAND": f"{show}/keys; echo {KEY}", "DATABASE_URL": SECRET}
    env |= {"LEADCTL_ENV": "x"}
    done = run("backup", env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    failed = run("backup", "--to", "/dev/null/x", env=env, cwd=tmp_path)
    assert failed.returncode == 3, failed.stderr
    assert run("keys", "status", env=env, cwd=tmp_path).returncode == 0
    for name in ("url", "success", "failure", "keys"):
        check(variables((tmp_path / name).read_text()))
    assert variables((tmp_path / "success").read_text())["LEADCTL_BACKUP_OUTCOME"] == "done"


def test_psql(leadconnector: Prepared) -> None:
    line = ("db", "shell", "--", "-c", r"\! cat /proc/self/environ")
    env = {**THEIRS, **OURS, "DIRECT_URL": "", "DATABASE_URL": leadconnector.url}
    done = run(*line, env=env)
    assert done.returncode == 0, done.stderr
    check(variables(done.stdout), password="correct horse battery")


LIBPQ = {
    "PGPORT": "1",
    "PGDATESTYLE": "German",
    "PGOPTIONS": "-c search_path=nowhere -c DateStyle=German",
    "PGHOSTADDR": "192.0.2.1",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGTARGETSESSIONATTRS": "standby",
    "PGSSLMODE": "verify-full",
    "PGPASSWORD": SECRET,
    "PGUSER": "nobody",
}


@pytest.mark.thorough
def test_the_embedded_server_knows_and_hears_nothing_of_who_started_it(tmp_path: Path) -> None:
    env = {**OURS, **LIBPQ, "TZ": "UTC", "LANG": "C.UTF-8", "SMTP_PASSWORD": SECRET}
    env |= {"ENCRYPTION_KEYS": "", "ENCRYPTION_KEY_FILE": "", "DIRECT_URL": ""}
    env |= {"BACKUP_IDENTITY_FILE": "", "LEADCTL_MIGRATE_URL": "", "LEADCTL_URL": ""}
    try:
        for line in (["migrate"], ["stats"], ["seed"], ["backup"], ["schema", "dump"]):
            done = run(*line, env=env)
            assert done.returncode == 0, (line, done.stderr)
        status = run("db", "status", "-o", "json", env=env)
        pid = json.loads(status.stdout)["pid"]
        for process in [pid, *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]:
            found = variables(Path(f"/proc/{process}/environ").read_text())
            assert set(found) <= {"PATH", "LANG", "TZ", "PWD", "SHLVL", "_", "OLDPWD"}, found
            assert not any(SECRET in value or KEY in value for value in found.values())
        shown = run("db", "shell", "--", "-Atc", "SHOW DateStyle", env=env)
        assert shown.stdout == "ISO, MDY\n", shown.stderr
    finally:
        run("db", "destroy", "--yes", env=env)
