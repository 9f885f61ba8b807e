"""`leadctl schedule`."""

import sys
from typing import TYPE_CHECKING, Annotated

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.group import subtree
from leadctl.cli.options import Text, argument, option

if TYPE_CHECKING:
    from leadctl.schedule import Schedule

group = subtree(
    "schedule", "Setup", "Ready lines and units that run cleanup, backup or health-check."
)
What = Annotated[str, argument("COMMAND")]


@group.leaf("cron")
@command(Effect.READS)
def cron(run: Run, *, what: What = "cleanup") -> None:
    """Print a line for a crontab: cleanup, backup or health-check."""
    _show(run, run.project().cron(what))


@group.leaf("systemd")
@command(Effect.READS)
def systemd(
    run: Run,
    *,
    what: What = "cleanup",
    write: Annotated[Text, option("--write", "DIR", "Write the units there.")] = None,
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
