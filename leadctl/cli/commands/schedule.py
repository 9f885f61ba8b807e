"""`leadctl schedule`."""

import sys
from typing import TYPE_CHECKING, Annotated

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.group import subtree
from leadctl.cli.options import Text, argument, option, seconds
from leadctl.render import views

if TYPE_CHECKING:
    from leadctl.schedule import Schedule

group = subtree("schedule", "Setup", "Print cron lines and systemd units for leadctl.")
What = Annotated[str, argument("COMMAND", "What to run; default: cleanup.")]
Limit = Annotated[
    Text, option("--timeout", "TIME", "Time limit of a run, e.g. 6h (the default for backup).")
]
Telling = Annotated[Text, option("--on-failure", "COMMAND", "Run this command if a run fails.")]


@group.leaf("cron")
@command(Effect.READS)
def cron(
    run: Run, *, what: What = "cleanup", timeout: Limit = None, on_failure: Telling = None
) -> None:
    """Print a line for a crontab.

    COMMAND is cleanup, backup, health-check, pitr (keeps the archive's receiver running),
    pitr-backup or pitr-rehearse.
    """
    _show(run, run.project().cron(what, timeout=_seconds(timeout), on_failure=on_failure))


@group.leaf("systemd")
@command(Effect.READS)
def systemd(
    run: Run,
    *,
    what: What = "cleanup",
    timeout: Limit = None,
    on_failure: Telling = None,
    write: Annotated[Text, option("--write", "DIR", "Write the units to this folder.")] = None,
) -> None:
    """Print a systemd service and its timer.

    COMMAND is cleanup, backup, health-check, pitr (keeps the archive's receiver running),
    pitr-backup or pitr-rehearse.
    """
    limit = _seconds(timeout)
    _show(run, run.project().systemd(what, timeout=limit, on_failure=on_failure, write=write))


def _seconds(timeout: str | None) -> float | None:
    return None if timeout is None else seconds("--timeout", timeout)


def _show(run: Run, result: "Schedule") -> None:

    if run.settings.output == "json":
        run.emit(result, lambda _: [])
    else:
        sys.stdout.write(views.schedule.schedule(result) + "\n")
    if not result.tells:
        told = "cron mails one line" if result.kind == "cron" else "systemd sends no message"
        run.narrate(f"If a run fails, {told}; --on-failure COMMAND runs a command then.")
    run.narrate("To install it: " + "; ".join(result.install))
