"""Partitions by time: those that are due as a whole are dropped, the next ones are made ahead.

A partition that was detached is marked by a comment, so that the next run finds what a killed one
left: a detach without its end, or a table that nobody dropped.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from leadctl.catalog.facets import Descendant
from leadctl.catalog.relations import read_numbered, read_schema
from leadctl.cleanup.archive import RowArchive
from leadctl.cleanup.batches import LOCK_TIMEOUT, LOCKED
from leadctl.cleanup.context import RuleProgress, RunContext
from leadctl.cleanup.results import Reason
from leadctl.cleanup.rules import server_time
from leadctl.cleanup.statements import Statements
from leadctl.errors import InvalidFlag
from leadctl.postgres.connect import set_session
from leadctl.postgres.queries import identifier
from leadctl.postgres.translate import told

_MARK = "leadctl cleanup: to be dropped by the rule "
_PATIENT = "10s"
_DETACH = sql.SQL("ALTER TABLE {} DETACH PARTITION {}")
_DETACH_CONCURRENTLY = sql.SQL("ALTER TABLE {} DETACH PARTITION {} CONCURRENTLY")
_FINALIZE = sql.SQL("ALTER TABLE {} DETACH PARTITION {} FINALIZE")


@dataclass(frozen=True)
class Partition:
    """A partition of a table that is partitioned by its age column."""

    oid: int
    name: str
    rows: int
    """An estimate."""


@dataclass(frozen=True)
class Period:
    """A unit of time; `pattern` names a partition after its beginning, as to_char has it."""

    unit: str
    pattern: str
    strftime: str
    ahead: int
    """Partitions that are kept ready for times to come."""

    def after(self, begin: datetime) -> datetime:
        """Return where a period that begins there ends."""
        if self.unit == "month":
            return (begin.replace(day=1) + timedelta(days=32)).replace(day=1)
        return begin + timedelta(days=7 if self.unit == "week" else 1)

    def name(self, table: str, begin: datetime) -> str:
        """Return the name of the partition that begins there."""
        return f"{table}_{begin.strftime(self.strftime)}"


PERIODS = {
    period.unit: period
    for period in (
        Period("month", "YYYY_MM", "%Y_%m", 4),
        Period("week", "YYYY_MM_DD", "%Y_%m_%d", 8),
        Period("day", "YYYY_MM_DD", "%Y_%m_%d", 14),
    )
}


def period_named(unit: str) -> Period:
    """Return the period of a unit of time.  Raises InvalidFlag."""
    if unit not in PERIODS:
        raise InvalidFlag(f"--by is {unit!r}.", hint=f"It is one of: {', '.join(PERIODS)}.")
    return PERIODS[unit]


@dataclass
class RulePartitions:
    """The partitions of a rule's table, where that is partitioned by its age column."""

    _run: RunContext
    _statements: Statements
    _archive: RowArchive | None
    _done: RuleProgress

    def __post_init__(self) -> None:
        self._connection = self._run.connection
        self._table, self._cutoff = self._statements.table, self._statements.cutoff

    def due(self) -> list[Partition]:
        """Return the partitions in which every row is due, the oldest first.

        None where a condition may keep some, or where a foreign key refers to the table.
        """
        table = self._table
        if not table.by_age or table.rule.condition or table.referring:
            return []
        ends = {
            each.oid: end
            for each in self._partitions()
            if each.kind == "r" and (end := _range(each)[1]) and end <= self._cutoff
        }
        found = read_numbered(self._connection, ends, "sizes")
        return [
            Partition(oid, found[oid].quoted, found[oid].size.dense_rows)
            for oid in sorted(ends, key=ends.__getitem__)
        ]

    def finish_killed_runs(self) -> None:
        """Finish what an earlier run began: a pending detach, tables that wait to be dropped."""
        table = self._table
        if not table.by_age:
            return
        for each in self._partitions(detaching=True):
            self._run.narrate(f"Completing the interrupted detach of {each.quoted}")
            self._alter(_FINALIZE, each.quoted)
        mark = f"{_MARK}{table.rule.name}"
        partitions = read_numbered(self._connection, [each.oid for each in self._partitions()])
        for marked in (each for each in partitions.values() if each.comment == mark):
            unmark = sql.SQL("COMMENT ON TABLE {} IS NULL").format(marked.identifier)
            self._connection.execute(unmark)
        for detached in read_schema(self._connection, self._run.target.schema):
            if detached.kind == "r" and detached.comment == mark:
                self._drop(detached.quoted, detached.size.known_rows or 0)

    def drop(self, partitions: Sequence[Partition]) -> None:
        """Detach and drop partitions; stops at a bound of the run."""
        bounds = self._run.bounds
        for partition in partitions:
            if bounds.reached is not None:
                self._done.stopped = bounds.reached
                return
            try:
                mark = sql.SQL("COMMENT ON TABLE {} IS {}").format(
                    identifier(partition.name), f"{_MARK}{self._table.rule.name}"
                )
                self._connection.execute(mark)
                self._detach(partition.name)
                self._drop(partition.name, partition.rows)
            except LOCKED:
                self._done.stopped = Reason.TABLE_LOCKED
                return
            bounds.took(bounds.at_most(partition.rows))

    def make_ahead(self) -> None:
        """Make the partitions of the next periods, of the length that the newest one has."""
        if not self._table.by_age:
            return
        ranges = map(_range, self._partitions())
        bounds = [(begin, end) for begin, end in ranges if begin and end]
        if not bounds:
            return
        begin, end = max(bounds)
        period = next((each for each in PERIODS.values() if each.after(begin) == end), None)
        if period is None:
            return
        wanted = server_time(self._connection)
        for _ in range(period.ahead):
            wanted = period.after(wanted)
        # One in which every row would be due is not made.
        while not self._table.rule.condition and period.after(end) <= self._cutoff:
            end = period.after(end)
        while end < wanted and self._make(period, end):
            end = period.after(end)

    def _partitions(self, *, detaching: bool = False) -> list[Descendant]:
        """Return the partitions of now: those of which a detach was begun, or all others."""
        oid = self._table.oid
        table = read_numbered(self._connection, [oid], "descendants")[oid]
        return [each for each in table.partitions if each.detaching is detaching]

    def _detach(self, name: str) -> None:
        try:
            self._alter(_DETACH_CONCURRENTLY, name)
        except psycopg.errors.ObjectNotInPrerequisiteState:
            # A DEFAULT partition forbids it; the plain way locks the table for a moment.
            self._alter(_DETACH, name)

    def _alter(self, statement: sql.SQL, name: str) -> None:
        # Waiting for the end of others' transactions blocks nobody, where it is done concurrently.
        timeout = LOCK_TIMEOUT if statement is _DETACH else _PATIENT
        set_session(self._connection, {"lock_timeout": timeout})
        try:
            self._connection.execute(
                statement.format(identifier(self._table.name), identifier(name))
            )
        finally:
            set_session(self._connection, {"lock_timeout": LOCK_TIMEOUT})

    def _drop(self, name: str, rows: int) -> None:
        """Drop a table that was detached, of about so many rows."""
        table = identifier(name)
        with self._connection.transaction():
            self._connection.execute(
                sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(table)
            )
            if self._archive is not None:
                rows = self._archive.archive_table(self._cutoff, name)
            self._connection.execute(sql.SQL("DROP TABLE {}").format(table))
        if self._archive is not None:
            self._archive.commit()
        self._done.rows += rows
        self._done.partitions.append(name)

    def _make(self, period: Period, begin: datetime) -> bool:
        """Make one partition; attached afterwards, so that the table stays open to everybody."""
        name = sql.Identifier(self._run.target.schema, period.name(self._table.rule.table, begin))
        parent = identifier(self._table.name)
        values = sql.SQL("FOR VALUES FROM ({}) TO ({})").format(
            begin.isoformat(), period.after(begin).isoformat()
        )
        like = sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        attach = sql.SQL("ALTER TABLE {} ATTACH PARTITION {} {}")
        try:
            with self._connection.transaction():
                self._connection.execute(like.format(name, parent))
                self._connection.execute(attach.format(parent, name, values))
        except (*LOCKED, psycopg.errors.CheckViolation, psycopg.errors.DuplicateTable) as error:
            why = told(error)
            self._run.narrate(f"Could not create the partition for {begin:%Y-%m-%d}: {why}")
            return False
        return True


def _range(partition: Descendant) -> tuple[datetime | None, datetime | None]:
    """Return from when to when a partition reaches; None where that is no moment of Python's."""
    begin, end = (
        re.search(rf"{word} \('([^']*)'\)", partition.bound or "") for word in ("FROM", "TO")
    )
    return begin and _moment(begin[1]), end and _moment(end[1])


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
