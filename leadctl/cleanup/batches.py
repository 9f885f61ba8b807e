"""Deleting what is due from one table in batches: short transactions, one after another."""

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
from leadctl.cleanup.batch_size import ARCHIVE_WORK, WORK, BatchSize
from leadctl.cleanup.context import Backoff, RuleProgress, RunContext
from leadctl.cleanup.results import Reason, RefusedRows, RowsKept, halves, is_refusal, tids_of
from leadctl.cleanup.rules import RuleTable
from leadctl.cleanup.statements import Statements, can_go_by_range
from leadctl.postgres.connect import (
    Connection,
    pipeline,
    pipelined_transaction,
    set_session,
)
from leadctl.postgres.queries import version_of

LOCK_TIMEOUT = "200ms"
"""Below deadlock_timeout, which is a second: in a deadlock it is we who give way."""
LOCKED = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
_TRIES = 20
_RETRY_SECONDS = 0.2
_PASSES = 5
_MOST_REFUSED = 10_000
"""Rows that are refused; with more of them the rule is wrong, and each costs transactions."""
_Age = str | date | datetime


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
        self._size = BatchSize(WORK if archive is None else ARCHIVE_WORK)
        self._waits_for_wal: bool | None = None
        self._has_skipped = False
        self._busy: list[str] = []
        self._refused: list[str] = []
        self._refused_rows = RefusedRows(run.connection, statements)
        self._own_keys = {
            key.name for key in statements.table.keeps if key.child == statements.table.oid
        }
        """The table's references to itself."""
        self._backward, self._has_turned = False, False
        self._since: _Age | None = None
        """Where the next batch begins; None for the oldest row."""
        self._following: tuple[_Age, int] | None = None
        """Where the next batch ends, and how many rows it was to be until there."""
        self._deleter = Deleter(run.connection, statements.table)
        self._range_ends, self._range_deletes = (
            tuple(compose(since=since).as_string(run.connection) for since in (False, True))
            for compose in (statements.range_end, statements.delete_range)
        )
        self._locks = {
            (since, backward): statements.lock_oldest(since=since, backward=backward)
            for since in (False, True)
            for backward in (False, True)
        }
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
            elif len(self._refused) >= _MOST_REFUSED:
                self._done.stopped = Reason.ROWS_REFUSED
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
            try:
                is_last = self._timed(self._delete_range)
                if is_last is not None:
                    return is_last
            except LOCKED:
                pass
            except psycopg.Error as error:
                if not is_refusal(error):
                    raise
                self._goes_by_range = False  # a row that is passed over is known by its ctid
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
        values = self._values(limit=len(self._refused) + 1)
        ((left,),) = self._connection.execute(self._statements.count, values).fetchall()
        return bool(left > len(self._refused))

    def _delete_range(self, size: int) -> _Batch | None:
        """Delete what is due of the oldest rows by their ages, as fast as one can.

        It waits for rows that others have locked.  Where the next batch ends is asked on the same
        trip.  Returns None where all of the rows have one age, so that an age cannot part them.
        """
        until, asked = self._following or (self._end_of(self._range_end(self._since, size)), size)
        if until == self._since:
            return None
        with pipelined_transaction(self._connection):
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
        rows, newest = "", None
        try:
            with self._connection.transaction():
                count, newest, rows, seconds = self._lock(size)
                if not count:
                    return _Batch(size, Deleted(seconds=seconds), is_last=True)
                deleted, kept = self._delete_rows(tids_of(rows))
            self._committed(deleted, kept)
        except (psycopg.Error, RowsKept) as error:
            if not rows or not is_refusal(error):
                raise
            if self._turns(error):
                return _Batch(size, Deleted(), is_last=False)
            deleted, seconds = self._delete_parts(tids_of(rows), error), 0.0
        self._since = newest
        return _Batch(size, replace(deleted, seconds=seconds + deleted.seconds), count < size)

    def _delete_rows(self, tids: list[str]) -> tuple[Deleted, list[str]]:
        """Delete rows in the caller's transaction; return those, too, that something kept silently.

        Raises RowsKept where these have gone to an archive.
        """
        values = {**self._statements.values, "rows": tids}
        if self._archive is not None:
            began = time.monotonic()
            rows, cascaded = self._archive.archive_and_delete(self._statements, values)
            return Deleted(rows, cascaded, time.monotonic() - began), []
        with pipeline(self._connection):
            deleted_by = self._deleter.send(self._statements.delete_rows, values)
        deleted = deleted_by()
        if deleted.rows == len(tids):
            return deleted, []
        left = self._connection.execute(self._statements.still_due, values)
        return deleted, [tid for (tid,) in left]

    def _committed(self, deleted: Deleted, kept: list[str]) -> None:
        if self._archive is not None:
            self._archive.commit()
        self._count(deleted)
        for tid in kept:
            self._refuse(tid, RowsKept())

    def _turns(self, error: Exception) -> bool:
        """Go the other way, once, where rows of the table refer to others of it.

        Answers are newer than what they answer: with the newest first they go before it, whatever
        a batch has of them.
        """
        if self._has_turned or not isinstance(error, psycopg.Error):
            return False
        if error.diag.constraint_name not in self._own_keys:
            return False
        self._has_turned, self._backward, self._since = True, not self._backward, None
        return True

    def _delete_parts(self, tids: list[str], error: Exception) -> Deleted:
        """Delete what may go of rows that were refused together; find the others by halving.

        Each part is a transaction.  Rows that are locked by others now are left to the next pass.
        """
        waiting, sum_deleted = [tids], Deleted()
        refused: Exception | None = error
        while waiting and self._run.bounds.reached is None:
            part = waiting.pop()
            try:
                if refused is None:
                    with self._connection.transaction():
                        deleted, kept = self._delete_rows(part)
                    self._committed(deleted, kept)
                    sum_deleted = replace(
                        deleted,
                        rows=sum_deleted.rows + deleted.rows,
                        seconds=sum_deleted.seconds + deleted.seconds,
                    )
            except LOCKED:
                continue
            except (psycopg.Error, RowsKept) as found:
                if not is_refusal(found):
                    raise
                refused = found
            if refused is not None:
                if len(part) > 1:
                    waiting += halves(part)
                else:
                    self._refuse(part[0], refused)
                refused = None
        return sum_deleted

    def _refuse(self, tid: str, error: Exception) -> None:
        """Pass a row over that may not go, and name it."""
        refusal = self._refused_rows.refusal(tid, error)
        if refusal is not None:
            self._refused.append(tid)
            self._done.refuse(refusal)

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
        values = self._values(limit=size, busy=[*self._busy, *self._refused])
        lock = self._locks[self._since is not None, self._backward]
        ((count, newest, rows, seconds),) = self._connection.execute(lock, values).fetchall()
        return count, newest, rows, seconds

    def _pass_over(self) -> None:
        """Leave the oldest row to a later run: others hold something that goes along with it."""
        with suppress(*LOCKED), self._connection.transaction():
            count, _, rows, _ = self._lock(1)
            if count:
                self._busy.append(rows.strip('{}"'))
