"""`leadctl stats`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.fleet import FleetUse
from leadctl.cli.group import app
from leadctl.cli.options import Text, argument, flag, only_with, option, report_names
from leadctl.errors import InvalidFlag

Since = Annotated[
    Text, option("--since", "TIME", "Count from then on: 7d, 2026-01-31 or 2026-01-31T12:00Z.")
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
    from leadctl.render.views import stats as views

    database = run.database()
    if report is None:
        only_with("REPORT", user=user, since=since)
        found = database.stats(exact=exact)
        run.emit(found, views.overview, csv=lambda result: run.csv(result.tables))
    else:
        moment = None if since is None else _moment(since)
        result = run.of_app().report(report, user=user, since=moment)
        run.emit(result, views.report, csv=lambda result: run.csv(result.rows))


def _moment(text: str) -> datetime:
    """Return a time that was given as such, or as how long ago it was."""
    from leadctl.settings.durations import parse_seconds

    try:
        return datetime.now(UTC) - timedelta(seconds=parse_seconds(text))
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidFlag(
            f"--since is {text!r}.", hint="It is a time, e.g. 2026-01-31, or how long ago, e.g. 7d."
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
