"""`leadctl restore`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leadctl.cli import complete
from leadctl.cli.options import Confirm, Yes
from leadctl.cli.run import BACKUP_FROM, BACKUP_IDENTITY, LOCK_TIMEOUT, LOCK_WAIT, Run, command
from leadctl.errors import LeadctlError, UsageError

if TYPE_CHECKING:
    from leadctl.journal.guard import Consent
    from leadctl.postgres.target import Target
    from leadctl.restore.backups import RestorableBackup
    from leadctl.restore.restorable import Restorable

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
            help="Restore only this table, beside the live one; may be given several times.",
            show_envvar=False,
            autocompletion=complete.tables,
        ),
    ] = None,
    data_only: Annotated[
        bool,
        typer.Option(
            "--data-only",
            help="Bring rows back into the tables that are there: of all, or of --table.",
            show_envvar=False,
        ),
    ] = False,
    schema_only: Annotated[
        bool, typer.Option("--schema-only", help="Restore no rows.", show_envvar=False)
    ] = False,
    jobs: Annotated[
        int,
        typer.Option("--jobs", min=1, help="Connections that load.", show_envvar=False),
    ] = 2,
    drop_old: Annotated[
        bool,
        typer.Option("--drop-old", help="Drop the database that was replaced.", show_envvar=False),
    ] = False,
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
    r"""Restore a backup: into a new database, compared, then put in the old one's place.

    Until that last moment the database is as it was; then it is kept under another name. A
    protected database wants its name by --confirm. What pg_dump made restores, too: a script, an
    archive, a folder, compressed or not.

    --table makes a schema beside the live tables, and prints the lines that copy rows over. With
    --data-only rows go into the live tables at once.

    \b
    leadctl restore latest --into shop_yesterday
    leadctl restore --table orders --table order_items
    leadctl restore --table orders --data-only --dry-run
    leadctl restore ./from-elsewhere.sql.gz --into shop_elsewhere
    """
    from leadctl.render.views.restore import plan as plan_view
    from leadctl.render.views.restore import restored as view
    from leadctl.restore.dumps import is_dump
    from leadctl.restore.restorable import Loading
    from leadctl.restore.restore import plan, preflight
    from leadctl.restore.restore import restore as operation

    target = run.target()
    consent = run.consent(yes=yes, confirm=confirm)
    if table or data_only:
        if into or no_owner or schema_only:
            raise UsageError(
                "--table and --data-only restore rows into the database that is there.",
                hint="Leave out --into, --no-owner and --schema-only.",
            )
        if is_dump(Path(backup)):
            raise UsageError(
                "Single tables come back from backups of leadctl's own.",
                hint="Restore the file beside the database with --into, and copy what is needed.",
            )
        if data_only:
            _merge(run, target, backup, table or [], consent, dry_run=dry_run)
        else:
            _beside(run, target, backup, table or [], dry_run=dry_run)
        return
    target = target.on(into) if into else target
    source = _source(run, backup, target.schema)
    planned = plan(target, source)
    if dry_run:
        run.emit(planned, plan_view)
        preflight(source, planned, owners=not no_owner)
        return
    run.show(planned, plan_view)
    loading = Loading(
        run.narrate,
        run.console.progress,
        owners=not no_owner,
        rows=not schema_only,
        jobs=jobs,
    )
    result = operation(
        target,
        source,
        consent,
        loading,
        app=run.app.name,
        new=into is not None,
        drop_old=drop_old,
        lock_wait=run.settings.lock_wait,
    )
    run.emit(result, view)
    if result.revision is not None:
        _say_migrations(run, target)


def _say_migrations(run: Run, target: "Target") -> None:
    """Say how the restored schema stands to the revisions that are here."""
    from leadctl.migrate.status import RevisionState, status

    try:
        found = status(target, run.app)
    except LeadctlError as error:
        run.narrate(f"Migrations: {error.message}")
        return
    counted = {state.value: found.count(state) for state in RevisionState}
    said = ", ".join(f"{count} {state}" for state, count in counted.items() if count)
    run.narrate(f"Migrations of {found.app}: {said}. See: leadctl migrate status")


def _source(run: Run, backup: str, schema: str) -> "Restorable":
    """Return what is to be restored: a file or folder where there is one, else a backup."""
    from leadctl.backup.configured import identities_of
    from leadctl.restore.dumps import is_dump, open_dump

    path = Path(backup).expanduser()
    if backup != "latest" and is_dump(path):
        return open_dump(path, identities_of(run.settings), schema)
    return _stored(run, backup)


def _stored(run: Run, backup: str) -> "RestorableBackup":
    from leadctl.backup.configured import folder_of, identities_of
    from leadctl.restore.backups import RestorableBackup

    return RestorableBackup(folder_of(run.settings).find(backup), identities_of(run.settings))


def _beside(run: Run, target: "Target", backup: str, tables: list[str], *, dry_run: bool) -> None:
    from leadctl.render.views.restore import beside as view
    from leadctl.restore.scratch_schema import restore_beside

    result = restore_beside(
        target, _stored(run, backup), tables, dry_run=dry_run, narrate=run.narrate
    )
    run.emit(result, view)


def _merge(
    run: Run,
    target: "Target",
    backup: str,
    tables: list[str],
    consent: "Consent",
    *,
    dry_run: bool,
) -> None:
    from leadctl.render.views.restore import merged as view
    from leadctl.restore.tables import restore_tables

    result = restore_tables(
        target,
        _stored(run, backup),
        tables,
        consent,
        app=run.app.name,
        dry_run=dry_run,
        lock_timeout=run.settings.lock_timeout,
        narrate=run.narrate,
    )
    run.emit(result, view)
