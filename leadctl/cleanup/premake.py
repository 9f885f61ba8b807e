"""Making the next partitions ahead of their time."""

from datetime import UTC, datetime

import psycopg
from psycopg import sql

from leadctl.cleanup.batches import LOCKED
from leadctl.cleanup.catalog import query
from leadctl.cleanup.partitions import Maintenance
from leadctl.partition.periods import Period, period_of


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
