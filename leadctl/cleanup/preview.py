"""What the rules would do now, and the fuse that stops one which would take far too much."""

import math
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from leadctl.apps.registry import App
from leadctl.apps.retention import Rule
from leadctl.cleanup.ranges import order_of
from leadctl.cleanup.references import COUNT_CASCADED, with_cascaded
from leadctl.cleanup.results import PastRuns, read_past_runs
from leadctl.cleanup.rules import RuleTable, rule_table, server_time
from leadctl.cleanup.statements import Statements, statements_of, warnings
from leadctl.errors import FuseBlown, LeadctlError
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, connect, set_session
from leadctl.postgres.target import Target
from leadctl.postgres.translate import translate
from leadctl.text import counted

_LOCK_TIMEOUT = "1s"
_TIMES_USUAL = 10
"""How many times its usual rows a rule may take."""
_DOUBT = 4
"""By which factor an estimate of a table's rows may be wrong."""
_SAMPLE_PAGES = 1000
_MARGIN = 0.1
"""How far the share that is due in so many random pages may be from that in the table.

By Hoeffding's inequality it is further away once in exp(2 * 1000 * 0.1 ** 2), half a billion times,
however the rows that are due lie next to each other.
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
    expired_rows: int,
    past: PastRuns,
    *,
    consented: bool = False,
) -> Due:
    """Find how many rows are due, at no greater cost than a sample or what the fuse allows.

    `expired_rows` are those of partitions that go as such, which are not counted one by one.  Of a
    large table random pages are read, and its rows are counted only where these do not tell.
    """
    rule = table.rule
    usual = past.usual_rows(rule.name)
    most = math.inf if usual is None else _TIMES_USUAL * usual
    fuse = _Fuse(rule.fuse_share, table.estimate, most, rule.fuse_rows)
    if table.pages > 2 * _SAMPLE_PAGES:
        share = _sampled_share(connection, table, parts)
        others = max(0, table.estimate - expired_rows)
        if consented or expired_rows + (share + _MARGIN) * others <= fuse.rows(1):
            return Due(expired_rows + round(share * others), exact=False, blown=None)
    return _counted(connection, parts, expired_rows, fuse)


def _counted(
    connection: Connection, parts: Sequence[Statements], expired_rows: int, fuse: _Fuse
) -> Due:
    """Count what is due, no further than the fuse allows."""
    limit = round(fuse.rows(_DOUBT))
    rows = expired_rows + _count(
        connection, parts, lambda part: part.count, limit + 1 - expired_rows
    )
    if rows > limit:
        return Due(rows, exact=False, blown=f"at least {_are_due(rows)}, {fuse.why}")
    if rows > fuse.floor and rows * _DOUBT > fuse.share * fuse.table_rows:
        # An estimate does not tell: so many others must be there that the share is kept.
        others = math.ceil(rows * (1 - fuse.share) / fuse.share)
        if _count(connection, parts, lambda part: part.count_others, others) < others:
            return Due(rows, exact=True, blown=f"{_are_due(rows)}, {fuse.why_share}")
    return Due(rows, exact=True, blown=None)


def _are_due(rows: int) -> str:
    return f"{counted(rows, 'row')} {'is' if rows == 1 else 'are'} due"


def _sampled_share(connection: Connection, table: RuleTable, parts: Sequence[Statements]) -> float:
    """Return which share of the rows of random pages is due."""
    there = due = 0
    percent = min(100.0, 100.0 * _SAMPLE_PAGES / table.pages)
    for part in parts:
        values = {**part.values, "percent": percent}
        with exact.as_owner(connection, part.reads_as):
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
        with exact.as_owner(connection, part.reads_as):
            ((found,),) = connection.execute(statement(part), values).fetchall()
        rows += int(found)
    return rows


def blown_fuse(table: RuleTable, due: Due, database: str) -> FuseBlown:
    """Return the error that says why a rule's fuse has blown."""
    return FuseBlown(
        f"Rule {table.rule.name} stopped before deleting anything of {table.name}: {due.blown}.",
        hint=f"See the rows with: leadctl cleanup --dry-run --rule {shlex.quote(table.rule.name)}. "
        f"If this is intended, rerun with --confirm {database}",
    )


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
class SkippedRule:
    """A rule that cannot be previewed, and why: its table is locked, missing, or denied."""

    rule: str
    table: str
    reason: str


@dataclass(frozen=True)
class RulePreview:
    """The effect that a rule would have, counted to the row."""

    rule: str
    table: str
    cutoff: datetime
    due: int
    oldest: datetime | date | str | None
    newest: datetime | date | str | None
    """The ages of these; as the server writes them where they are before the year 1."""
    cascaded: Mapping[str, int]
    """The rows that would go along, by table."""
    archive: bool
    needs_consent: str | None
    """Why the fuse would stop it."""
    statements: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Rules:
    app: str
    database: str
    schema: str
    rules: tuple[Any, ...]
    skipped: tuple[SkippedRule, ...]
    """The rules of which nothing can be said."""
    error: LeadctlError | None = field(default=None, compare=False, metadata={"json": False})
    """Why the first of these was skipped."""


@dataclass(frozen=True)
class RuleList(_Rules):
    """The rules of an app."""

    rules: tuple[ListedRule, ...]


@dataclass(frozen=True)
class Preview(_Rules):
    """What a run would do."""

    rules: tuple[RulePreview, ...]


def list_rules(target: Target, app: App, rules: Sequence[Rule]) -> RuleList:
    """Return the rules with the rows each would take now, at one moment."""
    return _read_each(target, app, rules, _listed, RuleList)


def preview(target: Target, app: App, rules: Sequence[Rule]) -> Preview:
    """Return what a run would do, at one moment."""
    return _read_each(target, app, rules, _previewed, Preview)


_T = TypeVar("_T", RuleList, Preview)


def _read_each(
    target: Target,
    app: App,
    rules: Sequence[Rule],
    read: Callable[[Connection, Statements, PastRuns], Any],
    kind: type[_T],
) -> _T:
    """Read each rule in one snapshot; where that fails, note why, and the others go on."""
    found, skipped, errors = list[Any](), list[SkippedRule](), list[LeadctlError]()
    with _snapshot(target) as connection:
        names = [rule.name for rule in rules]
        past = read_past_runs(connection, app.name, target.schema, names)
        now = server_time(connection)
        for rule in rules:
            try:
                with connection.transaction():
                    table = rule_table(connection, target.schema, rule)
                    statements = statements_of(connection, table, now)
                    with exact.own_path(connection, statements.exactly):
                        found.append(read(connection, statements, past))
            except (psycopg.Error, LeadctlError) as error:
                known = translate(error)
                if connection.broken or known is None:
                    raise
                skipped.append(SkippedRule(rule.name, rule.table, known.message))
                errors.append(known)
    place = (app.name, target.database, target.schema)
    return kind(*place, tuple(found), tuple(skipped), next(iter(errors), None))


def _listed(connection: Connection, statements: Statements, past: PastRuns) -> ListedRule:
    rule = statements.table.rule
    due, _, _ = _summary(connection, statements)
    return ListedRule(
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


def _previewed(connection: Connection, statements: Statements, past: PastRuns) -> RulePreview:
    table, leaves = statements.table, statements.per_leaf()
    due, oldest, newest = _summary(connection, statements)
    return RulePreview(
        rule=table.rule.name,
        table=table.rule.table,
        cutoff=statements.cutoff,
        due=due,
        oldest=oldest,
        newest=newest,
        cascaded=_cascaded(connection, leaves),
        archive=table.rule.archive,
        needs_consent=measure_due(connection, table, leaves, 0, past).blown,
        statements=_texts(connection, leaves),
        warnings=warnings(connection, statements),
    )


@contextmanager
def _snapshot(target: Target) -> Iterator[Connection]:
    """Provide a connection that sees one moment and may not write."""
    with (
        connect(target, "cleanup", rows=True, read_only=True) as connection,
        connection.transaction(),
    ):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        set_session(connection, {"lock_timeout": _LOCK_TIMEOUT}, transaction=True)
        yield connection


def _summary(connection: Connection, statements: Statements) -> tuple[int, Any, Any]:
    with exact.as_owner(connection, statements.reads_as):
        found = connection.execute(statements.summary, statements.values)
        ((due, oldest, oldest_text, newest, newest_text),) = found.fetchall()
    return due, oldest or oldest_text, newest or newest_text


def _cascaded(connection: Connection, leaves: Sequence[Statements]) -> dict[str, int]:
    table = leaves[0].table if leaves else None
    if table is None or not table.cascades:
        return {}
    counted: Counter[int] = Counter()
    for leaf in leaves:
        closure = with_cascaded(leaf, leaf.due_rows, COUNT_CASCADED)
        with exact.as_owner(connection, leaf.reads_as):
            counted.update(dict(connection.execute(closure, leaf.values).fetchall()))
        counted[table.oid] -= _summary(connection, leaf)[0]
    return {table.tables[oid]: count for oid, count in sorted(counted.items()) if count}


_OPERATOR = re.compile(r"(?:OPERATOR\(pg_catalog\.([^)]+)\)|pg_catalog\.)")


def _texts(connection: Connection, leaves: Sequence[Statements]) -> tuple[str, ...]:
    """Return the statements with their parameters by name; operators stand without a schema."""
    return tuple(
        _OPERATOR.sub(r"\1", " ".join(statement.as_string(connection).replace("%%", "%").split()))
        for leaf in leaves
        for statement in order_of(connection, leaf).statements
    )
