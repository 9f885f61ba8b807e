"""The statements of a rule, composed once.

A row is named by its ctid, which a row keeps until it is changed; what is done by ctid therefore
asks again whether the row is due.  The table goes by its own name, since a condition may name it; a
partition goes by its parent's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from psycopg import sql

from leadctl.cleanup.tables import Leaf, Reference, Subject


@dataclass(frozen=True)
class Statements:
    """What is run on one leaf of a rule's table, with the cutoff frozen."""

    subject: Subject
    cutoff: datetime
    leaf: Leaf | None = None
    """The partition; None for the whole table."""

    @cached_property
    def values(self) -> Mapping[str, Any]:
        """The parameters that every statement has."""
        return {"cutoff": self.subject.cutoff_value(self.cutoff)}

    @property
    def source(self) -> sql.Composed:
        """The table as FROM has it."""
        name = _text(self.subject.name)
        if not self.subject.partitioned:
            return sql.SQL("ONLY {}").format(name)
        if self.leaf is None:
            return sql.Composed([name])
        return sql.SQL("ONLY {} AS {}").format(_text(self.leaf.name), name)

    @property
    def age(self) -> sql.Composed:
        """The age column."""
        column = _name(self.subject.rule.rule.age_column)
        return sql.SQL("{}.{}").format(_text(self.subject.name), column)

    @property
    def due(self) -> sql.Composed:
        """The condition that a row is due.  A NULL age is never."""
        condition = self.subject.rule.rule.condition or "true"
        # On a line of its own, so that a comment in it does not swallow the parenthesis.
        return sql.SQL("{} < %(cutoff)s AND (\n{}\n)").format(self.age, _text(condition))

    @property
    def condition_alone(self) -> sql.Composed:
        """The rule's condition without parentheses around it: it must be whole in itself."""
        condition = self.subject.rule.rule.condition or "true"
        return sql.SQL("SELECT FROM {} WHERE {}").format(self.source, _text(condition))

    @property
    def due_rows(self) -> sql.Composed:
        """Every row that is due, the oldest first."""
        return sql.SQL("SELECT ctid FROM {} WHERE {} ORDER BY {}").format(
            self.source, self.due, self.age
        )

    @property
    def count(self) -> sql.Composed:
        """How many rows are due, %(limit)s at most."""
        return sql.SQL(
            "SELECT count(*) FROM (SELECT FROM {} WHERE {} LIMIT %(limit)s) AS due"
        ).format(self.source, self.due)

    @property
    def count_others(self) -> sql.Composed:
        """How many rows are not due, %(limit)s at most."""
        return sql.SQL(
            "SELECT count(*) FROM (SELECT FROM {} WHERE ({}) IS NOT TRUE LIMIT %(limit)s) AS others"
        ).format(self.source, self.due)

    @property
    def summary(self) -> sql.Composed:
        """How many rows are due, and how old the oldest and the newest are.

        What is older than the year 1 is said to be of that year, which is as far as Python goes.
        """
        return sql.SQL(
            "SELECT count(*), min(age), max(age)"
            " FROM (SELECT greatest({age}, {first}) FROM {source} WHERE {due}) AS due (age)"
        ).format(age=self.age, source=self.source, due=self.due, first="0001-01-02")

    def lock(self, *, beyond: bool) -> sql.Composed:
        """Lock the oldest %(limit)s rows that nobody else has locked, and name them.

        Returns how many, the age of the newest, and their ctids, both as texts, and the seconds
        that it took.  `beyond` leaves out rows that are older than %(beyond)s.
        """
        return sql.SQL(
            "SELECT count(*), max(age)::text, array_agg(tid)::text,"
            " extract(epoch FROM clock_timestamp() - statement_timestamp())::float8 FROM ("
            "SELECT ctid, {age} FROM {source} WHERE {due} {further}"
            " AND ctid <> ALL (%(busy)s::tid[]) ORDER BY {age} LIMIT %(limit)s"
            " FOR UPDATE OF {name} SKIP LOCKED) AS batch (tid, age)"
        ).format(
            age=self.age,
            source=self.source,
            due=self.due,
            further=self._further(beyond=beyond),
            name=_text(self.subject.name),
        )

    @property
    def sample(self) -> sql.Composed:
        """How many rows are there, and how many of them are due, in %(percent)s of the pages."""
        return sql.SQL(
            "SELECT count(*), count(*) FILTER (WHERE {})"
            " FROM {} TABLESAMPLE SYSTEM (%(percent)s::float4)"
        ).format(self.due, self.source)

    @property
    def is_simple(self) -> bool:
        """Whether a row alone says whether it is due."""
        return "select" not in (self.subject.rule.rule.condition or "").lower()

    def span(self, *, beyond: bool) -> sql.Composed:
        """The age that follows those of the oldest %(limit)s rows, due or not; none at the end.

        It is a text: PostgreSQL has ages that Python has not.
        """
        return sql.SQL(
            "SELECT {age}::text FROM {source} WHERE {age} < %(cutoff)s {further}"
            " ORDER BY {age} OFFSET %(limit)s LIMIT 1"
        ).format(age=self.age, source=self.source, further=self._further(beyond=beyond))

    def sweep(self, *, beyond: bool) -> sql.Composed:
        """Delete what is due of the rows that are older than %(until)s."""
        return sql.SQL("DELETE FROM {} WHERE {} {} AND {} < %(until)s").format(
            self.source, self.due, self._further(beyond=beyond), self.age
        )

    def _further(self, *, beyond: bool) -> sql.Composable:
        return sql.SQL("AND {} >= %(beyond)s").format(self.age) if beyond else sql.SQL("")

    @property
    def still_due(self) -> sql.Composed:
        """Which of the rows %(rows)s are due now: a statement of its own sees what changed."""
        return sql.SQL("SELECT ctid FROM {} WHERE ctid = ANY (%(rows)s::tid[]) AND {}").format(
            self.source, self.due
        )

    @property
    def count_still_due(self) -> sql.Composed:
        """How many of the rows %(rows)s are due now."""
        return sql.SQL("SELECT count(*) FROM ({}) AS due").format(self.still_due)

    @property
    def delete(self) -> sql.Composed:
        """Delete those of the rows %(rows)s that are due now."""
        return sql.SQL("DELETE FROM {} WHERE ctid = ANY (%(rows)s::tid[]) AND {}").format(
            self.source, self.due
        )

    def closure(self, start: sql.Composable, result: sql.Composable) -> sql.Composed:
        """Select `result` of gone (tab, rel, tid): the rows of `start`, and all that go with them.

        `tab` is the oid of a table, `rel` of the partition that has the row, if it has any.
        """
        edges = sql.SQL(" UNION ALL ").join(_edge(found) for found in self.subject.cascades)
        return sql.SQL(
            "WITH RECURSIVE gone (tab, rel, tid) AS ("
            "SELECT {oid}::oid, {rel}, tid FROM ({start}) AS start (tid) "
            "UNION SELECT next.tab, next.rel, next.tid FROM gone CROSS JOIN LATERAL ({edges})"
            " AS next (tab, rel, tid)) {result}"
        ).format(
            oid=self.subject.oid,
            rel=sql.SQL("{}::oid").format(self.leaf.oid if self.leaf else self.subject.oid),
            start=start,
            edges=edges,
            result=result,
        )


COUNT_CASCADED = sql.SQL("SELECT tab::bigint, count(*) FROM gone GROUP BY tab")
ROWS_BY_RELATION = sql.SQL(
    "SELECT tab::bigint, rel::bigint, rel::regclass::text, array_agg(tid ORDER BY tid)::text"
    " FROM gone GROUP BY tab, rel ORDER BY 1, 2"
)


def _edge(found: Reference) -> sql.Composed:
    """Compose the step from rows that go to those that a foreign key takes along."""
    same = sql.SQL(" AND ").join(
        sql.SQL("child.{} = parent.{}").format(_name(column), _name(referred))
        for column, referred in zip(found.columns, found.referred, strict=True)
    )
    # OFFSET 0 keeps the planner from joining the whole tables for the sake of a batch.
    return sql.SQL(
        "SELECT {child_oid}::oid, next.rel, next.tid FROM ("
        "SELECT parent.* FROM {parent} AS parent"
        " WHERE gone.tab = {parent_oid}::oid AND parent.ctid = gone.tid"
        " AND parent.tableoid = gone.rel OFFSET 0) AS parent CROSS JOIN LATERAL ("
        "SELECT child.tableoid, child.ctid FROM {child} AS child WHERE {same} OFFSET 0)"
        " AS next (rel, tid)"
    ).format(
        child_oid=found.child,
        parent_oid=found.parent,
        parent=_text(found.parent_name),
        child=_text(found.child_name),
        same=same,
    )


def _name(name: str) -> sql.SQL:
    return _text(sql.Identifier(name).as_string())


def _text(text: str) -> sql.SQL:
    """Return SQL as a part of a statement that has parameters."""
    return sql.SQL(text.replace("%", "%%"))
