"""`leadctl inspect`."""

from pathlib import Path
from typing import Annotated

import typer

from leadctl.cli.exit_codes import ExitCode
from leadctl.cli.run import Run, command


@command(outputs=("table", "json", "csv"))
def inspect(
    run: Run,
    *,
    report: Annotated[
        str | None,
        typer.Argument(metavar="REPORT", show_default=False, help='A report, or "all".'),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="DIR", help="Write each report to a file.", show_envvar=False),
    ] = None,
) -> None:
    r"""Look into the server: tables, indexes, sessions, locks, replication.

    Without a report: the list of them.  Works on any PostgreSQL database, and changes nothing.

    \b
    leadctl inspect blocking
    leadctl inspect all --to ticket-4711
    """
    from leadctl.inspect import registry
    from leadctl.inspect.run import SUFFIXES, write
    from leadctl.inspect.run import inspect as operation
    from leadctl.render import csv
    from leadctl.render.views import inspect as views

    if report is None:
        if to is not None:
            raise typer.BadParameter("it goes with a report, as: leadctl inspect all --to DIR")
        run.emit(registry.listing(), views.listing, csv=lambda found: csv.dumps(found.reports))
        return
    wanted = registry.in_all() if report == "all" else (registry.find(report),)
    output = run.settings.output
    if output == "csv" and to is None and len(wanted) > 1:
        raise typer.BadParameter("a CSV is of one report; for all of them give --to DIR.")
    result = operation(run.target(), wanted, run.narrate)
    if to is not None:
        written = write(result, Path(to), SUFFIXES[output], views.TEXTS[output])
        run.emit(
            written, views.written, csv=lambda found: csv.dumps([{"file": f} for f in found.files])
        )
        return
    run.emit(result, views.inspection, csv=lambda found: csv.dumps(found.reports[0].rows))
    if len(wanted) == 1 and result.reports[0].skipped:
        raise typer.Exit(ExitCode.NO)
