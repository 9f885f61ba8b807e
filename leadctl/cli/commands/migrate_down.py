"""`leadctl migrate down`."""

from typing import Annotated

import typer

from leadctl.cli import complete
from leadctl.cli.exit_codes import ExitCode
from leadctl.cli.options import Confirm, Yes
from leadctl.cli.run import LOCK_TIMEOUT, LOCK_WAIT, STATEMENT_TIMEOUT, Run, command
from leadctl.errors import UsageError


@command(LOCK_WAIT, LOCK_TIMEOUT, STATEMENT_TIMEOUT)
def down(
    run: Run,
    *,
    revision: Annotated[
        str | None,
        typer.Argument(metavar="REV", show_default=False, autocompletion=complete.revisions),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", min=1, metavar="N", help="Undo the last N; 1 of itself.", show_envvar=False
        ),
    ] = None,
    rehearse: Annotated[
        bool,
        typer.Option(
            "--rehearse",
            help="Try up, down and up in a scratch schema; change nothing.",
            show_envvar=False,
        ),
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
    if revision is not None and steps is not None:
        raise UsageError("REV and --steps name two ends.", hint="Give one of them.")
    if rehearse:
        _rehearse(run, revision, steps or 1)
        return
    from leadctl.migrate.down import down as operation
    from leadctl.migrate.down import plan
    from leadctl.render.views.migrate_down import down as view
    from leadctl.render.views.migrate_down import plan as plan_view

    target = run.target()
    planned = plan(target, run.app, revision, steps or 1)
    run.show(planned, plan_view)
    result = operation(
        target,
        run.app,
        revision,
        steps or 1,
        consent=run.consent(yes=yes, confirm=confirm),
        timeouts=run.timeouts,
        narrate=run.narrate,
        progress=run.console.progress,
    )
    run.emit(result, view)


def _rehearse(run: Run, revision: str | None, steps: int) -> None:
    from leadctl.migrate.rehearse import rehearse as operation
    from leadctl.render.views.migrate_down import rehearse as view

    result = operation(run.target(), run.app, revision, steps, run.narrate)
    run.emit(result, view)
    if not result.ok:
        raise typer.Exit(ExitCode.NO)
