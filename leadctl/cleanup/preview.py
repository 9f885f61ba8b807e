"""What the rules would do now; nothing is changed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg import sql

from leadctl.apps.registry import App
from leadctl.cleanup.fuse import measure_due
from leadctl.cleanup.plan import goes_by_age, is_indexed
from leadctl.cleanup.results import read_past
from leadctl.cleanup.rules import RunRule
from leadctl.cleanup.statements import COUNT_CASCADED, Statements
from leadctl.cleanup.tables import Subject, check_condition, examine, query
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


def list_rules(target: Target, app: App, rules: Sequence[RunRule]) -> RuleList:
    """Return the rules with the rows each would take now, at one moment."""
    with connect(target, "cleanup", read_only=True) as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        past, now = read_past(connection, app.name, target.schema), server_time(connection)
        listed = []
        for rule in rules:
            subject = examine(connection, target.schema, rule)
            summary = _summary(connection, checked(connection, subject, now))
            listed.append(
                ListedRule(
                    rule=rule.name,
                    table=rule.rule.table,
                    age_column=rule.rule.age_column,
                    older_than=rule.rule.older_than,
                    condition=rule.rule.condition,
                    archive=rule.archive,
                    due=summary[0],
                    description=rule.rule.description,
                    last_success=past.last_success(rule.name),
                )
            )
    return RuleList(app.name, target.database, target.schema, tuple(listed))


def preview(target: Target, app: App, rules: Sequence[RunRule]) -> Preview:
    """Return what a run would do, at one moment."""
    with connect(target, "cleanup", read_only=True) as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        past, now = read_past(connection, app.name, target.schema), server_time(connection)
        found = []
        for rule in rules:
            subject = examine(connection, target.schema, rule)
            statements = checked(connection, subject, now)
            due, oldest, newest = _summary(connection, statements)
            parts = parts_of(subject, statements.cutoff)
            fuse = measure_due(connection, subject, parts, 0, past)
            found.append(
                RulePreview(
                    rule=rule.name,
                    table=rule.rule.table,
                    cutoff=statements.cutoff,
                    due=due,
                    oldest=oldest,
                    newest=newest,
                    cascaded=_cascaded(connection, parts),
                    archive=rule.archive,
                    needs_consent=fuse.blown,
                    statements=_texts(connection, parts),
                    warnings=warnings(connection, subject, statements),
                )
            )
    return Preview(app.name, target.database, target.schema, tuple(found))


def server_time(connection: Connection) -> datetime:
    """Return what time it is for the server."""
    now: datetime = query(connection, "clock")[0][0]
    return now


def checked(connection: Connection, subject: Subject, now: datetime) -> Statements:
    """Freeze a rule's cutoff, and let the server check its condition.  Raises InvalidRule."""
    age = subject.rule.age
    ((cutoff,),) = query(
        connection, "cutoff", now=now, months=age.months, days=age.days, seconds=age.seconds
    )
    statements = Statements(subject, cutoff)
    check_condition(
        connection,
        (statements.condition_alone, statements.due_rows),
        statements.values,
        subject.rule,
    )
    return statements


def parts_of(subject: Subject, cutoff: datetime) -> list[Statements]:
    """Return a rule's statements for each table that holds rows."""
    if not subject.partitioned:
        return [Statements(subject, cutoff)]
    return [Statements(subject, cutoff, leaf) for leaf in subject.leaves]


def warnings(connection: Connection, subject: Subject, statements: Statements) -> tuple[str, ...]:
    """Say what makes a rule slow, or may stop it."""
    found = []
    if not is_indexed(connection, statements):
        found.append(
            f"No index serves the rule {subject.rule.name}: CREATE INDEX CONCURRENTLY ON "
            f"{subject.name} ({sql.Identifier(subject.rule.rule.age_column).as_string(connection)})"
        )
    found += [
        f"A row of {kept.parent_name} to which {kept.child_name} refers cannot go: {kept.name}"
        for kept in subject.keeps
    ]
    if subject.cascades and not query(connection, "counts")[0][0]:
        found.append("What goes along is not counted: the server's track_counts is off")
    return tuple(found)


def _summary(connection: Connection, statements: Statements) -> tuple[int, Any, Any]:
    rows = connection.execute(statements.summary, statements.values).fetchall()
    due, oldest, newest = rows[0]
    return due, oldest, newest


def _cascaded(connection: Connection, parts: Sequence[Statements]) -> dict[str, int]:
    counted: Counter[int] = Counter()
    subject = parts[0].subject if parts else None
    if subject is None or not subject.cascades:
        return {}
    for statements in parts:
        closure = statements.closure(statements.due_rows, COUNT_CASCADED)
        counted.update(dict(connection.execute(closure, statements.values).fetchall()))
        ((own,),) = connection.execute(
            sql.SQL("SELECT count(*) FROM ({}) AS due").format(statements.due_rows),
            statements.values,
        ).fetchall()
        counted[subject.oid] -= own
    return {subject.tables[oid]: count for oid, count in sorted(counted.items()) if count}


def _texts(connection: Connection, parts: Sequence[Statements]) -> tuple[str, ...]:
    """Return the statements as the server gets them, with their parameters by name."""
    return tuple(
        " ".join(statement.as_string(connection).replace("%%", "%").split())
        for statements in parts
        for statement in _deleting(connection, statements)
    )


def _deleting(connection: Connection, statements: Statements) -> tuple[sql.Composed, ...]:
    if goes_by_age(connection, statements):
        return statements.span(beyond=False), statements.sweep(beyond=False)
    return statements.lock(beyond=False), statements.delete
