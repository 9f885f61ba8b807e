"""Why a run ends before everything that is due is gone."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from leadctl.postgres.connect import Connection


class Reason(Enum):
    """Why a run, or a rule in it, stopped early; the next run goes on."""

    MAX_SECONDS = "max_seconds"
    MAX_ROWS = "max_rows"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"
    REPLICA_LAG = "replica_lag"
    WAL_ARCHIVING = "wal_archiving"
    VACUUM = "vacuum"
    TABLE_LOCKED = "table_locked"
    ROWS_LOCKED = "rows_locked"


class Limits:
    """The bounds of a whole run: time, rows, and a request to stop, from a signal handler or so."""

    def __init__(self, max_seconds: float | None, max_rows: int | None) -> None:
        self.began = time.monotonic()
        self._deadline = None if max_seconds is None else self.began + max_seconds
        self._rows_left = max_rows
        self._requested: Reason | None = None
        self._running: Connection | None = None

    def request(self, reason: Reason) -> None:
        """Ask the run to stop; a long statement that may be cancelled is."""
        self._requested = reason
        if self._running is not None:
            self._running.cancel_safe()

    @property
    def requested(self) -> Reason | None:
        """The reason for which the run was asked to stop."""
        return self._requested

    @property
    def reached(self) -> Reason | None:
        """The bound that was reached; None while the run may go on."""
        if self._requested is not None:
            return self._requested
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return Reason.MAX_SECONDS
        return Reason.MAX_ROWS if self._rows_left == 0 else None

    @property
    def counts_rows(self) -> bool:
        """Whether the run may take so many rows and no more."""
        return self._rows_left is not None

    @property
    def seconds_left(self) -> float | None:
        """How long the run may go on; None where nothing says."""
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - time.monotonic())

    def at_most(self, rows: int) -> int:
        """Return how many of `rows` the run may still take."""
        return rows if self._rows_left is None else min(rows, self._rows_left)

    def took(self, rows: int) -> None:
        """Count rows that were taken."""
        if self._rows_left is not None:
            self._rows_left -= rows

    @contextmanager
    def cancelling(self, connection: Connection) -> Iterator[None]:
        """Let a request to stop cancel what runs on the connection meanwhile."""
        self._running = connection
        try:
            yield
        finally:
            self._running = None
