"""`leadctl stats`."""

from typing import Annotated, Any

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.fleet import FleetUse
from leadctl.cli.group import app
from leadctl.cli.options import Text, argument, flag, moment, only_with, option, report_names
from leadctl.render import views

Since = Annotated[
    Text, option("--since", "TIME", "Count since this time: 7d, 2026-01-31 or 2026-01-31T12:00Z.")
]


@app.leaf("stats", "State")
@command(Effect.READS, outputs=("table", "json", "csv"), fleet=FleetUse())
def stats(
    run: Run,
    *,
    report: Annotated[Text, argument("REPORT", "One report only.", names=report_names)] = None,
    user: Annotated[Text, option("--user", "USER", "An id or email address.")] = None,
    since: Since = None,
    exact: Annotated[bool, flag("--exact", "Count every row, in one snapshot.")] = False,
) -> None:
    r"""Show the database, its tables and the app's reports.

    \b
    leadctl stats
    leadctl stats leads --user test@example.com --since 7d
    """
    database = run.database()
    if report is None:
        only_with("REPORT", user=user, since=since)
        found = database.stats(exact=exact)
        run.emit(found, views.stats.overview, csv=lambda result: _tables(run, result))
    else:
        start = None if since is None else moment("--since", since)
        result = run.of_app().report(report, user=user, since=start)
        run.emit(result, views.stats.report, csv=lambda result: run.csv(result.rows))


def _tables(run: Run, found: Any) -> str:
    for each in found.skipped:
        run.narrate(f"Skipped: {each.part}: {each.reason}")
    return run.csv(found.tables)
