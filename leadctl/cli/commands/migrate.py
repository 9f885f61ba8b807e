"""`leadctl migrate` and its subcommands."""

from typing import Annotated

import typer

from leadctl.cli.exit_codes import ExitCode
from leadctl.cli.group import LeadctlGroup
from leadctl.cli.light import Tree
from leadctl.cli.run import LOCK_TIMEOUT, LOCK_WAIT, Run, command

Steps = Annotated[
    int | None,
    typer.Option("--steps", min=1, metavar="N", help="Apply at most N.", show_envvar=False),
]

group = Tree(name="migrate", cls=LeadctlGroup, invoke_without_command=True)


@group.callback()
@command(LOCK_WAIT, LOCK_TIMEOUT)
def migrate(run: Run, *, steps: Steps = None) -> None:
    r"""Apply what is pending; the subcommands show and write revisions.

    Database and schema are made where they are missing. With nothing to do it says so and is
    quick about it.

    \b
    leadctl migrate                      the default app, on the embedded database
    leadctl migrate --app whatsapp --schema whatsapp
    DATABASE_URL=postgresql://… leadctl migrate -o json
    """
    _up(run, None, steps)


@group.leaf("up")
@command(LOCK_WAIT, LOCK_TIMEOUT)
def up(
    run: Run,
    *,
    revision: Annotated[str | None, typer.Argument(metavar="[REV]", show_default=False)] = None,
    steps: Steps = None,
) -> None:
    """Apply what is pending, up to a revision where one is given."""
    _up(run, revision, steps)


@group.leaf("status")
@command()
def status(run: Run) -> None:
    """Show the state of each revision.

    It is applied, pending, edited, missing or unknown; exit 1 unless all are applied.
    """
    from leadctl.operations.migrate.status import status as operation
    from leadctl.render.views.migrate import status as view

    result = operation(run.target(), run.app)
    run.emit(result, view)
    if not result.ok:
        raise typer.Exit(ExitCode.NO)


@group.leaf("history")
@command()
def history(run: Run) -> None:
    """Show what was applied: when, by whom, how long it took."""
    from leadctl.operations.migrate.history import history as operation
    from leadctl.render.views.migrate import history as view

    run.emit(operation(run.target(), run.app), view)


@group.leaf("new")
@command()
def new(
    run: Run,
    *,
    message: Annotated[str, typer.Option("-m", "--message", help="What the revision does.")],
    empty: Annotated[bool, typer.Option("--empty", help="Write it without operations.")] = False,
) -> None:
    """Write a revision that takes the database to the models."""
    from leadctl.operations.migrate.new import new as operation
    from leadctl.render.views.migrate import new as view

    run.emit(operation(run.target(), run.app, message, empty=empty), view)


def _up(run: Run, to: str | None, steps: int | None) -> None:
    from leadctl.operations.migrate.up import up as operation
    from leadctl.render.views.migrate import migrate as view

    result = operation(
        run.target(may_create=True),
        run.app,
        to=to,
        steps=steps,
        lock_wait=run.settings.lock_wait,
        lock_timeout=run.settings.lock_timeout,
        narrate=run.narrate,
    )
    run.emit(result, view)
