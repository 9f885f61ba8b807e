"""`leadctl schedule`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leadctl.cli.fast_typer import Tree
from leadctl.cli.group import LeadctlGroup
from leadctl.cli.run import Run, command

if TYPE_CHECKING:
    from leadctl.schedule import Schedule

group = Tree(
    name="schedule",
    cls=LeadctlGroup,
    no_args_is_help=True,
    help="Ready lines and units that run cleanup, backup or health-check.",
)

What = Annotated[str, typer.Argument(metavar="COMMAND", show_default=False)]


@group.leaf("cron")
@command()
def cron(run: Run, *, what: What = "cleanup") -> None:
    """Print a line for a crontab: cleanup, backup or health-check."""
    from leadctl.schedule import cron as operation

    _show(run, operation(run.settings, what))


@group.leaf("systemd")
@command()
def systemd(
    run: Run,
    *,
    what: What = "cleanup",
    write: Annotated[
        str | None,
        typer.Option("--write", metavar="DIR", help="Write the units there.", show_envvar=False),
    ] = None,
) -> None:
    """Print a service and its timer: cleanup, backup or health-check."""
    from leadctl.schedule import systemd as operation
    from leadctl.schedule import write as write_files

    result = operation(run.settings, what)
    if write is not None:
        write_files(result, Path(write))
    _show(run, result)


def _show(run: Run, result: "Schedule") -> None:
    from leadctl.render.views.schedule import schedule as text

    if run.settings.output == "json":
        run.emit(result, lambda _: [])
    else:
        sys.stdout.write(text(result) + "\n")
    run.narrate("To put it in place: " + "; ".join(result.install))
