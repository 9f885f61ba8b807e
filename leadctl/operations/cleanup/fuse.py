"""The fuse: a rule that would take far more than it should stops before it takes anything."""

from dataclasses import dataclass

from leadctl.db.connect import Connection
from leadctl.errors import FuseBlown
from leadctl.operations.cleanup.catalog import Subject
from leadctl.operations.cleanup.past import Past
from leadctl.operations.cleanup.statements import Statements

_TIMES_USUAL = 10
"""How many times its usual rows a rule may take."""


@dataclass(frozen=True)
class Due:
    """How many rows are due; where the fuse ended the count there are at least so many."""

    rows: int
    exact: bool
    blown: str | None
    """Why the fuse has blown; None where it has not."""


def count_due(
    connection: Connection, subject: Subject, parts: list[Statements], whole: int, past: Past
) -> Due:
    """Count what is due, no further than to the fuse's limit.

    `whole` are the rows of partitions that go as such, which are not counted one by one.
    """
    share = round(subject.estimate * subject.rule.rule.fuse_share)
    limit, why = share, f"{subject.rule.rule.fuse_share:.0%} of the table's {subject.estimate:,}"
    usual = past.usual_rows(subject.rule.name)
    if usual is not None and _TIMES_USUAL * usual < limit:
        limit, why = round(_TIMES_USUAL * usual), f"{_TIMES_USUAL} times its usual {usual:,.0f}"
    if subject.rule.rule.fuse_rows > limit:
        limit, why = (
            subject.rule.rule.fuse_rows,
            f"its fuse_rows of {subject.rule.rule.fuse_rows:,}",
        )
    rows = whole
    for statements in parts:
        if rows > limit:
            break
        values = {**statements.values, "limit": limit + 1 - rows}
        ((found,),) = connection.execute(statements.count, values).fetchall()
        rows += found
    blown = f"more than {limit:,} rows are due, {why}" if rows > limit else None
    return Due(rows, exact=blown is None, blown=blown)


def refuse(subject: Subject, due: Due, database: str) -> FuseBlown:
    """Return the error that says why a rule's fuse has blown."""
    return FuseBlown(
        f"The rule {subject.rule.name} took nothing of {subject.name}: {due.blown}.",
        hint=f"Look with: leadctl cleanup --dry-run --rule {subject.rule.name}. Where that is what "
        f"you want, add: --confirm {database}",
    )
