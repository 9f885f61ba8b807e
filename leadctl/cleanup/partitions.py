"""Partitions by time: those that are due as a whole are dropped, the next ones are made ahead.

A partition that was detached is marked by a comment, so that the next run finds what a killed one
left: a detach without its end, or a table that nobody dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from leadctl.cleanup.archive import Archive
from leadctl.cleanup.batches import LOCK_TIMEOUT, LOCKED, Deleted
from leadctl.cleanup.context import Limits, Reason
from leadctl.cleanup.tables import Subject, query
from leadctl.errors import InvalidFlag
from leadctl.postgres.connect import Connection
from leadctl.progress import Narrate

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
class Maintenance:
    """What the work on a rule's partitions needs."""

    connection: Connection
    schema: str
    subject: Subject
    cutoff: datetime
    archive: Archive | None
    done: Deleted
    dropped: list[str]
    narrate: Narrate


def due(connection: Connection, subject: Subject, cutoff: datetime) -> list[Partition]:
    """Return the partitions in which every row is due, the oldest first.

    None where a condition may keep some, or where a foreign key refers to the table.
    """
    if not subject.by_age or subject.rule.rule.condition or subject.references:
        return []
    value = str(subject.cutoff_value(cutoff))
    return [Partition(*row) for row in query(connection, "whole", oid=subject.oid, cutoff=value)]


def finish(work: Maintenance) -> None:
    """Finish what an earlier run began: a pending detach, and tables that wait to be dropped."""
    subject = work.subject
    if not subject.by_age:
        return
    for (name,) in query(work.connection, "pending_detach", oid=subject.oid):
        work.narrate(f"Finishing the detach of {name}")
        _alter(work, _FINALIZE, name)
    mark = f"{_MARK}{subject.rule.name}"
    for (name,) in query(work.connection, "marked", oid=subject.oid, mark=mark):
        work.connection.execute(sql.SQL("COMMENT ON TABLE {} IS NULL").format(sql.SQL(name)))
    for name, rows in query(work.connection, "left_over", schema=work.schema, mark=mark):
        _drop(work, Partition(0, name, rows))


def drop(work: Maintenance, partitions: Sequence[Partition], limits: Limits) -> None:
    """Detach and drop partitions; stops at a bound of the run."""
    for partition in partitions:
        if limits.reached is not None:
            work.done.stopped = limits.reached
            return
        try:
            mark = sql.SQL("COMMENT ON TABLE {} IS {}").format(
                sql.SQL(partition.name), f"{_MARK}{work.subject.rule.name}"
            )
            work.connection.execute(mark)
            _detach(work, partition.name)
            _drop(work, partition)
        except LOCKED:
            work.done.stopped = Reason.TABLE_LOCKED
            return
        limits.took(min(partition.rows, limits.at_most(partition.rows)))


def _detach(work: Maintenance, name: str) -> None:
    try:
        _alter(work, _DETACH_CONCURRENTLY, name)
    except psycopg.errors.ObjectNotInPrerequisiteState:
        # A DEFAULT partition forbids it; the plain way locks the table for a moment.
        _alter(work, _DETACH, name)


def _alter(work: Maintenance, statement: sql.SQL, name: str) -> None:
    patient = statement is not _DETACH
    # Waiting for the end of others' transactions blocks nobody, where it is done concurrently.
    work.connection.execute(
        "SELECT set_config('lock_timeout', %s, false)", (_PATIENT if patient else LOCK_TIMEOUT,)
    )
    try:
        work.connection.execute(statement.format(sql.SQL(work.subject.name), sql.SQL(name)))
    finally:
        work.connection.execute("SELECT set_config('lock_timeout', %s, false)", (LOCK_TIMEOUT,))


def _drop(work: Maintenance, partition: Partition) -> None:
    rows = partition.rows
    with work.connection.transaction():
        table = sql.SQL(partition.name)
        work.connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(table))
        if work.archive is not None:
            rows = work.archive.take_table(
                work.connection, work.cutoff, partition.name, work.subject.oid
            )
        work.connection.execute(sql.SQL("DROP TABLE {}").format(table))
    if work.archive is not None:
        work.archive.commit()
    work.done.rows += rows
    work.dropped.append(partition.name)


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


def premake(work: Maintenance, now: datetime) -> None:
    """Make the partitions of the next periods, of the length that the newest one has."""
    if not work.subject.by_age:
        return
    rows = query(work.connection, "bounds", oid=work.subject.oid)
    bounds = [(_moment(begin), _moment(end)) for _, _, begin, end in rows if begin and end]
    if not bounds:
        return
    begin, end = max(bounds)
    period = period_of(begin, end)
    if period is None:
        return
    wanted = now
    for _ in range(period.ahead):
        wanted = period.after(wanted)
    while end < wanted:
        if not _make(work, period, end):
            return
        end = period.after(end)


def _make(work: Maintenance, period: Period, begin: datetime) -> bool:
    """Make one partition; attached afterwards, so that the table stays open to everybody."""
    table = work.subject.rule.rule.table
    name = sql.Identifier(work.schema, period.name(table, begin))
    parent = sql.SQL(work.subject.name)
    values = sql.SQL("FOR VALUES FROM ({}) TO ({})").format(
        begin.isoformat(), period.after(begin).isoformat()
    )
    like = sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    attach = sql.SQL("ALTER TABLE {} ATTACH PARTITION {} {}")
    try:
        with work.connection.transaction():
            work.connection.execute(like.format(name, parent))
            work.connection.execute(attach.format(parent, name, values))
    except (*LOCKED, psycopg.errors.CheckViolation, psycopg.errors.DuplicateTable) as error:
        work.narrate(f"No partition was made for {begin:%Y-%m-%d}: {error.diag.message_primary}")
        return False
    return True


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def period_of(begin: datetime, end: datetime) -> Period | None:
    """Return the period that a partition covers; None where it is none of ours."""
    return next((period for period in PERIODS.values() if period.after(begin) == end), None)
