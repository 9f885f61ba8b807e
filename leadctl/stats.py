"""The database, its tables and its app's reports at a glance."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from leadctl.apps.registry import App, load_reports
from leadctl.apps.reports import AppReports, Chart, Report
from leadctl.catalog.relations import Relation, read_schema
from leadctl.errors import LeadctlError, StatementFailed, UnknownReport, UnknownUser
from leadctl.journal.records import VERSION_TABLE
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, connect, set_session
from leadctl.postgres.exact import Authored, authored
from leadctl.postgres.provision import require_schema
from leadctl.postgres.queries import queries_of
from leadctl.postgres.replica import reading
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told, translate
from leadctl.progress import Narrate
from leadctl.text import did_you_mean


@dataclass(frozen=True)
class ReportResult:
    """The rows of a report, each by column name; `chart` says which of them are looked at."""

    report: str
    title: str
    user: str | None
    since: datetime | None
    chart: Chart | None
    rows: tuple[dict[str, Any], ...]


def run_report(
    target: Target,
    app: App,
    name: str,
    *,
    user: str | None = None,
    since: datetime | None = None,
    narrate: Narrate = lambda _: None,
) -> ReportResult:
    """Run a report as one read-only statement, on the target's replica where it has one.

    `user` is an id or an email address; rows count from `since` on.

    Raises UnknownReport, UnknownUser, and StatementFailed where the database lacks its tables.
    """
    available = load_reports(app)
    report = _find(app, available, name)
    if user is not None and not report.per_user:
        raise UnknownReport(
            f"The report {name} is not about a user.", hint=f"Leave out --user, for {name}."
        )
    if since is not None and not report.per_time:
        raise UnknownReport(
            f"The report {name} is not about a span of time.",
            hint=f"Leave out --since, for {name}.",
        )
    found = reading(target, narrate)
    with connect(found.target, "stats", rows=True, read_only=True) as connection:
        set_session(connection, {"lock_timeout": f"{_LOCK_SECONDS}s"})
        try:
            user_id = _user_id(connection, target.schema, available, user)
            values = {"user": user_id, "since": since}
            rows = authored(connection, target.schema, report.sql).fetch(connection, values)
        except psycopg.errors.UndefinedTable as error:
            raise StatementFailed(
                f"The report {name} of {app.name} needs a table that the schema "
                f"{target.schema} does not have: {told(error)}.",
                hint="Apply the migrations with: leadctl migrate, or name the schema by --schema.",
            ) from None
    return ReportResult(report.name, report.title, user, since, report.chart, tuple(rows))


def _find(app: App, available: AppReports, name: str) -> Report:
    by_name = {report.name: report for report in available.reports}
    if name not in by_name:
        raise UnknownReport(f"{app.name} has no report {name!r}.", hint=did_you_mean(name, by_name))
    return by_name[name]


def _user_id(
    connection: Connection, schema: str, available: AppReports, user: str | None
) -> str | None:
    if user is None or available.find_user is None:
        return None
    finding = authored(connection, schema, available.find_user)
    rows = finding.fetch(connection, {"user": user})
    if not rows:
        raise UnknownUser(
            f"There is no user with the id or email address {user!r}.",
            hint="Look for the user with: leadctl studio users",
        )
    return str(next(iter(rows[0].values())))


_QUERIES = queries_of(__file__, "stats.sql")
_EXACT_BYTES = 10**6
"""A table up to this size is counted instead of estimated: that takes a few milliseconds."""
_AT_ONCE = 100
"""Small tables that one statement counts."""
_STATEMENT_SECONDS = 30.0
_LOCK_SECONDS = 1.0
_IS_LOCKED = "another session holds an exclusive lock on it"
_NO_ANSWER = "a node of the Citus cluster does not answer"
_COST = 6_000
"""In the planner's unit, of all charts together: less than a tenth of a second."""
_NO_PARAMETERS = {"user": None, "since": None}


@dataclass(frozen=True)
class DatabaseStats:
    """One database: sizes in bytes, `cache_hit` as a share of 1."""

    name: str
    server_version: str
    standby: bool
    size_bytes: int | None
    """None where it has too many files to be asked in passing, unless rows are counted."""
    connections: int
    max_connections: int
    started_at: datetime
    cache_hit: float | None


@dataclass(frozen=True)
class TableStats:
    """One table; `exact` says whether `rows` was counted or is the server's estimate.

    `rows` is None where nothing is known: never analysed, and too large to be counted in passing,
    locked, or not readable.  `dead_rows` is the server's estimate, None where it does not count.
    """

    name: str
    rows: int | None
    exact: bool
    table_bytes: int | None
    """None, as the next, where a node of Citus that has some of it does not answer."""
    index_bytes: int | None
    dead_rows: int | None
    last_vacuum: datetime | None


@dataclass(frozen=True)
class SkippedPart:
    """What the overview does not show since it could not be read, and why.

    `part` is "database", "tables", "reports", the name of a report, or "rows" or "size of TABLE".
    """

    part: str
    reason: str


@dataclass(frozen=True)
class Overview:
    """The database, the tables of the schema, and the app's reports.

    `charts` are the reports that are looked at rather than read, `left_out` those of them that
    would read too much in passing, `skipped` what failed.  `replica_lag_seconds` where a replica
    was read instead.
    """

    schema: str
    replica_lag_seconds: float | None
    database: DatabaseStats | None
    tables: tuple[TableStats, ...]
    reports: tuple[str, ...]
    charts: tuple[ReportResult, ...]
    left_out: tuple[str, ...]
    skipped: tuple[SkippedPart, ...]


def overview(
    target: Target, app: App, *, count: bool = False, narrate: Narrate = lambda _: None
) -> Overview:
    """Read sizes, row counts and charts: `count` counts every row, in one snapshot.

    Works on any database, with a role that may read nothing but the catalog: what cannot be read is
    skipped.
    """
    found = reading(target, narrate)
    limit = None if count else _STATEMENT_SECONDS
    database: DatabaseStats | None = None
    relations: list[Relation] = []
    reports: tuple[Report, ...] = ()
    skipped: list[SkippedPart] = []
    with (
        connect(
            found.target, "stats", rows=True, read_only=True, statement_timeout=limit
        ) as connection,
        connection.transaction(),
    ):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        set_session(connection, {"lock_timeout": f"{_LOCK_SECONDS}s"}, transaction=True)
        with _part(connection, "database", skipped):
            (database,) = _QUERIES.rows(connection, "database", DatabaseStats, whole=count)
        with _part(connection, "tables", skipped):
            relations = read_schema(connection, target.schema, "sizes")
        relations = [each for each in relations if each.is_table and each.name != VERSION_TABLE]
        if not relations:
            require_schema(connection, target.schema)
        relations.sort(key=lambda each: (-each.size.total_bytes, each.name))
        counted = _counted(connection, relations, skipped, count=count)
        tables = tuple(_table(each, counted.get(each.oid)) for each in relations)
        if not app.name:
            narrate("No app is named, so no app reports are shown: add --app NAME.")
        with _part(connection, "reports", skipped):
            reports = _reports(connection, target, app)
        drawn, left_out = _charts(connection, target.schema, reports, skipped)
    return Overview(
        schema=target.schema,
        replica_lag_seconds=found.lag_seconds,
        database=database,
        tables=tables,
        reports=tuple(report.name for report in reports),
        charts=drawn,
        left_out=left_out,
        skipped=tuple(skipped),
    )


@contextmanager
def _part(connection: Connection, name: str, skipped: list[SkippedPart]) -> Iterator[None]:
    """Read a part of the overview; where it fails, note why, and the other parts go on.

    Its locks end with it: those of thousands of tables would fill the server's table of locks.
    """
    try:
        with connection.transaction(force_rollback=True):
            yield
    except (psycopg.Error, LeadctlError) as error:
        known = translate(error)
        if connection.broken or known is None:
            raise
        skipped.append(SkippedPart(name, known.message))


def _reports(connection: Connection, target: Target, app: App) -> tuple[Report, ...]:
    """Return the app's reports, unless the app never lived in this schema."""
    name = app.version_table.within(target.schema).as_string(connection)
    row = exact.execute(connection, "SELECT to_regclass(%s) IS NOT NULL", (name,)).fetchone()
    return load_reports(app).reports if row == (True,) else ()


def _counted(
    connection: Connection,
    relations: Sequence[Relation],
    skipped: list[SkippedPart],
    *,
    count: bool,
) -> dict[int, int]:
    """Count the rows of tables, by oid: all, or the small ones; what cannot be counted is missing.

    Small ones are counted many at a time, and one by one where that fails.
    """
    counted = dict[int, int]()
    small = defaultdict[str | None, list[Relation]](list)
    single = list[Relation]()
    for each in relations:
        is_small = each.size.heap_bytes <= _EXACT_BYTES
        if each.size.partly:
            skipped.append(SkippedPart(f"size of {each.quoted}", _NO_ANSWER))
        if each.size.locked:
            if count or is_small:
                skipped.append(SkippedPart(f"rows of {each.quoted}", _IS_LOCKED))
        elif is_small:
            small[each.touched_as].append(each)
        elif count:
            single.append(each)
    for tables in small.values():
        for first in range(0, len(tables), _AT_ONCE):
            together = tables[first : first + _AT_ONCE]
            failed = list[SkippedPart]()
            with _part(connection, "", failed):
                counted |= _count(connection, together)
            single += together if failed else []
    for each in single:
        with _part(connection, f"rows of {each.quoted}", skipped):
            counted |= _count(connection, [each])
    return counted


def _count(connection: Connection, tables: Sequence[Relation]) -> dict[int, int]:
    """Count the rows of tables that are touched as one role, by oid."""
    queries = [
        sql.SQL("SELECT {}::bigint, pg_catalog.count(*) FROM {}").format(
            sql.Literal(each.oid), each.identifier
        )
        for each in tables
    ]
    with exact.as_owner(connection, tables[0].touched_as):
        return dict(connection.execute(sql.SQL(" UNION ALL ").join(queries)).fetchall())


def _table(relation: Relation, counted: int | None) -> TableStats:
    size = relation.size
    return TableStats(
        name=relation.quoted,
        rows=size.rows if counted is None else counted,
        exact=counted is not None,
        table_bytes=None if size.partly else size.table_bytes,
        index_bytes=None if size.partly else size.index_bytes,
        dead_rows=size.dead_rows,
        last_vacuum=size.last_vacuum,
    )


def _charts(
    connection: Connection,
    schema: str,
    reports: Sequence[Report],
    skipped: list[SkippedPart],
) -> tuple[tuple[ReportResult, ...], tuple[str, ...]]:
    """Run the reports with a chart, and name those that are left out: they would read too much."""
    drawn: list[ReportResult] = []
    left_out: list[str] = []
    left = float(_COST)
    for report in reports:
        if report.chart is None:
            continue
        with _part(connection, report.name, skipped):
            statement = authored(connection, schema, report.sql)
            cost = _cost(connection, statement)
            if cost > left:
                left_out.append(report.name)
                continue
            left -= cost
            drawn.append(_run_in_passing(connection, report, statement))
    return tuple(drawn), tuple(left_out)


def _cost(connection: Connection, statement: Authored) -> float:
    """Return what the planner thinks that a report costs."""
    (row,) = statement.fetch(connection, _NO_PARAMETERS, explain=True)
    return float(row["QUERY PLAN"][0]["Plan"]["Total Cost"])


def _run_in_passing(connection: Connection, report: Report, statement: Authored) -> ReportResult:
    rows = statement.fetch(connection, _NO_PARAMETERS)
    return ReportResult(report.name, report.title, None, None, report.chart, tuple(rows))
