"""Which rows a batch takes: from where to where, in which order, and how many.

The index on the age column leads to what is due and to nothing else.  But where rows do not lie in
the order of their ages, it leads to every page of the table again for every batch; there it costs
less to go through the table's blocks once, whatever is due in them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg import Cursor, sql

from leadctl.cleanup import QUERIES
from leadctl.cleanup.results import tids_of
from leadctl.cleanup.statements import (
    NO_SCAN,
    Statements,
    reads_by_index,
    reads_everything,
)
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection

_BEHIND_ALL = 4_294_967_295
"""No table has a block of this number."""
_FEW = 50
_Age = str | date | datetime


@dataclass(frozen=True)
class Range:
    """The rows that the next batch deletes at once."""

    delete: str
    values: Mapping[str, Any]
    size: int
    """How many rows it was to look at."""


@dataclass(frozen=True)
class Locked:
    """Rows that are due and locked by us."""

    tids: list[str]
    seconds: float
    """How long the server took."""


class ByAge:
    """The oldest rows first; or the newest first, which are locked batch by batch."""

    block: None = None
    """Where the next run is to begin: at what is the oldest then."""

    def __init__(
        self,
        connection: Connection,
        statements: Statements,
        *,
        by_range: bool = False,
        backward: bool = False,
    ) -> None:
        self._connection = connection
        self._reads_as = statements.reads_as
        self._values: Mapping[str, Any] = statements.values
        self._cutoff: _Age = statements.table.cutoff_value(statements.cutoff)
        self._ends, self._deletes = (
            tuple(compose(since=since).as_string(connection) for since in (False, True))
            for compose in (statements.range_end, statements.delete_range)
        )
        self._locks = tuple(
            statements.lock_oldest(since=since, backward=backward) for since in (False, True)
        )
        self.by_range = by_range
        """Whether a batch may be a range, which one statement deletes."""
        self.statements = (
            (statements.range_end(since=False), statements.delete_range(since=False))
            if by_range
            else (self._locks[0], statements.delete_rows)
        )
        """What is run for a batch."""
        self.begin()

    def begin(self) -> None:
        """Begin a pass."""
        self._since: _Age | None = None
        """Where the next batch begins; None for the oldest row."""
        self._following: tuple[_Age, int] | None = None
        """Where the next batch ends, and how many rows it was to be until there."""

    def next_range(self, size: int) -> Range | None:
        """Return the next range; None where so many rows have one age, which cannot part them."""
        with exact.as_owner(self._connection, self._reads_as):
            first = self._following or (self._end_of(self._end(self._since, size)), size)
        (until, asked), self._following = first, None
        if until == self._since:
            return None
        self._until = until
        delete = self._deletes[self._since is not None]
        return Range(delete, {**self._values, "since": self._since, "until": until}, asked)

    def ask_next(self, size: int) -> None:
        """Ask where the range after this one ends, on the trip of its deletion."""
        self._asked = (self._end(self._until, size), size)

    def pass_range(self) -> bool:
        """Go on behind the range; return whether it was the last one of the pass."""
        found, size = self._asked
        self._since, self._following = self._until, (self._end_of(found), size)
        return self._until == self._cutoff

    def lock(self, size: int, without: list[str]) -> Locked:
        """Lock the next rows that are due and that nobody else has locked."""
        self._following = None
        lock = self._locks[self._since is not None]
        values = {**self._values, "since": self._since, "limit": size, "busy": without}
        with exact.as_owner(self._connection, self._reads_as):
            found = self._connection.execute(lock, values, prepare=_prepares(without))
            ((count, last, tids, seconds),) = found.fetchall()
        self._last, self._is_last = last or self._since, bool(count < size)
        return Locked(tids_of(tids or ""), seconds)

    def pass_locked(self) -> bool:
        """Continue after the locked rows; return whether the end of the pass is reached."""
        self._since = self._last
        return self._is_last

    def _end(self, since: _Age | None, size: int) -> Cursor[Any]:
        values = {**self._values, "since": since, "limit": size}
        return self._connection.execute(self._ends[since is not None], values)

    def _end_of(self, found: Cursor[Any]) -> _Age:
        following = found.fetchone()
        return self._cutoff if following is None else following[0]


class ByHeap:
    """Blocks of the table, one after another, from where an earlier run stopped and around."""

    def __init__(self, connection: Connection, statements: Statements, first_block: int) -> None:
        self._connection = connection
        self._reads_as = statements.reads_as
        self._values: Mapping[str, Any] = statements.values
        self._heap = statements.heap
        self._first = first_block
        table = statements.table
        self._rows_a_block = max(1.0, table.estimate / max(1, table.pages))
        self._delete = statements.delete_blocks.as_string(connection)
        self._lock = statements.lock_blocks
        self.by_range = statements.can_go_at_once
        self.statements: tuple[sql.Composed, ...] = (
            (statements.delete_blocks,)
            if self.by_range
            else (statements.lock_blocks, statements.delete_rows)
        )
        self.begin()

    def begin(self) -> None:
        """Begin a pass; what the table has behind its last block of now is in it, too."""
        self._blocks: int = QUERIES.value(self._connection, "blocks", oid=self._heap)
        first = self._first if self._first < self._blocks else 0
        self._stretches = [(first, _BEHIND_ALL), *([(0, first)] if first else [])]
        self._since = self._until = first

    @property
    def block(self) -> int | None:
        """Where the next run is to begin; None where this one went through all of the table."""
        return self._since if self._stretches else None

    def next_range(self, size: int) -> Range | None:
        """Return the next range, of about so many rows; None where a block has too many."""
        if size < min(_FEWEST, self._rows_a_block):
            return None
        return Range(self._delete, self._bounds(size), size)

    def ask_next(self, _size: int) -> None:
        """Ask nothing: a block's number needs no look."""

    def pass_range(self) -> bool:
        """Go on behind the range; return whether it was the last one of the pass."""
        if self._until == self._stretches[0][1]:
            del self._stretches[0]
            if not self._stretches:
                return True
            self._until = self._stretches[0][0]
        self._since = self._until
        return False

    def lock(self, size: int, without: list[str]) -> Locked:
        """Lock the next rows that are due and that nobody else has locked."""
        values = {**self._bounds(size), "limit": size, "busy": without}
        with exact.as_owner(self._connection, self._reads_as):
            found = self._connection.execute(self._lock, values, prepare=_prepares(without))
            ((count, tids, seconds),) = found.fetchall()
        self._are_all = bool(count < size)
        # What is not due is not locked: where little is due, a batch of so many rows is wider.
        blocks = max(1, min(self._until, self._blocks) - self._since)
        self._rows_a_block = max(self._rows_a_block / 2, (count + 1) / blocks)
        return Locked(tids_of(tids or ""), seconds)

    def pass_locked(self) -> bool:
        """Go on behind the range where that was all of it; return whether it was the last one."""
        return self._are_all and self.pass_range()

    def _bounds(self, size: int) -> Mapping[str, Any]:
        self._until = self._since + math.ceil(size / self._rows_a_block)
        _, end = self._stretches[0]
        if self._until >= min(end, self._blocks):
            self._until = end
        return {**self._values, "since": f"({self._since},0)", "until": f"({self._until},0)"}


def _prepares(without: list[str]) -> bool | None:
    """Whether a plan may serve for any list: it compares a row with each, and hashes none."""
    return False if len(without) > _FEW else None


Order = ByAge | ByHeap


def order_of(
    connection: Connection,
    statements: Statements,
    *,
    oldest_first: bool = False,
    first_block: int = 0,
) -> Order:
    """Return the order that costs less; where only so many rows may go, the oldest go."""
    oldest_first = oldest_first or statements.table.rule.max_rows is not None
    if not oldest_first and _is_nearer_by_heap(connection, statements):
        return ByHeap(connection, statements, first_block)
    # A batch can be a range of ages where an index has all rows by age.
    by_range = (
        not oldest_first
        and statements.can_go_at_once
        and reads_by_index(connection, statements, statements.range_end(since=False))
    )
    return ByAge(connection, statements, by_range=by_range)


def _is_nearer_by_heap(connection: Connection, statements: Statements) -> bool:
    """Whether the planner would find what is due by reading the table, and not by an index.

    How many rows are as old, how their ages lie in the heap (pg_stats.correlation), and what an
    index of due rows alone spares, is in its estimate.  A range of blocks must be readable as such.
    """
    costs = {
        "seq_page_cost": "1",
        "random_page_cost": "4",
        # A batch comes back to a page long after the one before: nothing is taken to be in memory.
        "effective_cache_size": "1",
        "enable_seqscan": "on",
        "enable_bitmapscan": "off",
        "max_parallel_workers_per_gather": "0",
    }
    due = sql.SQL("{}SELECT ctid FROM {} WHERE {}").format(
        statements.tables, statements.source, statements.due
    )
    blocks = {"since": "(0,0)", "until": "(1,0)"}
    return reads_everything(connection, statements, due, costs) and not reads_everything(
        connection, statements, statements.due_in_blocks, NO_SCAN, blocks
    )


@dataclass(frozen=True)
class Keepers:
    """The triggers, rules and policies that may keep rows from being deleted, silently."""

    some: bool
    """Whether there is anything: triggers before a deletion, rules, policies."""
    policies: bool
    """Whether row security is active for the role of the session."""


def keepers_of(connection: Connection, statements: Statements) -> Keepers:
    """Return what may keep rows of a table."""
    (found,) = QUERIES.rows(connection, "keepers", Keepers, oid=statements.heap)
    return found


_FIRST, _FEWEST, _MOST = 200, 50, 50_000
"""Rows of a batch."""
_CHANGE = 2.0
"""How many times as large as the one before a batch may be."""
_CHEAPER = 0.75
"""Of what a row cost in the batch before, where more rows are worth a longer batch."""
_QUIET = 0.5
"""Seconds after which nobody is taken to write any more."""


@dataclass(frozen=True)
class WorkSeconds:
    """How many seconds of work a batch is to be."""

    beside_others: float
    """While other sessions write."""
    alone: float
    """While none does."""
    longest: float
    """Where the way to the server takes long."""


WORK = WorkSeconds(beside_others=0.003, alone=0.02, longest=0.1)
"""What a batch locks is locked that long, and commits wait for the WAL of that time."""
ARCHIVE_WORK = WorkSeconds(beside_others=0.5, alone=0.5, longest=0.5)


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
        self._fewest, self._a_row = _FEWEST, math.inf
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
        if self._fewest < _FEWEST and transaction is not None:
            before, self._a_row = self._a_row, worked / rows
            # What takes long may not be the rows: then more of them cost little more.
            if self._a_row < _CHEAPER * before:
                self._fewest = min(_FEWEST, 2 * self._fewest)
        self.rows = max(self._fewest, min(_MOST, wanted))

    def cut(self) -> None:
        """Begin again with one row, where a batch took far too long."""
        self.rows = self._fewest = 1
        self._a_row = math.inf

    @property
    def is_alone(self) -> bool:
        """Whether no other session has written for a while."""
        return self._quiet >= _QUIET

    def _others_until(self, transaction: int | None) -> bool:
        if transaction is None:
            return False
        last, self._transaction = self._transaction, transaction
        return last is not None and transaction > last + 1
