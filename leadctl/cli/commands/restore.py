"""`leadctl restore`."""

from typing import TYPE_CHECKING, Annotated

import typer

from leadctl.cli import complete
from leadctl.cli.options import Confirm, Yes
from leadctl.cli.run import BACKUP_FROM, BACKUP_IDENTITY, LOCK_TIMEOUT, LOCK_WAIT, Run, command
from leadctl.errors import UsageError

if TYPE_CHECKING:
    from leadctl.db.target import Target
    from leadctl.operations.guard import Consent
    from leadctl.operations.restore.load import Source as Loaded

Source = Annotated[
    str,
    typer.Argument(
        metavar="BACKUP",
        help='An id, its beginning, "latest", or a path.',
        show_default=False,
        autocompletion=complete.backups,
    ),
]


@command(BACKUP_FROM, BACKUP_IDENTITY, LOCK_WAIT, LOCK_TIMEOUT)
def restore(
    run: Run,
    *,
    backup: Source = "latest",
    into: Annotated[
        str | None,
        typer.Option(
            "--into", metavar="DATABASE", help="Make a new database instead.", show_envvar=False
        ),
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(
            "--table",
            metavar="TABLE",
            help="Bring back only the rows of this table; may be given several times.",
            show_envvar=False,
            autocompletion=complete.tables,
        ),
    ] = None,
    no_owner: Annotated[
        bool,
        typer.Option(
            "--no-owner", help="Leave owners and grants out; all is yours.", show_envvar=False
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would happen.", show_envvar=False)
    ] = False,
    yes: Yes = False,
    confirm: Confirm = None,
) -> None:
    """Restore a backup: into a new database, compared, then put in the old one's place.

    Until that last moment the database is as it was; then it is kept under another name. A
    protected database wants its name by --confirm.

    \b
    leadctl restore latest --into shop_yesterday
    leadctl restore --table orders --table order_items
    """  # noqa: D301 - Click reads the character itself
    from leadctl.operations.backup.configured import folder_of, identities_of
    from leadctl.operations.restore.load import Source as Loaded
    from leadctl.operations.restore.restore import plan
    from leadctl.operations.restore.restore import restore as operation
    from leadctl.render.views.restore import plan as plan_view
    from leadctl.render.views.restore import restored as view

    found = folder_of(run.settings).find(backup)
    source = Loaded(found, identities_of(run.settings))
    target = run.target()
    consent = run.consent(yes=yes, confirm=confirm)
    if table:
        if into or no_owner:
            raise UsageError(
                "--table brings rows back into the tables that are there.",
                hint="Leave out --into and --no-owner, or --table.",
            )
        _tables(run, target, source, table, consent, dry_run=dry_run)
        return
    target = target.on(into) if into else target
    planned = plan(target, source)
    if dry_run:
        run.emit(planned, plan_view)
        return
    run.show(planned, plan_view)
    result = operation(
        target,
        source,
        consent,
        app=run.app.name,
        new=into is not None,
        owners=not no_owner,
        lock_wait=run.settings.lock_wait,
        narrate=run.narrate,
        progress=run.console.progress,
    )
    run.emit(result, view)


def _tables(
    run: Run,
    target: "Target",
    source: "Loaded",
    tables: list[str],
    consent: "Consent",
    *,
    dry_run: bool,
) -> None:
    from leadctl.operations.restore.tables import restore_tables
    from leadctl.render.views.restore import tables as view

    result = restore_tables(
        target,
        source,
        tables,
        consent,
        app=run.app.name,
        dry_run=dry_run,
        lock_timeout=run.settings.lock_timeout,
        narrate=run.narrate,
    )
    run.emit(result, view)
