"""`leadctl cleanup` and its subcommands."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from leadctl.cli import complete
from leadctl.cli.exit_codes import ExitCode
from leadctl.cli.fast_typer import Tree
from leadctl.cli.group import LeadctlGroup, Terminated
from leadctl.cli.options import Confirm
from leadctl.cli.run import Run, command
from leadctl.files import absolute

if TYPE_CHECKING:
    from leadctl.cleanup.context import Bounds

group = Tree(name="cleanup", cls=LeadctlGroup, invoke_without_command=True)


@group.callback()
@command()
def cleanup(
    run: Run,
    *,
    list_rules: Annotated[
        bool,
        typer.Option(
            "--list", help="Show the rules and the rows each would take.", show_envvar=False
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Count what would go; change nothing.", show_envvar=False),
    ] = False,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            "--rule", metavar="RULE", help="Only this rule; again for more.", show_envvar=False
        ),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(
            "--days", min=1, metavar="N", help="Instead of the rule's age.", show_envvar=False
        ),
    ] = None,
    max_seconds: Annotated[
        int | None,
        typer.Option(
            "--max-seconds", min=1, metavar="N", help="Stop after that long.", show_envvar=False
        ),
    ] = None,
    max_rows: Annotated[
        int | None,
        typer.Option(
            "--max-rows", min=1, metavar="N", help="Stop after so many rows.", show_envvar=False
        ),
    ] = None,
    archive: Annotated[
        str | None,
        typer.Option(
            "--archive", metavar="DIR", help="Archive every row there first.", show_envvar=False
        ),
    ] = None,
    metrics_file: Annotated[
        str | None,
        typer.Option(
            "--metrics-file",
            metavar="PATH",
            help="Write metrics for Prometheus.",
            show_envvar=False,
        ),
    ] = None,
    confirm: Confirm = None,
) -> None:
    r"""Delete what the app's retention rules say is due; for cron.

    In short transactions, within the bounds that are given; the next run goes on where this one
    stopped. A rule that would take far more than it should does nothing, unless the database's name
    is given by --confirm.

    \b
    leadctl cleanup --list
    leadctl cleanup --dry-run --days 90
    leadctl cleanup -q --max-seconds 600 --metrics-file /var/lib/node_exporter/leadctl.prom
    """
    from leadctl.cleanup.context import Bounds
    from leadctl.render import prometheus
    from leadctl.render.views import cleanup as views

    if list_rules and dry_run:
        raise typer.BadParameter("--list and --dry-run are two different questions.")
    database, rules = run.database(), rule or ()
    if list_rules:
        run.emit(database.cleanup_rules(rules, days=days), views.rules)
        return
    if dry_run:
        run.emit(database.cleanup_preview(rules, days=days), views.preview)
        return
    bounds = Bounds(max_seconds, max_rows)
    with _stopping(bounds):
        result = database.cleanup(rules, days=days, archive=archive, confirm=confirm, bounds=bounds)
    if not (run.console.quiet and result.ok and run.settings.output == "table"):
        run.emit(result, views.cleanup)
    if metrics_file is not None:
        metrics = prometheus.cleanup(result, database.past_cleanups())
        prometheus.write(absolute(metrics_file), metrics)
    if result.error is not None:
        raise result.error
    if result.stopped is not None and result.stopped.value in _EXITS:
        raise typer.Exit(_EXITS[result.stopped.value])


_EXITS = {"interrupted": ExitCode.INTERRUPTED, "terminated": ExitCode.TERMINATED}


@contextmanager
def _stopping(bounds: "Bounds") -> Iterator[None]:
    """Let the first SIGINT or SIGTERM end the run in order; a second one ends it at once."""
    from leadctl.cleanup.results import Reason

    def stop(number: int, _frame: FrameType | None) -> None:
        if bounds.requested is not None:
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated
        bounds.request(Reason.INTERRUPTED if number == signal.SIGINT else Reason.TERMINATED)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@group.leaf("unarchive")
@command()
def unarchive(
    run: Run,
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", show_default=False)],
) -> None:
    """Put the rows of an archive back: FILE is its folder, its manifest or one of its files.

    A row that is there is left as it is, so it can be run again.
    """
    from leadctl.render.views.cleanup import unarchive as view

    run.emit(run.database().unarchive(file), view)


@group.leaf("undelete")
@command()
def undelete(
    run: Run,
    *,
    table: Annotated[
        str, typer.Argument(metavar="TABLE", show_default=False, autocompletion=complete.tables)
    ],
    key: Annotated[str, typer.Argument(metavar="KEY", show_default=False)],
) -> None:
    """Bring a soft-deleted row back, as long as no rule has purged it."""
    from leadctl.render.views.cleanup import undelete as view

    run.emit(run.database().undelete(table, key), view)
