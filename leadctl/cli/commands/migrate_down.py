"""`leadctl migrate down`."""

from dataclasses import replace
from typing import Annotated

from leadctl.cli.commands.migrate import group
from leadctl.cli.options import TIMEOUTS, Confirm, Number, Revision, Yes, exclusive, flag, option
from leadctl.cli.run import Effect, Run, command

Steps = Annotated[Number, option("--steps", "N", "Number of revisions to undo (default 1).", min=1)]


@group.leaf("down")
@command(Effect.DESTROYS, *TIMEOUTS)
def down(
    run: Run,
    *,
    revision: Revision = None,
    steps: Steps = None,
    rehearse: Annotated[
        bool, flag("--rehearse", "Try up, down and up in a scratch schema; change nothing.")
    ] = False,
    yes: Yes = False,
    confirm: Confirm = None,
) -> None:
    r"""Undo the last revision, the last N, or all behind REV (base: all).

    Shows first what goes, and asks; a protected database wants its name by --confirm. A revision
    without a way back is refused. --rehearse says of each what would come of it; exit 1 where one
    cannot be undone.

    \b
    leadctl migrate down --rehearse
    leadctl migrate down leadconnector_0001 --yes
    """
    from leadctl.render.views import migrate_down as views

    exclusive(REV=revision, steps=steps)
    database, count = run.database(), steps or 1
    if rehearse:
        rehearsal = database.rehearse_down(revision, steps=count)
        run.emit(rehearsal, views.rehearse, ok=rehearsal.ok)
        return
    consent = run.consent(yes=yes, confirm=confirm)
    # What goes is shown before consent is missed: only protection is asked ahead of it.
    database.foresee("migrate down", replace(consent, yes=True))
    run.show(database.down_plan(revision, steps=count), views.plan)
    run.emit(database.down(revision, steps=count, confirm=consent), views.down)
