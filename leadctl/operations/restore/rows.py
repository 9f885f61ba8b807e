"""Loading tables and rows from an archive that is read from its beginning to its end.

Where there is much, several connections load: each reads the whole archive, for tables of its own.
Reading costs far less than what the server does with the rows.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from leadctl.db.client import ClientProgram
from leadctl.operations.backup.manifest import ARCHIVE
from leadctl.operations.restore.connections import Connections
from leadctl.operations.restore.entries import Entry, list_archive, parse_entries, rows_of_tables
from leadctl.operations.restore.pg_restore import PgRestore, Pipe

if TYPE_CHECKING:
    from leadctl.operations.restore.load import Source

_WORTH_A_CONNECTION = 64 * 2**20
"""Bytes of tables that take longer to load than an archive takes to be read once more."""
_TABLE_BEGINS = re.compile(r'processing data for table "(.+)"')
_TABLES, _ROWS = "--section=pre-data", "--section=data"


class Watch:
    """Who is told how far the connections are: bytes read, on average, and each loaded table."""

    def __init__(self, read: Callable[[int], None], table_loaded: Callable[[str], None]) -> None:
        self.table_loaded = table_loaded
        self._tell = read
        self._read: dict[int, int] = {}

    def read(self, connection: int, done: int) -> None:
        """Take how far a connection is."""
        self._read[connection] = done
        self._tell(sum(self._read.values()) // len(self._read))


def load_tables(
    restore: PgRestore, source: "Source", connections: Connections, watch: Watch
) -> None:
    """Make the tables of a backup and load their rows.

    Raises RestoreFailed, or why the backup cannot be read.
    """
    load = partial(_load, restore, source, connections, watch)
    sizes = {table.name: table.bytes for table in source.backup.manifest.tables}
    if connections.number == 1 or sum(sizes.values()) < 2 * _WORTH_A_CONNECTION:
        loading = [connections.submit(load, 0, [], [_TABLES, _ROWS])]
    else:
        connections.submit(load, 0, [], [_TABLES]).result()
        program = restore.programs.path("pg_restore")
        listing = list_archive(program, "the backup", partial(source.unpack, ARCHIVE))
        shares = _shares(parse_entries(listing), sizes, connections.number)
        loading = [connections.submit(load, *share, [_ROWS]) for share in enumerate(shares)]
    for future in as_completed(loading):
        future.result()


def _load(
    restore: PgRestore,
    source: "Source",
    connections: Connections,
    watch: Watch,
    number: int,
    entries: Sequence[str],
    sections: Sequence[str],
) -> None:
    with (
        restore.reading(*sections, "--verbose", entries=entries) as program,
        connections.running(program),
    ):
        loaded = _LoadedTables(program)

        def tick(done: int) -> None:
            watch.read(number, done)
            for table in loaded.new():
                watch.table_loaded(table)

        with suppress(BrokenPipeError):  # pg_restore has what it wants, or says why it ended
            source.unpack(ARCHIVE, Pipe(program.stdin, tick))
            program.stdin.close()
        restore.check(program)


def _shares(entries: Sequence[Entry], sizes: Mapping[str, int], number: int) -> list[list[str]]:
    """Divide an archive's entries, so that the shares have about as many bytes of tables.

    What is no rows, or of a table whose name is quoted, is in the first share.
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
        shares[share if loads[share] >= _WORTH_A_CONNECTION else 0].append(entry.id)
    return [share for share in shares if share]


class _LoadedTables:
    """Reads from pg_restore's messages which tables have all their rows."""

    def __init__(self, program: ClientProgram) -> None:
        self._program = program
        self._current: str | None = None

    def new(self) -> Iterator[str]:
        """Return those since the last call; any message ends the table before it."""
        for message in self._program.new_messages():
            if self._current:
                yield self._current
            found = _TABLE_BEGINS.search(message)
            self._current = found[1] if found else None
