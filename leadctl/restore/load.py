"""Loading a backup into an empty database, with no plaintext of its rows on disk.

A small archive is unpacked in memory, where pg_restore reads it on several connections at once.  Of
others tables and their rows come first, streamed from the archive.  Where there is much, several
connections load: each reads the whole archive, for tables of its own, since reading costs far less
than what the server does with the rows.  Indexes are made from the small schema-only archive: those
of a table as soon as it has its rows, on connections that loading has left.  Foreign keys, triggers
and the rest follow when all rows are there, in parallel.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import IO

from psycopg import errors, sql

from leadctl.backup.contents import (
    ArchiveEntry,
    indexes_of_tables,
    rows_of_tables,
    write_offsets,
)
from leadctl.backup.manifest import ARCHIVE
from leadctl.backup.reader import BackupReader
from leadctl.errors import RestoreFailed
from leadctl.postgres.binaries import dump_programs
from leadctl.postgres.client import ClientProgram
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.provision import has_schema
from leadctl.postgres.queries import identifier
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told
from leadctl.restore.dump_archive import (
    check_counts,
    rows_of,
    without_skipped,
)
from leadctl.restore.pg_restore import (
    _TABLE_BEGINS,
    SHARES_OPEN_FILES,
    PgRestore,
    ProgramPool,
    pg_restore_hint,
)
from leadctl.restore.restorable import LeftOutEntry, Loading

_TABLES, _ROWS = "--section=pre-data", "--section=data"
_STATISTICS = "STATISTICS DATA"
"""The planner's: by them foreign keys are checked slower than without."""
_AFTERWARDS = (_STATISTICS, "MATERIALIZED VIEW DATA")
"""What does not come with the tables: the queries of views may need a search path."""


@contextmanager
def unpacked_ahead(
    reader: BackupReader, loading: Loading
) -> Iterator[tuple[ProgramPool, "Future[IO[bytes]] | None"]]:
    """Unpack a small archive in memory, in a thread that is yielded, too.

    None where it is not loaded from there.
    """
    memory = _memory(reader, loading)
    with memory or nullcontext(), ProgramPool(1) as thread:
        yield thread, thread.submit(_unpacked, reader, memory) if memory else None


def _memory(reader: BackupReader, loading: Loading) -> IO[bytes] | None:
    file = reader.manifest.file(ARCHIVE)
    small = file is not None and file.raw_bytes <= loading.memory_bytes
    alone = reader.manifest.distribution is None  # else tables are distributed before their rows
    if small and loading.rows and _jobs(loading) > 1 and alone:
        with suppress(OSError):  # not in every container
            return os.fdopen(os.memfd_create(ARCHIVE), "w+b")
    return None


def _unpacked(reader: BackupReader, memory: IO[bytes]) -> IO[bytes]:
    reader.unpack(ARCHIVE, memory)
    write_offsets(memory)
    return memory


def _jobs(loading: Loading) -> int:
    """Return how many connections load: what goes on after errors says which entry failed.

    Several at once would mix what they say.
    """
    return loading.jobs if SHARES_OPEN_FILES and not loading.partly else 1


def load(
    reader: BackupReader,
    entries: Sequence[ArchiveEntry],
    loading: Loading,
    thread: ProgramPool,
    archive: "Future[IO[bytes]] | None",
    target: Target,
    server_major: int,
) -> Callable[[], None]:
    """Load a backup into the target's database, which is empty.

    `entries` are those of the archive of its schema, `archive` is that of its rows where it is
    unpacked in memory.  Returns what waits for the statistics, which `thread` loads.  Raises
    RestoreFailed, BackupDamaged, InvalidIdentity, MissingClient, and what connecting raises.
    """
    jobs = _jobs(loading)
    # An archive is read by the version that wrote it and by newer ones.
    made_by = reader.manifest.client_major
    programs = dump_programs(made_by, max(made_by, server_major))
    restore = PgRestore(target, programs, server_major, loading)
    listed: Sequence[ArchiveEntry] = ()
    if loading.rows or loading.skip:
        listed = reader.contents.entries
    if loading.skip:
        made = entries
        entries = without_skipped(entries, loading, listed)
        listed = without_skipped(listed, loading, made)
    if loading.older:
        there = _make_older(reader, entries, restore)
        entries = [entry for entry in entries if entry.label not in there]
        listed = [entry for entry in listed if entry.label not in there]
    if archive is not None:
        loading.narrate("Loading the rows; making indexes, constraints and triggers.")
        restore.run(archive.result(), f"--jobs={jobs}", entries=_ids(listed, but=_AFTERWARDS))
    else:
        left = _ids(entries) if loading.skip or loading.older else []
        if loading.rows:
            with ProgramPool(jobs) as pool:
                left = _RowLoader(reader, entries, listed, restore, loading, pool).load()
        else:
            restore.run(reader.schema, _TABLES, entries=left, known=entries)
            if loading.distribute is not None:
                loading.distribute(target)
            _copy_records(reader, target)
        loading.narrate("Making indexes, constraints and triggers.")
        more = ("--section=post-data", f"--jobs={jobs}")
        restore.run(reader.schema, *more, entries=left, known=entries)
    views = reader.manifest.materialized_views if loading.rows else ()
    statistics = [entry.id for entry in listed if entry.kind == _STATISTICS and loading.rows]
    rest = thread.submit(_load_statistics, reader, restore, thread, statistics, listed)
    if views:
        rest.result()
        with connect(target, "restore", rows=True, like_pg_dump=True) as connection:
            _refresh(connection, views, loading)
    return rest.result


def _make_older(
    reader: BackupReader, entries: Sequence[ArchiveEntry], restore: PgRestore
) -> set[str]:
    """Make extensions in the version of the backup, and before their schemas; return these' labels.

    pg_restore makes an extension in its default version, unless it exists.  So does this, where its
    script fails.
    """
    older = {each.name: each for each in reader.manifest.extensions}
    found = [
        older[e.name] for e in entries if e.kind == "EXTENSION" and e.name in restore.loading.older
    ]
    schemas = [e for e in entries if e.kind == "SCHEMA" and e.name in {x.schema for x in found}]
    if schemas:
        restore.run(reader.schema, entries=_ids(schemas), known=entries)
    make = sql.SQL("CREATE EXTENSION {} {} VERSION {} CASCADE")
    with connect(restore.target, "restore", like_pg_dump=True) as connection:
        for each in found:
            there = has_schema(connection, each.schema)
            within = sql.SQL("SCHEMA {}").format(sql.Identifier(each.schema))
            with suppress(errors.Error):
                connection.execute(
                    make.format(
                        sql.Identifier(each.name),
                        within if there else sql.SQL(""),
                        sql.Literal(each.version),
                    )
                )
    return {entry.label for entry in schemas}


def _load_statistics(
    reader: BackupReader,
    restore: PgRestore,
    pool: ProgramPool,
    statistics: Sequence[str],
    listed: Sequence[ArchiveEntry],
) -> None:
    if statistics:
        with restore.running(None, entries=statistics) as program, pool.running(program):
            restore.feed(program, partial(reader.unpack, ARCHIVE), lambda _: None, listed)


def _ids(entries: Sequence[ArchiveEntry], but: Sequence[str] = ()) -> list[str]:
    """Return the ids of entries but for those of some kinds."""
    return [entry.id for entry in entries if entry.kind not in but]


@dataclass
class _RowLoader:
    """Makes the tables of a backup and loads their rows; makes indexes of large ones meanwhile."""

    _reader: BackupReader
    _entries: Sequence[ArchiveEntry]
    """Those of the schema-only archive, which the indexes are made from."""
    _listed: Sequence[ArchiveEntry]
    """Those of the one with the rows."""
    _restore: PgRestore
    _loading: Loading
    _pool: ProgramPool

    def __post_init__(self) -> None:
        self._sizes = {table.parts: table.bytes for table in self._reader.manifest.tables}
        found = indexes_of_tables(self._entries) if self._pool.number > 1 else {}
        self._waiting: dict[str, list[str]] = {}
        """Indexes of large tables, by what pg_restore calls the table."""
        for table, indexes in found.items():
            if self._sizes.get(table, 0) >= self._loading.min_index_bytes:
                self._waiting.setdefault(".".join(table), []).extend(indexes)
        self._begun: dict[str, Future[None]] = {}
        self._read: dict[int, int] = {}

    def load(self) -> list[str]:
        """Load all; return the entries after the rows that are not made yet, in order.

        Raises RestoreFailed, or why the backup cannot be read.
        """
        self._loading.narrate("Loading the rows.")
        submit, number = self._pool.submit, self._pool.number
        worth, distribute = self._loading.min_connection_bytes, self._loading.distribute
        little = number == 1 or sum(self._sizes.values()) < 2 * worth
        if little and distribute is None:
            entries = _ids(self._listed, but=_AFTERWARDS)
            loading = [submit(self._load, 0, entries, [_TABLES, _ROWS])]
        else:
            submit(self._load, 0, _ids(self._listed), [_TABLES]).result()
            if distribute is not None:
                distribute(self._restore.target)
            rows = [entry for entry in self._listed if entry.kind != _STATISTICS]
            shares = divide_entries(rows, self._sizes, number, worth)
            self._read.update(dict.fromkeys(range(len(shares)), 0))
            loading = [submit(self._load, *share, [_ROWS]) for share in enumerate(shares)]
        for future in as_completed(loading):
            future.result()
        self._pool.finish()
        made = {entry for entry, future in self._begun.items() if not future.cancelled()}
        for entry in made:
            self._begun[entry].result()
        return [entry.id for entry in self._entries if entry.id not in made]

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

            unpack = partial(self._reader.unpack, ARCHIVE)
            self._restore.feed(program, unpack, tick, self._listed)

    def _make_index(self, entry: str) -> None:
        with (
            self._restore.running(self._reader.schema, entries=[entry]) as program,
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
    entries: Sequence[ArchiveEntry], sizes: Mapping[tuple[str, ...], int], number: int, worth: int
) -> list[list[str]]:
    """Divide an archive's entries, so that the shares have about as many bytes of tables.

    `sizes` are the bytes of each table by its schema and name; a share has at least `worth` bytes.
    What is no rows is in the first share.
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
    version_table = (manifest.version_schema or manifest.schema, manifest.version_table)
    records = {("leadctl", "identity"), ("leadctl", "migration"), version_table}
    found = [table.name for table in manifest.tables if table.parts in records]
    if found:
        with connect(target, "restore", like_pg_dump=True) as connection:
            read = {
                rows.table: rows.copy_into(connection, identifier(rows.table), owner=None)
                for rows in rows_of(reader, found)
            }
        check_counts(reader, read, found)


def _refresh(connection: Connection, views: Sequence[str], loading: Loading) -> None:
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
            except errors.Error as error:
                if (error.sqlstate or "57")[:2] in {"53", "57", "58"}:  # no fault of the view
                    raise
                if not loading.partly:
                    raise _not_refreshed(view, told(error), refresh.as_string()) from None
                left = LeftOutEntry(f"MATERIALIZED VIEW DATA {view}", told(error))
                loading.left_out.append(left)
        if len(again) == len(waiting):
            if loading.partly:
                reason = "it reads what has no rows"
                loading.left_out.extend(
                    LeftOutEntry(f"MATERIALIZED VIEW DATA {view}", reason) for view in again
                )
                return
            raise _not_refreshed(again[0], "it reads what has no rows")
        waiting = again


def _not_refreshed(view: str, reason: str, command: str = "") -> RestoreFailed:
    message = f"The materialized view {view} cannot be refreshed: {reason}."
    failure = RestoreFailed(message, hint=pg_restore_hint(message))
    failure.command = command
    return failure
