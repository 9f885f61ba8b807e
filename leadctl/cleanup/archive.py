"""Writing an archive: the rows of a batch reach the disk before their deletion is committed.

What the files are, and what becomes of them after a crash, is in archive_files.py.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from psycopg import sql

from leadctl.backup.stream import Label, pack, sha256_of
from leadctl.catalog.relations import read_numbered
from leadctl.cleanup.archive_files import (
    LINES,
    ArchivedBatch,
    ArchiveFolder,
    ArchiveManifest,
    archiving,
    database_place,
    final_name,
    folder_prefix,
    new_archive,
)
from leadctl.cleanup.context import RunContext
from leadctl.cleanup.references import is_one_of, keeps_below, lock_all, require_gone
from leadctl.cleanup.results import RowsKept
from leadctl.cleanup.rules import RuleTable
from leadctl.cleanup.statements import Statements, deleting
from leadctl.errors import ArchiveFailed, BackupFolderUnusable
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, as_timeout, set_session
from leadctl.postgres.queries import identifier


class RowArchive:
    """The archive of one run of one rule: a folder with a manifest and a file a batch."""

    def __init__(self, run: RunContext, table: RuleTable) -> None:
        self._run = run
        self._connection = run.connection
        self._destination = run.archive
        self._table = table
        self._columns = {
            oid: {column.name: column.type for column in relation.columns}
            for oid, relation in read_numbered(run.connection, table.tables, "columns").items()
        }
        self._manifest: ArchiveManifest | None = None
        self._undecided: str | None = None
        """The file of a transaction that may not have committed."""
        self._keeps_below = keeps_below(run.connection, table)
        self.folder: ArchiveFolder | None = None

    def archive_and_delete(
        self, statements: Statements, values: Mapping[str, Any], seconds: float | None
    ) -> tuple[int, Mapping[int, int]]:
        """Archive and delete, in the caller's transaction, what of the rows is due now.

        The deletion may take so many seconds; None for no limit.  Returns how many rows went, and
        by cascades per table's oid.  `commit` is called after the transaction has committed.
        Raises RowsKept where not all of them went.
        """
        count = sql.SQL("SELECT pg_catalog.count(*) FROM ({}) AS due").format(statements.still_due)
        with exact.as_owner(self._connection, statements.reads_as):
            ((expected,),) = self._connection.execute(count, values).fetchall()
            if not expected:
                return 0, {}
            rows = lock_all(self._connection, statements, values)
            if statements.exactly:  # a cast of a type of the app's is its code
                exact.take_app_path(self._connection)
            selects = [self._select(tab, name, tids) for tab, name, tids in rows]
            counted = self._write(statements.cutoff, selects)
        with deleting(self._connection, statements):
            limit = {"statement_timeout": as_timeout(seconds)}
            set_session(self._connection, limit, transaction=True)
            deleted = self._connection.execute(statements.delete_rows, values).rowcount
            set_session(self._connection, {"statement_timeout": "0"}, transaction=True)
        if deleted != expected:
            raise RowsKept
        if self._keeps_below:
            require_gone(self._connection, rows)
        counted[self._table.oid] -= deleted
        return deleted, +counted

    def archive_table(self, cutoff: datetime, name: str) -> int:
        """Archive all rows of a partition, in the caller's transaction, which drops it."""
        oid = self._table.oid
        with exact.as_owner(self._connection, self._table.roles[oid]):
            return self._write(cutoff, [self._select(oid, name, None)])[oid]

    def commit(self) -> None:
        """Give the file that was written last its name: its rows are deleted.

        Where that fails they are archived all the same, and the file is finished at the run's end.
        """
        if self.folder is not None and self._undecided is not None:
            with suppress(OSError, BackupFolderUnusable):
                self.folder.rename(self._undecided, final_name(self._undecided))
            self._undecided = None

    def _select(self, tab: int, name: str, tids: str | None) -> tuple[int, sql.Composable]:
        """Compose the rows of a table as lines; every value is text, as PostgreSQL writes it."""
        columns = sql.SQL(", ").join(
            sql.SQL("{}::pg_catalog.text").format(sql.Identifier(column))
            for column in self._columns[tab]
        )
        which: sql.Composable = sql.SQL("")
        if tids is not None:
            which = sql.SQL(" WHERE {}").format(is_one_of(tids))
        return tab, sql.SQL(
            "SELECT pg_catalog.json_build_object('table', {}::pg_catalog.text,"
            " 'row', pg_catalog.to_json(r.*))::pg_catalog.text"
            " FROM (SELECT {} FROM ONLY {}{}) AS r"
        ).format(self._table.tables[tab], columns, identifier(name), which)

    def _write(
        self, cutoff: datetime, selects: Sequence[tuple[int, sql.Composable]]
    ) -> Counter[int]:
        """Write a file with the rows of selects; return how many there were, per table's oid.

        Raises ArchiveFailed, and nothing is deleted.
        """
        with archiving(self._table):
            return self._write_in(self._begun(cutoff), selects)

    def _begun(self, cutoff: datetime) -> ArchiveFolder:
        """Return the folder, with a manifest, that has no file of a transaction rolled back."""
        if self.folder is None or self._manifest is None:
            stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
            # In object storage nothing says that another server's run has the same name.
            name = f"{folder_prefix(self._run, self._table)}.{stamp}-{os.urandom(4).hex()}"
            self.folder = new_archive(self._destination.folder, name)
            # First of all: it says whose the files are, should another database look at them.
            self._manifest = ArchiveManifest(
                app=self._run.app,
                database=self._connection.info.dbname,
                schema=self._run.target.schema,
                rule=self._table.rule.name,
                table=self._table.name,
                cutoff=cutoff.astimezone(UTC).isoformat(),
                place=database_place(self._connection),
                columns={self._table.tables[oid]: found for oid, found in self._columns.items()},
            )
            self._manifest.write(self.folder)
        if self._undecided is not None:
            self._manifest = self._manifest.without(final_name(self._undecided))
            self._manifest.write(self.folder)
            self.folder.remove(self._undecided)
            self._undecided = None
        return self.folder

    def _write_in(
        self, folder: ArchiveFolder, selects: Sequence[tuple[int, sql.Composable]]
    ) -> Counter[int]:
        assert self._manifest is not None
        ((xid,),) = exact.execute(self._connection, "SELECT pg_current_xact_id()::text").fetchall()
        number = len(self._manifest.segments) + 1
        file = f"{number:06d}.jsonl.zst{'.age' if self._destination.recipients else ''}"
        name = f"{file}.{xid}.partial"
        counted: Counter[int] = Counter()
        lines = _Lines(self._connection, selects, counted)
        label = Label(folder.name, name)
        with folder.create(name) as written:
            packed = pack(lines, written, label, self._destination.recipients, lambda _: None)
        with folder.open(name) as back:
            intact = sha256_of(back) == (packed.bytes, packed.sha256)
        if not intact:
            raise ArchiveFailed(
                f"{folder.path / name} was read back, and differs from what was written.",
                hint="Check the disk.",
            )
        by_name = {self._table.tables[tab]: count for tab, count in counted.items()}
        segment = ArchivedBatch(file, packed.bytes, packed.sha256, by_name)
        self._manifest = self._manifest.with_segment(segment)
        self._manifest.write(folder)
        self._undecided = name
        return counted


class _Lines:
    """The rows of selects as one stream of lines, each select's number of rows counted."""

    def __init__(
        self,
        connection: Connection,
        selects: Sequence[tuple[int, sql.Composable]],
        counted: Counter[int],
    ) -> None:
        self._chunks = self._read(connection, selects, counted)
        self._rest = bytearray()

    def read(self, size: int) -> bytes:
        """Return `size` bytes, or what is left."""
        while len(self._rest) < size and (chunk := next(self._chunks, b"")):
            self._rest += chunk
        lines = bytes(self._rest[:size])
        del self._rest[:size]
        return lines

    @staticmethod
    def _read(
        connection: Connection,
        selects: Sequence[tuple[int, sql.Composable]],
        counted: Counter[int],
    ) -> Iterator[bytes]:
        for tab, select in selects:
            statement = sql.SQL("COPY ({}) TO STDOUT {}").format(select, LINES)
            with connection.cursor() as cursor:
                with cursor.copy(statement) as copy:
                    for chunk in copy:
                        yield bytes(chunk)
                counted[tab] += cursor.rowcount
