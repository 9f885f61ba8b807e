"""`leadctl schedule`."""

import sys
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
    _show(run, run.project().cron(what))


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
    _show(run, run.project().systemd(what, write=write))


def _show(run: Run, result: "Schedule") -> None:
    from leadctl.render.views.schedule import schedule as text

    if run.settings.output == "json":
        run.emit(result, lambda _: [])
    else:
        sys.stdout.write(text(result) + "\n")
    run.narrate("To put it in place: " + "; ".join(result.install))
