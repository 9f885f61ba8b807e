"""The statements of a rule, composed once, and how the server would run them.

A row is named by its ctid, which a row keeps until it is changed; what is done by ctid therefore
asks again whether the row is due.  The table goes by its own name, since a condition may name it; a
partition goes by its parent's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg import sql

from leadctl.catalog.facets import Leaf, Reference
from leadctl.cleanup import QUERIES
from leadctl.cleanup.rules import RuleTable
from leadctl.errors import InvalidRule
from leadctl.postgres.connect import Connection, set_session
from leadctl.postgres.queries import parts_of, written_by_user

_IN_BLOCKS = sql.SQL("ctid >= %(since)s::tid AND ctid < %(until)s::tid")


@dataclass(frozen=True)
class Statements:
    """What is run on the table of a rule, or on one leaf of it, with the cutoff frozen."""

    table: RuleTable
    cutoff: datetime
    leaf: Leaf | None = None
    """The partition; None for the whole table."""

    def per_leaf(self) -> "list[Statements]":
        """Return the statements for each table that holds rows."""
        if not self.table.partitioned:
            return [self]
        return [replace(self, leaf=leaf) for leaf in self.table.leaves]

    @cached_property
    def values(self) -> Mapping[str, Any]:
        """The parameters that every statement has."""
        return {"cutoff": self.table.cutoff_value(self.cutoff)}

    @property
    def source(self) -> sql.Composed:
        """The table as FROM has it."""
        name = _name(*parts_of(self.table.name))
        if not self.table.partitioned:
            return sql.SQL("ONLY {}").format(name)
        if self.leaf is None:
            return sql.Composed([name])
        return sql.SQL("ONLY {} AS {}").format(_name(*parts_of(self.leaf.quoted)), name)

    @property
    def age(self) -> sql.Composed:
        """The age column."""
        column = _name(self.table.rule.age_column)
        return sql.SQL("{}.{}").format(_name(*parts_of(self.table.name)), column)

    @property
    def condition(self) -> sql.SQL:
        """The rule's own condition."""
        return written_by_user((self.table.rule.condition or "true").replace("%", "%%"))

    @property
    def can_go_at_once(self) -> bool:
        """Whether one statement may find rows and delete them: a row alone says whether it goes."""
        rule = self.table.rule
        return not rule.archive and "select" not in (rule.condition or "").lower()

    @property
    def heap(self) -> int:
        """The oid of the table that holds the rows."""
        return self.leaf.oid if self.leaf else self.table.oid

    @property
    def due(self) -> sql.Composed:
        """The condition that a row is due.  A NULL age is never."""
        # On a line of its own, so that a comment in it does not swallow the parenthesis.
        return sql.SQL("{} < %(cutoff)s AND (\n{}\n)").format(self.age, self.condition)

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
    def sample(self) -> sql.Composed:
        """How many rows are there, and how many of them are due, in %(percent)s of the pages."""
        return sql.SQL(
            "SELECT count(*), count(*) FILTER (WHERE {})"
            " FROM {} TABLESAMPLE SYSTEM (%(percent)s::float4)"
        ).format(self.due, self.source)

    @property
    def summary(self) -> sql.Composed:
        """How many rows are due, and how old the oldest and the newest are.

        What is older than the year 1 is said to be of that year, which is as far as Python goes.
        """
        return sql.SQL(
            "SELECT count(*), min(age), max(age)"
            " FROM (SELECT greatest({age}, {first}) FROM {source} WHERE {due}) AS due (age)"
        ).format(age=self.age, source=self.source, due=self.due, first="0001-01-02")

    def lock_oldest(self, *, since: bool, backward: bool = False) -> sql.Composed:
        """Lock the oldest %(limit)s due rows that nobody else has locked, and name them.

        Returns how many, the age of the newest, and their ctids, both as texts, and the seconds
        that it took.  `since` leaves out rows that are older than %(since)s.  `backward` takes the
        newest, returns the age of the oldest of these, and leaves out rows that are newer.
        """
        last, order = sql.SQL("min"), sql.SQL("DESC")
        if not backward:
            last, order = sql.SQL("max"), sql.SQL("ASC")
        return sql.SQL(
            "SELECT count(*), {last}(age)::text, array_agg(tid)::text,"
            " extract(epoch FROM clock_timestamp() - statement_timestamp())::float8 FROM ("
            "SELECT ctid, {age} FROM {source} WHERE {due} {since}"
            " AND ctid <> ALL (%(busy)s::tid[]) ORDER BY {age} {order} LIMIT %(limit)s"
            " FOR UPDATE OF {name} SKIP LOCKED) AS batch (tid, age)"
        ).format(
            last=last,
            order=order,
            age=self.age,
            source=self.source,
            due=self.due,
            since=self._since(since=since, backward=backward),
            name=_name(*parts_of(self.table.name)),
        )

    @property
    def still_due(self) -> sql.Composed:
        """Which of the rows %(rows)s are due now: a statement of its own sees what changed."""
        return sql.SQL("SELECT ctid FROM {} WHERE ctid = ANY (%(rows)s::tid[]) AND {}").format(
            self.source, self.due
        )

    def kept(self, *, locks: bool) -> sql.Composed:
        """Which rows are due beside %(refused)s, %(limit)s at most; locks those nobody else has."""
        lock = sql.SQL("FOR UPDATE OF {} SKIP LOCKED").format(_name(*parts_of(self.table.name)))
        return sql.SQL(
            "SELECT ctid FROM {} WHERE {} AND ctid <> ALL (%(refused)s::tid[]) LIMIT %(limit)s {}"
        ).format(self.source, self.due, lock if locks else sql.SQL(""))

    @property
    def delete_rows(self) -> sql.Composed:
        """Delete those of the rows %(rows)s that are due now."""
        return sql.SQL("DELETE FROM {} WHERE ctid = ANY (%(rows)s::tid[]) AND {}").format(
            self.source, self.due
        )

    def range_end(self, *, since: bool) -> sql.Composed:
        """The age that follows those of the oldest %(limit)s rows, due or not; none at the end.

        It is a text: PostgreSQL has ages that Python has not.
        """
        return sql.SQL(
            "SELECT {age}::text FROM {source} WHERE {age} < %(cutoff)s {since}"
            " ORDER BY {age} OFFSET %(limit)s LIMIT 1"
        ).format(age=self.age, source=self.source, since=self._since(since=since))

    def delete_range(self, *, since: bool) -> sql.Composed:
        """Delete what is due of the rows that are older than %(until)s."""
        return sql.SQL("DELETE FROM {} WHERE {} {} AND {} < %(until)s").format(
            self.source, self.due, self._since(since=since), self.age
        )

    @property
    def due_in_blocks(self) -> sql.Composed:
        """Every row that is due of the blocks from %(since)s to before %(until)s."""
        return sql.SQL("SELECT ctid FROM {} WHERE {} AND {}").format(
            self.source, _IN_BLOCKS, self.due
        )

    @property
    def delete_blocks(self) -> sql.Composed:
        """Delete what is due in some blocks."""
        return sql.SQL("DELETE FROM {} WHERE {} AND {}").format(self.source, _IN_BLOCKS, self.due)

    @property
    def lock_blocks(self) -> sql.Composed:
        """Lock due rows of some blocks that nobody else has locked, %(limit)s at most.

        Returns how many, their ctids as a text, and the seconds that it took.
        """
        return sql.SQL(
            "SELECT count(*), array_agg(tid)::text,"
            " extract(epoch FROM clock_timestamp() - statement_timestamp())::float8 FROM ("
            "{} AND ctid <> ALL (%(busy)s::tid[]) LIMIT %(limit)s"
            " FOR UPDATE OF {} SKIP LOCKED) AS batch (tid)"
        ).format(self.due_in_blocks, _name(*parts_of(self.table.name)))

    def _since(self, *, since: bool, backward: bool = False) -> sql.Composable:
        if not since:
            return sql.SQL("")
        behind = sql.SQL("<=") if backward else sql.SQL(">=")
        return sql.SQL("AND {} {} %(since)s").format(self.age, behind)

    @property
    def answers(self) -> sql.Composed:
        """The rows %(rows)s, and all of their table that refer to them, %(limit)s at most."""
        return self.closure(
            sql.SQL("SELECT unnest(%(rows)s::tid[])"),
            sql.SQL("SELECT tid FROM gone WHERE rel = {}::oid LIMIT %(limit)s").format(self.heap),
            self.table.own_keys,
        )

    @property
    def lock_rows(self) -> sql.Composed:
        """Lock the rows %(rows)s."""
        return sql.SQL("SELECT FROM {} WHERE ctid = ANY (%(rows)s::tid[]) FOR UPDATE").format(
            self.source
        )

    def closure(
        self,
        start: sql.Composable,
        result: sql.Composable,
        references: Sequence[Reference] | None = None,
    ) -> sql.Composed:
        """Select `result` of gone (tab, rel, tid): the rows of `start`, and all that go with them.

        `tab` is the oid of a table, `rel` of the partition that has the row, if it has any.  What
        goes along are the rows that cascades take, or those that have the references.
        """
        edges = sql.SQL(" UNION ALL ").join(map(_edge, references or self.table.cascades))
        return sql.SQL(
            "WITH RECURSIVE gone (tab, rel, tid) AS ("
            "SELECT {oid}::oid, {rel}, tid FROM ({start}) AS start (tid) "
            "UNION SELECT next.tab, next.rel, next.tid FROM gone CROSS JOIN LATERAL ({edges})"
            " AS next (tab, rel, tid)) {result}"
        ).format(
            oid=self.table.oid,
            rel=sql.SQL("{}::oid").format(self.heap),
            start=start,
            edges=edges,
            result=result,
        )


COUNT_CASCADED = sql.SQL("SELECT tab::bigint, count(*) FROM gone GROUP BY tab")
ROWS_BY_RELATION = sql.SQL(
    "SELECT tab::bigint, rel::bigint, rel::regclass::text, array_agg(tid ORDER BY tid)::text"
    " FROM gone GROUP BY tab, rel ORDER BY 1, 2"
)


def statements_of(connection: Connection, table: RuleTable, now: datetime) -> Statements:
    """Freeze a rule's cutoff, and let the server read its condition.

    Raises InvalidRule with what the server says of it.
    """
    rule, age = table.rule, table.rule.age
    if table.partitioned and QUERIES.value(connection, "row_security", oid=table.oid):
        raise InvalidRule(
            f"Row security is active on {rule.table} for this role, and the rule {rule.name} goes "
            "through the table's partitions, for which its policies do not hold.",
            hint="Run cleanup as a role that row security does not restrict.",
        )
    cutoff = QUERIES.value(
        connection, "cutoff", now=now, months=age.months, days=age.days, seconds=age.seconds
    )
    found = Statements(table, cutoff)
    # Without parentheses around it: it must be whole in itself.
    alone = sql.SQL("SELECT FROM {} WHERE {}").format(found.source, found.condition)
    try:
        for select in (alone, found.due_rows):
            connection.execute(sql.SQL("EXPLAIN {}").format(select), found.values)
    except psycopg.errors.InsufficientPrivilege:
        raise
    except (psycopg.ProgrammingError, psycopg.DataError) as error:
        raise InvalidRule(
            f"The condition of the rule {rule.name} does not fit {rule.table}: "
            f"{error.diag.message_primary}.",
            hint=f"It is: {rule.condition}",
        ) from None
    return found


def warnings(connection: Connection, statements: Statements) -> tuple[str, ...]:
    """Say what makes a rule slow, or may stop it."""
    table, found = statements.table, []
    if not reads_by_index(connection, statements, statements.due_rows):
        found.append(
            f"No index serves the rule {table.rule.name}: CREATE INDEX CONCURRENTLY ON "
            f"{table.name} ({sql.Identifier(table.rule.age_column).as_string(connection)})"
        )
    found += [
        f"A row of {kept.parent_quoted} to which {kept.child_quoted} refers cannot go: {kept.name}"
        for kept in table.keeps
        if kept not in table.own_keys
    ]
    if QUERIES.value(connection, "row_security", oid=table.oid):
        found.append(
            f"Row security is active on {table.name} for this role: "
            "what it hides is neither counted nor deleted"
        )
    if table.cascades and not QUERIES.value(connection, "counts"):
        found.append("What goes along is not counted: the server's track_counts is off")
    return tuple(found)


NO_SCAN = {"enable_seqscan": "off", "enable_sort": "off"}
"""Has the planner sort, or read the whole table, where there is no other way only."""


def reads_by_index(connection: Connection, statements: Statements, select: sql.Composed) -> bool:
    """Whether the first row of an ordered select is found without a sort or the whole table."""
    first = sql.SQL("SELECT * FROM ({}) AS found LIMIT 1").format(select)
    return not reads_everything(connection, statements, first, NO_SCAN, {"limit": 1})


def reads_everything(
    connection: Connection,
    statements: Statements,
    select: sql.Composed,
    settings: Mapping[str, str],
    values: Mapping[str, Any] = MappingProxyType({}),
) -> bool:
    """Whether a query's plan under some settings sorts, or scans the rule's table."""
    with connection.transaction(force_rollback=True):
        set_session(connection, settings, transaction=True)
        explain = sql.SQL("EXPLAIN (FORMAT JSON) {}").format(select)
        found = connection.execute(explain, {**statements.values, **values}).fetchall()
    return _has_scan(found[0][0][0]["Plan"], parts_of(statements.table.name)[-1])


def _has_scan(node: Mapping[str, Any], alias: str) -> bool:
    """Whether a node of a plan, or one below it, sorts or scans a table; not in its subqueries."""
    if node["Node Type"] == "Sort":
        return True
    if node["Node Type"] == "Seq Scan" and node.get("Alias") == alias:
        return True
    return any(
        _has_scan(below, alias)
        for below in node.get("Plans", [])
        if below.get("Parent Relationship") not in {"SubPlan", "InitPlan"}
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
        parent=_name(*parts_of(found.parent_quoted)),
        child=_name(*parts_of(found.child_quoted)),
        same=same,
    )


def _name(*parts: str) -> sql.Identifier:
    """Return an identifier as a part of a statement that has parameters."""
    return sql.Identifier(*(part.replace("%", "%%") for part in parts))
