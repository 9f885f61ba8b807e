"""Verifying a backup: its bytes, its content, and on request by restoring it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from leadctl.backup.archive import Nothing, reading_to_its_end
from leadctl.backup.manifest import ARCHIVE, NAME, SCHEMA
from leadctl.backup.storage import StoredBackup, reading
from leadctl.backup.stream import Label, is_encrypted, sha256_of, unpack
from leadctl.backup.verification import Verification
from leadctl.errors import BackupDamaged, MissingClient
from leadctl.postgres.target import Target
from leadctl.progress import Narrate, Progress


@dataclass(frozen=True)
class VerifyCheck:
    """One thing that was looked at; `ok` is None where it could not be."""

    what: str
    ok: bool | None
    message: str


@dataclass(frozen=True)
class VerifyResult:
    """The outcome: `depth` is how far it was looked, as `Verification` has it."""

    id: str
    path: Path
    ok: bool
    depth: str
    recorded: bool
    """Whether the outcome could be kept beside the backup."""
    checks: tuple[VerifyCheck, ...]


@dataclass(frozen=True)
class Rehearsal:
    """Where `verify --restore` restores to."""

    target: Target
    narrate: Narrate
    progress: Progress


def verify(
    backup: StoredBackup, identities: Sequence[Any], rehearsal: Rehearsal | None
) -> VerifyResult:
    """Verify a backup and keep the outcome beside it.

    Every byte is compared with its hash; what can be decrypted is read to its end; a rehearsal
    loads it into a database and compares that with the manifest.  Raises InvalidIdentity, and what
    connecting raises: those say nothing about the backup.
    """
    with reading(backup):
        checks, depth = [*check_bytes(backup)], "bytes"
        if _good(checks):
            content = [*_content(backup, identities)]
            checks += content
            depth = "content" if all(check.ok is not None for check in content) else depth
        if rehearsal and _good(checks):
            from leadctl.restore.rehearse import rehearse

            checks += rehearse(backup, identities, rehearsal)
            depth = "restored"
    problems = tuple(f"{check.what}: {check.message}" for check in checks if check.ok is False)
    outcome = Verification(datetime.now(UTC), not problems, depth, problems)
    return VerifyResult(
        backup.id, backup.path, not problems, depth, _record(backup, outcome), tuple(checks)
    )


def _good(checks: Sequence[VerifyCheck]) -> bool:
    return all(check.ok is not False for check in checks)


def check_bytes(backup: StoredBackup) -> Iterator[VerifyCheck]:
    """Compare the manifest with its own hash, and every file with the manifest."""
    try:
        manifest = backup.manifest
    except BackupDamaged as error:
        yield VerifyCheck(NAME, False, error.message)
        return
    yield VerifyCheck(NAME, True, "its own hash fits")
    for file in manifest.files:
        try:
            size, digest = sha256_of(backup.path / file.name)
        except OSError as error:
            yield VerifyCheck(file.name, False, f"cannot be read: {error.strerror}")
            continue
        if size != file.bytes:
            message = f"{size:,} bytes, and not {file.bytes:,} as the manifest says"
        elif digest != file.sha256:
            message = "its hash is not the manifest's: it was changed"
        else:
            message = f"{size:,} bytes, as they were written"
        yield VerifyCheck(file.name, size == file.bytes and digest == file.sha256, message)


def _content(backup: StoredBackup, identities: Sequence[Any]) -> Iterator[VerifyCheck]:
    """Decrypt and decompress every file, and read the archives to their ends."""
    for file in backup.manifest.files:
        what, path = f"content of {file.name}", backup.path / file.name
        if is_encrypted(path) and not identities:
            yield VerifyCheck(
                what, None, "not decrypted: no BACKUP_IDENTITY_FILE, so the tags were not checked"
            )
            continue
        try:
            raw_bytes = _read(backup, file.name, identities)
        except MissingClient as error:
            yield VerifyCheck(what, None, error.message)
        except BackupDamaged as error:
            yield VerifyCheck(what, False, error.message)
        else:
            ok = raw_bytes == file.raw_bytes
            message = "read to its end" if ok else f"{raw_bytes:,} bytes, not {file.raw_bytes:,}"
            yield VerifyCheck(what, ok, message)


def _read(backup: StoredBackup, name: str, identities: Sequence[Any]) -> int:
    """Unpack a file to its end, through pg_restore where it is an archive; return its bytes."""
    path, label = backup.path / name, Label(backup.id, name)
    if not name.startswith((ARCHIVE, SCHEMA)):
        return unpack(path, identities, label, Nothing())
    with reading_to_its_end(backup.programs()) as sink:
        return unpack(path, identities, label, sink)


def _record(backup: StoredBackup, outcome: Verification) -> bool:
    try:
        backup.record(outcome)
    except OSError:
        return False
    return True
