"""`leadctl backup` as people use it: flags, output, retention, hooks, health."""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from leadctl.backup import manifest as manifests
from leadctl.backup.inventory import Retention, prune_decisions
from leadctl.backup.storage import BackupFolder, StoredBackup
from leadctl.errors import UnknownBackup
from tests.backups import encrypted_backups, key_pair
from tests.conftest import KEY, Cli, Outcome, Prepared
from tests.processes import environment


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return encrypted_backups(tmp_path)


Backup = Callable[..., Outcome]


@pytest.fixture
def backup(leadconnector: Prepared, cli: Cli, env: dict[str, str]) -> Backup:
    def run(*arguments: str, **more: str) -> Outcome:
        return cli("backup", *arguments, url=leadconnector.url, env=env | more)

    return run


def test_a_backup_says_what_it_is(backup: Backup, leadconnector: Prepared, tmp_path: Path) -> None:
    made = backup("-o", "json").json
    path = Path(made["path"])
    assert (made["encrypted"], made["revision"]) == (True, "leadconnector_0002")
    assert {oct(file.stat().st_mode & 0o777) for file in path.iterdir()} == {"0o600"}
    assert {oct(p.stat().st_mode & 0o777) for p in (path, path.parent)} == {"0o700"}
    assert sorted(file.name for file in path.iterdir()) == [
        "archive.dump.zst.age",
        "globals.sql.zst.age",
        "manifest.json",
        "schema.dump.zst.age",
    ]
    text = (path / "manifest.json").read_text()
    assert KEY not in text
    shown = backup("show", "latest", "-o", "json").json["manifest"]
    rows = {table["name"]: table["rows"] for table in shown["tables"]}
    assert rows["public.users"] == leadconnector.query("SELECT count(*) FROM users")[0][0]
    assert shown["identity"] == str(leadconnector.query("SELECT id FROM leadctl.identity")[0][0])
    assert (shown["app"], len(shown["keys"]), len(shown["recipients"])) == ("leadconnector", 1, 1)
    assert shown["lsn"]
    assert shown["system_identifier"]
    assert backup("verify", made["id"][:18]).code == 0
    listed = backup("list", "-o", "json").json["backups"]
    assert [(b["id"], b["verified"]["depth"]) for b in listed] == [(made["id"], "content")]


def test_without_a_key_it_says_so_loudly(backup: Backup) -> None:
    outcome = backup(BACKUP_RECIPIENTS="")
    assert outcome.code == 0
    assert "WARNING: this backup is NOT ENCRYPTED" in outcome.err
    assert "NOT ENCRYPTED" in outcome.out
    assert backup("verify", "latest", BACKUP_IDENTITY_FILE="").code == 0
    assert backup("list", "-o", "json").json["backups"][0]["encrypted"] is False


def test_without_the_private_key_verify_says_what_it_cannot_see(backup: Backup) -> None:
    backup()
    found = backup("verify", "latest", "-o", "json", BACKUP_IDENTITY_FILE="").json
    assert (found["ok"], found["depth"]) == (True, "bytes")
    unknown = [check["what"] for check in found["checks"] if check["ok"] is None]
    assert len(unknown) == 3


@pytest.mark.thorough
@pytest.mark.parametrize("where", [["--restore"], ["--embedded"]])
def test_verify_by_restoring(
    backup: Backup, cli: Cli, leadconnector: Prepared, where: list[str]
) -> None:
    backup()
    try:
        outcome = backup("verify", "latest", *where, "-o", "json")
        assert (outcome.code, outcome.json["depth"]) == (0, "restored"), outcome.err
        assert outcome.json["ok"]
        whats = {check["what"] for check in outcome.json["checks"]}
        assert {"rows", "large objects", "constraints and indexes", "revision"} <= whats
        verified = f"leadctl_verify_{outcome.json['id']}"
        assert leadconnector.query("SELECT FROM pg_database WHERE datname = %s", verified) == []
    finally:
        cli("db", "destroy", "--yes", env={"DATABASE_URL": ""})


def test_a_wrong_private_key_says_nothing_about_the_backup(backup: Backup, tmp_path: Path) -> None:
    backup()
    (tmp_path / "other").mkdir()
    _, other = key_pair(tmp_path / "other")
    outcome = backup("verify", "latest", "--identity", str(other))
    assert outcome.code == 3
    assert "archive.dump.zst.age is not encrypted to the key" in outcome.err
    other.chmod(0o644)
    outcome = backup("verify", "latest", "--identity", str(other))
    assert (outcome.code, "chmod 600" in outcome.err) == (3, True)
    other.chmod(0o600)
    other.write_text("nonsense\n")
    assert backup("verify", "latest", "--identity", str(other)).code == 3
    assert backup("list", "-o", "json").json["backups"][0]["verified"] is None


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("age1nonsense", "age1nonsense"),
        ("ssh-ed25519 AAAA", "ssh-ed25519 AAAA"),
        ("hunter22", "What BACKUP_RECIPIENTS has"),
    ],
)
def test_a_wrong_recipient(backup: Backup, env: dict[str, str], key: str, shown: str) -> None:
    outcome = backup(BACKUP_RECIPIENTS=key)
    assert (outcome.code, shown in outcome.err) == (3, True)
    assert "hunter22" not in outcome.err
    assert not Path(env["BACKUP_DIR"]).exists()


def test_a_private_key_is_no_recipient_and_is_not_shown(
    backup: Backup, env: dict[str, str]
) -> None:
    private = Path(env["BACKUP_IDENTITY_FILE"]).read_text().splitlines()[1]
    outcome = backup(BACKUP_RECIPIENTS=private)
    assert outcome.code == 3
    assert private not in outcome.err + outcome.out


def test_several_recipients_each_read_it(
    backup: Backup, env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    second, identity = key_pair(tmp_path / "other")
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "ssh"], check=True
    )
    ssh = (tmp_path / "ssh.pub").read_text().strip()
    assert backup(BACKUP_RECIPIENTS=f"{env['BACKUP_RECIPIENTS']}, {second},{ssh}").code == 0
    for file in (env["BACKUP_IDENTITY_FILE"], str(identity), str(tmp_path / "ssh")):
        found = backup("verify", "latest", "--identity", file, "-o", "json").json
        assert (found["ok"], found["depth"]) == (True, "content"), file


def test_settings_in_leadctl_toml(backup: Backup, env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "leadctl.toml").write_text(
        f'[backup]\ndir = "kept"\nrecipients = ["{env["BACKUP_RECIPIENTS"]}"]\nkeep_daily = 2\n'
    )
    (tmp_path / "below").mkdir()
    os.chdir(tmp_path / "below")
    outcome = backup("-o", "json", BACKUP_DIR="", BACKUP_RECIPIENTS="")
    assert outcome.code == 0, outcome.err
    assert Path(outcome.json["path"]).parent == tmp_path / "kept"
    assert outcome.json["encrypted"]
    (tmp_path / "leadctl.toml").write_text('[backup]\nrecipient = "x"\n')
    outcome = backup()
    assert (outcome.code, "recipients" in outcome.err) == (3, True)


def test_an_unknown_or_ambiguous_backup(backup: Backup) -> None:
    assert backup("show", "latest").code == 1
    assert "leadctl backup" in backup("list").out
    backup()
    backup()
    for name in ("2", "nothing", ""):
        outcome = backup("show", name)
        assert (outcome.code, "leadctl backup list" in outcome.err) == (1, True)


def test_a_folder_that_cannot_be_used(backup: Backup, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for arguments in ([], ["list"]):
        outcome = backup(*arguments, BACKUP_DIR=str(tmp_path / "file" / "x"))
        assert outcome.code == 3, outcome.err
        assert "file" in outcome.err


def test_hooks(backup: Backup, tmp_path: Path) -> None:
    facts = tmp_path / "facts"
    hook = f'env | grep ^LEADCTL_BACKUP_ | sort > "{facts}"; echo said'
    outcome = backup("-o", "json", BACKUP_ON_SUCCESS=hook)
    assert outcome.code == 0
    found = dict(line.split("=", 1) for line in facts.read_text().splitlines())
    assert found["LEADCTL_BACKUP_ID"] == outcome.json["id"]
    assert found["LEADCTL_BACKUP_BYTES"] == str(outcome.json["bytes"])
    outcome = backup(BACKUP_ON_SUCCESS="exit 7")
    assert (outcome.code, "exit code 7" in outcome.err, "is complete" in outcome.err) == (
        1,
        True,
        True,
    )
    assert len(backup("list", "-o", "json").json["backups"]) == 2
    facts.unlink()
    failing = f'echo "$LEADCTL_BACKUP_ERROR" > "{facts}"'
    outcome = backup(BACKUP_ON_FAILURE=failing, BACKUP_RECIPIENTS="nothing")
    assert outcome.code == 3
    assert "not a public key" in facts.read_text()


def test_migrate_and_reset_make_a_backup_first(
    backup: Backup, cli: Cli, leadconnector: Prepared, env: dict[str, str]
) -> None:
    url = leadconnector.url
    assert cli("migrate", "--backup", url=url, env=env).code == 0
    assert backup("list", "-o", "json").json["backups"] == []  # nothing was to do
    before = leadconnector.query("SELECT count(*) FROM leadctl.run")[0][0]
    outcome = cli("reset", "--yes", "--backup", url=url, env=env)
    assert outcome.code == 0, outcome.err
    (made,) = backup("list", "-o", "json").json["backups"]
    assert f"leadctl restore {made['id']}" in outcome.err
    tables = {
        table["name"]: table["rows"]
        for table in backup("show", "latest", "-o", "json").json["manifest"]["tables"]
    }
    assert tables["leadctl.run"] == before
    assert cli("reset", "--backup", url=url, env=env).code == 5
    assert len(backup("list", "-o", "json").json["backups"]) == 1
    assert cli("migrate", "--plan", "--backup", url=url, env=env).code == 2


# --- prune ----------------------------------------------------------------------------------


def stored(folder: Path, at: datetime, template: Path, **changes: str) -> StoredBackup:
    """Make a backup of another time from one that is there; its manifest may say something else."""
    name = f"{at:%Y%m%dT%H%M%S-%f}"[:-3] + "Z"
    path = folder / name
    path.mkdir(mode=0o700)
    document = json.loads((template / "manifest.json").read_text())
    document.pop("sha256")
    document |= {"id": name, **changes}
    (path / "manifest.json").write_text(manifests._text(document))
    for file in document["files"]:
        (path / file["name"]).hardlink_to(template / file["name"])
    return StoredBackup(path)


NOW = datetime(2025, 12, 31, 3, 0, tzinfo=UTC)


@pytest.fixture
def years(backup: Backup, env: dict[str, str]) -> BackupFolder:
    """A folder with a backup a day, for two years."""
    template = Path(backup("-o", "json").json["path"])
    folder = BackupFolder(template.parent)
    for day in range(730):
        stored(folder.path, NOW - timedelta(days=day), template)
    for file in template.iterdir():
        file.unlink()
    template.rmdir()
    return folder


def test_what_is_kept(years: BackupFolder) -> None:
    backups = years.backups()
    kept = [d for d in prune_decisions(backups, Retention(7, 4, 12, 3)) if d.kept_as]
    days = [decision.made_at.date() for decision in kept]
    assert days[:7] == [(NOW - timedelta(days=n)).date() for n in range(7)]
    months = {day.strftime("%Y-%m") for day in days}
    assert months == {f"2025-{month:02}" for month in range(1, 13)}
    assert len(kept) == 7 + 2 + 11  # days, weeks that no day stands for, months likewise
    none = prune_decisions(backups, Retention(0, 0, 0, 3))
    assert [bool(d.kept_as) for d in none] == [True] * 3 + [False] * 727


@pytest.mark.thorough
def test_prune_does_what_it_showed_and_touches_nothing_else(
    backup: Backup, years: BackupFolder
) -> None:
    backups = years.backups()
    backups[-1].pin(pinned=True)
    (backups[-2].path / "manifest.json").write_text("{}")
    (backups[-3].path / "notes of mine.txt").write_text("mine")
    (years.path / "other.txt").write_text("mine")
    (years.path / "20200101T000000Z").mkdir()
    arguments = ["prune", "--keep-daily", "2", "--keep-weekly", "0", "--keep-monthly", "0"]
    planned = backup(*arguments, "-o", "json").json
    assert not planned["removed"]
    assert len(years.backups()) == 730
    done = backup(*arguments, "--yes", "-o", "json")
    assert done.code == 1  # one has a file of somebody else's in it
    assert done.json["left"] == [backups[-3].id]
    expected = {b["id"] for b in planned["backups"] if b["kept_as"]}
    assert {b.id for b in years.backups()} == expected
    assert {backups[-1].id, backups[-2].id, backups[0].id} <= expected
    assert (years.path / "other.txt").exists()
    assert (years.path / "20200101T000000Z").exists()
    assert list(years.path.glob("*/notes of mine.txt"))


def test_wrong_numbers(backup: Backup) -> None:
    assert backup("prune", "--keep-daily", "-1").code == 2
    assert backup("prune", "--keep-minimum", "0").code == 2


def test_a_backup_that_is_read_is_not_pruned(backup: Backup, years: BackupFolder) -> None:

    with years.backups()[-1].held():
        outcome = backup("prune", "--yes", "-o", "json")
    assert outcome.json["left"] == [years.backups()[-1].id]


def test_a_backup_that_is_pruned_first_is_not_damaged(years: BackupFolder) -> None:
    """Whoever found it waits for the lock that prune has, and gets that of a folder that is gone."""
    oldest, newest = years.backups()[-1], years.backups()[0]
    handle = os.open(oldest.path, os.O_RDONLY)
    with ThreadPoolExecutor(1) as thread:
        fcntl.flock(handle, fcntl.LOCK_EX)
        reading = thread.submit(oldest.held().__enter__)
        time.sleep(0.2)  # it may wait for the lock by now, and ends alike where it does not
        oldest.path.rename(oldest.path.with_name("gone"))
        os.close(handle)
        with pytest.raises(UnknownBackup, match="removed in the meantime"):
            reading.result()
    assert years.remove(newest) is None
    with pytest.raises(UnknownBackup, match="removed in the meantime"), newest.held():
        raise AssertionError


# --- health ---------------------------------------------------------------------------------


@pytest.mark.thorough
def test_health(
    backup: Backup, cli: Cli, leadconnector: Prepared, env: dict[str, str], tmp_path: Path
) -> None:
    def check() -> tuple[str, str]:
        outcome = cli("health-check", "-o", "json", url=leadconnector.url, env=env)
        (found,) = [c for c in outcome.json["checks"] if c["name"] == "backups"]
        return found["status"], found["message"]

    assert check()[0] == "critical"
    template = Path(backup("-o", "json").json["path"])
    assert check() == ("warning", "1 good, the last 0.0 h old; none was verified")
    assert backup("verify", "latest").code == 0
    assert check()[0] == "ok"
    archive = template / "archive.dump.zst.age"
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-1])
    assert check()[0] == "critical"  # before anybody verifies it
    assert backup("verify", "latest").code == 1
    assert check()[0] == "critical"
    archive.unlink()
    assert check()[0] == "critical"
    archive.write_bytes(whole)
    folder = Path(env["BACKUP_DIR"])
    for hours, expected in ((60, "critical"), (30, "warning")):
        stored(folder, datetime.now(UTC) - timedelta(hours=hours), template)
        assert check()[0] == expected
    last = stored(folder, datetime.now(UTC) + timedelta(seconds=1), template)
    document = json.loads((last.path / "manifest.json").read_text())
    document.pop("sha256")
    document["files"][0]["bytes"] //= 100
    first = last.path / document["files"][0]["name"]
    first.unlink()  # it is the others', too
    first.write_bytes(b"x" * document["files"][0]["bytes"])
    (last.path / "manifest.json").write_text(manifests._text(document))
    assert "smaller than usual" in check()[1]
    for second in range(25):  # a folder that many databases share
        at = datetime.now(UTC) + timedelta(minutes=1, seconds=second)
        stored(folder, at, template, database="another")
    assert "smaller than usual" in check()[1]


def test_interrupted_output_is_whole_and_60_columns_fit(
    backup: Backup, leadconnector: Prepared, env: dict[str, str]
) -> None:
    backup()
    for arguments in (["list"], ["show", "latest"], ["verify", "latest"], ["prune"]):
        out = backup(*arguments, COLUMNS="60").out
        assert max(map(len, out.splitlines())) <= 60, out
    piped = subprocess.run(
        f'"{sys.executable}" -m leadctl backup list | head -1',
        shell=True,
        env=environment(env | {"DATABASE_URL": leadconnector.url}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Traceback" not in piped.stderr
