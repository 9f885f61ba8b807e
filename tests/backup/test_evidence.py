"""A manifest is evidence only as far as it can prove, and one bad folder hides no good one."""

import hashlib
import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest
import zstandard

from leadctl.backup.stream import Label, pack
from tests.backups import encrypted_backups
from tests.conftest import Cli, Outcome, Prepared

Leadctl = Callable[..., Outcome]
Change = Callable[[dict[str, Any]], object]
BAD = "20260101T000000-000Z"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return encrypted_backups(tmp_path)


@pytest.fixture
def leadctl(leadconnector: Prepared, cli: Cli, env: dict[str, str]) -> Leadctl:
    return lambda *arguments: cli(*arguments, url=leadconnector.url, env=env)


@pytest.fixture
def good(leadctl: Leadctl) -> Path:
    return Path(leadctl("backup", "-o", "json").json["path"])


def rewrite(folder: Path, change: Change) -> None:
    """Change a manifest and give it a hash that fits, as anybody can."""
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    del document["sha256"]
    change(document)
    digest = hashlib.sha256(json.dumps(document, ensure_ascii=False).encode()).hexdigest()
    whole = {**document, "sha256": digest}
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")


def forged(good: Path, change: Change) -> Path:
    """Copy a backup as an older one of the folder, with a manifest that was changed."""
    bad = good.with_name(BAD)
    shutil.copytree(good, bad)
    rewrite(bad, lambda document: document.update(id=BAD))
    rewrite(bad, change)
    return bad


def lacks(stem: str) -> Change:
    return lambda d: d.update(files=[f for f in d["files"] if not f["name"].startswith(stem)])


def named(name: str) -> Change:
    return lambda d: d["files"][0].update(name=name)


CHANGES: dict[str, Change] = {
    "no archive": lacks("archive"),
    "no schema": lacks("schema"),
    "file elsewhere": named("/etc/passwd"),
    "file above": named("../../../../etc/hostname"),
    "device": named("/dev/zero"),
    "plain by its name": named("archive.dump.zst"),
    "unknown file": named("archive.dump.xz.age"),
    "twice": lambda d: d["files"].append(dict(d["files"][0])),
    "no recipients": lambda d: d.update(recipients=[]),
    "key missing": lambda d: d.pop("large_objects"),
    "text for a number": lambda d: d.update(large_objects="many"),
    "number for a text": lambda d: d.update(database=7),
    "list for an object": lambda d: d.update(settings=[]),
    "object for a list": lambda d: d.update(tables={}),
    "null": lambda d: d.update(snapshot_at=None),
    "no date": lambda d: d.update(snapshot_at="yesterday"),
    "impossible date": lambda d: d.update(snapshot_at="2026-02-30T00:00:00+00:00"),
    "without a zone": lambda d: d.update(snapshot_at="2026-02-03T00:00:00"),
    "negative rows": lambda d: d["tables"][0].update(rows=-1),
    "true for rows": lambda d: d["tables"][0].update(rows=True),
    "version": lambda d: d.update(client_version="new"),
    "server version": lambda d: d.update(server_version=""),
    "date for a version": lambda d: d.update(server_version="2026-13-45T00:00:00"),
}


@pytest.mark.few(6)
@pytest.mark.parametrize("name", CHANGES)
def test_a_manifest_that_claims_too_much(leadctl: Leadctl, good: Path, name: str) -> None:
    bad = forged(good, CHANGES[name])
    listed = leadctl("backup", "list", "-o", "json").json["backups"]
    assert [(b["id"], b["damage"] is None) for b in listed] == [(good.name, True), (BAD, False)]
    for command in (["backup", "verify", BAD], ["backup", "show", BAD], ["restore", BAD, "--yes"]):
        outcome = leadctl(*command)
        assert outcome.code == 1, (command, outcome.out)
        assert "unexpected" not in outcome.err
        assert "root:" not in outcome.out + outcome.err
    assert leadctl("backup", "verify", good.name).code == 0
    pruned = leadctl("backup", "prune", "--yes", "-o", "json")
    assert pruned.code == 0, pruned.err
    assert bad.is_dir()


DIFFERENT: dict[str, Change] = {
    "fewer tables": lambda d: d["tables"].pop(),
    "no tables": lambda d: d.update(tables=[]),
    "another table": lambda d: d["tables"][-1].update(name="public.of_nobody", rows=0),
    "fewer rows": lambda d: d["tables"][0].update(rows=d["tables"][0]["rows"] + 1),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_manifest_of_other_tables_than_the_archive(
    leadctl: Leadctl, good: Path, name: str, leadconnector: Prepared
) -> None:
    """Its own hash fits, and its counts say nothing of what it does not list."""
    with leadconnector.server.connect(leadconnector.name) as connection:
        before = tables_of(connection)
    rewrite(good, DIFFERENT[name])
    verified = leadctl("backup", "verify", "latest")
    assert (verified.code, "the archive has" in verified.out) == (1, True), verified.out
    (check,) = [
        c for c in leadctl("health-check", "-o", "json").json["checks"] if c["name"] == "backups"
    ]
    assert check["status"] == "critical", check
    if name != "fewer rows":  # they are counted when they are there
        for more in (
            ["--yes"],
            ["--into", "forged"],
            ["--in-place", "--yes"],
            ["--table", "users"],
        ):
            outcome = leadctl("restore", "latest", *more)
            assert (outcome.code, "not what its manifest says" in outcome.err) == (1, True), more
    with leadconnector.server.connect(leadconnector.name) as connection:
        assert tables_of(connection) == before


def tables_of(connection: Any) -> list[Any]:
    query = "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p') ORDER BY 1"
    return list(connection.execute(query).fetchall())


def test_keys_of_a_newer_leadctl_are_passed_over(leadctl: Leadctl, good: Path) -> None:
    def newer(document: dict[str, Any]) -> None:
        document["brand_new"] = {"a": 1}
        document["tables"][0]["brand_new"] = 1
        document["settings"]["brand_new"] = None

    rewrite(good, newer)
    assert leadctl("backup", "verify", "latest").code == 0
    assert leadctl("backup", "list", "-o", "json").json["backups"][0]["damage"] is None


def test_a_manifest_that_another_program_laid_out(leadctl: Leadctl, good: Path) -> None:
    """Its hash is that of what it says: line ends and spaces make no good backup a damaged one."""
    path = good / "manifest.json"
    document = json.loads(path.read_text())
    for text in (path.read_text().replace("\n", "\r\n"), json.dumps(document)):
        path.write_bytes(text.encode())
        assert leadctl("backup", "verify", good.name).code == 0
    path.write_text(json.dumps({**document, "database_bytes": 1}))
    assert "does not match its own hash" in leadctl("backup", "verify", good.name).out


def test_a_folder_of_an_impossible_time(leadctl: Leadctl, good: Path) -> None:
    shutil.copytree(good, good.with_name("20269999T999999-999Z"))
    for command in ("list", "prune"):
        outcome = leadctl("backup", command, "-o", "json")
        assert (outcome.code, [b["id"] for b in outcome.json["backups"]]) == (0, [good.name])
    assert leadctl("restore", "--dry-run").code == 0


@pytest.mark.parametrize(
    "record", ['{"at": "2026-01-01T00:00:00", "ok": true}', "[]", '"x"', "[" * 9999]
)
def test_an_outcome_that_is_none(leadctl: Leadctl, good: Path, record: str) -> None:
    (good / "verified.json").write_text(record)
    assert leadctl("backup", "list", "-o", "json").json["backups"][0]["verified"] is None
    assert "unexpected" not in leadctl("health-check").err


def test_plain_bytes_in_an_encrypted_backup(leadctl: Leadctl, good: Path) -> None:
    def replaced(document: dict[str, Any]) -> None:
        path = good / "archive.dump.zst.age"
        data = zstandard.compress(b"PGDMP forged")
        path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        document["files"][0].update(bytes=len(data), sha256=digest, raw_bytes=12)

    rewrite(good, replaced)
    outcome = leadctl("backup", "verify", "latest")
    assert (outcome.code, "not encrypted" in outcome.out) == (1, True)
    assert leadctl("restore", "--yes").code == 1


def test_little_that_unpacks_to_a_full_memory(
    leadctl: Leadctl, good: Path, env: dict[str, str]
) -> None:
    """Whoever knows the public key can write it, and the manifest's hash."""
    path, zeros = good / "archive.dump.zst.age", 100 * 2**20

    def replaced(document: dict[str, Any]) -> None:
        recipients = [pyrage.x25519.Recipient.from_str(env["BACKUP_RECIPIENTS"])]
        with path.open("wb") as file:
            made = pack(
                io.BytesIO(bytes(zeros)), file, Label(good.name, path.name), recipients, int
            )
        document["files"][0].update(bytes=made.bytes, sha256=made.sha256)

    rewrite(good, replaced)
    outcome = leadctl("restore", "--yes")
    assert (outcome.code, "more bytes than the manifest says" in outcome.err) == (1, True)


@pytest.mark.parametrize("name", ["manifest.json", "archive.dump.zst.age"])
def test_a_file_that_is_none(leadctl: Leadctl, good: Path, name: str) -> None:
    path = good / name
    kept = path.rename(good.parent / "elsewhere")
    for make in (lambda: path.symlink_to(kept), lambda: os.mkfifo(path)):
        make()
        assert leadctl("backup", "verify", good.name).code == 1
        path.unlink()


def test_links_are_not_followed_when_removing(leadctl: Leadctl, good: Path, tmp_path: Path) -> None:
    partial, victim = tmp_path / "victim.partial", tmp_path / "victim"
    shutil.copytree(good, partial)
    shutil.copytree(good, victim)
    (good.parent / f"{BAD}.partial").symlink_to(partial)
    (good.parent / BAD).symlink_to(victim)
    rewrite(victim, lambda document: document.update(id=BAD))
    before = listing(tmp_path, "victim*")
    assert leadctl("backup").code == 0
    outcome = leadctl("backup", "prune", "--yes", "--keep-daily", "1", "--keep-minimum", "1")
    assert "unexpected" not in outcome.err
    assert listing(tmp_path, "victim*") == before
    assert (good.parent / BAD).is_symlink()


def listing(folder: Path, pattern: str) -> bytes:
    return subprocess.run(
        ["/bin/sh", "-c", f"ls -R {pattern} && md5sum {pattern}/*"],
        cwd=folder, capture_output=True, check=True,
    ).stdout  # fmt: skip
