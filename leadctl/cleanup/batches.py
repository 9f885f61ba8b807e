"""Deleting what is due from one table in batches: short transactions, one after another."""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import psycopg
from psycopg import sql

from leadctl.catalog.relations import read_numbered
from leadctl.cleanup import QUERIES
from leadctl.cleanup.archive import RowArchive
from leadctl.cleanup.context import Backoff, RuleProgress, RunContext
from leadctl.cleanup.ranges import (
    ARCHIVE_WORK,
    WORK,
    BatchSize,
    ByAge,
    ByHeap,
    Locked,
    Order,
    keepers_of,
)
from leadctl.cleanup.references import (
    References,
    SortedRows,
    keeps_below,
    lock_all,
    require_gone,
)
from leadctl.cleanup.results import (
    Reason,
    RefusedRows,
    RowsKept,
    halves,
    is_refusal,
    is_refusal_of_key,
)
from leadctl.cleanup.rules import RuleTable
from leadctl.cleanup.statements import Statements, deleting
from leadctl.postgres import exact
from leadctl.postgres.connect import (
    Connection,
    as_timeout,
    pipeline,
    pipelined_transaction,
    set_session,
)
from leadctl.postgres.queries import version_of

LOCK_TIMEOUT = "200ms"
"""Below deadlock_timeout, which is a second: in a deadlock it is we who yield."""
LOCKED = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
_LONGEST, _LONGEST_SHARE = 5.0, 0.25
"""Seconds, and the share of a run's time, that a batch may take if it could be smaller."""
_TRIES = 20
_RETRY_SECONDS = 0.2
_PASSES = 5
_MOST_REFUSED = 100_000
"""Rows that are refused; with more of them the rule is wrong."""
_MOST_TRIED = 10_000
"""Those that the server had to refuse one by one, each at the cost of transactions."""
_LOOKED_AT = 1000
"""Rows that are looked at at the cost of one that the server refuses."""
_MOST_TOGETHER, _MOST_IN_CIRCLES = 100_000, 1_000_000
"""Rows that go in one transaction since they refer to each other, if the order of ages may spare
it, and if it does not."""


@dataclass(frozen=True)
class Deleted:
    """The rows that a statement deleted: of the rule's table, and by cascades per table's oid."""

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
        self, statement: sql.Composed | str, values: Mapping[str, Any], seconds: float | None
    ) -> Callable[[], Deleted]:
        """Send a DELETE through the connection's pipeline, in the pipeline's transaction.

        It may take so many seconds; None for no limit.  What is returned says what it deleted, once
        the pipeline has ended.
        """
        looked = {"oids": list(self._table_of)}
        before = self._connection.execute(self._deleted, looked | {"timeout": as_timeout(seconds)})
        own = self._connection.execute(statement, values)
        after = self._connection.execute(self._deleted, looked | {"timeout": as_timeout(None)})
        return lambda: self._between(before.fetchall(), own.rowcount, after.fetchall())

    def _between(self, before: list[Any], own: int, after: list[Any]) -> Deleted:
        """Return what was deleted between two looks at what the session has deleted."""
        cascaded = Counter[int]()
        for holder, rows, *_ in after:
            cascaded[self._table_of[holder]] += rows
        for holder, rows, *_ in before:
            cascaded[self._table_of[holder]] -= rows
        cascaded[self._table.oid] -= own
        seconds = (after[0][2] - before[0][2]).total_seconds()
        return Deleted(own, +cascaded, seconds, after[0][3])


class _TooManyTogether(RowsKept):
    """More rows would go with some, since they refer to them, than one transaction may take."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._most = most

    def __str__(self) -> str:
        return f"over {self._most:,} rows would have to be deleted with it in one transaction"


@dataclass(frozen=True)
class _Batch:
    size: int
    """How many rows it was to look at."""
    deleted: Deleted
    is_last: bool
    """Of its pass."""


@dataclass
class Batches:
    """One pass after another over the rows that are due."""

    _run: RunContext
    _statements: Statements
    _order: Order
    _archive: RowArchive | None
    _backoff: Backoff
    _done: RuleProgress

    def __post_init__(self) -> None:
        self._connection = self._run.connection
        self._size = BatchSize(WORK if self._archive is None else ARCHIVE_WORK)
        self._longest = self._run.bounds.share_of(_LONGEST_SHARE, _LONGEST)
        """Seconds after which a batch's deletion is taken back, to be tried with fewer rows."""
        self._waits_for_wal: bool | None = None
        self._has_skipped = False
        self._failures = 0
        """How often a lock was in the way since a row went."""
        self._busy: list[str] = []
        self._refused: dict[str, None] = {}
        self._tried = 0
        """How many of the refused rows the server was asked for."""
        self._sorts = self._holds_rows = self._is_not_whole = self._has_turned = False
        """Whether rows are sorted by their references; whether some stay or go with others; whether
        too many go along with some; whether the newest go first."""
        self._deleter = Deleter(self._connection, self._statements.table)
        self._keepers = keepers_of(self._connection, self._statements)
        self._keeps_below = keeps_below(self._connection, self._statements.table)

    # What only rows that may not go need.

    @cached_property
    def _refused_rows(self) -> RefusedRows:
        return RefusedRows(self._connection, self._statements)

    @cached_property
    def _references(self) -> References:
        return References(self._connection, self._statements)

    @cached_property
    def _runs_triggers(self) -> bool:
        oids = [self._statements.heap, *self._statements.table.tables]
        return bool(QUERIES.value(self._connection, "deletion_runs_code", oids=oids))

    def delete(self) -> None:
        """Delete until nothing is due or a bound is reached; the rule's progress has what happened.

        Rows that others had locked, or may have moved to where the pass had been, are looked for in
        another pass, unless all that was due at the beginning is gone.
        """
        is_complete = False
        for _ in range(_PASSES):
            rows, self._has_skipped = self._done.rows, False
            began = self._transactions()
            self._order.begin()
            self._done.block = self._order.block
            if not self._pass():
                return
            others_wrote = self._transactions() > began
            is_complete = not self._has_skipped and not (
                others_wrote and isinstance(self._order, ByHeap)
            )
            if is_complete or self._done.all_are_gone or self._done.rows == rows:
                break
        if self._keepers.some:
            self._name_what_is_kept()
        if not is_complete and not self._done.all_are_gone and self._is_something_left():
            self._done.stopped = Reason.ROWS_LOCKED

    def _pass(self) -> bool:
        """Go once through the table; return whether its end was reached."""
        is_last, at_most = False, self._statements.table.rule.max_rows
        while not is_last:
            left = None if at_most is None else at_most - self._done.rows
            if left == 0:
                self._done.stopped = Reason.MAX_ROWS
            elif len(self._refused) >= _MOST_REFUSED or self._tried >= _MOST_TRIED:
                self._done.stopped = Reason.ROWS_REFUSED
            else:
                self._done.stopped = self._run.bounds.reached or self._backoff.wait()
            if self._done.stopped is None:
                rows = self._size.rows
                self._size.rows = self._run.bounds.at_most(min(rows, left or rows))
                most = _MOST_IN_CIRCLES if self._has_turned else _MOST_TOGETHER
                self._most_together = self._run.bounds.at_most(min(most, left or most))
                self._wait_for_wal(self._archive is not None or not self._size.is_alone)
                is_last = self._delete_batch()
                self._done.block = self._order.block
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

        Where another session holds a lock that is needed, a smaller batch may do without it; where
        a row is refused, it is known by its ctid then.  What takes too long is taken back,
        and tried with fewer rows.
        """
        began = time.monotonic()
        try:
            return self._delete_range_or_locked()
        except psycopg.errors.QueryCanceled:
            if self._run.bounds.reached is not None:
                self._done.stopped = self._run.bounds.reached
            elif time.monotonic() - began < self._longest:
                raise  # somebody else cancelled it
            self._longest *= 2  # what takes long may not be the rows
            self._size.cut()
            return False

    def _delete_range_or_locked(self) -> bool:
        if self._order.by_range and not self._holds_rows and not self._keeps_below:
            try:
                is_last = self._timed(self._delete_range)
                if is_last is not None:
                    return is_last
            except LOCKED:
                pass
            except psycopg.Error as error:
                if not is_refusal(error):
                    raise
        while self._failures < _TRIES:
            with suppress(*LOCKED):
                return bool(self._timed(self._delete_locked))
            self._failures += 1
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
        # A lock on no row says nothing of how long one takes.
        if deleted.rows or not self._has_skipped:
            self._size.took(batch.size, elapsed, deleted.seconds, deleted.transaction)
        return batch.is_last

    def _delete_range(self, size: int) -> _Batch | None:
        """Delete what is due in the next range of rows, as fast as one can.

        It waits for rows that others have locked.  Returns None where there is no such range.
        """
        found = self._order.next_range(size)
        if found is None:
            return None
        with pipelined_transaction(self._connection):
            if self._statements.deletes_as is not None:
                exact.set_role(self._connection, self._statements.deletes_as)
            deleted_by = self._deleter.send(found.delete, found.values, self._seconds(found.size))
            self._order.ask_next(size)
        is_last, deleted = self._order.pass_range(), deleted_by()
        self._count(deleted)
        return _Batch(found.size, deleted, is_last)

    def _delete_locked(self, size: int) -> _Batch:
        """Delete the next rows that are due and that nobody else has locked."""
        self._has_skipped = True
        locked, rows, refused = Locked([], 0.0), SortedRows([]), len(self._refused)
        try:
            with self._connection.transaction():
                locked = self._order.lock(size, [*self._busy, *self._refused])
                rows = self._sorted(locked.tids)
                if len(rows.going) > len(locked.tids):
                    self._read(self._statements.lock_rows, rows=rows.going)
                # The server looks again at a row that it locks, but not at what others say of it.
                are_due = self._statements.is_of_row and set(rows.going) <= set(locked.tids)
                deleted, kept = self._delete_rows(rows.going, are_due=are_due)
            self._committed(deleted, kept)
            deleted = replace(deleted, seconds=locked.seconds + deleted.seconds)
        except (psycopg.Error, RowsKept) as error:
            tids = locked.tids if isinstance(error, _TooManyTogether) else rows.going
            if not tids or not is_refusal(error):
                raise
            if self._goes_another_way(error):
                return _Batch(size, Deleted(), is_last=False)
            deleted = self._delete_parts(tids, error)
        self._pass_over_staying(rows.staying)
        self._holds_rows = bool(rows.staying) or (self._sorts and self._references.link_rows)
        if not deleted.rows and len(self._refused) == refused:
            self._busy += locked.tids  # they changed meanwhile; what is not looked at goes on
        return _Batch(size, deleted, self._order.pass_locked())

    def _delete_rows(self, tids: list[str], *, are_due: bool = False) -> tuple[Deleted, list[str]]:
        """Delete rows in the caller's transaction; return those, too, that something kept silently.

        `are_due` says that nobody needs to ask whether they are due, now that they are locked.
        Raises RowsKept where these have gone to an archive, or a cascade was to take them.
        """
        if self._statements.exactly and not are_due:  # what deletes does not ask
            tids = self._still_due(tids)
        if not tids:
            return Deleted(), []
        values = {**self._statements.values, "rows": tids}
        if self._archive is not None:
            began = time.monotonic()
            rows, cascaded = self._archive.archive_and_delete(
                self._statements, values, self._seconds(len(tids))
            )
            return Deleted(rows, cascaded, time.monotonic() - began), []
        along = list[tuple[int, str, str]]()
        if self._keeps_below:
            with exact.as_owner(self._connection, self._statements.reads_as):
                along = lock_all(self._connection, self._statements, values)
        with pipeline(self._connection), deleting(self._connection, self._statements):
            seconds = self._seconds(len(tids))
            deleted_by = self._deleter.send(self._statements.delete_rows, values, seconds)
        deleted = deleted_by()
        require_gone(self._connection, along)
        return deleted, [] if deleted.rows == len(tids) else self._still_due(tids)

    def _seconds(self, rows: int) -> float | None:
        """Return how long the deletion of so many rows may take; None for no limit.

        What cannot be smaller, and is the first of a rule, may take longer: else it never went.
        """
        left = self._run.bounds.seconds_left
        if rows > 1 and not self._sorts:
            return self._longest if left is None else min(self._longest, left)
        return left if self._done.rows else None

    def _still_due(self, tids: list[str]) -> list[str]:
        return [tid for (tid,) in self._read(self._statements.still_due, rows=tids)]

    def _read(self, statement: sql.Composed, **values: Any) -> list[Any]:
        with exact.as_owner(self._connection, self._statements.reads_as):
            return self._connection.execute(
                statement, {**self._statements.values, **values}
            ).fetchall()

    def _committed(self, deleted: Deleted, kept: list[str]) -> None:
        if self._archive is not None:
            self._archive.commit()
        self._count(deleted)
        for tid in kept:
            self._refuse(tid, RowsKept())

    def _goes_another_way(self, error: Exception) -> bool:
        """Whether rows that others refer to can go in a way not tried yet.

        Those that refer to them go with them, whatever batch they are in.  Where these are too many
        for a transaction, the newest rows go first: what refers is newer than what it refers to.
        """
        if not self._is_of_key(error):
            return False
        if not self._sorts:
            self._sorts = True
            return True
        if self._is_not_whole and not self._has_turned:
            self._has_turned = True
            self._order = ByAge(self._connection, self._statements, backward=True)
            return True
        return False

    def _is_of_key(self, error: Exception) -> bool:
        return is_refusal_of_key(error) and self._references.hold_rows

    def _sorted(self, tids: list[str]) -> SortedRows:
        """Return the rows that go, with those that must go with them, and the rows that stay.

        Raises _TooManyTogether where fewer of them may go.
        """
        if not self._sorts or not tids:
            return SortedRows(tids)
        rows = self._references.sort(tids, list(self._refused), self._most_together)
        self._is_not_whole = self._is_not_whole or not rows.is_whole
        if rows.is_whole:
            return rows
        if self._has_turned:
            self._tried += math.ceil(self._most_together / _LOOKED_AT)
            error = _TooManyTogether(self._most_together)
            if len(tids) > 1:
                raise error
            return SortedRows([], {tids[0]: str(error)})
        return SortedRows([tid for tid in tids if tid not in rows.staying], rows.staying)

    def _delete_parts(
        self, tids: list[str], error: Exception | None, *, sorts: bool = True
    ) -> Deleted:
        """Delete what may go of rows that were refused together; find the others by halving.

        Each part is a transaction, what refers to others first.  Rows that are locked by others now
        are left to the next pass.  Without an error all are tried together first.
        """
        waiting, sum_deleted, refused = [tids], Deleted(), error
        while waiting and self._run.bounds.reached is None and self._tried < _MOST_TRIED:
            part = [tid for tid in waiting.pop() if tid not in self._refused]
            rows = SortedRows(part)
            try:
                if refused is None and part:
                    deleted, rows = self._delete_part(part, sorts=sorts)
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
                if sorts and not self._sorts and self._is_of_key(found):
                    self._sorts = True  # what refers to it may be of another part
                    waiting.append(part)
                    continue
                refused = found
            if refused is not None:
                waiting += self._halved(part, refused)
                refused = None
            elif rows.staying:
                self._pass_over_staying(rows.staying)
        return sum_deleted

    def _halved(self, part: list[str], why: Exception) -> list[list[str]]:
        """Return the halves of rows that were refused together; one alone is passed over."""
        if len(part) > 1:
            return halves(part)
        for tid in part:
            self._refuse(tid, why)
            self._tried += 1
        return []

    def _delete_part(self, part: list[str], *, sorts: bool) -> tuple[Deleted, SortedRows]:
        """Delete rows in a transaction, with those that must go along; return them, too."""
        with self._connection.transaction():
            rows = self._sorted(part) if sorts else SortedRows(part)
            self._read(self._statements.lock_rows, rows=rows.going)
            deleted, kept = self._delete_rows(rows.going)
        self._committed(deleted, kept)
        return deleted, rows

    def _pass_over_staying(self, staying: Mapping[str, str]) -> None:
        """Pass over rows that others keep, unless a trigger might take these away: it is tried."""
        if self._runs_triggers:
            self._delete_parts(list(staying), None, sorts=False)
            return
        for tid, reason in staying.items():
            self._refuse(tid, reason)

    def _refuse(self, tid: str, why: Exception | str) -> None:
        """Pass a row over that may not go, and name it where not many were named before."""
        refusal = None
        if self._done.names_more:
            refusal = self._refused_rows.refusal(tid, why)
            if refusal is None:
                return
        self._refused[tid] = None
        self._done.refuse(refusal)

    def _count(self, deleted: Deleted) -> None:
        self._done.rows += deleted.rows
        self._done.cascaded.update(deleted.cascaded)
        if deleted.rows:
            self._done.batches += 1
            self._failures = 0
        self._run.bounds.took(deleted.rows)

    def _pass_over(self) -> None:
        """Leave the next row to a later run: others hold something that goes along with it."""
        with suppress(*LOCKED), self._connection.transaction():
            self._busy += self._order.lock(1, [*self._busy, *self._refused]).tids

    def _transactions(self) -> int:
        """Return how many transactions there were of others, but for a number that stays."""
        number: int = QUERIES.value(self._connection, "next_transaction")
        return number - self._done.batches - self._run.notes_written

    def _name_what_is_kept(self) -> None:
        """Name the rows that are due and stay, though nobody refused them or holds them."""
        kept = self._statements.kept(locks=not self._keepers.policies)
        with self._connection.transaction(force_rollback=True):
            set_session(self._connection, {"enable_seqscan": "on"}, transaction=True)
            found = self._read(kept, refused=list(self._refused), limit=_MOST_REFUSED)
        for (tid,) in found:
            self._refuse(tid, RowsKept())

    def _is_something_left(self) -> bool:
        ((left,),) = self._read(self._statements.count, limit=len(self._refused) + 1)
        return bool(left > len(self._refused))
