"""The reports on the first screen: those with a chart that cost little enough in passing."""

from collections.abc import Sequence

import psycopg
from psycopg.rows import dict_row

from leadctl.apps.reports import Report
from leadctl.postgres.connect import Connection
from leadctl.stats.report import ReportResult

_COST = 6_000
"""In the planner's unit, of all charts together: less than a tenth of a second."""
_PARAMETERS = {"user": None, "since": None}


def charts(
    connection: Connection, reports: Sequence[Report]
) -> tuple[tuple[ReportResult, ...], tuple[str, ...]]:
    """Run the reports with a chart, and name those that were left out: they would read too much.

    One that fails, as after a table was dropped, is left out, too.
    """
    drawn: list[ReportResult] = []
    left_out: list[str] = []
    left = float(_COST)
    for report in reports:
        if report.chart is None:
            continue
        try:
            with connection.transaction():
                cost = _cost(connection, report)
                if cost > left:
                    left_out.append(report.name)
                    continue
                left -= cost
                drawn.append(_run(connection, report))
        except psycopg.Error:
            if connection.broken:
                raise
            left_out.append(report.name)
    return tuple(drawn), tuple(left_out)


def _cost(connection: Connection, report: Report) -> float:
    """Return what the planner thinks that a report costs."""
    row = connection.execute("EXPLAIN (FORMAT JSON) " + report.sql, _PARAMETERS).fetchone()
    assert row is not None
    return float(row[0][0]["Plan"]["Total Cost"])


def _run(connection: Connection, report: Report) -> ReportResult:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(report.sql, _PARAMETERS).fetchall()
    return ReportResult(report.name, report.title, None, None, report.chart, tuple(rows))
