"""Deleting what is due from one table in batches: short transactions, one after another.

A batch takes as many rows as the server works on for a short time.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg import Cursor, sql

from leadctl.catalog.relations import read_numbered
from leadctl.cleanup import QUERIES
from leadctl.cleanup.archive import Archive
from leadctl.cleanup.context import Backoff, RuleProgress, RunContext
from leadctl.cleanup.results import Reason
from leadctl.cleanup.rules import RuleTable
from leadctl.cleanup.statements import Statements, can_go_by_range
from leadctl.postgres.connect import Connection, set_session
from leadctl.postgres.queries import version_of

LOCK_TIMEOUT = "200ms"
"""Below deadlock_timeout, which is a second: in a deadlock it is we who give way."""
LOCKED = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
_TRIES = 20
_RETRY_SECONDS = 0.2
_PASSES = 5
_FIRST, _FEWEST, _MOST = 200, 50, 50_000
"""Rows of a batch."""
_CHANGE = 2.0
"""How many times as large as the one before a batch may be."""
_QUIET = 0.5
"""Seconds after which nobody is taken to write any more."""

_Age = str | date | datetime


@dataclass(frozen=True)
class WorkSeconds:
    """How many seconds of work a batch is to be."""

    beside_others: float
    """While other sessions write."""
    alone: float
    """While none does."""
    longest: float
    """Where the way to the server takes long."""


_WORK = WorkSeconds(beside_others=0.003, alone=0.02, longest=0.1)
"""What a batch locks is locked that long, and a commit beside it waits for the WAL of that time."""
_ARCHIVE_WORK = WorkSeconds(beside_others=0.5, alone=0.5, longest=0.5)


class BatchSize:
    """Aims at batches that are shorter while other sessions write than while none does.

    Others are seen by the ids that the server gives to transactions that write, one after another:
    what is missing between two batches was theirs.

    Where the way to the server and the commit take longer than what is aimed at, the work is to
    take as long as they do, so that they are half of a run at most.
    """

    def __init__(self, aim: WorkSeconds) -> None:
        self._aim = aim
        # The shortest that was seen: a large batch's commit takes long because the batch is large.
        self._way = aim.longest
        self._transaction: int | None = None
        self._quiet = _QUIET  # others are seen while batches grow from the first, which is small
        self.rows = _FIRST
        """What the next batch takes."""

    def took(self, rows: int, elapsed: float, worked: float, transaction: int | None) -> None:
        """Learn from a batch: its rows, its seconds in all and of work, and its transaction's id.

        A transaction that has written nothing has no id.
        """
        self._way = min(self._way, elapsed - worked)
        was_alone = self.is_alone
        self._quiet = 0.0 if self._others_until(transaction) else self._quiet + elapsed
        aimed = max(self._aim.alone if self.is_alone else self._aim.beside_others, self._way)
        wanted = round(rows * aimed / max(worked, 0.0001))
        # One batch that was slow by chance does not make the next ones small.
        fewest = 0 if was_alone and not self.is_alone else round(self.rows / _CHANGE)
        wanted = max(fewest, min(round(self.rows * _CHANGE), wanted))
        self.rows = max(_FEWEST, min(_MOST, wanted))

    @property
    def is_alone(self) -> bool:
        """Whether no other session has written for a while."""
        return self._quiet >= _QUIET

    def _others_until(self, transaction: int | None) -> bool:
        if transaction is None:
            return False
        last, self._transaction = self._transaction, transaction
        return last is not None and transaction > last + 1


@dataclass(frozen=True)
class Deleted:
    """What a statement deleted: of the rule's table, and by cascades per table's oid."""

    rows: int = 0
    cascaded: Mapping[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    """How long the work took; the way to the server and the commit are not in it."""
    transaction: int | None = None
    """Its id, where the transaction has written and the id was asked for."""


class Deleter:
    """Deletes rows of a rule's table.

    The server counts what a transaction deletes, and what cascades and triggers delete in it.
    """

    def __init__(self, connection: Connection, table: RuleTable) -> None:
        self._connection = connection
        self._table = table
        self._table_of = {
            leaf.oid: oid
            for oid, relation in read_numbered(connection, table.tables, "descendants").items()
            for leaf in relation.leaves
        }
        self._deleted = QUERIES.get("deleted", version_of(connection))

    def send(
        self, statement: sql.Composed | str, values: Mapping[str, Any]
    ) -> Callable[[], Deleted]:
        """Send a DELETE through the connection's pipeline, in the pipeline's transaction.

        What is returned says what it deleted, once the pipeline has ended.
        """
        looked = {"oids": list(self._table_of)}
        before = self._connection.execute(self._deleted, looked)
        own = self._connection.execute(statement, values)
        after = self._connection.execute(self._deleted, looked)
        return lambda: self._between(before.fetchall(), own.rowcount, after.fetchall())

    def _between(self, before: list[Any], own: int, after: list[Any]) -> Deleted:
        """Return what was deleted between two looks at what the session has deleted."""
        cascaded = Counter[int]()
        for holder, rows, _, _ in after:
            cascaded[self._table_of[holder]] += rows
        for holder, rows, _, _ in before:
            cascaded[self._table_of[holder]] -= rows
        cascaded[self._table.oid] -= own
        seconds = (after[0][2] - before[0][2]).total_seconds()
        return Deleted(own, +cascaded, seconds, after[0][3])


@dataclass(frozen=True)
class _Batch:
    size: int
    """How many rows it was to look at."""
    deleted: Deleted
    is_last: bool
    """Of its pass."""


class Batches:
    """One pass after another over the rows that are due, the oldest first."""

    def __init__(
        self,
        run: RunContext,
        statements: Statements,
        archive: Archive | None,
        backoff: Backoff,
        done: RuleProgress,
    ) -> None:
        self._run = run
        self._connection = run.connection
        self._statements = statements
        self._archive = archive
        self._backoff = backoff
        self._done = done
        self._size = BatchSize(_WORK if archive is None else _ARCHIVE_WORK)
        self._waits_for_wal: bool | None = None
        self._has_skipped = False
        self._busy: list[str] = []
        self._since: _Age | None = None
        """Where the next batch begins; None for the oldest row."""
        self._following: tuple[_Age, int] | None = None
        """Where the next batch ends, and how many rows it was to be until there."""
        self._deleter = Deleter(run.connection, statements.table)
        self._range_ends, self._range_deletes, self._locks = (
            tuple(compose(since=since).as_string(run.connection) for since in (False, True))
            for compose in (
                statements.range_end,
                statements.delete_range,
                statements.lock_oldest,
            )
        )
        self._goes_by_range = (
            can_go_by_range(run.connection, statements) and not run.bounds.counts_rows
        )

    def delete(self) -> None:
        """Delete until nothing is due or a bound is reached; the rule's progress has what happened.

        Rows that others had locked are looked for in another pass, unless none was left out or all
        that was due at the beginning is gone.
        """
        for _ in range(_PASSES):
            before, self._has_skipped = self._done.rows, False
            self._since = self._following = None
            if not self._pass() or not self._has_skipped or self._done.all_are_gone:
                return
            if self._done.rows == before:
                break
        if self._is_something_left():
            self._done.stopped = Reason.ROWS_LOCKED

    def _pass(self) -> bool:
        """Go once through the table; return whether its end was reached."""
        is_last, at_most = False, self._statements.table.rule.max_rows
        while not is_last:
            left = None if at_most is None else at_most - self._done.rows
            if left == 0:
                self._done.stopped = Reason.MAX_ROWS
            else:
                self._done.stopped = self._run.bounds.reached or self._backoff.wait()
            if self._done.stopped is None:
                rows = self._size.rows
                self._size.rows = self._run.bounds.at_most(min(rows, left or rows))
                self._wait_for_wal(self._archive is not None or not self._size.is_alone)
                is_last = self._delete_batch()
                self._run.show(self._statements.table, self._done)
            if self._done.stopped is not None:
                return False
        return True

    def _wait_for_wal(self, waits: bool) -> None:
        """Have batches wait until their WAL is written, or not.

        What heaps up, the next commit of somebody else waits for.  A crash of the server may take
        back what did not wait: rows that are due still, unless they have gone to an archive.
        """
        if waits is not self._waits_for_wal:
            set_session(self._connection, {"synchronous_commit": "on" if waits else "off"})
            self._waits_for_wal = waits

    def _delete_batch(self) -> bool:
        """Delete one batch; return whether it was the last one of the pass.

        Where another session holds a lock that is needed, a smaller batch may do without it.
        """
        if self._goes_by_range:
            with suppress(*LOCKED):
                is_last = self._timed(self._delete_range)
                if is_last is not None:
                    return is_last
        for _ in range(_TRIES):
            with suppress(*LOCKED):
                return bool(self._timed(self._delete_locked))
            if self._run.bounds.reached is not None:
                break
            if self._size.rows > 1:
                self._size.rows = max(1, self._size.rows // 10)
            else:
                self._pass_over()
            time.sleep(_RETRY_SECONDS)
        self._done.stopped = self._run.bounds.reached or Reason.TABLE_LOCKED
        return False

    def _timed(self, delete: Callable[[int], _Batch | None]) -> bool | None:
        """Delete a batch, and let the size learn from it; return whether it was the pass's last.

        None where `delete` could not.
        """
        began = time.monotonic()
        batch = delete(self._size.rows)
        if batch is None:
            return None
        elapsed, deleted = time.monotonic() - began, batch.deleted
        self._size.took(batch.size, elapsed, deleted.seconds, deleted.transaction)
        return batch.is_last

    def _is_something_left(self) -> bool:
        values = self._values(limit=1)
        ((left,),) = self._connection.execute(self._statements.count, values).fetchall()
        return bool(left)

    def _delete_range(self, size: int) -> _Batch | None:
        """Delete what is due of the oldest rows by their ages, as fast as one can.

        It waits for rows that others have locked.  Where the next batch ends is asked on the same
        trip.  Returns None where all of the rows have one age, so that an age cannot part them.
        """
        until, asked = self._following or (self._end_of(self._range_end(self._since, size)), size)
        if until == self._since:
            return None
        with self._connection.pipeline():  # which is a transaction
            statement = self._range_deletes[self._since is not None]
            deleted_by = self._deleter.send(statement, self._values(until=until))
            following = self._range_end(until, size)
        self._since, self._following = until, (self._end_of(following), size)
        deleted = deleted_by()
        self._count(deleted)
        return _Batch(asked, deleted, is_last=until == self._cutoff)

    def _range_end(self, since: _Age | None, size: int) -> Cursor[Any]:
        values = {**self._statements.values, "since": since, "limit": size}
        return self._connection.execute(self._range_ends[since is not None], values)

    def _end_of(self, found: Cursor[Any]) -> _Age:
        following = found.fetchone()
        return self._cutoff if following is None else following[0]

    def _delete_locked(self, size: int) -> _Batch:
        """Delete the oldest rows that are due and that nobody else has locked.

        It is the last batch of the pass where there were fewer than there may be.
        """
        self._has_skipped, self._following = True, None
        with self._connection.transaction():
            count, newest, rows, seconds = self._lock(size)
            if not count:
                return _Batch(size, Deleted(seconds=seconds), is_last=True)
            values = {**self._statements.values, "rows": rows}
            if self._archive is not None:
                began = time.monotonic()
                rows_deleted, cascaded = self._archive.archive_and_delete(self._statements, values)
                deleted = Deleted(rows_deleted, cascaded, time.monotonic() - began)
            else:
                with self._connection.pipeline():
                    deleted_by = self._deleter.send(self._statements.delete_rows, values)
                deleted = deleted_by()
        if self._archive is not None:
            self._archive.commit()
        self._since = newest
        self._count(deleted)
        return _Batch(size, replace(deleted, seconds=seconds + deleted.seconds), count < size)

    def _count(self, deleted: Deleted) -> None:
        self._done.rows += deleted.rows
        self._done.cascaded.update(deleted.cascaded)
        self._done.batches += bool(deleted.rows)
        self._run.bounds.took(deleted.rows)

    @property
    def _cutoff(self) -> _Age:
        return self._statements.table.cutoff_value(self._statements.cutoff)

    def _values(self, **more: Any) -> dict[str, Any]:
        since = {} if self._since is None else {"since": self._since}
        return {**self._statements.values, **since, **more}

    def _lock(self, size: int) -> tuple[int, str, str, float]:
        values = self._values(limit=size, busy=self._busy)
        lock = self._locks[self._since is not None]
        ((count, newest, rows, seconds),) = self._connection.execute(lock, values).fetchall()
        return count, newest, rows, seconds

    def _pass_over(self) -> None:
        """Leave the oldest row to a later run: others hold something that goes along with it."""
        with suppress(*LOCKED), self._connection.transaction():
            count, _, rows, _ = self._lock(1)
            if count:
                self._busy.append(rows.strip('{}"'))
