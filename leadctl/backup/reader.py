"""Reading a stored backup: its bytes against the manifest, its files with the private keys.

To verify one is to read all of it, and on request to restore it.
"""

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any

from leadctl.backup.contents import Contents, RowCounter, named, read_contents, rows_of_tables
from leadctl.backup.manifest import ARCHIVE, NAME, SCHEMA, BackupManifest
from leadctl.backup.storage import StoredBackup, Verification
from leadctl.backup.stream import (
    Label,
    NullSink,
    PackedFile,
    Writable,
    is_encrypted,
    is_packed_as_named,
    sha256_of,
    unpack,
)
from leadctl.errors import BackupDamaged, InvalidIdentity, MissingClient
from leadctl.postgres.client import feeding
from leadctl.text import counted

_SHOWN = 5


@dataclass(frozen=True)
class VerifyCheck:
    """One thing that was looked at; `ok` is None where it could not be."""

    what: str
    ok: bool | None
    message: str


def problems(checks: Iterable[VerifyCheck]) -> tuple[str, ...]:
    """Return what is wrong by these checks, a text each."""
    return tuple(f"{check.what}: {check.message}" for check in checks if check.ok is False)


def _close(file: IO[bytes]) -> None:
    with suppress(OSError):  # full: the write that failed has said so
        file.close()


class _AtMost:
    """Hands on no more bytes than the manifest says: a small file may unpack to a full disk."""

    def __init__(self, sink: Writable, most: int, path: Path) -> None:
        self._sink = sink
        self._most = self._left = most
        self._path = path

    def write(self, data: bytes, /) -> object:
        self._left -= len(data)
        if self._left < 0:
            raise BackupDamaged(
                f"{self._path} holds more bytes than the manifest says: {self._most:,}."
            )
        return self._sink.write(data)


class _Counted:
    """Hands an archive on, and counts its rows."""

    def __init__(self, sink: Writable, counter: RowCounter) -> None:
        self._sink = sink
        self._counter = counter

    def write(self, data: bytes, /) -> object:
        self._counter.take(data)
        return self._sink.write(data)


@dataclass(frozen=True)
class BackupReader:
    """A stored backup, and the private keys that read it."""

    backup: StoredBackup
    identities: Sequence[Any]

    @property
    def manifest(self) -> BackupManifest:
        """The backup's manifest.  Raises BackupDamaged."""
        return self.backup.manifest

    def held(self) -> AbstractContextManager[object]:
        """Keep prune from the backup."""
        return self.backup.held()

    def read(self, file: PackedFile, sink: Writable) -> int:
        """Write a file, decrypted and decompressed, to a sink; return how many bytes that were.

        Raises BackupDamaged and InvalidIdentity.
        """
        with self.backup.open(file.name) as packed:
            return unpack(packed, self.identities, Label(self.backup.id, file.name), sink)

    @cached_property
    def schema(self) -> IO[bytes]:
        """The archive of the schema, unpacked once into a file without a name: it has no rows.

        Raises BackupDamaged and InvalidIdentity.
        """
        file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the backup is read
        weakref.finalize(self, _close, file)
        self._unpack(SCHEMA, file)
        file.flush()
        return file

    def unpack(self, stem: str, sink: Writable) -> None:
        """Write a file of the backup to a sink, and compare its size with the manifest.

        `stem` is its name without suffixes.  Raises BackupDamaged and InvalidIdentity.
        """
        if stem != SCHEMA:
            self._unpack(stem, sink)
            return
        self.schema.seek(0)
        shutil.copyfileobj(self.schema, sink)

    def _unpack(self, stem: str, sink: Writable) -> None:
        file = self.manifest.file(stem)
        if file is None:
            raise BackupDamaged(f"The backup {self.backup.id} has no {stem}.")
        if is_encrypted(file.name) and not self.identities:
            raise InvalidIdentity(
                f"The backup {self.backup.id} is encrypted, and no private key is set here.",
                hint="Set BACKUP_IDENTITY_FILE or --identity to the file of the private key.",
            )
        path = self.backup.path / file.name
        found = self.read(file, _AtMost(sink, file.raw_bytes, path))
        if found != file.raw_bytes:
            raise BackupDamaged(
                f"{path} holds {found:,} bytes, but the manifest says {file.raw_bytes:,}."
            )

    @cached_property
    def contents(self) -> Contents:
        """The table of contents of the archive that has the rows, as `contents_of` reads it."""
        return self.contents_of(ARCHIVE)

    def contents_of(self, stem: str) -> Contents:
        """Read the table of contents of an archive.  Raises BackupDamaged and InvalidIdentity."""
        return read_contents(f"The backup {self.backup.id}", partial(self.unpack, stem))

    def differences(self, contents: Contents, rows: Mapping[tuple[str, ...], int]) -> list[str]:
        """Return where an archive's tables, with so many `rows`, are not those of the manifest.

        What an extension makes, and in older ones what is in its schema, is in no older manifest;
        the archive does not make these either.
        """
        schemas = {"public", *named(contents.entries, "SCHEMA")}
        made = {e.parts for e in contents.entries if e.kind == "TABLE" and e.schema in schemas}
        known = {table.parts: table for table in self.manifest.all_tables}
        return [
            *(
                f"the archive has rows of {'.'.join(parts)}, which the manifest does not list"
                for parts in sorted(made & rows.keys() - known.keys())
            ),
            *(
                f"the archive has {rows.get(parts, 0):,} of {counted(table.rows, 'row')} of "
                f"{table.name}"
                for parts, table in known.items()
                if rows.get(parts, 0) != table.rows
            ),
        ]

    def check(self) -> None:
        """Compare every byte with its hash, and look for the key and the program that read it.

        The tables of the archive are those of the manifest.  Raises BackupDamaged, InvalidIdentity,
        MissingClient.
        """
        for check in self.check_bytes():
            if not check.ok:
                raise BackupDamaged(
                    f"The backup {self.backup.id} is damaged: {check.what}: {check.message}.",
                    hint="Choose another backup: leadctl backup list",
                )
        self.backup.programs()
        self.schema  # noqa: B018 - raises where it cannot be read
        there = set(rows_of_tables(self.contents.entries).values())
        tables = self.manifest.all_tables
        rows = {table.parts: table.rows for table in tables if table.parts in there}
        if wrong := self.differences(self.contents, dict.fromkeys(there, 0) | rows):
            raise BackupDamaged(
                f"The backup {self.backup.id} is not what its manifest says: {wrong[0]}.",
                hint="Choose another backup: leadctl backup list",
            )

    def check_bytes(self) -> Iterator[VerifyCheck]:
        """Compare the manifest with its own hash, and every file with the manifest."""
        try:
            manifest = self.manifest
        except BackupDamaged as error:
            yield VerifyCheck(NAME, False, error.message)
            return
        yield VerifyCheck(NAME, True, "its hash matches")
        for file in manifest.files:
            try:
                with self.backup.open(file.name) as packed:
                    fits = is_packed_as_named(packed, file.name)
                    size, digest = sha256_of(packed)
            except OSError as error:
                yield VerifyCheck(file.name, False, f"cannot be read: {error.strerror}")
                continue
            if not fits:
                message = "is not encrypted, or not compressed, as its name says"
            elif size != file.bytes:
                message = f"{size:,} bytes, and not {file.bytes:,} as the manifest says"
            elif digest != file.sha256:
                message = "its hash differs from the manifest's: the file was changed"
            else:
                message = f"{size:,} bytes, hash matches"
            good = fits and size == file.bytes and digest == file.sha256
            yield VerifyCheck(file.name, good, message)


_DEPTHS = {"bytes": 0, "content": 1, "restored": 2}
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
    """Whether the outcome could be kept next to the backup."""
    checks: tuple[VerifyCheck, ...]
    not_rehearsed: str | None
    """Why it could not be restored here, though that was wanted; that is no fault of the backup."""


def verify(reader: BackupReader, rehearse: Rehearse | None) -> VerifyResult:
    """Verify a backup and keep the outcome next to it.

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
            message = (
                "readable to the end" if ok else f"{raw_bytes:,} bytes, not {file.raw_bytes:,}"
            )
            yield VerifyCheck(what, ok, message)


def _read(reader: BackupReader, file: PackedFile) -> int:
    """Unpack a file to its end, through pg_restore where it is an archive; return its bytes.

    The rows of one are counted.  Raises BackupDamaged, also where the manifest has others.
    """
    if not file.name.startswith((ARCHIVE, SCHEMA)):
        return reader.read(file, NullSink())
    counter, done = RowCounter("it") if file.name.startswith(ARCHIVE) else None, 0
    # `pg_restore -l` would not do: it accepts an archive that was cut short.
    program = reader.backup.programs().path("pg_restore")
    with feeding(program, ["--file=/dev/null"], "it") as sink:
        done = reader.read(file, _Counted(sink, counter) if counter else sink)
    if counter and (wrong := reader.differences(counter.contents(), counter.rows())):
        more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise BackupDamaged(f"{'; '.join(wrong[:_SHOWN])}{more}")
    return done


def _record(backup: StoredBackup, outcome: Verification) -> bool:
    """Keep the outcome, unless it is good and a deeper look, good or bad, is on record."""
    known = backup.verification
    if outcome.ok and known is not None and _DEPTHS[outcome.depth] < _DEPTHS.get(known.depth, 0):
        return True
    try:
        backup.record(outcome)
    except OSError:
        return False
    return True
