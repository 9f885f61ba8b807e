"""`leadctl inspect`."""

from typing import Annotated

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.fleet import FleetUse
from leadctl.cli.group import app
from leadctl.cli.options import Text, argument, diagnostic_names, only_with, option
from leadctl.errors import UsageError
from leadctl.files import expanded
from leadctl.render import views


@app.leaf("inspect", "State")
@command(Effect.READS, outputs=("table", "json", "csv"), fleet=FleetUse(refuses=("to",)))
def inspect(
    run: Run,
    *,
    report: Annotated[
        Text, argument("REPORT", 'Name of a report, or "all".', names=diagnostic_names)
    ] = None,
    to: Annotated[
        Text, option("--to", "DIR", "Write each report to a file in this folder.")
    ] = None,
) -> None:
    r"""Show reports on tables, indexes, sessions, locks and more.

    Without REPORT it lists the reports. It works on any PostgreSQL database and changes nothing.

    \b
    leadctl inspect blocking
    leadctl inspect all --to ticket-4711
    """
    if report is None:
        only_with("REPORT", to=to)
        reports = run.project().inspect_reports()
        run.emit(reports, views.inspect.listing, csv=lambda found: run.csv(found.reports))
        return
    output = run.settings.output
    if output == "csv" and to is None and report == "all":
        raise UsageError(
            "CSV has room for one report only.",
            hint="Name one report, or write each to a file: --to DIR",
        )
    result = run.database().inspect(*([] if report == "all" else [report]))
    if to is not None:
        suffix, text_of = views.inspect.file_format(output, run.csv)
        written = run.project().write_reports(result, expanded(to), suffix, text_of)
        files = [{"file": file} for file in written.files]
        run.emit(written, views.inspect.written, csv=lambda _: run.csv(files))
        return
    skipped = report != "all" and result.reports[0].skipped is not None
    rows = result.reports[0].rows
    run.emit(result, views.inspect.inspection, ok=not skipped, csv=lambda _: run.csv(rows))
