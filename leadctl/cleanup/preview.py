"""What the rules would do now; nothing is changed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg import sql

from leadctl.apps.registry import App
from leadctl.apps.retention import Rule
from leadctl.cleanup.fuse import measure_due
from leadctl.cleanup.results import read_past_runs
from leadctl.cleanup.rules import rule_table, server_time
from leadctl.cleanup.statements import (
    COUNT_CASCADED,
    Statements,
    can_go_by_range,
    statements_of,
    warnings,
)
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target


@dataclass(frozen=True)
class ListedRule:
    """A rule, and how many rows it would take now."""

    rule: str
    table: str
    age_column: str
    older_than: str
    condition: str | None
    archive: bool
    due: int
    description: str
    last_success: datetime | None


@dataclass(frozen=True)
class RuleList:
    """The rules of an app."""

    app: str
    database: str
    schema: str
    rules: tuple[ListedRule, ...]


@dataclass(frozen=True)
class RulePreview:
    """What a rule would do, counted to the row."""

    rule: str
    table: str
    cutoff: datetime
    due: int
    oldest: datetime | date | None
    newest: datetime | date | None
    cascaded: Mapping[str, int]
    """The rows that would go along, by table."""
    archive: bool
    needs_consent: str | None
    """Why the fuse would stop it."""
    statements: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Preview:
    """What a run would do."""

    app: str
    database: str
    schema: str
    rules: tuple[RulePreview, ...]


def list_rules(target: Target, app: App, rules: Sequence[Rule]) -> RuleList:
    """Return the rules with the rows each would take now, at one moment."""
    with _snapshot(target) as connection:
        past, now = read_past_runs(connection, app.name, target.schema), server_time(connection)
        listed = []
        for rule in rules:
            table = rule_table(connection, target.schema, rule)
            due, _, _ = _summary(connection, statements_of(connection, table, now))
            listed.append(
                ListedRule(
                    rule=rule.name,
                    table=rule.table,
                    age_column=rule.age_column,
                    older_than=str(rule.older_than),
                    condition=rule.condition,
                    archive=rule.archive,
                    due=due,
                    description=rule.description,
                    last_success=past.last_success(rule.name),
                )
            )
    return RuleList(app.name, target.database, target.schema, tuple(listed))


def preview(target: Target, app: App, rules: Sequence[Rule]) -> Preview:
    """Return what a run would do, at one moment."""
    with _snapshot(target) as connection:
        past, now = read_past_runs(connection, app.name, target.schema), server_time(connection)
        found = []
        for rule in rules:
            table = rule_table(connection, target.schema, rule)
            statements = statements_of(connection, table, now)
            leaves = statements.per_leaf()
            due, oldest, newest = _summary(connection, statements)
            found.append(
                RulePreview(
                    rule=rule.name,
                    table=rule.table,
                    cutoff=statements.cutoff,
                    due=due,
                    oldest=oldest,
                    newest=newest,
                    cascaded=_cascaded(connection, leaves),
                    archive=rule.archive,
                    needs_consent=measure_due(connection, table, leaves, 0, past).blown,
                    statements=_texts(connection, leaves),
                    warnings=warnings(connection, statements),
                )
            )
    return Preview(app.name, target.database, target.schema, tuple(found))


@contextmanager
def _snapshot(target: Target) -> Iterator[Connection]:
    """Provide a connection that sees one moment and may not write."""
    with connect(target, "cleanup", read_only=True) as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield connection


def _summary(connection: Connection, statements: Statements) -> tuple[int, Any, Any]:
    ((due, oldest, newest),) = connection.execute(statements.summary, statements.values).fetchall()
    return due, oldest, newest


def _cascaded(connection: Connection, leaves: Sequence[Statements]) -> dict[str, int]:
    table = leaves[0].table if leaves else None
    if table is None or not table.cascades:
        return {}
    counted: Counter[int] = Counter()
    for leaf in leaves:
        closure = leaf.closure(leaf.due_rows, COUNT_CASCADED)
        counted.update(dict(connection.execute(closure, leaf.values).fetchall()))
        counted[table.oid] -= _summary(connection, leaf)[0]
    return {table.tables[oid]: count for oid, count in sorted(counted.items()) if count}


def _texts(connection: Connection, leaves: Sequence[Statements]) -> tuple[str, ...]:
    """Return the statements as the server gets them, with their parameters by name."""
    return tuple(
        " ".join(statement.as_string(connection).replace("%%", "%").split())
        for leaf in leaves
        for statement in _deleting(connection, leaf)
    )


def _deleting(connection: Connection, leaf: Statements) -> tuple[sql.Composed, ...]:
    if can_go_by_range(connection, leaf):
        return leaf.range_end(since=False), leaf.delete_range(since=False)
    return leaf.lock_oldest(since=False), leaf.delete_rows
