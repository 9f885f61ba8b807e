"""Deleting what is due from one table, in short transactions."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import psycopg

from leadctl.cleanup.archive import Archive
from leadctl.cleanup.backoff import Pressure
from leadctl.cleanup.batch_size import Aim, Pace
from leadctl.cleanup.context import Limits, Reason
from leadctl.cleanup.deletion import Deleter, Gone
from leadctl.cleanup.plan import goes_by_age
from leadctl.cleanup.statements import Statements
from leadctl.postgres.connect import Connection

_AIM = Aim(beside_others=0.003, alone=0.02, longest=0.1)
"""What a batch locks is locked that long, and a commit beside it waits for the WAL of that time."""
_ARCHIVE_AIM = Aim(beside_others=0.5, alone=0.5, longest=0.5)
LOCK_TIMEOUT = "200ms"
"""Below deadlock_timeout, which is a second: in a deadlock it is we who give way."""
_TRIES = 20
_RETRY_SECONDS = 0.2
_PASSES = 5
LOCKED = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)

_Age = str | date | datetime


@dataclass
class Deleted:
    """What went: of the table itself, and by cascades per table's oid."""

    rows: int = 0
    cascaded: Counter[int] = field(default_factory=Counter)
    batches: int = 0
    stopped: Reason | None = None


@dataclass(frozen=True)
class _Batch:
    size: int
    """How many rows it was to look at."""
    gone: Gone
    is_last: bool
    """Of its pass."""


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
        self._pace = Pace(_AIM if archive is None else _ARCHIVE_AIM)
        self._waits_for_wal: bool | None = None
        self._has_skipped = False
        self._busy: list[str] = []
        self._beyond: _Age | None = None
        self._following: tuple[_Age, int] | None = None
        """Where the next batch ends, and how many rows it was to be until there."""
        self._deleter = Deleter(connection, statements.subject)
        self._spans, self._sweeps, self._locks = (
            (
                compose(beyond=False).as_string(connection),
                compose(beyond=True).as_string(connection),
            )
            for compose in (statements.span, statements.sweep, statements.lock)
        )
        self._may_sweep = goes_by_age(connection, statements) and not limits.counts_rows

    def run(self, *, at_most: int | None, all_are_gone: Callable[[], bool]) -> None:
        """Delete until nothing is due or a bound is reached; `Deleted` has what happened.

        `at_most` are the rows that the rule may take.  Rows that others had locked are looked for
        in another pass, unless none was left out or `all_are_gone`.
        """
        for _ in range(_PASSES):
            before, self._has_skipped = self._done.rows, False
            self._beyond = self._following = None
            if not self._pass(at_most) or not self._has_skipped or all_are_gone():
                return
            if self._done.rows == before:
                break
        if self._is_something_left():
            self._done.stopped = Reason.ROWS_LOCKED

    def _pass(self, at_most: int | None) -> bool:
        """Go once through the table; return whether its end was reached."""
        is_last = False
        while not is_last:
            left = None if at_most is None else at_most - self._done.rows
            if left == 0:
                self._done.stopped = Reason.MAX_ROWS
            else:
                self._done.stopped = self._limits.reached or self._pressure.give_way()
            if self._done.stopped is None:
                rows = self._pace.rows
                self._pace.rows = self._limits.at_most(min(rows, left or rows))
                self._wait_for_wal(self._archive is not None or not self._pace.is_alone)
                is_last = self._batch()
                self._on_batch(self._done)
            if self._done.stopped is not None:
                return False
        return True

    def _wait_for_wal(self, waits: bool) -> None:
        """Have batches wait until their WAL is written, or not.

        What heaps up, the next commit of somebody else waits for.  A crash of the server may take
        back what did not wait: rows that are due still, unless they have gone to an archive.
        """
        if waits is not self._waits_for_wal:
            value = "on" if waits else "off"
            self._connection.execute("SELECT set_config('synchronous_commit', %s, false)", (value,))
            self._waits_for_wal = waits

    def _batch(self) -> bool:
        """Take one batch; return whether it was the last one of the pass.

        Where another session holds a lock that is needed, a smaller batch may do without it.
        """
        if self._may_sweep:
            with suppress(*LOCKED):
                is_last = self._timed(self._sweep)
                if is_last is not None:
                    return is_last
        for _ in range(_TRIES):
            with suppress(*LOCKED):
                return bool(self._timed(self._take))
            if self._limits.reached is not None:
                break
            if self._pace.rows > 1:
                self._pace.rows = max(1, self._pace.rows // 10)
            else:
                self._pass_over()
            time.sleep(_RETRY_SECONDS)
        self._done.stopped = self._limits.reached or Reason.TABLE_LOCKED
        return False

    def _timed(self, take: Callable[[int], _Batch | None]) -> bool | None:
        """Take a batch, and let the pace learn from it; return whether it was the last of the pass.

        None where `take` could not.
        """
        began = time.monotonic()
        batch = take(self._pace.rows)
        if batch is None:
            return None
        elapsed, gone = time.monotonic() - began, batch.gone
        self._pace.took(batch.size, elapsed, gone.seconds, gone.transaction)
        return batch.is_last

    def _is_something_left(self) -> bool:
        values = self._values(limit=1)
        ((left,),) = self._connection.execute(self._statements.count, values).fetchall()
        return bool(left)

    def _sweep(self, size: int) -> _Batch | None:
        """Delete what is due of the oldest rows by their ages, as fast as one can.

        It waits for rows that others have locked.  Where the next batch ends is asked on the same
        trip.  Returns None where all of the rows have one age, so that an age cannot part them.
        """
        until, asked = self._following or (self._end_of(self._span(self._beyond, size)), size)
        if until == self._beyond:
            return None
        with self._connection.pipeline():  # which is a transaction
            sweep = self._sweeps[self._beyond is not None]
            deletion = self._deleter.send(sweep, self._values(until=until))
            following = self._span(until, size)
        self._beyond, self._following = until, (self._end_of(following), size)
        gone = deletion.result()
        self._count(gone)
        return _Batch(asked, gone, is_last=until == self._cutoff)

    def _span(self, beyond: _Age | None, size: int) -> psycopg.Cursor[Any]:
        values = {**self._statements.values, "beyond": beyond, "limit": size}
        return self._connection.execute(self._spans[beyond is not None], values)

    def _end_of(self, span: psycopg.Cursor[Any]) -> _Age:
        following = span.fetchone()
        return self._cutoff if following is None else following[0]

    def _take(self, size: int) -> _Batch:
        """Delete the oldest rows that are due and that nobody has locked.

        It is the last batch of the pass where there were fewer than there may be.
        """
        self._has_skipped, self._following = True, None
        with self._connection.transaction():
            count, newest, rows, seconds = self._lock(size)
            if not count:
                return _Batch(size, Gone(seconds=seconds), is_last=True)
            values = {**self._statements.values, "rows": rows}
            if self._archive is not None:
                gone = self._archive.take(self._connection, self._statements, values)
            else:
                with self._connection.pipeline():
                    deletion = self._deleter.send(self._statements.delete, values)
                gone = deletion.result()
        if self._archive is not None:
            self._archive.commit()
        self._beyond = newest
        self._count(gone)
        gone = replace(gone, seconds=seconds + gone.seconds)
        return _Batch(size, gone, is_last=count < size)

    def _count(self, gone: Gone) -> None:
        self._done.rows += gone.rows
        self._done.cascaded.update(gone.cascaded)
        self._done.batches += bool(gone.rows)
        self._limits.took(gone.rows)

    @property
    def _cutoff(self) -> _Age:
        return self._statements.subject.cutoff_value(self._statements.cutoff)

    def _values(self, **more: Any) -> dict[str, Any]:
        further = {} if self._beyond is None else {"beyond": self._beyond}
        return {**self._statements.values, **further, **more}

    def _lock(self, size: int) -> tuple[int, str, str, float]:
        values = self._values(limit=size, busy=self._busy)
        lock = self._locks[self._beyond is not None]
        ((count, newest, rows, seconds),) = self._connection.execute(lock, values).fetchall()
        return count, newest, rows, seconds

    def _pass_over(self) -> None:
        """Leave the oldest row to a later run: others hold something that goes along with it."""
        with suppress(*LOCKED), self._connection.transaction():
            count, _, rows, _ = self._lock(1)
            if count:
                self._busy.append(rows.strip('{}"'))
