"""`leadctl db`: the embedded server, and ways into any target."""

import os
from typing import Annotated

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.group import subtree
from leadctl.cli.options import TIMEOUTS, Confirm, Text, Texts, Yes, argument, flag, option
from leadctl.render import views

group = subtree("db", "Setup", "Manage the embedded server and the target database.")


@group.leaf("start")
@command(Effect.ADDS, of_app=False)
def start(run: Run) -> None:
    """Start the embedded server of this project.

    It is created if it is missing.
    """
    run.emit(run.project().start_server(), views.db.server)


@group.leaf("stop")
@command(Effect.ADDS, of_app=False)
def stop(run: Run) -> None:
    """Stop the embedded server; its data stays."""
    run.emit(run.project().stop_server(), views.db.server)


@group.leaf("status")
@command(Effect.READS)
def status(run: Run) -> None:
    """Show whether the embedded server runs, and where.

    Exit 1 unless it runs.
    """
    result = run.project().server_status()
    run.emit(result, views.db.server, ok=result.running)


@group.leaf("destroy")
@command(Effect.DESTROYS, of_app=False)
def destroy(run: Run, *, yes: Yes = False, confirm: Confirm = None) -> None:
    """Remove the embedded server, its data and encryption key."""
    result = run.project().destroy_server(run.consent(yes=yes, confirm=confirm))
    run.emit(result, views.db.destroyed)


@group.leaf("kept")
@command(Effect.DESTROYS, of_app=False)
def kept(
    run: Run,
    *,
    drop: Annotated[Texts, option("--drop", "NAME", "Drop this one (repeatable).")] = None,
    yes: Yes = False,
    confirm: Confirm = None,
) -> None:
    """List databases and schemas that restores kept, or drop some."""
    database = run.database()
    if drop is None:
        run.emit(database.kept(), views.db.kept)
    else:
        consent = run.consent(yes=yes, confirm=confirm)
        run.emit(database.drop_kept(drop, consent), views.db.dropped)


@group.leaf("environment")
@command(Effect.DESTROYS, of_app=False)
def environment(
    run: Run,
    *,
    name: Annotated[Text, argument("NAME", "Name of the environment, e.g. production.")] = None,
    protect: Annotated[
        bool | None,
        flag("--protect/--unprotect", "Require --confirm for destructive commands, or stop that."),
    ] = None,
    confirm: Confirm = None,
) -> None:
    r"""Show or set the environment and protection of the database.

    \b
    leadctl db environment production --protect
    """
    database = run.database(may_create=True)
    if name is None and protect is None:
        run.emit(database.identity(), views.db.identity)
    else:
        consent = run.consent(confirm=confirm)
        run.emit(database.set_identity(name, protected=protect, confirm=consent), views.db.identity)


@group.leaf("push")
@command(Effect.LOCAL, *TIMEOUTS)
def push(run: Run, *, yes: Yes = False, confirm: Confirm = None) -> None:
    """Apply the models to a local database, without a revision.

    For experiments: a protected or remote database is refused, and a change that loses rows asks
    first.
    """
    consent = run.consent(yes=yes, confirm=confirm)
    run.emit(run.database(may_create=True).push(consent), views.migrate.push)


@group.leaf("url")
@command(Effect.READS)
def url(run: Run) -> None:
    """Print the target's URL for other tools, without password."""
    result = run.database().url()
    run.emit(result, views.db.url)
    if result.password_left_out:
        run.narrate("The password is left out; give it by PGPASSWORD or ~/.pgpass.")


@group.leaf("shell")
@command(Effect.READS)
def shell(
    run: Run, *, arguments: Annotated[Texts, argument("-- ARGUMENTS", "Arguments for psql.")] = None
) -> None:
    """Open psql on the target; arguments after -- go to psql."""
    started = run.database().shell()
    command_line = [str(started.program), *started.arguments, *(arguments or [])]
    os.execve(started.program, command_line, started.environment)
