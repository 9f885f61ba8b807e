"""Verifying a backup: its bytes, its content, and on request by restoring it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from leadctl.backup.manifest import ARCHIVE, SCHEMA
from leadctl.backup.reader import BackupReader, VerifyCheck, problems
from leadctl.backup.storage import StoredBackup, Verification
from leadctl.backup.stream import NullSink, PackedFile, is_encrypted
from leadctl.errors import BackupDamaged, MissingClient
from leadctl.postgres.client import feeding

RESTORE = "restore"
"""The check that says whether a backup could be restored."""
Rehearse = Callable[[BackupReader], Sequence[VerifyCheck]]
"""Restores a backup into a database that is dropped afterwards, and compares the two."""


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
    not_rehearsed: str | None
    """Why it could not be restored here, though that was wanted; that is no fault of the backup."""


def verify(reader: BackupReader, rehearse: Rehearse | None) -> VerifyResult:
    """Verify a backup and keep the outcome beside it.

    Every byte is compared with its hash; what can be decrypted is read to its end; a rehearsal
    loads it into a database and compares that with the manifest; where the server cannot take it,
    that is said, and nothing is recorded of it.  Raises InvalidIdentity, and what
    connecting raises: those say nothing about the backup.
    """
    backup = reader.backup
    with backup.held():
        checks, depth = [*reader.check_bytes()], "bytes"
        missing: str | None = None
        if not problems(checks):
            content = [*_content(reader)]
            checks += content
            depth = "content" if all(check.ok is not None for check in content) else depth
        if rehearse and not problems(checks):
            rehearsed = rehearse(reader)
            checks += rehearsed
            missing = next(
                (c.message for c in rehearsed if c.what == RESTORE and c.ok is None), None
            )
            depth = depth if missing else "restored"
    found = problems(checks)
    outcome = Verification(datetime.now(UTC), not found, depth, found)
    recorded = _record(backup, outcome)
    return VerifyResult(backup.id, backup.path, outcome.ok, depth, recorded, tuple(checks), missing)


def _content(reader: BackupReader) -> Iterator[VerifyCheck]:
    """Decrypt and decompress every file, and read the archives to their ends."""
    for file in reader.manifest.files:
        what = f"content of {file.name}"
        if is_encrypted(file.name) and not reader.identities:
            yield VerifyCheck(
                what, None, "not decrypted: no BACKUP_IDENTITY_FILE, so the tags were not checked"
            )
            continue
        try:
            raw_bytes = _read(reader, file)
        except MissingClient as error:
            yield VerifyCheck(what, None, error.message)
        except BackupDamaged as error:
            yield VerifyCheck(what, False, error.message)
        else:
            ok = raw_bytes == file.raw_bytes
            message = "read to its end" if ok else f"{raw_bytes:,} bytes, not {file.raw_bytes:,}"
            yield VerifyCheck(what, ok, message)


def _read(reader: BackupReader, file: PackedFile) -> int:
    """Unpack a file to its end, through pg_restore where it is an archive; return its bytes."""
    if not file.name.startswith((ARCHIVE, SCHEMA)):
        return reader.read(file, NullSink())
    # `pg_restore -l` would not do: it accepts an archive that was cut short.
    program = reader.backup.programs().path("pg_restore")
    with feeding(program, ["--file=/dev/null"], "it") as sink:
        return reader.read(file, sink)


def _record(backup: StoredBackup, outcome: Verification) -> bool:
    try:
        backup.record(outcome)
    except OSError:
        return False
    return True
