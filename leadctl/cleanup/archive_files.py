"""The files of an archive: its manifest, and what runs that were killed left behind.

A file is written as NAME.XID.partial, XID being the transaction that deletes its rows; it gets its
own name after that has committed.  After a crash the server says what became of the transaction, so
a file is either finished or removed: no row is lost, and none is in an archive and in the table.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from leadctl.cleanup import QUERIES
from leadctl.cleanup.context import RunContext
from leadctl.cleanup.rules import RuleTable
from leadctl.errors import ArchiveDamaged
from leadctl.files import is_real_folder, sync_folder, write_private
from leadctl.postgres.connect import Connection

LINES = sql.SQL("(FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')")
"""Lines as they are: JSON has no raw control characters, so nothing is ever quoted."""
_MANIFEST = "manifest.json"
_PARTIAL_MANIFEST = f"{_MANIFEST}.partial"
_FORMAT = "leadctl archive 1"


@dataclass(frozen=True)
class ArchivedBatch:
    """One file: the rows of one batch, by table."""

    file: str
    bytes: int
    sha256: str
    rows: Mapping[str, int]


@dataclass(frozen=True)
class ArchiveManifest:
    """What one run of a rule archived: which files, what is in them, and where it came from."""

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

    def write(self, folder: Path) -> None:
        """Write it in place of the one that exists, so that there is always a whole one."""
        partial = folder / _PARTIAL_MANIFEST
        write_private(partial, json.dumps(asdict(self), indent=1, ensure_ascii=False))
        partial.replace(folder / _MANIFEST)
        sync_folder(folder)


def read_archive_manifest(folder: Path) -> ArchiveManifest:
    """Read the manifest of a folder.  Raises ArchiveDamaged where there is none to be read."""
    path = folder / _MANIFEST
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        segments = tuple(ArchivedBatch(**segment) for segment in values.pop("segments"))
        found = ArchiveManifest(**values, segments=segments)
    except FileNotFoundError:
        raise ArchiveDamaged(
            f"{folder} is not the folder of an archive: it has no {_MANIFEST}.",
            hint="Name the folder that cleanup said, its manifest or one of its files.",
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArchiveDamaged(
            f"{path} is not the manifest of an archive: {error}.",
            hint="Name the manifest, the folder or a file of an archive that cleanup made.",
        ) from None
    if found.format != _FORMAT:
        raise ArchiveDamaged(
            f"{path} is of the format {found.format!r}; this leadctl reads {_FORMAT!r}.",
            hint="Install a newer leadctl, as the one that wrote it.",
        )
    return found


def folder_prefix(run: RunContext, table: RuleTable) -> str:
    """Return how the names of the archive folders of a rule begin."""
    parts = (run.connection.info.dbname, run.target.schema, table.rule.name)
    return ".".join(quote(part, safe="") for part in parts)


def database_place(connection: Connection) -> str:
    """Return what tells a database apart from every copy of it."""
    return str(QUERIES.value(connection, "place"))


def finish_file(partial: Path) -> None:
    """Give a file its own name, as its transaction has committed."""
    partial.replace(final_path(partial))
    sync_folder(partial.parent)


def final_path(partial: Path) -> Path:
    """Return the path that NAME.XID.partial gets when its transaction has committed."""
    return partial.with_suffix("").with_suffix("")


def finish_killed_runs(run: RunContext, table: RuleTable) -> None:
    """Finish or remove the files of runs that were killed; the caller holds the rule's lock."""
    prefix = "".join(
        f"[{letter}]" if letter in "*?[" else letter for letter in folder_prefix(run, table)
    )
    found = run.archive.folder.glob(f"{prefix}.*/*.partial")
    # An unfinished manifest first: what is done about files writes it again.
    for partial in sorted(found, key=lambda path: (path.parent, path.name != _PARTIAL_MANIFEST)):
        folder = partial.parent
        if not is_real_folder(folder):
            continue
        if partial.name == _PARTIAL_MANIFEST:
            partial.unlink()
            _remove_empty(folder)
            continue
        if (folder / _MANIFEST).exists() and (
            read_archive_manifest(folder).place != database_place(run.connection)
        ):
            continue
        outcome = _outcome(run.connection, partial.suffixes[-2].removeprefix("."))
        if outcome == "committed":
            run.narrate(f"Finishing the archive of a run that was killed: {folder}")
            finish_file(partial)
        elif outcome == "aborted":
            _discard(partial)
        else:
            run.narrate(f"{partial} is left as it is: the server does not know its transaction.")


def _outcome(connection: Connection, xid: str) -> str | None:
    """Return how a transaction ended, as the server has it; None where it does not know."""
    with suppress(psycopg.Error):
        outcome: str | None = QUERIES.value(connection, "outcome", xid=xid)
        return outcome
    return None


def _discard(partial: Path) -> None:
    folder = partial.parent
    if (folder / _MANIFEST).exists():
        manifest = read_archive_manifest(folder)
        if not final_path(partial).exists():
            manifest.without(final_path(partial).name).write(folder)
    partial.unlink()
    _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    """Remove the folder of a run that archived nothing."""
    if not any(path.name != _MANIFEST for path in folder.iterdir()):
        (folder / _MANIFEST).unlink(missing_ok=True)
        folder.rmdir()
