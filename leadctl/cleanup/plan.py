"""What the planner would do: whether an index finds rows in the order of their ages."""

from collections.abc import Mapping
from typing import Any

from psycopg import sql

from leadctl.cleanup.statements import Statements
from leadctl.cleanup.tables import Subject
from leadctl.postgres.connect import Connection


def is_indexed(connection: Connection, statements: Statements) -> bool:
    """Whether an index finds the oldest due row."""
    return _reads_by_index(connection, statements, statements.due_rows)


def goes_by_age(connection: Connection, statements: Statements) -> bool:
    """Whether a batch can be a range of ages.

    For that a row alone must say whether it goes, and an index must have all rows by age.
    """
    rule = statements.subject.rule
    if rule.archive or rule.rule.max_rows is not None or not statements.is_simple:
        return False
    return _reads_by_index(connection, statements, statements.span(beyond=False))


def _reads_by_index(connection: Connection, statements: Statements, select: sql.Composed) -> bool:
    """Whether the first row of an ordered select is found without a sort or the whole table."""
    with connection.transaction():
        connection.execute("SET LOCAL enable_seqscan = off")
        connection.execute("SET LOCAL enable_sort = off")
        explain = sql.SQL("EXPLAIN (FORMAT JSON) SELECT * FROM ({}) AS found LIMIT 1").format(
            select
        )
        values = {**statements.values, "limit": 1}
        ((plan,),) = connection.execute(explain, values).fetchall()
    return not _reads_everything(plan[0]["Plan"], statements.subject)


def _reads_everything(plan: Mapping[str, Any], subject: Subject) -> bool:
    """Whether a plan sorts what it finds, or scans the rule's table; not its subqueries."""
    if plan["Node Type"] == "Sort":
        return True
    names = {leaf.name.strip('"') for leaf in subject.leaves} | {subject.name.strip('"')}
    if plan["Node Type"] == "Seq Scan" and plan.get("Relation Name") in names:
        return True
    inner = [
        below
        for below in plan.get("Plans", [])
        if below.get("Parent Relationship") not in {"SubPlan", "InitPlan"}
    ]
    return any(_reads_everything(below, subject) for below in inner)
