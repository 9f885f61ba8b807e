"""Deleting what is due from one table, in short transactions."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import psycopg

from leadctl.db.connect import Connection
from leadctl.operations.cleanup.archive import Archive
from leadctl.operations.cleanup.pressure import Pressure
from leadctl.operations.cleanup.statements import COUNT_CASCADED, Statements
from leadctl.operations.cleanup.stop import Limits, Reason

TARGET_SECONDS = 0.1
"""How long a batch should take: what it locks is locked that long."""
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
        self._may_sweep = archive is None and statements.is_simple
        self._busy: list[str] = []
        self._beyond: date | datetime | None = None

    def run(self, *, at_most: int | None, all_are_gone: Callable[[], bool]) -> None:
        """Delete until nothing is due or a bound is reached; `Deleted` has what happened.

        `at_most` are the rows that the rule may take.  Rows that others had locked are looked for
        in another pass, unless `all_are_gone`.
        """
        self._may_sweep = self._may_sweep and at_most is None and not self._limits.counts_rows
        for _ in range(_PASSES):
            before = self._done.rows
            self._beyond = None
            if not self._pass(at_most) or self._done.rows == before or all_are_gone():
                break
        if self._done.stopped is None and not all_are_gone() and self._is_something_left():
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

    def _timed(self, take: Callable[[int], int | None]) -> bool | None:
        """Take a batch, and make the next one as large as it should be.

        Returns whether there were fewer rows than there may be, None where `take` cannot say.
        """
        began, size = time.monotonic(), self._size
        found = take(size)
        if found is None:
            return None
        target = _ARCHIVE_SECONDS if self._archive else TARGET_SECONDS
        factor = target / max(time.monotonic() - began, 0.001)
        grown = round(size * min(_GROWTH, max(1 / _GROWTH, factor)))
        self._size = max(_SMALLEST, min(_LARGEST, grown))
        return found < size

    def _is_something_left(self) -> bool:
        values = self._values(limit=1)
        ((left,),) = self._connection.execute(self._statements.count, values).fetchall()
        return bool(left)

    def _sweep(self, size: int) -> int | None:
        """Delete what is due of the oldest rows in one statement, as fast as one can.

        It waits for rows that others have locked.  Returns how many rows were looked at; None where
        all of them have one age, so that an age cannot part them.
        """
        values = self._values(limit=size)
        beyond = self._beyond is not None
        span = self._statements.span(beyond=beyond)
        ((count, oldest, newest),) = self._connection.execute(span, values).fetchall()
        if count == size and oldest == newest:
            return None
        until = newest if count == size else values["cutoff"]
        sweep = self._statements.sweep(beyond=beyond)
        deleted = self._connection.execute(sweep, {**values, "until": until}).rowcount
        self._beyond = until
        self._count(deleted, {})
        return int(count)

    def _take(self, size: int) -> int:
        with self._connection.transaction():
            count, newest, rows = self._lock(size)
            if not count:
                return 0
            values = {**self._statements.values, "rows": rows}
            if self._archive is None:
                cascaded = self._count_cascaded(values)
                deleted = self._connection.execute(self._statements.delete, values).rowcount
            else:
                deleted, cascaded = self._archive.take(self._connection, self._statements, values)
        if self._archive is not None:
            self._archive.commit()
        self._beyond = newest
        self._count(deleted, cascaded)
        return int(count)

    def _count(self, deleted: int, cascaded: Mapping[int, int]) -> None:
        self._done.rows += deleted
        self._done.cascaded.update(cascaded)
        self._done.batches += 1
        self._limits.took(deleted)

    def _values(self, **more: Any) -> dict[str, Any]:
        further = {} if self._beyond is None else {"beyond": self._beyond}
        return {**self._statements.values, **further, **more}

    def _lock(self, size: int) -> tuple[int, Any, str]:
        values = self._values(limit=size, busy=self._busy)
        lock = self._statements.lock(beyond=self._beyond is not None)
        ((count, newest, rows),) = self._connection.execute(lock, values).fetchall()
        return count, newest, rows

    def _count_cascaded(self, values: Mapping[str, Any]) -> Mapping[int, int]:
        subject = self._statements.subject
        if not subject.cascades:
            return {}
        closure = self._statements.closure(self._statements.still_due, COUNT_CASCADED)
        counted = Counter(dict(self._connection.execute(closure, values).fetchall()))
        ((own,),) = self._connection.execute(self._statements.count_still_due, values).fetchall()
        counted[subject.oid] -= own
        return +counted

    def _pass_over(self) -> None:
        """Leave the oldest row to a later run: others hold something that goes along with it."""
        with suppress(*LOCKED), self._connection.transaction():
            count, _, rows = self._lock(1)
            if count:
                self._busy.append(rows.strip('{}"'))
