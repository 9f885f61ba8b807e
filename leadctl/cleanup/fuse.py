"""The fuse: a rule that would take far more than it should stops before it takes anything."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psycopg import sql

from leadctl.cleanup.results import PastRuns
from leadctl.cleanup.rules import RuleTable
from leadctl.cleanup.statements import Statements
from leadctl.errors import FuseBlown
from leadctl.postgres.connect import Connection

_TIMES_USUAL = 10
"""How many times its usual rows a rule may take."""
_DOUBT = 4
"""By which factor an estimate of a table's rows may be wrong."""
_SAMPLE_PAGES = 1000
_MARGIN = 0.1
"""How far the share that is due in so many random pages may be from that in the table.

By Hoeffding's inequality it is further away once in exp(2 * 1000 * 0.1 ** 2), half a billion times,
however the rows that are due lie beside each other.
"""


@dataclass(frozen=True)
class Due:
    """How many rows are due; where the fuse ended the count there are at least so many."""

    rows: int
    exact: bool
    """Whether they were counted to the end; else they are an estimate, or a part."""
    blown: str | None
    """Why the fuse has blown; None where it has not."""


@dataclass(frozen=True)
class _Fuse:
    """What a rule may take of a table without consent."""

    share: float
    table_rows: int
    """Rows that the table may have."""
    usual: float
    """Rows; infinite where nobody knows what is usual."""
    floor: int
    """Rows that it may take in any case."""

    def rows(self, doubt: float) -> float:
        """Return how many rows that is, where the table may have `doubt` times its rows."""
        return max(self.floor, min(doubt * self.share * self.table_rows, self.usual))

    @property
    def why(self) -> str:
        """Say what the most rows stem from."""
        if max(self.floor, self.usual) < _DOUBT * self.share * self.table_rows:
            return f"far more than its usual {self.usual / _TIMES_USUAL:,.0f}"
        return self.why_share

    @property
    def why_share(self) -> str:
        """Say that it is the share."""
        return f"more than {self.share:.0%} of the table"


def measure_due(
    connection: Connection,
    table: RuleTable,
    parts: Sequence[Statements],
    whole: int,
    past: PastRuns,
    *,
    consented: bool = False,
) -> Due:
    """Find how many rows are due, at no greater cost than a sample or what the fuse allows.

    `whole` are the rows of partitions that go as such, which are not counted one by one.  Of a
    large table random pages are read, and its rows are counted only where these do not tell.
    """
    rule = table.rule
    usual = past.usual_rows(rule.name)
    most = math.inf if usual is None else _TIMES_USUAL * usual
    fuse = _Fuse(rule.fuse_share, table.estimate, most, rule.fuse_rows)
    if table.pages > 2 * _SAMPLE_PAGES:
        share = _sampled_share(connection, table, parts)
        others = max(0, table.estimate - whole)
        if consented or whole + (share + _MARGIN) * others <= fuse.rows(1):
            return Due(whole + round(share * others), exact=False, blown=None)
    return _counted(connection, parts, whole, fuse)


def _counted(connection: Connection, parts: Sequence[Statements], whole: int, fuse: _Fuse) -> Due:
    """Count what is due, no further than the fuse allows."""
    limit = round(fuse.rows(_DOUBT))
    rows = whole + _count(connection, parts, lambda part: part.count, limit + 1 - whole)
    if rows > limit:
        return Due(rows, exact=False, blown=f"at least {rows:,} rows are due, {fuse.why}")
    if rows > fuse.floor and rows * _DOUBT > fuse.share * fuse.table_rows:
        # An estimate does not tell: so many others must be there that the share is kept.
        others = math.ceil(rows * (1 - fuse.share) / fuse.share)
        if _count(connection, parts, lambda part: part.count_others, others) < others:
            return Due(rows, exact=True, blown=f"{rows:,} rows are due, {fuse.why_share}")
    return Due(rows, exact=True, blown=None)


def _sampled_share(connection: Connection, table: RuleTable, parts: Sequence[Statements]) -> float:
    """Return which share of the rows of random pages is due."""
    there = due = 0
    percent = min(100.0, 100.0 * _SAMPLE_PAGES / table.pages)
    for part in parts:
        values = {**part.values, "percent": percent}
        ((seen, found),) = connection.execute(part.sample, values).fetchall()
        there, due = there + seen, due + found
    return due / there if there else 1.0


def _count(
    connection: Connection,
    parts: Sequence[Statements],
    statement: Callable[[Statements], sql.Composed],
    limit: int,
) -> int:
    """Count rows of all parts together, `limit` at most."""
    rows = 0
    for part in parts:
        if rows >= limit:
            break
        values = {**part.values, "limit": limit - rows}
        ((found,),) = connection.execute(statement(part), values).fetchall()
        rows += int(found)
    return rows


def blown_fuse(table: RuleTable, due: Due, database: str) -> FuseBlown:
    """Return the error that says why a rule's fuse has blown."""
    return FuseBlown(
        f"The rule {table.rule.name} took nothing of {table.name}: {due.blown}.",
        hint=f"Look with: leadctl cleanup --dry-run --rule {table.rule.name}. Where that is what "
        f"you want, add: --confirm {database}",
    )
