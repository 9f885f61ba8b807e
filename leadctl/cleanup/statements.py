"""The statements of a rule, composed once, and how the server would run them.

A row is named by its ctid, which a row keeps until it is changed; what is done by ctid therefore
asks again whether the row is due.  The table goes by its own name, since a condition may name it; a
partition goes by its parent's.

Every name is written with its schema, and the condition is read along pg_catalog, where it names no
more of the app's than tables (`exact.Authored`).  What deletes runs along the app's path, since its
triggers do; then the condition was asked by the statement before.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg import sql

from leadctl.catalog.facets import Leaf
from leadctl.cleanup import QUERIES
from leadctl.cleanup.rules import RuleTable, index_statement
from leadctl.errors import InvalidRule
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, set_session
from leadctl.postgres.exact import Authored, authored
from leadctl.postgres.queries import escaped, parts_of, written_by_user
from leadctl.postgres.translate import told

_READS = re.compile(r"\b(select|table)\b", re.IGNORECASE)
"""What a condition has that reads other rows."""
_CHANGES = {"n", "d"}
"""What a foreign key does that changes rows: set NULL, set the default."""

_IN_BLOCKS = sql.SQL(
    "ctid OPERATOR(pg_catalog.>=) %(since)s::pg_catalog.tid"
    " AND ctid OPERATOR(pg_catalog.<) %(until)s::pg_catalog.tid"
)


@dataclass(frozen=True)
class Statements:
    """The statements for the table of a rule, or for one leaf of it, with a fixed cutoff."""

    table: RuleTable
    cutoff: datetime
    leaf: Leaf | None = None
    """The partition; None for the whole table."""
    authored: Authored | None = None
    """The rule's condition, where it has one."""
    runs_code: bool = True
    """Whether a DELETE may run code of the app's, which looks along its path."""

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
    def exactly(self) -> bool:
        """Whether the statements are for a session whose path is pg_catalog."""
        return self.authored is not None and self.authored.exactly

    @property
    def reads_as(self) -> str | None:
        """The role to read as: the owner of all that is read; None where there is not one."""
        roles = set(self.table.roles.values())
        if self.authored is not None:
            roles.add(self.authored.role)
        return roles.pop() if len(roles) == 1 else None

    @property
    def deletes_as(self) -> str | None:
        """The role to delete as."""
        if self.authored is not None and not self.authored.exactly:
            return self.reads_as  # the condition is a part of what deletes
        return self.table.roles.get(self.heap)

    @property
    def qualified(self) -> str:
        """The name of the table, or of the partition, as SQL has it anywhere."""
        if self.leaf is not None:
            return self.leaf.qualified
        return sql.Identifier(self.table.schema, self.table.rule.table).as_string()

    @property
    def source(self) -> sql.Composed:
        """The table as FROM has it."""
        name = escaped(*parts_of(self.qualified))
        if not self.table.partitioned:
            return sql.SQL("ONLY {}").format(name)
        if self.leaf is None:
            return sql.Composed([name])
        return sql.SQL("ONLY {} AS {}").format(name, escaped(self.table.rule.table))

    @property
    def age(self) -> sql.Identifier:
        """The age column."""
        return escaped(self.table.rule.table, self.table.rule.age_column)

    @property
    def tables(self) -> sql.Composable:
        """The WITH clause before a SELECT that has the condition."""
        return self.authored.tables if self.authored and self.exactly else sql.SQL("")

    @property
    def condition(self) -> sql.SQL:
        """The rule's own condition."""
        return written_by_user((self.table.rule.condition or "true").replace("%", "%%"))

    @property
    def is_of_row(self) -> bool:
        """Whether a row alone says if it is due, so that it is known of a row that was locked."""
        return not _READS.search(self.table.rule.condition or "")

    @property
    def can_go_at_once(self) -> bool:
        """Whether one statement may find rows and delete them."""
        alone = self.is_of_row and not self.table.rule.archive
        return alone and not (self.exactly and self.runs_code)

    @property
    def heap(self) -> int:
        """The oid of the table that holds the rows."""
        return self.leaf.oid if self.leaf else self.table.oid

    @property
    def due(self) -> sql.Composed:
        """The condition that a row is due.  A NULL age is never."""
        # On a line of its own, so that a comment in it does not swallow the parenthesis.
        return sql.SQL("{} OPERATOR(pg_catalog.<) %(cutoff)s AND (\n{}\n)").format(
            self.age, self.condition
        )

    @property
    def due_rows(self) -> sql.Composed:
        """Every row that is due, the oldest first."""
        return sql.SQL("{}SELECT ctid FROM {} WHERE {} ORDER BY {}").format(
            self.tables, self.source, self.due, self.age
        )

    @property
    def count(self) -> sql.Composed:
        """How many rows are due, %(limit)s at most."""
        return sql.SQL(
            "{}SELECT pg_catalog.count(*) FROM (SELECT FROM {} WHERE {} LIMIT %(limit)s) AS due"
        ).format(self.tables, self.source, self.due)

    @property
    def count_others(self) -> sql.Composed:
        """How many rows are not due, %(limit)s at most."""
        return sql.SQL(
            "{}SELECT pg_catalog.count(*)"
            " FROM (SELECT FROM {} WHERE ({}) IS NOT TRUE LIMIT %(limit)s) AS others"
        ).format(self.tables, self.source, self.due)

    @property
    def sample(self) -> sql.Composed:
        """How many rows are there, and how many of them are due, in %(percent)s of the pages."""
        return sql.SQL(
            "{}SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE {})"
            " FROM {} TABLESAMPLE pg_catalog.system (%(percent)s::pg_catalog.float4)"
        ).format(self.tables, self.due, self.source)

    @property
    def summary(self) -> sql.Composed:
        """How many rows are due, and how old the oldest and the newest are.

        Each age twice: as a moment, where Python has it, and as the server writes it.
        """
        ages = [
            sql.SQL(
                "CASE WHEN {age} OPERATOR(pg_catalog.>=) {first} THEN {age} END,"
                " {age}::pg_catalog.text"
            ).format(age=sql.Identifier(name), first="0001-01-01")
            for name in ("oldest", "newest")
        ]
        return sql.SQL(
            "{tables}SELECT due, {ages} FROM (SELECT pg_catalog.count(*), pg_catalog.min({age}),"
            " pg_catalog.max({age}) FROM {source} WHERE {due}) AS due (due, oldest, newest)"
        ).format(
            tables=self.tables,
            ages=sql.SQL(", ").join(ages),
            age=self.age,
            source=self.source,
            due=self.due,
        )

    def lock_oldest(self, *, since: bool, backward: bool = False) -> sql.Composed:
        """Lock the oldest %(limit)s due rows that nobody else has locked, and name them.

        Returns how many, the age of the newest, and their ctids, both as texts, and the seconds
        that it took.  `since` leaves out rows that are older than %(since)s.  `backward` takes the
        newest, returns the age of the oldest of these, and leaves out rows that are newer.
        """
        last, order = sql.SQL("pg_catalog.min"), sql.SQL("DESC")
        if not backward:
            last, order = sql.SQL("pg_catalog.max"), sql.SQL("ASC")
        return sql.SQL(
            "{tables}SELECT pg_catalog.count(*), {last}(age)::pg_catalog.text,"
            " pg_catalog.array_agg(tid)::pg_catalog.text,"
            " extract(epoch FROM pg_catalog.clock_timestamp()"
            " OPERATOR(pg_catalog.-) pg_catalog.statement_timestamp())::pg_catalog.float8 FROM ("
            "SELECT ctid, {age} FROM {source} WHERE {due} {since}"
            " AND ctid OPERATOR(pg_catalog.<>) ALL (%(busy)s::pg_catalog.tid[])"
            " ORDER BY {age} {order} LIMIT %(limit)s"
            " FOR UPDATE OF {name} SKIP LOCKED) AS batch (tid, age)"
        ).format(
            tables=self.tables,
            last=last,
            order=order,
            age=self.age,
            source=self.source,
            due=self.due,
            since=self._since(since=since, backward=backward),
            name=escaped(self.table.rule.table),
        )

    @property
    def still_due(self) -> sql.Composed:
        """Which of the rows %(rows)s are due now: a statement of its own sees what changed."""
        return sql.SQL("{}SELECT ctid FROM {} WHERE {} AND {}").format(
            self.tables, self.source, _IS_NAMED, self.due
        )

    def kept(self, *, locks: bool) -> sql.Composed:
        """Which rows are due besides %(refused)s, %(limit)s at most; locks those that are free."""
        lock = sql.SQL("FOR UPDATE OF {} SKIP LOCKED").format(escaped(self.table.rule.table))
        return sql.SQL(
            "{}SELECT ctid FROM {} WHERE {}"
            " AND ctid OPERATOR(pg_catalog.<>) ALL (%(refused)s::pg_catalog.tid[])"
            " LIMIT %(limit)s {}"
        ).format(self.tables, self.source, self.due, lock if locks else sql.SQL(""))

    @property
    def delete_rows(self) -> sql.Composed:
        """Delete those of the rows %(rows)s that are due now.

        They are locked, so that of a condition that was read exactly the look before still holds.
        """
        due = sql.SQL("true") if self.exactly else self.due
        return sql.SQL("DELETE FROM {} WHERE {} AND {}").format(self.source, _IS_NAMED, due)

    def range_end(self, *, since: bool) -> sql.Composed:
        """The age that follows those of the oldest %(limit)s rows, due or not; none at the end.

        It is a text: PostgreSQL has ages that Python has not.
        """
        return sql.SQL(
            "SELECT {age}::pg_catalog.text FROM {source}"
            " WHERE {age} OPERATOR(pg_catalog.<) %(cutoff)s {since}"
            " ORDER BY {age} OFFSET %(limit)s LIMIT 1"
        ).format(age=self.age, source=self.source, since=self._since(since=since))

    def delete_range(self, *, since: bool) -> sql.Composed:
        """Delete the due rows that are older than %(until)s."""
        return sql.SQL("DELETE FROM {} WHERE {} {} AND {} OPERATOR(pg_catalog.<) %(until)s").format(
            self.source, self.due, self._since(since=since), self.age
        )

    @property
    def due_in_blocks(self) -> sql.Composed:
        """Every row that is due of the blocks from %(since)s to before %(until)s."""
        return sql.SQL("{}SELECT ctid FROM {} WHERE {} AND {}").format(
            self.tables, self.source, _IN_BLOCKS, self.due
        )

    @property
    def delete_blocks(self) -> sql.Composed:
        """Delete the due rows in some blocks."""
        return sql.SQL("DELETE FROM {} WHERE {} AND {}").format(self.source, _IN_BLOCKS, self.due)

    @property
    def lock_blocks(self) -> sql.Composed:
        """Lock due rows of some blocks that nobody else has locked, %(limit)s at most.

        Returns how many, their ctids as a text, and the seconds that it took.
        """
        return sql.SQL(
            "SELECT pg_catalog.count(*), pg_catalog.array_agg(tid)::pg_catalog.text,"
            " extract(epoch FROM pg_catalog.clock_timestamp()"
            " OPERATOR(pg_catalog.-) pg_catalog.statement_timestamp())::pg_catalog.float8 FROM ("
            "{} AND ctid OPERATOR(pg_catalog.<>) ALL (%(busy)s::pg_catalog.tid[]) LIMIT %(limit)s"
            " FOR UPDATE OF {} SKIP LOCKED) AS batch (tid)"
        ).format(self.due_in_blocks, escaped(self.table.rule.table))

    def _since(self, *, since: bool, backward: bool = False) -> sql.Composable:
        if not since:
            return sql.SQL("")
        behind = sql.SQL("<=" if backward else ">=")
        return sql.SQL("AND {} OPERATOR(pg_catalog.{}) %(since)s").format(self.age, behind)

    @property
    def lock_rows(self) -> sql.Composed:
        """Lock the rows %(rows)s."""
        return sql.SQL("SELECT FROM {} WHERE {} FOR UPDATE").format(self.source, _IS_NAMED)


_IS_NAMED = sql.SQL("ctid OPERATOR(pg_catalog.=) ANY (%(rows)s::pg_catalog.tid[])")


def statements_of(connection: Connection, table: RuleTable, now: datetime) -> Statements:
    """Freeze a rule's cutoff, and let the server read its condition.

    Raises InvalidRule with what the server says of it.
    """
    rule, age = table.rule, table.rule.age
    if table.partitioned and QUERIES.value(connection, "row_security", oid=table.oid):
        raise InvalidRule(
            f"Row security is active on {rule.table} for this role, and the rule {rule.name} "
            f"works on the table's partitions, where its policies do not apply.",
            hint="Run cleanup as a role that row security does not restrict.",
        )
    cutoff = QUERIES.value(
        connection, "cutoff", now=now, months=age.months, days=age.days, seconds=age.seconds
    )
    found = Statements(table, cutoff)
    if not rule.condition:
        return replace(found, runs_code=False)
    written = authored(connection, table.schema, rule.condition, [rule.table])
    found = replace(found, authored=written)
    try:
        if found.exactly:
            try:
                _explain(connection, found)
            except psycopg.ProgrammingError as error:
                if isinstance(error, psycopg.errors.InsufficientPrivilege):
                    raise
                found = replace(found, authored=written._replace(exactly=False))
        if not found.exactly:
            _explain(connection, found)
    except (psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege):
        pass  # The rule stops there, and no other one.
    except (psycopg.ProgrammingError, psycopg.DataError) as error:
        raise InvalidRule(
            f"The condition of the rule {rule.name} is not valid for {rule.table}: {told(error)}.",
            hint=f"The condition: {rule.condition}",
        ) from None
    return replace(found, runs_code=found.exactly and _runs_code(connection, table))


def _explain(connection: Connection, statements: Statements) -> None:
    """Let the server read a condition."""
    # Without parentheses around it: it must be whole in itself.
    alone = sql.SQL("{}SELECT FROM {} WHERE {}").format(
        statements.tables, statements.source, statements.condition
    )
    with (
        connection.transaction(),
        exact.own_path(connection, statements.exactly),
        exact.as_owner(connection, statements.reads_as),
    ):
        for select in (alone, statements.due_rows):
            connection.execute(sql.SQL("EXPLAIN {}").format(select), statements.values)


@contextmanager
def deleting(connection: Connection, statements: Statements) -> Iterator[None]:
    """Let a DELETE by ctid run with the rights of the owner, and its triggers along the app's path.

    For a transaction that ends with it.
    """
    if statements.exactly:
        exact.take_app_path(connection)
    with exact.as_owner(connection, statements.deletes_as):
        yield


def _runs_code(connection: Connection, table: RuleTable) -> bool:
    oids = [*table.roles, *(key.child for key in table.referring)]
    changes = any(key.on_delete in _CHANGES for key in table.referring)
    return changes or bool(QUERIES.value(connection, "has_triggers", oids=oids))


def warnings(connection: Connection, statements: Statements) -> tuple[str, ...]:
    """Say what makes a rule slow, or may stop it."""
    table, found = statements.table, []
    if not reads_by_index(connection, statements, statements.due_rows):
        column, is_partitioned = table.rule.age_column, table.partitioned
        statement = index_statement(table.name, [column], partitioned=is_partitioned)
        found.append(f"No index serves the rule {table.rule.name}: {statement}")
    found += [
        f"A row of {kept.parent_quoted} cannot be deleted while {kept.child_quoted} refers to it "
        f"({kept.name})"
        for kept in table.keeps
        if kept not in table.links
    ]
    if QUERIES.value(connection, "row_security", oid=table.oid):
        found.append(
            f"Row security is active on {table.name} for this role: "
            "hidden rows are neither counted nor deleted"
        )
    if table.cascades and not QUERIES.value(connection, "counts"):
        found.append("Rows deleted by cascade are not counted: track_counts is off on the server")
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
    with (
        connection.transaction(force_rollback=True),
        exact.as_owner(connection, statements.reads_as),
    ):
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
