"""The backup folder: one folder a backup, which gets its name when the backup is whole.

A backup is written into `ID.partial`, locked as long as its run lives; the manifest comes last,
then the rename.  What a killed run left is known by its name and removed by the next one.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from leadctl.backup import manifest as manifests
from leadctl.backup.manifest import ARCHIVE, GLOBALS, NAME, SCHEMA, Manifest
from leadctl.backup.verification import Verification
from leadctl.errors import BackupDamaged, BackupFolderUnusable, UnknownBackup
from leadctl.files import sync_folder
from leadctl.postgres.binaries import Binaries, dump_programs

LATEST = "latest"
_ID = re.compile(r"\d{8}T\d{6}-\d{3}Z")
"""UTC to the millisecond, so that ids sort by time."""
_PARTIAL = ".partial"
_VERIFIED, _PINNED = "verified.json", "pinned"
_OWN = re.compile(
    rf"({re.escape(ARCHIVE)}|{re.escape(SCHEMA)}|{re.escape(GLOBALS)})\.zst(\.age)?"
    rf"|{re.escape(NAME)}|{re.escape(_VERIFIED)}(\.partial)?|{_PINNED}"
)
"""The files that leadctl makes in the folder of a backup; others it leaves alone."""


@dataclass(frozen=True)
class StoredBackup:
    """A whole backup in the folder."""

    path: Path

    @property
    def id(self) -> str:
        """The backup's id, which is the folder's name."""
        return self.path.name

    @property
    def made_at(self) -> datetime:
        """When the backup began."""
        return datetime.strptime(self.id, "%Y%m%dT%H%M%S-%fZ").replace(tzinfo=UTC)

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest.  Raises BackupDamaged where it was changed or is another backup's."""
        try:
            found = manifests.parse((self.path / NAME).read_text(encoding="utf-8"))
        except BackupDamaged as error:
            raise self._damaged(error.message) from None
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise self._damaged(f"the manifest cannot be read: {reason}") from None
        if found.id != self.id:
            raise self._damaged(f"the manifest is that of the backup {found.id}")
        return found

    @property
    def client_major(self) -> int:
        """The major version of the pg_dump that made the backup."""
        return int(self.manifest.client_version.partition(".")[0])

    def programs(self) -> Binaries:
        """Return the client programs that read its archives.  Raises MissingClient."""
        return dump_programs(self.client_major, self.client_major)

    @property
    def damage(self) -> str | None:
        """What is wrong with the manifest; None where nothing is."""
        try:
            self.manifest  # noqa: B018 - raises where it is damaged
        except BackupDamaged as error:
            return error.message
        return None

    @property
    def verification(self) -> Verification | None:
        """How the backup was last verified; None where it never was."""
        try:
            return Verification.parse((self.path / _VERIFIED).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    @property
    def pinned(self) -> bool:
        """Whether prune keeps the backup whatever its age."""
        return (self.path / _PINNED).exists()

    def record(self, verification: Verification) -> None:
        """Keep how the backup was verified."""
        partial = self.path / f"{_VERIFIED}{_PARTIAL}"
        write_private(partial, verification.render())
        partial.replace(self.path / _VERIFIED)

    def pin(self, *, pinned: bool) -> None:
        """Pin the backup, or let go of it."""
        if pinned:
            (self.path / _PINNED).touch(mode=0o600)
        else:
            (self.path / _PINNED).unlink(missing_ok=True)

    def _damaged(self, what: str) -> BackupDamaged:
        return BackupDamaged(
            f"The backup {self.id} is damaged: {what}.", hint="Take another: leadctl backup list"
        )


@dataclass(frozen=True)
class BackupFolder:
    """A folder of backups."""

    path: Path

    def backups(self) -> list[StoredBackup]:
        """Return the whole backups, the newest first; none where there is no folder.

        Raises BackupFolderUnusable.
        """
        try:
            names = sorted((entry.name for entry in self.path.iterdir()), reverse=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unusable(error) from None
        return [StoredBackup(self.path / name) for name in names if _ID.fullmatch(name)]

    def find(self, name: str) -> StoredBackup:
        """Return a backup by its id, the beginning of its id, `latest`, or its path.

        Raises UnknownBackup.
        """
        path = Path(name)
        if os.sep in name and _ID.fullmatch(path.name) and path.is_dir():
            return StoredBackup(path)
        found = self.backups()
        if name == LATEST:
            found = found[:1]
        else:
            found = [backup for backup in found if name and backup.id.startswith(name)]
        if len(found) != 1:
            what = "more than one backup" if found else "no backup"
            raise UnknownBackup(
                f"There is {what} {name!r} in {self.path}.", hint="See: leadctl backup list"
            )
        return found[0]

    @contextmanager
    def begin(self) -> Iterator[Path]:
        """Yield the folder of a new backup; it gets its final name when the block ends well.

        Else it is removed.  What killed runs left is removed before.  Raises
        BackupFolderUnusable.
        """
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S-%f}"[:-3] + "Z"
        partial = self.path / f"{name}{_PARTIAL}"
        try:
            if not self.path.exists():
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                (self.path / ".gitignore").write_text("*\n")
            with _locked(self.path, wait=True):
                self._clean()
                partial.mkdir(mode=0o700)
                lock = _lock(partial)
        except OSError as error:
            raise self._unusable(error) from None
        try:
            yield partial
            sync_folder(partial)
            partial.rename(self.path / name)
            sync_folder(self.path)
        except BaseException:
            _remove(partial)
            raise
        finally:
            os.close(lock)

    def remove(self, backup: StoredBackup) -> bool:
        """Remove a backup, all of it or, killed in between, by the next run.

        Files that are not leadctl's are left, with the folder.  Returns whether it is gone; it is
        not where it is being read.
        """
        with _locked(backup.path, wait=False) as free:
            if not free:
                return False
            partial = backup.path.rename(backup.path.with_name(f"{backup.id}{_PARTIAL}"))
            sync_folder(self.path)
            return _remove(partial)

    def _clean(self) -> None:
        for partial in self.path.glob(f"*{_PARTIAL}"):
            if _ID.fullmatch(partial.name.removesuffix(_PARTIAL)):
                with _locked(partial, wait=False) as free:
                    if free:
                        _remove(partial)

    def _unusable(self, error: OSError) -> BackupFolderUnusable:
        return BackupFolderUnusable(
            f"The backup folder {self.path} cannot be used: {error.strerror}.",
            hint="Set BACKUP_DIR or --to to a folder that you can write to.",
        )


@contextmanager
def reading(backup: StoredBackup) -> Iterator[None]:
    """Keep prune from a backup while it is read."""
    handle = os.open(backup.path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, and sync it to disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a folder's lock, which ends with the process; yields whether it was free."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        free = True
    except BlockingIOError:
        free = False
    try:
        yield free
    finally:
        os.close(handle)


def _lock(path: Path) -> int:
    handle = os.open(path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def _remove(folder: Path) -> bool:
    """Remove a folder with the files that are leadctl's; return whether nothing was left."""
    with suppress(FileNotFoundError):
        for entry in folder.iterdir():
            if _OWN.fullmatch(entry.name):
                entry.unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()
    return not folder.exists()
