"""`leadctl db`: the embedded server, and ways into any target."""

import os
from typing import Annotated

import typer

from leadctl.cli.fast_typer import Tree
from leadctl.cli.group import LeadctlGroup
from leadctl.cli.options import Confirm, Yes
from leadctl.cli.run import LOCK_TIMEOUT, LOCK_WAIT, STATEMENT_TIMEOUT, Run, command

group = Tree(
    name="db", cls=LeadctlGroup, no_args_is_help=True, help="The embedded server, and ways in."
)


@group.leaf("start")
@command()
def start(run: Run) -> None:
    """Start the embedded server of this project; makes it where it is missing."""
    from leadctl import db as server
    from leadctl.render.views.db import server as view

    run.emit(server.start(run.settings.project, run.narrate), view)


@group.leaf("stop")
@command()
def stop(run: Run) -> None:
    """Stop the embedded server; its data stays."""
    from leadctl import db as server
    from leadctl.render.views.db import server as view

    run.emit(server.stop(run.settings.project), view)


@group.leaf("status")
@command()
def status(run: Run) -> None:
    """Show whether the embedded server runs, and where it lives; exit 1 where it does not run."""
    from leadctl import db as server
    from leadctl.render.views.db import server as view

    result = server.status(run.settings.project)
    run.emit(result, view)
    if not result.running:
        raise typer.Exit(1)


@group.leaf("destroy")
@command()
def destroy(run: Run, *, yes: Yes = False, confirm: Confirm = None) -> None:
    """Remove the embedded server with all of its data and its encryption key."""
    from leadctl import db as server
    from leadctl.render.views.db import destroyed as view

    consent = run.consent(yes=yes, confirm=confirm)
    run.emit(server.destroy(run.settings.project, consent, run.narrate), view)


@group.leaf("environment")
@command()
def environment(
    run: Run,
    *,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", show_default=False, help="What to call it, as production."),
    ] = None,
    protect: Annotated[
        bool | None,
        typer.Option("--protect/--unprotect", help="Whether it wants its name.", show_envvar=False),
    ] = None,
    confirm: Confirm = None,
) -> None:
    r"""Show or set what the database says it is, and whether it is protected.

    \b
    leadctl db environment production --protect
    """
    from leadctl.journal import identity
    from leadctl.render.views.db import identity as view

    target = run.target(may_create=True)
    if name is None and protect is None:
        run.emit(identity.show(target), view)
    else:
        consent = run.consent(yes=False, confirm=confirm)
        run.emit(identity.change(target, name, protected=protect, consent=consent), view)


@group.leaf("push")
@command(LOCK_WAIT, LOCK_TIMEOUT, STATEMENT_TIMEOUT)
def push(run: Run, *, yes: Yes = False, confirm: Confirm = None) -> None:
    """Make a local database what the models say, without a revision.

    For trying things out: a protected or remote database is refused, and what loses rows asks.
    """
    from leadctl.migrate.push import push as operation
    from leadctl.render.views.migrate_write import push as view

    result = operation(
        run.target(may_create=True),
        run.app,
        consent=run.consent(yes=yes, confirm=confirm),
        timeouts=run.timeouts,
        narrate=run.narrate,
    )
    run.emit(result, view)


@group.leaf("url")
@command()
def url(run: Run) -> None:
    """Print the target's URL for other tools; a password is left out."""
    from leadctl import db as server
    from leadctl.render.views.db import url as view

    result = server.url(run.target(may_create=True))
    run.emit(result, view)
    if result.password_left_out:
        run.narrate("The password is left out; give it by PGPASSWORD or ~/.pgpass.")


@group.leaf("shell")
@command()
def shell(
    run: Run,
    *,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="-- PSQL ARGUMENTS", show_default=False)
    ] = None,
) -> None:
    """Open psql on the target; what stands after -- goes to psql."""
    from leadctl import db as server

    started = server.shell(run.target(may_create=True))
    command_line = [str(started.program), *started.arguments, *(arguments or [])]
    os.execve(started.program, command_line, {**os.environ, **started.environment})
