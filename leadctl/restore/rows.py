"""Loading tables and rows from an archive that is read from its beginning to its end.

Where there is much, several connections load: each reads the whole archive, for tables of its own.
Reading costs far less than what the server does with the rows.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from leadctl.backup.manifest import ARCHIVE
from leadctl.postgres.client import ClientProgram
from leadctl.restore.archive import Entry, list_archive, parse_entries, rows_of_tables
from leadctl.restore.connections import Connections
from leadctl.restore.pg_restore import PgRestore

if TYPE_CHECKING:
    from leadctl.restore.load import Source

_WORTH_A_CONNECTION = 64 * 2**20
"""Bytes of tables that take longer to load than an archive takes to be read once more."""
_TABLE_BEGINS = re.compile(r'processing data for table "(.+)"')
_TABLES, _ROWS = "--section=pre-data", "--section=data"


@dataclass(frozen=True)
class TableLoader:
    """Makes the tables of a backup, and loads their rows."""

    restore: PgRestore
    source: "Source"
    sizes: Mapping[str, int]
    """Bytes of each table, by its name."""
    connections: Connections
    read: Callable[[int], None]
    """Told of the bytes that were read, on average over the connections."""
    table_loaded: Callable[[str], None]
    """Told of each table that has its rows, as `schema.table` without quotes."""
    _read: dict[int, int] = field(default_factory=dict)

    def load(self) -> None:
        """Load everything.  Raises RestoreFailed, or why the backup cannot be read."""
        submit = self.connections.submit
        if self.connections.number == 1 or sum(self.sizes.values()) < 2 * _WORTH_A_CONNECTION:
            loading = [submit(self._load, 0, [], [_TABLES, _ROWS])]
        else:
            submit(self._load, 0, [], [_TABLES]).result()
            program = self.restore.programs.path("pg_restore")
            listing = list_archive(program, "the backup", partial(self.source.unpack, ARCHIVE))
            shares = _shares(parse_entries(listing), self.sizes, self.connections.number)
            self._read.update(dict.fromkeys(range(len(shares)), 0))
            loading = [submit(self._load, *share, [_ROWS]) for share in enumerate(shares)]
        for future in as_completed(loading):
            future.result()

    def _load(self, number: int, entries: Sequence[str], sections: Sequence[str]) -> None:
        with (
            self.restore.reading(*sections, "--verbose", entries=entries) as program,
            self.connections.running(program),
        ):
            loaded = _LoadedTables(program)

            def tick(done: int) -> None:
                self._read[number] = done
                self.read(sum(self._read.values()) // len(self._read))
                for table in loaded.new():
                    self.table_loaded(table)

            self.restore.feed(program, partial(self.source.unpack, ARCHIVE), tick)


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
