"""Connections that are used again, by a run that has many targets.

Within `reused`, a connection that is closed is kept for whoever connects next to the same database
as the same user.  Whoever gets it has a Python object of its own: the one that was closed stays
closed, so nobody can use a session that is another's now.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Self

import psycopg
from psycopg import pq

_MOST_USES = 500
"""Of one session: what a server process remembers of tables that it has seen is never forgotten."""


class Sessions:
    """Sessions that nobody uses now: `most` at a time, the one that waited longest goes first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._idle: OrderedDict[tuple[Hashable, int], tuple[pq.abc.PGconn, int]] = OrderedDict()
        self._guard = threading.Lock()
        self._given = 0
        self._closed = False

    def take(self, key: Hashable) -> "LentConnection | None":
        """Return a connection of an idle session, as new; None where there is none."""
        while True:
            with self._guard:
                found = next((each for each in reversed(self._idle) if each[0] == key), None)
                if found is None:
                    return None
                pgconn, uses = self._idle.pop(found)
            with suppress(psycopg.Error):  # it was ended meanwhile
                return LentConnection.of(self, key, pgconn, uses + 1)
            pgconn.finish()

    def give(self, key: Hashable, pgconn: pq.abc.PGconn, uses: int) -> bool:
        """Keep a session for the next; False where it is not kept."""
        if uses >= _MOST_USES or pgconn.transaction_status != pq.TransactionStatus.IDLE:
            return False
        if pgconn.pipeline_status != pq.PipelineStatus.OFF:
            return False
        with self._guard:
            if self._closed:
                return False
            self._given += 1
            self._idle[(key, self._given)] = (pgconn, uses)
            oldest = self._idle.popitem(last=False)[1][0] if len(self._idle) > self._most else None
        if oldest is not None:
            oldest.finish()
        return True

    def close(self) -> None:
        """End all idle sessions, and keep none any more."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, OrderedDict()
        for pgconn, _ in idle.values():
            pgconn.finish()


current: ContextVar[Sessions | None] = ContextVar("current_sessions", default=None)
"""The sessions that connections of this context come from and return to."""


@contextmanager
def reused(sessions: Sessions) -> Iterator[None]:
    """Let connections that are opened in the block, by this thread, use these sessions."""
    before = current.set(sessions)
    try:
        yield
    finally:
        current.reset(before)


class LentConnection(psycopg.Connection[Any]):
    """A connection whose session outlives it."""

    _home: tuple[Sessions, Hashable, int] | None = None

    @classmethod
    def of(cls, sessions: Sessions, key: Hashable, pgconn: pq.abc.PGconn, uses: int) -> Self:
        """Return a connection to a session as if it had just begun.  Raises psycopg.Error."""
        made = cls(pgconn)
        try:
            made.autocommit = True
            made.execute("")  # it is still there
        except BaseException:
            psycopg.Connection.close(made)
            raise
        made._home = (sessions, key, uses)
        return made

    def lend(self, sessions: Sessions, key: Hashable) -> None:
        """Let the session of a new connection be used again when this is closed."""
        self._home = (sessions, key, 1)

    def close(self) -> None:
        """Close the connection; keep its session where it can serve another."""
        home, self._home = self._home, None
        if home is not None and not self.closed and self._is_as_new():
            sessions, key, uses = home
            pgconn, self.pgconn = self.pgconn, _ended()
            if sessions.give(key, pgconn, uses):
                return
            self.pgconn = pgconn
        super().close()

    def _is_as_new(self) -> bool:
        """Let go of what the session holds and has set, at once: locks, roles, what is open."""
        try:
            if self.pgconn.transaction_status != pq.TransactionStatus.IDLE:
                self.rollback()
            self.autocommit = True
            self.execute("DISCARD ALL", prepare=False)
        except psycopg.Error:
            return False
        return True


def _ended() -> pq.abc.PGconn:
    """Return what a connection that was closed has in the place of its session."""
    made = pq.PGconn.connect_start(b"host=/nonexistent")
    made.finish()
    return made
