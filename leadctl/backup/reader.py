"""Reading a stored backup: its bytes against the manifest, its files with the private keys."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from leadctl.backup.manifest import NAME, SCHEMA, BackupManifest
from leadctl.backup.storage import StoredBackup
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
from leadctl.errors import BackupDamaged, InvalidIdentity


@dataclass(frozen=True)
class VerifyCheck:
    """One thing that was looked at; `ok` is None where it could not be."""

    what: str
    ok: bool | None
    message: str


def problems(checks: Iterable[VerifyCheck]) -> tuple[str, ...]:
    """Return what is wrong by these checks, a text each."""
    return tuple(f"{check.what}: {check.message}" for check in checks if check.ok is False)


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

    def unpack(self, stem: str, sink: Writable) -> None:
        """Write a file of the backup to a sink, and compare its size with the manifest.

        `stem` is its name without suffixes.  Raises BackupDamaged and InvalidIdentity.
        """
        file = self.manifest.file(stem)
        if file is None:
            raise BackupDamaged(f"The backup {self.backup.id} has no {stem}.")
        if is_encrypted(file.name) and not self.identities:
            raise InvalidIdentity(
                f"The backup {self.backup.id} is encrypted, and no private key is set here.",
                hint="Set BACKUP_IDENTITY_FILE or --identity to the file of the private key.",
            )
        found = self.read(file, sink)
        if found != file.raw_bytes:
            raise BackupDamaged(
                f"{self.backup.path / file.name} holds {found:,} bytes, and the manifest says "
                f"{file.raw_bytes:,}."
            )

    def check(self) -> None:
        """Compare every byte with its hash, and look for the key and the program that read it.

        Raises BackupDamaged, InvalidIdentity, MissingClient.
        """
        for check in self.check_bytes():
            if not check.ok:
                raise BackupDamaged(
                    f"The backup {self.backup.id} is damaged: {check.what}: {check.message}.",
                    hint="Take another: leadctl backup list",
                )
        self.backup.programs()
        self.unpack(SCHEMA, NullSink())

    def check_bytes(self) -> Iterator[VerifyCheck]:
        """Compare the manifest with its own hash, and every file with the manifest."""
        try:
            manifest = self.manifest
        except BackupDamaged as error:
            yield VerifyCheck(NAME, False, error.message)
            return
        yield VerifyCheck(NAME, True, "its own hash fits")
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
                message = "its hash is not the manifest's: it was changed"
            else:
                message = f"{size:,} bytes, as they were written"
            good = fits and size == file.bytes and digest == file.sha256
            yield VerifyCheck(file.name, good, message)
