"""The files of an archive: its manifest, and what runs that were killed left behind.

A file is written as NAME.XID.partial, XID being the transaction that deletes its rows; it gets its
own name after that has committed.  After a crash the server says what became of the transaction, so
a file is either finished or removed: no row is lost, and none is in an archive and in the table.
Object storage has no names to change: there it is a copy by the storage, and then a deletion.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from io import BufferedReader
from itertools import groupby
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote

import psycopg
from psycopg import sql

from leadctl.backup.bucket import BackupBucket, NewBucketBackup, file_of
from leadctl.cleanup import QUERIES
from leadctl.cleanup.context import RunContext
from leadctl.cleanup.rules import RuleTable
from leadctl.errors import ArchiveDamaged, ArchiveFailed, BackupFolderUnusable
from leadctl.files import (
    ObjectUrl,
    is_real_folder,
    not_led_elsewhere,
    private_file,
    sync_folder,
    write_private,
)
from leadctl.postgres.connect import Connection

LINES = sql.SQL("(FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')")
"""Lines as they are: JSON has no raw control characters, so nothing is ever quoted."""
_MANIFEST = "manifest.json"
_PARTIAL_MANIFEST = f"{_MANIFEST}.partial"
_FORMAT = "leadctl archive 1"
_UNDECIDED = re.compile(r"(?P<file>.+)\.(?P<xid>\d+)\.partial")


class ArchiveFolder:
    """The files of one run's archive, in a folder.  What it does raises OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """What it is called in the place of archives."""
        return self.path.name

    def names(self) -> list[str]:
        """Return the names of its files, in order."""
        return sorted(path.name for path in self.path.iterdir())

    def create(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a new file, which is durable at the block's end."""
        return private_file(self.path / name)

    def open(self, name: str) -> BufferedReader:
        """Open a file for reading."""
        return (self.path / name).open("rb")

    def replace(self, name: str, text: str) -> None:
        """Write a file in place of the one that exists, so that there is always a whole one."""
        partial = self.path / f"{name}.partial"
        write_private(partial, text)
        partial.replace(self.path / name)
        sync_folder(self.path)

    def rename(self, name: str, new: str) -> None:
        """Give a file another name."""
        (self.path / name).replace(self.path / new)
        sync_folder(self.path)

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self.path / name).unlink()

    def remove_empty(self) -> None:
        """Remove the folder itself, which has no files any more."""
        self.path.rmdir()


class ArchiveObjects(ArchiveFolder):
    """The same in object storage.  What it does raises BackupFolderUnusable, too."""

    def __init__(self, bucket: BackupBucket, name: str) -> None:
        super().__init__(bucket.path / name)  # type: ignore[arg-type]  # a URL, where a path goes
        self._bucket = bucket
        self._name = name

    @property
    def name(self) -> str:
        """What it is called in the place of archives."""
        return self._name

    def names(self) -> list[str]:
        """Return the names of its files, in order; one that has parts is one."""
        return sorted({file_of(name) for name in self._objects()})

    def create(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a new file, which is all there at the block's end."""
        return NewBucketBackup(self._name, self._bucket).create(name)

    def open(self, name: str) -> BufferedReader:
        """Open a file for reading."""
        return self._bucket.open(self._name, self._objects(), name)

    def replace(self, name: str, text: str) -> None:
        """Write a file at once."""
        self._bucket.put(f"{self._name}/{name}", text.encode())

    def rename(self, name: str, new: str) -> None:
        """Copy a file, all of it, and then remove the first; a second try does the rest."""
        found = [each for each in self._objects() if file_of(each) == name]
        for each in found:
            self._bucket.copy(f"{self._name}/{each}", f"{self._name}/{each.replace(name, new, 1)}")
        self._delete(found)

    def remove(self, name: str) -> None:
        """Remove a file."""
        self._delete([each for each in self._objects() if file_of(each) == name])

    def remove_empty(self) -> None:
        """Do nothing: without objects it is none."""

    def _objects(self) -> dict[str, int]:
        found = self._bucket.objects(f"{self._name}/")
        return {path.removeprefix(f"{self._name}/"): size for path, size in found.items()}

    def _delete(self, names: list[str]) -> None:
        self._bucket.delete([f"{self._name}/{each}" for each in names])


def new_archive(parent: Path | ObjectUrl, name: str) -> ArchiveFolder:
    """Make the folder of a run in the place of archives."""
    if isinstance(parent, ObjectUrl):
        return ArchiveObjects(BackupBucket(parent), name)
    not_led_elsewhere(parent).mkdir(mode=0o700, parents=True, exist_ok=True)
    (parent / name).mkdir(mode=0o700)
    sync_folder(parent)
    return ArchiveFolder(parent / name)


def _archives(parent: Path | ObjectUrl, begin: str) -> Iterator[tuple[ArchiveFolder, list[str]]]:
    """Yield the folders in the place of archives whose names begin so, and their files' names."""
    if isinstance(parent, ObjectUrl):
        bucket = BackupBucket(parent)
        parts = (path.partition("/")[::2] for path in bucket.beginning(begin))
        for name, paths in groupby(sorted(parts), lambda part: part[0]):
            yield ArchiveObjects(bucket, name), sorted({file_of(path) for _, path in paths})
    elif parent.exists():
        for path in sorted(parent.iterdir()):
            if path.name.startswith(begin) and is_real_folder(path):
                folder = ArchiveFolder(path)
                yield folder, folder.names()


def archive_at(path: Path | ObjectUrl) -> tuple[ArchiveFolder, str | None]:
    """Return the archive that a path is, or is in, and the name of the file that it is of it.

    Raises BackupFolderUnusable.
    """
    if not isinstance(path, ObjectUrl):
        is_folder = path.is_dir()
        return ArchiveFolder(path if is_folder else path.parent), None if is_folder else path.name
    folder = ArchiveObjects(BackupBucket(path.parent), unquote(path.name))
    if folder.names():
        return folder, None
    above = path.parent
    return ArchiveObjects(BackupBucket(above.parent), unquote(above.name)), file_of(
        unquote(path.name)
    )


@contextmanager
def archiving(table: RuleTable) -> Iterator[None]:
    """Raise ArchiveFailed for whatever the disk or the storage refuses before rows are deleted."""
    what = f"Rows of {table.name} could not be archived, so they were not deleted"
    try:
        yield
    except OSError as error:
        reason = f"{error.filename or ''} {error.strerror or error}"
        raise ArchiveFailed(
            f"{what}: {reason.strip()}.",
            hint="Look at the folder's path, its permissions and the free space.",
        ) from None
    except BackupFolderUnusable as error:
        raise ArchiveFailed(f"{what}: {error.message}", hint=error.hint) from None


@dataclass(frozen=True)
class ArchivedBatch:
    """One file: the rows of one batch, by table."""

    file: str
    bytes: int
    sha256: str
    rows: Mapping[str, int]


@dataclass(frozen=True)
class ArchiveManifest:
    """The record of what one run of a rule archived: its files, their rows, and the origin."""

    app: str
    database: str
    schema: str
    rule: str
    table: str
    cutoff: str
    place: str
    """The database, so that the transaction ids in the names of files mean something."""
    columns: Mapping[str, Mapping[str, str]]
    """The types of the columns, by table."""
    segments: tuple[ArchivedBatch, ...] = ()
    format: str = field(default=_FORMAT)

    def with_segment(self, segment: ArchivedBatch) -> "ArchiveManifest":
        """Return it with one more file."""
        return replace(self, segments=(*self.segments, segment))

    def without(self, file: str) -> "ArchiveManifest":
        """Return it without a file."""
        kept = tuple(segment for segment in self.segments if segment.file != file)
        return replace(self, segments=kept)

    def write(self, folder: ArchiveFolder) -> None:
        """Write it in place of the one that exists."""
        folder.replace(_MANIFEST, json.dumps(asdict(self), indent=1, ensure_ascii=False))


def read_archive_manifest(folder: ArchiveFolder) -> ArchiveManifest:
    """Read the manifest of a folder.  Raises ArchiveDamaged where there is none to be read."""
    path = folder.path / _MANIFEST
    try:
        with folder.open(_MANIFEST) as file:
            values: dict[str, Any] = json.loads(file.read().decode())
        segments = tuple(ArchivedBatch(**segment) for segment in values.pop("segments"))
        found = ArchiveManifest(**values, segments=segments)
    except FileNotFoundError:
        raise ArchiveDamaged(
            f"{folder.path} is not the folder of an archive: it has no {_MANIFEST}.",
            hint="Give the folder that cleanup printed, its manifest or one of its files.",
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArchiveDamaged(
            f"{path} is not the manifest of an archive: {error}.",
            hint="Name the manifest, the folder or a file of an archive that cleanup made.",
        ) from None
    if found.format != _FORMAT:
        raise ArchiveDamaged(
            f"{path} has the archive format {found.format!r}; this leadctl reads {_FORMAT!r}.",
            hint="Install the version of leadctl that wrote it, or a newer one.",
        )
    return found


def folder_prefix(run: RunContext, table: RuleTable) -> str:
    """Return how the names of the archive folders of a rule begin."""
    parts = (run.connection.info.dbname, run.target.schema, table.rule.name)
    return ".".join(quote(part, safe="") for part in parts)


def database_place(connection: Connection) -> str:
    """Return what tells a database apart from every copy of it."""
    return str(QUERIES.value(connection, "place"))


def final_name(undecided: str) -> str:
    """Return the name that NAME.XID.partial gets when its transaction has committed."""
    found = _UNDECIDED.fullmatch(undecided)
    return found["file"] if found else undecided


def finish_killed_runs(run: RunContext, table: RuleTable) -> None:
    """Finish or remove the files of runs that were killed; the caller holds the rule's lock.

    Raises OSError and BackupFolderUnusable.
    """
    for folder, names in _archives(run.archive.folder, f"{folder_prefix(run, table)}."):
        _finish(run, folder, names)


def _finish(run: RunContext, folder: ArchiveFolder, names: list[str]) -> None:
    if _PARTIAL_MANIFEST in names:
        folder.remove(_PARTIAL_MANIFEST)
        names.remove(_PARTIAL_MANIFEST)
    undecided = [name for name in names if _UNDECIDED.fullmatch(name)]
    if not undecided and names != [_MANIFEST]:
        return
    if _MANIFEST in names:
        manifest = read_archive_manifest(folder)
        if manifest.place != database_place(run.connection):
            return
    for name in undecided:
        outcome = _outcome(run.connection, _xid_of(name))
        if outcome == "committed":
            run.narrate(f"Finishing the archive of a run that was killed: {folder.path}")
            folder.rename(name, final_name(name))
        elif outcome == "aborted":
            if _MANIFEST in names and final_name(name) not in names:
                manifest = manifest.without(final_name(name))
                manifest.write(folder)
            folder.remove(name)
        else:
            path = folder.path / name
            run.narrate(
                f"{path} was not changed: the server does not know its transaction any more."
            )
    if folder.names() == [_MANIFEST]:  # it archived nothing
        folder.remove(_MANIFEST)
        folder.remove_empty()


def _xid_of(undecided: str) -> str:
    found = _UNDECIDED.fullmatch(undecided)
    assert found is not None
    return found["xid"]


def _outcome(connection: Connection, xid: str) -> str | None:
    """Return how a transaction ended, as the server has it; None where it does not know."""
    with suppress(psycopg.Error):
        outcome: str | None = QUERIES.value(connection, "outcome", xid=xid)
        return outcome
    return None
