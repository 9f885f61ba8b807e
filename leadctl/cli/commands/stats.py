"""`leadctl stats`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from leadctl.cli.run import Run, command
from leadctl.settings.durations import parse_seconds


@command(outputs=("table", "json", "csv"))
def stats(
    run: Run,
    *,
    report: Annotated[
        str | None, typer.Argument(metavar="REPORT", show_default=False, help="One report only.")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="USER", help="An id or email address.", show_envvar=False),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Count from then on: 7d, 2026-01-31 or 2026-01-31T12:00Z.",
            show_envvar=False,
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Count every row, in one snapshot.", show_envvar=False)
    ] = False,
) -> None:
    r"""Show the database, its tables and the app's reports.

    \b
    leadctl stats
    leadctl stats leads --user test@example.com --since 7d
    """
    from leadctl.render import csv
    from leadctl.render.views import stats as views
    from leadctl.stats.overview import overview
    from leadctl.stats.report import run_report

    if report is None:
        for flag, value in (("--user", user), ("--since", since)):
            if value is not None:
                raise typer.BadParameter(f"it goes with a report, as: leadctl stats leads {flag} …")
        found = overview(run.target(may_create=True), run.app, exact=exact, narrate=run.narrate)
        run.emit(found, views.overview, csv=lambda result: csv.dumps(result.tables))
    else:
        moment = _moment(since) if since is not None else None
        target = run.target(may_create=True)
        result = run_report(target, run.app, report, user=user, since=moment, narrate=run.narrate)
        run.emit(result, views.report, csv=lambda result: csv.dumps(result.rows))


def _moment(text: str) -> datetime:
    """Return a time that was given as such, or as how long ago it was."""
    try:
        return datetime.now(UTC) - timedelta(seconds=parse_seconds(text))
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a time, as 2026-01-31, nor how long ago, as 7d",
            param_hint="--since",
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
