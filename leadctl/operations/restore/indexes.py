"""Making the indexes of tables whose rows are loaded, while the rows of others still load."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO

from leadctl.db.client import ClientProgram
from leadctl.operations.restore.entries import Entry, indexes_of_tables
from leadctl.operations.restore.pg_restore import PgRestore


class IndexBuilder:
    """Makes indexes from the schema-only archive, in `workers` threads.

    Used as a context: within it `table_loaded` sets work going; what had not begun at `finish` is
    left; where the block fails, what goes on is ended.
    """

    def __init__(
        self, restore: PgRestore, schema: IO[bytes], entries: Sequence[Entry], workers: int
    ) -> None:
        self._restore = restore
        self._schema = schema
        self._entries = entries
        self._waiting = indexes_of_tables(entries) if workers else {}
        self._threads = ThreadPoolExecutor(max(1, workers))
        self._begun: dict[str, Future[None]] = {}
        self._running: set[ClientProgram] = set()
        self._stopped = False

    def __enter__(self) -> "IndexBuilder":
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for program in list(self._running):
            program.stop()
        self._threads.shutdown(wait=True)

    def table_loaded(self, table: str) -> None:
        """Begin with the indexes of a table, whose name is `schema.table` without quotes."""
        for entry in self._waiting.pop(table, []):
            self._begun[entry] = self._threads.submit(self._make, entry)

    def finish(self) -> list[str]:
        """Wait for what has begun, and return the entries that are not made yet, in order.

        Raises RestoreFailed.
        """
        self._threads.shutdown(wait=True, cancel_futures=True)
        made = {entry for entry, future in self._begun.items() if not future.cancelled()}
        for entry in made:
            self._begun[entry].result()
        return [entry.id for entry in self._entries if entry.id not in made]

    def _make(self, entry: str) -> None:
        with self._restore.on_file(self._schema, entries=[entry]) as program:
            self._running.add(program)
            try:
                if self._stopped:
                    program.stop()
                self._restore.check(program)
            finally:
                self._running.discard(program)
