"""Making a backup as the settings say: for `backup`, and before what changes a lot."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from leadctl.cli.run import Run

if TYPE_CHECKING:
    from leadctl.backup.create import CreatedBackup
    from leadctl.postgres.target import Target


def backed_up(run: Run, target: "Target", *, role_passwords: bool = False) -> "CreatedBackup":
    """Make a backup as the settings say, with its hooks."""
    from leadctl.backup.create import create_as_configured

    return create_as_configured(
        run.settings,
        run.app,
        target,
        run.narrate,
        run.console.progress,
        role_passwords=role_passwords,
    )


def backup_before(run: Run, target: "Target", *, wanted: bool) -> Callable[[], None]:
    """Return what makes a backup before a change, and says how to go back; else does nothing."""

    def make() -> None:
        if wanted:
            made = backed_up(run, target)
            environment = f" --env {run.settings.env}" if run.settings.env else ""
            run.narrate(
                f"Backup {made.id} in {made.path.parent}. "
                f"To undo what follows: leadctl restore {made.id}{environment}"
            )

    return make
