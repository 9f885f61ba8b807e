"""The backup folder, which nothing else opens: one folder a backup, named when it is whole.

A backup is written into `ID.partial`, locked as long as its run lives; the manifest comes last,
then the rename.  What a killed run left is known by its name and removed by the next one.
"""

import errno
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import IO

from leadctl.backup import manifest as manifests
from leadctl.backup.manifest import (
    ARCHIVE,
    GLOBALS,
    NAME,
    RECORDS,
    SCHEMA,
    BackupManifest,
    read_document,
)
from leadctl.errors import BackupDamaged, BackupFolderUnusable, NoSpace, UnknownBackup
from leadctl.files import (
    is_real_folder,
    make_file,
    not_led_elsewhere,
    open_regular,
    private_file,
    sync_folder,
    write_private,
)
from leadctl.postgres.binaries import Binaries, dump_programs
from leadctl.progress import Narrate, unheard

LATEST = "latest"
_ID = re.compile(r"\d{8}T\d{6}-\d{3}Z")
"""UTC to the millisecond, so that ids sort by time."""
_PARTIAL = ".partial"
_AHEAD = timedelta(hours=1)
"""What two clocks may differ by."""
VERIFIED, PINNED = "verified.json", "pinned"
OWN = re.compile(
    rf"({'|'.join(map(re.escape, (ARCHIVE, SCHEMA, GLOBALS, RECORDS)))})\.zst(\.age)?"
    rf"|{re.escape(NAME)}|{re.escape(VERIFIED)}(\.partial)?|{PINNED}"
)
"""The files that leadctl makes in the folder of a backup; others it leaves alone."""


@dataclass(frozen=True)
class Verification:
    """The outcome of `backup verify`.

    `depth` is how far it looked: "bytes" (every byte against its hash), "content" (decrypted and
    read to the archive's end) or "restored" (loaded into a database and compared).
    """

    at: datetime
    ok: bool
    depth: str
    problems: tuple[str, ...] = ()

    def render(self) -> str:
        """Return the text that is kept."""
        return json.dumps({**asdict(self), "at": self.at.astimezone(UTC).isoformat()}) + "\n"

    @classmethod
    def parse(cls, text: str) -> "Verification":
        """Read what was kept.  Raises ValueError for anything else."""
        return read_document(cls, json.loads(text))


@dataclass(frozen=True)
class DatabaseId:
    """A database, as its backups name it."""

    database: str
    identity: str | None
    """None where it has none, or is not there."""


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
        return _time_of(self.id)

    @property
    def from_future(self) -> bool:
        """Whether it was made later than now, so that a clock is or was wrong."""
        return self.made_at - datetime.now(UTC) > _AHEAD

    @cached_property
    def manifest(self) -> BackupManifest:
        """The manifest.  Raises BackupDamaged where it was changed or is another backup's."""
        try:
            with self.open(NAME) as file:
                found = manifests.parse(file.read().decode())
        except BackupDamaged as error:
            raise self._damaged(error.message) from None
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise self._damaged(f"the manifest cannot be read: {reason}") from None
        if found.id != self.id:
            raise self._damaged(f"the manifest belongs to the backup {found.id}")
        return found

    def open(self, name: str) -> BufferedReader:
        """Open a file of the backup for reading; no link, and nothing but a file.

        Raises OSError.
        """
        return open_regular(self.path / name)

    def programs(self) -> Binaries:
        """Return the client programs that read its archives.  Raises MissingClient."""
        major = self.manifest.client_major
        return dump_programs(major, major)

    def size_of(self, name: str) -> int | None:
        """Return the bytes of a file of the backup; None where it is missing, or a link."""
        path = self.path / name
        return path.lstat().st_size if path.is_file() and not path.is_symlink() else None

    @property
    def damage(self) -> str | None:
        """The fault of the manifest or of a file's size; None if there is none."""
        try:
            for file in self.manifest.files:
                size = self.size_of(file.name)
                if size is None:
                    raise self._damaged(f"{file.name} is missing")
                if size != file.bytes:
                    what = f"{file.name} has {size:,} bytes, and not {file.bytes:,}"
                    raise self._damaged(f"{what} as the manifest says")
        except BackupDamaged as error:
            return error.message
        return None

    def is_of(self, database: DatabaseId) -> bool:
        """Whether it may be one of a database; of a damaged one nobody knows."""
        if self.damage is not None:
            return True
        identity = self.manifest.identity
        same = not (database.identity and identity) or database.identity == identity
        return same and self.manifest.database == database.database

    @property
    def verification(self) -> Verification | None:
        """How the backup was last verified; None where it never was."""
        try:
            with self.open(VERIFIED) as file:
                return Verification.parse(file.read().decode())
        except (OSError, ValueError, RecursionError):
            return None

    @property
    def pinned(self) -> bool:
        """Whether prune keeps the backup whatever its age."""
        return (self.path / PINNED).exists()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep prune from the backup within the block, while it is read.

        Raises UnknownBackup where a prune was faster.
        """
        with ExitStack() as stack:
            with suppress(FileNotFoundError):
                stack.enter_context(_locked(self.path, fcntl.LOCK_SH))
            if not self.path.is_dir():
                raise UnknownBackup(
                    f"The backup {self.id} was removed in the meantime.",
                    hint="See: leadctl backup list",
                )
            yield

    def record(self, verification: Verification) -> None:
        """Keep how the backup was verified."""
        partial = self.path / f"{VERIFIED}{_PARTIAL}"
        write_private(partial, verification.render())
        partial.replace(self.path / VERIFIED)

    def pin(self, *, pinned: bool) -> None:
        """Pin the backup, or let go of it."""
        if pinned:
            make_file(self.path / PINNED)
        else:
            (self.path / PINNED).unlink(missing_ok=True)

    def _damaged(self, what: str) -> BackupDamaged:
        return BackupDamaged(
            f"The backup {self.id} is damaged: {what}.",
            hint="Choose another backup: leadctl backup list",
        )


@dataclass(frozen=True)
class NewBackup:
    """A backup that is being written, under a name that is not final."""

    id: str
    path: Path

    @contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        """Open a new file of the backup, which is synced to disk at the block's end.

        Raises NoSpace, and OSError for others.
        """
        try:
            with private_file(self.path / name) as file:
                yield file
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            raise NoSpace(
                f"There is no space left in {self.path.parent}: no backup was made.",
                hint="Remove old backups (leadctl backup prune), or set BACKUP_DIR or --to.",
            ) from None

    def discard(self, name: str) -> None:
        """Remove a file again, where it was begun."""
        (self.path / name).unlink(missing_ok=True)


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
        return [StoredBackup(self.path / name) for name in names if is_id(name)]

    def find(
        self, name: str, of: DatabaseId | None = None, narrate: Narrate = unheard
    ) -> StoredBackup:
        """Return a backup by its id, the beginning of its id, `latest`, or its path.

        The latest is the newest `of` a database, or of all where the folder has none of that; that
        one from the future is passed over is said.  Raises UnknownBackup.
        """
        path = Path(name)
        if os.sep in name and is_id(path.name) and path.is_dir():
            return StoredBackup(path)
        found = self.backups()
        if name == LATEST:
            found = _latest(found, of, narrate)
        else:
            found = [backup for backup in found if name and backup.id.startswith(name)]
        if len(found) != 1:
            what = "more than one backup" if found else "no backup"
            raise UnknownBackup(
                f"There is {what} {name!r} in {self.path}.", hint="See: leadctl backup list"
            )
        return found[0]

    def find_own(
        self, name: str, of: DatabaseId | None, narrate: Narrate = unheard
    ) -> StoredBackup:
        """Return a backup as `find`, the latest only if it is one `of` that database.

        Raises UnknownBackup.
        """
        found = self.find(name, of, narrate)
        if of is not None and not found.is_of(of):
            named = found.manifest.database
            other = f"database, {named}" if named != of.database else "one that had its name"
            raise UnknownBackup(
                f"There is no backup of {of.database} in {self.path}: the latest, {found.id}, is "
                f"of another {other}.",
                hint=f"To take that one, run the command again with its id, {found.id}.",
            )
        return found

    @contextmanager
    def begin(self, name: str | None = None) -> Iterator[NewBackup]:
        """Yield a new backup; it gets its final name when the block ends well.

        Else it is removed.  `name` is its id, where it is a copy's.  What killed runs left is
        removed before.  Raises BackupFolderUnusable and UntrustedFile.
        """
        not_led_elsewhere(self.path)
        with ExitStack() as stack:
            try:
                if not self.path.exists():
                    self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                    make_file(self.path / ".gitignore", "*\n")
                with _locked(self.path, fcntl.LOCK_EX):
                    self._clean()
                    name = name or self._unused_id()
                    partial = self.path / f"{name}{_PARTIAL}"
                    partial.mkdir(mode=0o700)
                    stack.enter_context(_locked(partial, fcntl.LOCK_EX))
            except OSError as error:
                raise self._unusable(error) from None
            try:
                yield NewBackup(name, partial)
                sync_folder(partial)
                partial.rename(self.path / name)
                sync_folder(self.path)
            except BaseException:
                _remove(partial)
                raise

    def _unused_id(self) -> str:
        """Return a new id that no backup has; the folder is locked, and another began just now."""
        while True:
            name = new_id()
            if not any((self.path / f"{name}{end}").exists() for end in ("", _PARTIAL)):
                return name
            time.sleep(0.001)

    def remove(self, backup: StoredBackup) -> str | None:
        """Remove a backup, all of it or, killed in between, by the next run.

        Files that are not leadctl's are left, with the folder, and so is one that is linked here.
        Returns why it is still there; None if it is gone.
        """
        not_led_elsewhere(self.path)
        if not is_real_folder(backup.path):
            return "it is a link"
        with _locked(backup.path, fcntl.LOCK_EX | fcntl.LOCK_NB) as free:
            if not free:
                return "it is in use"
            partial = backup.path.rename(backup.path.with_name(f"{backup.id}{_PARTIAL}"))
            sync_folder(self.path)
            return None if _remove(partial) else f"{partial.name} has files of others"

    def _clean(self) -> None:
        for partial in self.path.glob(f"*{_PARTIAL}"):
            if _ID.fullmatch(partial.name.removesuffix(_PARTIAL)) and is_real_folder(partial):
                with _locked(partial, fcntl.LOCK_EX | fcntl.LOCK_NB) as free:
                    if free:
                        _remove(partial)

    def _unusable(self, error: OSError) -> BackupFolderUnusable:
        return BackupFolderUnusable(
            f"The backup folder {self.path} cannot be used: {error.strerror}.",
            hint="Set BACKUP_DIR or --to to a folder that you can write to.",
        )


def _latest(
    backups: list[StoredBackup], of: DatabaseId | None, narrate: Narrate
) -> list[StoredBackup]:
    """Return the latest of backups, the newest first, as `find` has it; none of none."""

    def is_own(backup: StoredBackup) -> bool:
        return of is None or backup.is_of(of)

    # One that a wrong clock dated ahead would be the latest for years.
    past = [backup for backup in backups if not backup.from_future]
    candidates = past or backups[:1]
    if not candidates:
        return []
    latest = next(filter(is_own, candidates), candidates[0])
    future = (backup for backup in backups if past and backup.from_future)
    if newer := next(filter(is_own, future), None):
        # It may be right, and this machine's clock behind.
        narrate(
            f"WARNING: the backup {newer.id} is newer than the latest, {latest.id}, but from the "
            f"future. If this machine's clock is behind, run the command again with its id."
        )
    return [latest]


def _time_of(name: str) -> datetime:
    """Return the time that an id is made of.  Raises ValueError where there is no such time."""
    return datetime.strptime(name, "%Y%m%dT%H%M%S-%fZ").replace(tzinfo=UTC)


def new_id(at: datetime | None = None) -> str:
    """Return the id of a backup that begins now, or that is as of another time."""
    return f"{(at or datetime.now(UTC)).astimezone(UTC):%Y%m%dT%H%M%S-%f}"[:-3] + "Z"


def is_id(name: str) -> bool:
    """Whether a folder's name is that of a whole backup."""
    try:
        return bool(_ID.fullmatch(name) and _time_of(name))
    except ValueError:
        return False


@contextmanager
def _locked(path: Path, how: int) -> Iterator[bool]:
    """Hold a folder's lock, which ends with the process; yields whether it was free."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, how)
        free = True
    except BlockingIOError:
        free = False
    try:
        yield free
    finally:
        os.close(handle)


def _remove(folder: Path) -> bool:
    """Remove a folder with the files that are leadctl's; return whether nothing was left."""
    with suppress(FileNotFoundError):
        for entry in folder.iterdir():
            if OWN.fullmatch(entry.name):
                entry.unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()
    return not folder.exists()
