"""Loading a backup into an empty database, with no plaintext of its rows on disk.

Tables and their rows come first, streamed from the archive.  Where there is much, several
connections load: each reads the whole archive, for tables of its own, since reading costs far less
than what the server does with the rows.  Indexes are made from the small schema-only archive: those
of a table as soon as it has its rows, on connections that loading has left.  Foreign keys, triggers
and the rest follow when all rows are there, in parallel.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from functools import partial
from typing import IO

from psycopg import errors, sql

from leadctl.backup.manifest import ARCHIVE, SCHEMA
from leadctl.backup.reader import BackupReader
from leadctl.errors import RestoreFailed
from leadctl.postgres.binaries import dump_programs
from leadctl.postgres.client import ClientProgram
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.names import identifier
from leadctl.postgres.target import Target
from leadctl.restore.archive import (
    ArchiveEntry,
    check_counts,
    indexes_of_tables,
    list_archive,
    parse_entries,
    rows_of,
    rows_of_tables,
)
from leadctl.restore.pg_restore import SHARES_OPEN_FILES, PgRestore, ProgramPool, major_of
from leadctl.restore.restorable import Loading

_TABLE_BEGINS = re.compile(r'processing data for table "(.+)"')
_TABLES, _ROWS = "--section=pre-data", "--section=data"


def load(reader: BackupReader, target: Target, loading: Loading) -> None:
    """Load a backup into the target's database, which is empty.

    Raises RestoreFailed, BackupDamaged, InvalidIdentity, MissingClient, and what connecting
    raises.
    """
    jobs = loading.jobs if SHARES_OPEN_FILES else 1
    # An archive is read by the version that wrote it and by newer ones.
    made_by, major = reader.backup.client_major, major_of(target)
    programs = dump_programs(made_by, max(made_by, major))
    restore = PgRestore(target, programs, major, loading.owners)
    # Without a name from the start, so that a killed run leaves nothing.
    with tempfile.TemporaryFile() as schema:
        reader.unpack(SCHEMA, schema)
        schema.flush()
        left: list[str] = []
        if loading.rows:
            with ProgramPool(jobs) as pool:
                left = _RowLoader(reader, restore, schema, loading, pool).load()
        else:
            restore.run(schema, _TABLES)
            _copy_records(reader, target)
        loading.narrate("Making indexes, constraints and triggers.")
        restore.run(schema, "--section=post-data", f"--jobs={jobs}", entries=left)
    if loading.rows:
        with connect(target, "restore", like_pg_dump=True) as connection:
            _refresh(connection, reader.manifest.materialized_views)


class _RowLoader:
    """Makes the tables of a backup and loads their rows; makes indexes of large ones meanwhile."""

    def __init__(
        self,
        reader: BackupReader,
        restore: PgRestore,
        schema: IO[bytes],
        loading: Loading,
        pool: ProgramPool,
    ) -> None:
        """`schema` is the schema-only archive, which the indexes are made from."""
        self._reader = reader
        self._restore = restore
        self._schema = schema
        self._loading = loading
        self._pool = pool
        self._sizes = {table.name: table.bytes for table in reader.manifest.tables}
        self._entries = self._listed(SCHEMA)
        found = indexes_of_tables(self._entries) if pool.number > 1 else {}
        self._waiting = {
            table: indexes
            for table, indexes in found.items()
            if self._sizes.get(table, 0) >= loading.min_index_bytes
        }
        self._begun: dict[str, Future[None]] = {}
        self._read: dict[int, int] = {}

    def load(self) -> list[str]:
        """Load all; return the entries after the rows that are not made yet, in order.

        Raises RestoreFailed, or why the backup cannot be read.
        """
        self._loading.narrate("Loading the rows.")
        submit, number = self._pool.submit, self._pool.number
        worth = self._loading.min_connection_bytes
        if number == 1 or sum(self._sizes.values()) < 2 * worth:
            loading = [submit(self._load, 0, [], [_TABLES, _ROWS])]
        else:
            submit(self._load, 0, [], [_TABLES]).result()
            shares = divide_entries(self._listed(ARCHIVE), self._sizes, number, worth)
            self._read.update(dict.fromkeys(range(len(shares)), 0))
            loading = [submit(self._load, *share, [_ROWS]) for share in enumerate(shares)]
        for future in as_completed(loading):
            future.result()
        self._pool.finish()
        made = {entry for entry, future in self._begun.items() if not future.cancelled()}
        for entry in made:
            self._begun[entry].result()
        return [entry.id for entry in self._entries if entry.id not in made]

    def _listed(self, stem: str) -> list[ArchiveEntry]:
        program = self._restore.programs.path("pg_restore")
        return parse_entries(
            list_archive(program, "the backup", partial(self._reader.unpack, stem))
        )

    def _load(self, number: int, entries: Sequence[str], sections: Sequence[str]) -> None:
        """Load one share; begin with the indexes of each table that has its rows."""
        with (
            self._restore.running(None, *sections, "--verbose", entries=entries) as program,
            self._pool.running(program),
        ):
            loaded = _LoadedTables(program)

            def tick(done: int) -> None:
                self._read[number] = done
                self._loading.loaded(sum(self._read.values()) // len(self._read))
                for table in loaded.new():
                    for entry in self._waiting.pop(table, []):
                        self._begun[entry] = self._pool.submit(self._make_index, entry)

            self._restore.feed(program, partial(self._reader.unpack, ARCHIVE), tick)

    def _make_index(self, entry: str) -> None:
        with (
            self._restore.running(self._schema, entries=[entry]) as program,
            self._pool.running(program),
        ):
            self._restore.check(program)


class _LoadedTables:
    """Reads from pg_restore's messages which tables have all their rows."""

    def __init__(self, program: ClientProgram) -> None:
        self._program = program
        self._current: str | None = None

    def new(self) -> Iterator[str]:
        """Return those since the last call, as `schema.table` without quotes.

        Any message ends the table before it.
        """
        for message in self._program.new_messages():
            if self._current:
                yield self._current
            found = _TABLE_BEGINS.search(message)
            self._current = found[1] if found else None


def divide_entries(
    entries: Sequence[ArchiveEntry], sizes: Mapping[str, int], number: int, worth: int
) -> list[list[str]]:
    """Divide an archive's entries, so that the shares have about as many bytes of tables.

    `sizes` are the bytes of each table by its name; a share has at least `worth` bytes.  What is no
    rows, or of a table whose name is quoted, is in the first share.
    """
    tables = {entry: sizes.get(name, 0) for entry, name in rows_of_tables(entries).items()}
    loads = [0] * number
    share_of: dict[str, int] = {}
    for rows in sorted(tables, key=tables.__getitem__, reverse=True):
        share_of[rows] = loads.index(min(loads))
        loads[share_of[rows]] += tables[rows]
    shares: list[list[str]] = [[] for _ in loads]
    for entry in entries:
        share = share_of.get(entry.id, 0)
        shares[share if loads[share] >= worth else 0].append(entry.id)
    return [share for share in shares if share]


def _copy_records(reader: BackupReader, target: Target) -> None:
    """Copy what leadctl and Alembic record of the schema: it goes with the schema."""
    manifest = reader.manifest
    version_table = (manifest.schema, manifest.version_table)
    records = {("leadctl", "identity"), ("leadctl", "migration"), version_table}
    found = [table.name for table in manifest.tables if table.parts in records]
    if found:
        with connect(target, "restore", like_pg_dump=True) as connection:
            read = {
                rows.table: rows.copy_into(connection, identifier(rows.table))
                for rows in rows_of(reader, found)
            }
        check_counts(reader, read, found)


def _refresh(connection: Connection, views: Sequence[str]) -> None:
    """Refresh materialized views, each after those that it reads."""
    waiting = list(views)
    while waiting:
        again: list[str] = []
        for view in waiting:
            try:
                refresh = sql.SQL("REFRESH MATERIALIZED VIEW {}").format(identifier(view))
                connection.execute(refresh)
            except errors.ObjectNotInPrerequisiteState:
                again.append(view)
        if len(again) == len(waiting):
            raise RestoreFailed(f"The materialized view {again[0]} cannot be refreshed.")
        waiting = again
