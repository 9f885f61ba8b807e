"""The fuse: a rule that would take far more than it should stops before it takes anything."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psycopg import sql

from leadctl.db.connect import Connection
from leadctl.errors import FuseBlown
from leadctl.operations.cleanup.catalog import Subject
from leadctl.operations.cleanup.past import Past
from leadctl.operations.cleanup.statements import Statements

_TIMES_USUAL = 10
"""How many times its usual rows a rule may take."""
_DOUBT = 4
"""By which factor an estimate of a table's rows may be wrong."""


@dataclass(frozen=True)
class Due:
    """How many rows are due; where the fuse ended the count there are at least so many."""

    rows: int
    exact: bool
    blown: str | None
    """Why the fuse has blown; None where it has not."""


def count_due(
    connection: Connection, subject: Subject, parts: Sequence[Statements], whole: int, past: Past
) -> Due:
    """Count what is due, no further than the fuse allows.

    `whole` are the rows of partitions that go as such, which are not counted one by one.
    """
    rule = subject.rule.rule
    limit = max(rule.fuse_rows, round(_DOUBT * rule.fuse_share * subject.estimate))
    why = f"more than {rule.fuse_share:.0%} of the table"
    usual = past.usual_rows(rule.name)
    if usual is not None and max(rule.fuse_rows, _TIMES_USUAL * usual) < limit:
        limit = max(rule.fuse_rows, round(_TIMES_USUAL * usual))
        why = f"far more than its usual {usual:,.0f}"
    rows = whole + _count(connection, parts, lambda part: part.count, limit + 1 - whole)
    if rows > limit:
        return Due(rows, exact=False, blown=f"at least {rows:,} rows are due, {why}")
    if rows > rule.fuse_rows and rows * _DOUBT > rule.fuse_share * subject.estimate:
        # An estimate does not tell: so many others must be there that the share is kept.
        others = math.ceil(rows * (1 - rule.fuse_share) / rule.fuse_share)
        if _count(connection, parts, lambda part: part.count_others, others) < others:
            why = f"more than {rule.fuse_share:.0%} of the table"
            return Due(rows, exact=True, blown=f"{rows:,} rows are due, {why}")
    return Due(rows, exact=True, blown=None)


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


def refuse(subject: Subject, due: Due, database: str) -> FuseBlown:
    """Return the error that says why a rule's fuse has blown."""
    return FuseBlown(
        f"The rule {subject.rule.name} took nothing of {subject.name}: {due.blown}.",
        hint=f"Look with: leadctl cleanup --dry-run --rule {subject.rule.name}. Where that is what "
        f"you want, add: --confirm {database}",
    )
