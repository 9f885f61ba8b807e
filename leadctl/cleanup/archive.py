"""Archiving: the rows of a batch reach the disk before their deletion is committed.

A file is written as NAME.XID.partial, XID being the transaction that deletes its rows; it gets its
own name after that has committed.  After a crash the server says what became of the transaction, so
a file is either finished or removed: no row is lost, and none is in an archive and in the table.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from leadctl.backup.stream import Label, pack, sha256_of
from leadctl.cleanup.archive_files import NAME, Manifest, Segment, read_manifest
from leadctl.cleanup.deletion import Gone
from leadctl.cleanup.statements import ROWS_BY_RELATION, Statements
from leadctl.cleanup.tables import Subject, query
from leadctl.errors import ArchiveFailed, NoPrimaryKey
from leadctl.files import private_file, sync_folder
from leadctl.postgres.connect import Connection
from leadctl.progress import Narrate

_LOOKS = 10
"""How often the rows that go along are locked and looked at, until no more turn up."""
_LINES = sql.SQL("(FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')")
"""Lines as they are: JSON has no raw control characters, so nothing is ever quoted."""


@dataclass(frozen=True)
class ArchivePlace:
    """Where to archive to, and for whom."""

    folder: Path
    recipients: tuple[Any, ...]


class Archive:
    """The archive of one run of one rule: a folder with a manifest and a file a batch."""

    def __init__(
        self, connection: Connection, app: str, schema: str, place: ArchivePlace, subject: Subject
    ) -> None:
        self._place = place
        self._subject = subject
        self._prefix = _prefix(connection.info.dbname, schema, subject)
        self._columns = {oid: _columns(connection, oid) for oid in subject.tables}
        self._origin = origin(connection)
        self._facts = (app, connection.info.dbname, schema)
        self._manifest: Manifest | None = None
        self._undecided: Path | None = None
        self.folder: Path | None = None

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The files that were written, by this run."""
        return self._manifest.segments if self._manifest else ()

    def take(
        self, connection: Connection, statements: Statements, values: Mapping[str, Any]
    ) -> Gone:
        """Archive and delete, in the caller's transaction, what of the rows is due now.

        `commit` is called after the transaction has committed.
        """
        began = time.monotonic()
        expected = self._count(connection, statements, values)
        if not expected:
            return Gone()
        rows = _sources(connection, statements, values)
        selects = [self._select(tab, name, tids) for tab, name, tids in rows]
        counted = self._write(connection, statements.cutoff, selects)
        deleted = connection.execute(statements.delete, values).rowcount
        if deleted != expected:
            raise ArchiveFailed(
                f"{deleted} of {expected} archived rows of {self._subject.name} were due when they "
                "should be deleted; none of them was.",
                hint="Run it again; the condition looks at something that changes all the time.",
            )
        counted[self._subject.oid] -= deleted
        return Gone(deleted, +counted, time.monotonic() - began)

    def take_table(
        self, connection: Connection, cutoff: datetime, name: str, columns_of: int
    ) -> int:
        """Archive all rows of a table, in the caller's transaction, which drops it."""
        counted = self._write(connection, cutoff, [self._select(columns_of, name, None)])
        return counted[columns_of]

    def commit(self) -> None:
        """Give the file that was written last its name: its rows are deleted."""
        if self._undecided is not None:
            _finish(self._undecided)
            self._undecided = None

    def _count(
        self, connection: Connection, statements: Statements, values: Mapping[str, Any]
    ) -> int:
        ((count,),) = connection.execute(statements.count_still_due, values).fetchall()
        return int(count)

    def _select(self, tab: int, name: str, tids: str | None) -> tuple[int, sql.Composable]:
        """Compose the rows of a table as lines; every value is text, as PostgreSQL writes it."""
        columns = sql.SQL(", ").join(
            sql.SQL("{}::text").format(sql.Identifier(column)) for column in self._columns[tab]
        )
        which = sql.SQL("" if tids is None else " WHERE ctid = ANY ({}::tid[])").format(tids)
        return tab, sql.SQL(
            "SELECT json_build_object('table', {}::text, 'row', to_json(r.*))::text"
            " FROM (SELECT {} FROM ONLY {}{}) AS r"
        ).format(self._subject.tables[tab], columns, sql.SQL(name), which)

    def _write(
        self,
        connection: Connection,
        cutoff: datetime,
        selects: Sequence[tuple[int, sql.Composable]],
    ) -> Counter[int]:
        if self._undecided is not None:
            self._forget(self._undecided)
        if self.folder is None or self._manifest is None:
            self.folder = self._new_folder()
            self._manifest = self._new_manifest(cutoff)
        ((xid,),) = connection.execute("SELECT pg_current_xact_id()::text").fetchall()
        number = len(self._manifest.segments) + 1
        file = f"{number:06d}.jsonl.zst{'.age' if self._place.recipients else ''}"
        path = self.folder / f"{file}.{xid}.partial"
        counted: Counter[int] = Counter()
        lines = _Lines(connection, selects, counted)
        label = Label(self.folder.name, path.name)
        with private_file(path) as written:
            packed = pack(lines, written, label, self._place.recipients, lambda _: None)
        with path.open("rb") as back:
            whole = sha256_of(back) == (packed.bytes, packed.sha256)
        if not whole:
            raise ArchiveFailed(f"{path} does not read as it was written.", hint="Check the disk.")
        by_name = {self._subject.tables[tab]: count for tab, count in counted.items()}
        segment = Segment(file, packed.bytes, packed.sha256, by_name)
        self._manifest = self._manifest.with_segment(segment)
        self._manifest.write(self.folder)
        self._undecided = path
        return counted

    def _forget(self, undecided: Path) -> None:
        """Remove the file of a transaction of ours that was rolled back."""
        assert self._manifest is not None
        self._manifest = self._manifest.without(_final(undecided).name)
        undecided.unlink()
        self._undecided = None

    def _new_folder(self) -> Path:
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
        folder = self._place.folder / f"{self._prefix}.{stamp}"
        self._place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
        sync_folder(self._place.folder)
        return folder

    def _new_manifest(self, cutoff: datetime) -> Manifest:
        app, database, schema = self._facts
        return Manifest(
            app=app,
            database=database,
            schema=schema,
            rule=self._subject.rule.name,
            table=self._subject.name,
            cutoff=cutoff.astimezone(UTC).isoformat(),
            place=self._origin,
            columns={self._subject.tables[oid]: found for oid, found in self._columns.items()},
        )


def settle(
    connection: Connection, schema: str, place: ArchivePlace, subject: Subject, narrate: Narrate
) -> None:
    """Finish or remove the files of runs that were killed; the caller holds the rule's lock."""
    prefix = _prefix(connection.info.dbname, schema, subject)
    found = place.folder.glob(f"{_literal(prefix)}.*/*.partial")
    # An unfinished manifest first: what is done about files writes it again.
    for partial in sorted(found, key=lambda path: (path.parent, path.name != f"{NAME}.partial")):
        folder = partial.parent
        if partial.name == f"{NAME}.partial":
            partial.unlink()
            _remove_empty(folder)
            continue
        if (folder / NAME).exists() and read_manifest(folder).place != origin(connection):
            continue
        status = _status(connection, partial.suffixes[-2].removeprefix("."))
        if status == "committed":
            narrate(f"Finishing the archive of a run that was killed: {folder}")
            _finish(partial)
        elif status == "aborted":
            _discard(partial)
        else:
            narrate(f"{partial} is left as it is: the server does not know its transaction.")


def origin(connection: Connection) -> str:
    """Return what tells a database apart from every copy of it."""
    return str(query(connection, "place")[0][0])


def require_keys(connection: Connection, subject: Subject) -> None:
    """Refuse to archive rows that could not be told apart when they are put back.

    Raises NoPrimaryKey.
    """
    for oid, name in subject.tables.items():
        if not query(connection, "has_key", oid=oid)[0][0]:
            raise NoPrimaryKey(
                f"The rule {subject.rule.name} cannot archive {name}, which has no primary key.",
                hint="Add one, or let the rule delete without an archive.",
            )


class _Lines:
    """The rows of selects as one stream of lines, each select's number of rows counted."""

    def __init__(
        self,
        connection: Connection,
        selects: Sequence[tuple[int, sql.Composable]],
        counted: Counter[int],
    ) -> None:
        self._chunks = self._read(connection, selects, counted)
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes."""
        parts, length = [self._rest], len(self._rest)
        while size < 0 or length < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            parts.append(chunk)
            length += len(chunk)
        whole = b"".join(parts)
        if size < 0:
            size = len(whole)
        self._rest = whole[size:]
        return whole[:size]

    @staticmethod
    def _read(
        connection: Connection,
        selects: Sequence[tuple[int, sql.Composable]],
        counted: Counter[int],
    ) -> Iterator[bytes]:
        for tab, select in selects:
            statement = sql.SQL("COPY ({}) TO STDOUT {}").format(select, _LINES)
            with connection.cursor() as cursor:
                with cursor.copy(statement) as copy:
                    for chunk in copy:
                        yield bytes(chunk)
                counted[tab] += cursor.rowcount


def _sources(
    connection: Connection, statements: Statements, values: Mapping[str, Any]
) -> list[tuple[int, str, str]]:
    """Return the rows that go as (table, relation, ctids), all of them locked.

    Rows that others add or move meanwhile need a lock on a row that is locked already; so the
    look that finds nothing new has found everything.
    """
    subject = statements.subject
    if not subject.cascades:
        ((tids,),) = connection.execute(
            sql.SQL("SELECT array_agg(ctid ORDER BY ctid)::text FROM ({}) AS due").format(
                statements.still_due
            ),
            values,
        ).fetchall()
        leaf = statements.leaf
        return [(subject.oid, leaf.name if leaf else subject.name, tids)]
    closure = statements.closure(statements.still_due, ROWS_BY_RELATION)
    before: list[Any] = []
    for _ in range(_LOOKS):
        found = connection.execute(closure, values).fetchall()
        if found == before:
            # The rule's own rows first: the others refer to them.
            ordered = sorted(found, key=lambda row: list(subject.tables).index(row[0]))
            return [(tab, name, tids) for tab, _, name, tids in ordered]
        for _, _, name, tids in found:
            lock = sql.SQL("SELECT FROM ONLY {} WHERE ctid = ANY (%s::tid[]) FOR UPDATE")
            connection.execute(lock.format(sql.SQL(name)), (tids,))
        before = found
    raise psycopg.errors.LockNotAvailable("rows that go along keep changing")


def _columns(connection: Connection, oid: int) -> dict[str, str]:
    return {name: kind for name, kind, _ in query(connection, "columns", oid=oid)}


def _prefix(database: str, schema: str, subject: Subject) -> str:
    return ".".join(quote(part, safe="") for part in (database, schema, subject.rule.name))


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _status(connection: Connection, xid: str) -> str | None:
    with suppress(psycopg.Error):
        status = query(connection, "outcome", xid=xid)[0][0]
        return None if status is None else str(status)
    return None


def _final(partial: Path) -> Path:
    """Return the name that NAME.XID.partial gets when its transaction has committed."""
    return partial.with_suffix("").with_suffix("")


def _finish(partial: Path) -> None:
    partial.replace(_final(partial))
    sync_folder(partial.parent)


def _discard(partial: Path) -> None:
    folder = partial.parent
    if (folder / NAME).exists():
        manifest = read_manifest(folder)
        if not _final(partial).exists():
            manifest.without(_final(partial).name).write(folder)
    partial.unlink()
    _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    """Remove the folder of a run that archived nothing."""
    if not any(path.name != NAME for path in folder.iterdir()):
        (folder / NAME).unlink(missing_ok=True)
        folder.rmdir()
