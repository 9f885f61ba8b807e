"""Making the indexes of tables whose rows are loaded, while the rows of others still load."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import IO

from leadctl.restore.archive import Entry, indexes_of_tables
from leadctl.restore.connections import Connections
from leadctl.restore.pg_restore import PgRestore

_WORTH_A_RUN = 32 * 2**20
"""Bytes of a table whose index takes longer to make than a program takes to start."""


class IndexBuilder:
    """Makes indexes from the schema-only archive, on connections that loading has left."""

    def __init__(
        self,
        restore: PgRestore,
        schema: IO[bytes],
        entries: Sequence[Entry],
        sizes: Mapping[str, int],
        connections: Connections,
    ) -> None:
        """`sizes` are the tables' bytes: the indexes of small ones are left to the end."""
        self._restore = restore
        self._schema = schema
        self._entries = entries
        self._connections = connections
        found = indexes_of_tables(entries) if connections.number > 1 else {}
        self._waiting = {name: found[name] for name in found if sizes.get(name, 0) >= _WORTH_A_RUN}
        self._begun: dict[str, Future[None]] = {}

    def table_loaded(self, table: str) -> None:
        """Begin with the indexes of a table, whose name is `schema.table` without quotes."""
        for entry in self._waiting.pop(table, []):
            self._begun[entry] = self._connections.submit(self._make, entry)

    def finish(self) -> list[str]:
        """Wait for what has begun, and return the entries that are not made yet, in order.

        Raises RestoreFailed.
        """
        self._connections.finish()
        made = {entry for entry, future in self._begun.items() if not future.cancelled()}
        for entry in made:
            self._begun[entry].result()
        return [entry.id for entry in self._entries if entry.id not in made]

    def _make(self, entry: str) -> None:
        with (
            self._restore.on_file(self._schema, entries=[entry]) as program,
            self._connections.running(program),
        ):
            self._restore.check(program)
