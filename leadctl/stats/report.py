"""Running one of an app's reports."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from leadctl.apps.registry import App, load_reports
from leadctl.apps.reports import AppReports, Chart, Report
from leadctl.errors import StatementFailed, UnknownReport, UnknownUser
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.replica import reading
from leadctl.postgres.target import Target
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
    with connect(found.target, "stats", read_only=True) as connection:
        try:
            user_id = _user_id(connection, available, user)
            with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
                rows = cursor.execute(report.sql, {"user": user_id, "since": since}).fetchall()
        except psycopg.errors.UndefinedTable as error:
            raise StatementFailed(
                f"The report {name} of {app.name} needs a table that the schema "
                f"{target.schema} does not have: {error.diag.message_primary}.",
                hint="Apply the migrations with: leadctl migrate, or name the schema by --schema.",
            ) from None
    return ReportResult(report.name, report.title, user, since, report.chart, tuple(rows))


def _find(app: App, available: AppReports, name: str) -> Report:
    by_name = {report.name: report for report in available.reports}
    if name not in by_name:
        raise UnknownReport(f"{app.name} has no report {name!r}.", hint=did_you_mean(name, by_name))
    return by_name[name]


def _user_id(connection: Connection, available: AppReports, user: str | None) -> str | None:
    if user is None or available.find_user is None:
        return None
    row = connection.execute(available.find_user, {"user": user}).fetchone()
    if row is None:
        raise UnknownUser(
            f"There is no user with the id or email address {user!r}.",
            hint="Look for the user with: leadctl studio users",
        )
    return str(row[0])
