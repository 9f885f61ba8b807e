"""Deleting what is due from one table, in short transactions."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg import sql

from leadctl.db.connect import Connection
from leadctl.operations.cleanup.archive import Archive
from leadctl.operations.cleanup.catalog import QUERIES
from leadctl.operations.cleanup.plan import goes_by_age
from leadctl.operations.cleanup.pressure import Pressure
from leadctl.operations.cleanup.statements import Statements
from leadctl.operations.cleanup.stop import Limits, Reason

TARGET_SECONDS = 0.02
"""How long a batch should take: what it locks is locked that long, and a commit beside it waits for
its WAL to be written.  Shorter ones are trips to the server more than work."""
_ARCHIVE_SECONDS = 0.5
_FIRST, _SMALLEST, _LARGEST = 2000, 50, 50_000
"""Rows of a batch."""
_GROWTH = 2.0
LOCK_TIMEOUT = "200ms"
"""Below deadlock_timeout, which is a second: in a deadlock it is we who give way."""
_TRIES = 20
_RETRY_SECONDS = 0.2
_PASSES = 5
LOCKED = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)


@dataclass
class Deleted:
    """What went: of the table itself, and by cascades per table's oid."""

    rows: int = 0
    cascaded: Counter[int] = field(default_factory=Counter)
    batches: int = 0
    stopped: Reason | None = None


class Batches:
    """One pass after another over the rows that are due, the oldest first."""

    def __init__(
        self,
        connection: Connection,
        statements: Statements,
        limits: Limits,
        pressure: Pressure,
        archive: Archive | None,
        done: Deleted,
        on_batch: Callable[[Deleted], None],
    ) -> None:
        self._connection = connection
        self._statements = statements
        self._limits = limits
        self._pressure = pressure
        self._archive = archive
        self._done = done
        self._on_batch = on_batch
        self._size = _FIRST
        self._has_skipped = False
        self._busy: list[str] = []
        self._beyond: str | date | datetime | None = None
        self._may_sweep = goes_by_age(connection, statements) and not limits.counts_rows

    def run(self, *, at_most: int | None, all_are_gone: Callable[[], bool]) -> None:
        """Delete until nothing is due or a bound is reached; `Deleted` has what happened.

        `at_most` are the rows that the rule may take.  Rows that others had locked are looked for
        in another pass, unless none was left out or `all_are_gone`.
        """
        for _ in range(_PASSES):
            before, self._has_skipped, self._beyond = self._done.rows, False, None
            if not self._pass(at_most) or not self._has_skipped or all_are_gone():
                return
            if self._done.rows == before:
                break
        if self._is_something_left():
            self._done.stopped = Reason.ROWS_LOCKED

    def _pass(self, at_most: int | None) -> bool:
        """Go once through the table; return whether its end was reached."""
        is_end = False
        while not is_end:
            left = None if at_most is None else at_most - self._done.rows
            if left == 0:
                self._done.stopped = Reason.MAX_ROWS
            else:
                self._done.stopped = self._limits.reached or self._pressure.give_way()
            if self._done.stopped is None:
                self._size = self._limits.at_most(min(self._size, left or self._size))
                is_end = self._batch()
                self._on_batch(self._done)
            if self._done.stopped is not None:
                return False
        return True

    def _batch(self) -> bool:
        """Take one batch; return whether it was the last one of the pass.

        Where another session holds a lock that is needed, a smaller batch may do without it.
        """
        if self._may_sweep:
            with suppress(*LOCKED):
                is_end = self._timed(self._sweep)
                if is_end is not None:
                    return is_end
        for _ in range(_TRIES):
            with suppress(*LOCKED):
                return bool(self._timed(self._take))
            if self._limits.reached is not None:
                break
            if self._size > 1:
                self._size = max(1, self._size // 10)
            else:
                self._pass_over()
            time.sleep(_RETRY_SECONDS)
        self._done.stopped = self._limits.reached or Reason.TABLE_LOCKED
        return False

    def _timed(self, take: Callable[[int], bool | None]) -> bool | None:
        """Take a batch, and make the next one as large as it should be; return what `take` says."""
        began, size = time.monotonic(), self._size
        is_end = take(size)
        if is_end is None:
            return None
        target = _ARCHIVE_SECONDS if self._archive else TARGET_SECONDS
        factor = target / max(time.monotonic() - began, 0.001)
        grown = round(size * min(_GROWTH, max(1 / _GROWTH, factor)))
        self._size = max(_SMALLEST, min(_LARGEST, grown))
        return is_end

    def _is_something_left(self) -> bool:
        values = self._values(limit=1)
        ((left,),) = self._connection.execute(self._statements.count, values).fetchall()
        return bool(left)

    def _sweep(self, size: int) -> bool | None:
        """Delete what is due of the oldest rows by their ages, as fast as one can.

        It waits for rows that others have locked.  Returns whether it was the end of the pass; None
        where all of them have one age, so that an age cannot part them.
        """
        beyond = self._beyond is not None
        values = self._values(limit=size)
        span = self._statements.span(beyond=beyond)
        following = self._connection.execute(span, values).fetchone()
        until = values["cutoff"] if following is None else following[0]
        if until == self._beyond:
            return None
        deleted, cascaded = self._delete(
            self._statements.sweep(beyond=beyond), {**values, "until": until}
        )
        self._beyond = until
        self._count(deleted, cascaded)
        return following is None

    def _take(self, size: int) -> bool:
        """Delete the oldest rows that are due and that nobody has locked.

        Returns whether it was the end of the pass: there were fewer than there may be.
        """
        self._has_skipped = True
        with self._connection.transaction():
            count, newest, rows = self._lock(size)
            if not count:
                return True
            values = {**self._statements.values, "rows": rows}
            if self._archive is None:
                deleted, cascaded = self._delete(self._statements.delete, values)
            else:
                deleted, cascaded = self._archive.take(self._connection, self._statements, values)
        if self._archive is not None:
            self._archive.commit()
        self._beyond = newest
        self._count(deleted, cascaded)
        return bool(count < size)

    def _count(self, deleted: int, cascaded: Mapping[int, int]) -> None:
        self._done.rows += deleted
        self._done.cascaded.update(cascaded)
        self._done.batches += bool(deleted)
        self._limits.took(deleted)

    def _values(self, **more: Any) -> dict[str, Any]:
        further = {} if self._beyond is None else {"beyond": self._beyond}
        return {**self._statements.values, **further, **more}

    def _lock(self, size: int) -> tuple[int, str, str]:
        values = self._values(limit=size, busy=self._busy)
        lock = self._statements.lock(beyond=self._beyond is not None)
        ((count, newest, rows),) = self._connection.execute(lock, values).fetchall()
        return count, newest, rows

    def _delete(
        self, statement: sql.Composed, values: Mapping[str, Any]
    ) -> tuple[int, Mapping[int, int]]:
        """Delete, in one trip to the server; return the rows, and by table what went along.

        The server counts what a transaction deletes, and what cascades and triggers delete in it.
        """
        subject = self._statements.subject
        if not subject.cascades:
            return self._connection.execute(statement, values).rowcount, {}
        deleted = QUERIES.get("deleted", self._connection.info.server_version)
        oids = {"oids": list(subject.tables)}
        with self._connection.pipeline(), self._connection.transaction():
            before = self._connection.execute(deleted, oids)
            own = self._connection.execute(statement, values)
            after = self._connection.execute(deleted, oids)
        along = Counter[int](dict(after.fetchall()))
        along.subtract(dict(before.fetchall()))
        along[subject.oid] -= own.rowcount
        return own.rowcount, +along

    def _pass_over(self) -> None:
        """Leave the oldest row to a later run: others hold something that goes along with it."""
        with suppress(*LOCKED), self._connection.transaction():
            count, _, rows = self._lock(1)
            if count:
                self._busy.append(rows.strip('{}"'))
