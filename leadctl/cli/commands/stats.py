"""`leadctl stats`."""

from typing import Annotated

import typer

from leadctl.cli.run import Run, command


@command()
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
    exact: Annotated[
        bool, typer.Option("--exact", help="Count every row, in one snapshot.", show_envvar=False)
    ] = False,
) -> None:
    r"""Show the database, its tables and the app's reports.

    \b
    leadctl stats
    leadctl stats leads --user test@example.com
    """
    from leadctl.operations.stats.overview import overview
    from leadctl.operations.stats.report import run_report
    from leadctl.render.views import stats as views

    target = run.target(may_create=True)
    if report is None:
        if user is not None:
            raise typer.BadParameter("it goes with a report, as: leadctl stats leads --user …")
        run.emit(overview(target, run.app, exact=exact), views.overview)
    else:
        run.emit(run_report(target, run.app, report, user=user), views.report)
