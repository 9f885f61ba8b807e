"""`leadctl restore`."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.exit_codes import ExitCode
from leadctl.cli.group import app
from leadctl.cli.options import (
    BACKUP_FROM,
    BACKUP_IDENTITY,
    LOCK_TIMEOUT,
    LOCK_WAIT,
    Confirm,
    Number,
    Tenant,
    Text,
    Texts,
    Yes,
    argument,
    backup_ids,
    exclusive,
    flag,
    moment,
    option,
    table_names,
)
from leadctl.errors import LeadctlError, UsageError
from leadctl.render import views

if TYPE_CHECKING:
    from leadctl.api.database import Database

Source = Annotated[
    str,
    argument("BACKUP", 'A backup id, the beginning of one, "latest", or a path.', names=backup_ids),
]
Into = Annotated[Text, option("--into", "DATABASE", "Restore into this new database instead.")]
Table = Annotated[
    Texts,
    option(
        "--table",
        "TABLE",
        "Restore only this table; see above (repeatable).",
        names=table_names,
    ),
]
DataOnly = Annotated[
    bool, flag("--data-only", "Restore rows into existing tables: all, or --table.")
]
NoOwner = Annotated[
    bool, flag("--no-owner", "Skip ownership and grants; restored objects belong to you.")
]
KeepGoing = Annotated[bool, flag("--keep-going", "Skip what fails, and report it.")]
Skip = Annotated[
    Texts, option("--skip", "ENTRY", 'Leave out an entry, e.g. "EXTENSION - postgis" (repeatable).')
]
InPlace = Annotated[
    bool, flag("--in-place", "Replace the app's own schemas, without a new database.")
]
At = Annotated[
    Text,
    option("--at", "TIME", 'Restore this moment, e.g. "2026-11-28 14:02" (UTC).'),
]
BeforeRun = Annotated[
    Number, option("--before-run", "RUN", "Restore the moment before this run (leadctl history).")
]
TrustScript = Annotated[
    bool, flag("--trust-script", "Allow a script to commit and to reach other databases.")
]
_EXCLUDED = {
    "tenant": ("into", "table", "data_only", "in_place", "schema_only", "drop_old", "keep_going",
               "skip", "trust_script", "at", "before_run"),
    "data_only": ("in_place", "into", "schema_only", "keep_going", "skip", "no_owner"),
    "table": ("in_place", "into", "schema_only", "keep_going", "skip"),
    "in_place": ("into", "schema_only", "dry_run", "drop_old", "keep_going", "skip"),
}  # fmt: skip
"""What cannot be given with each way to restore less than all into a new database."""


@app.leaf("restore", "Backups")
@command(
    Effect.DESTROYS,
    BACKUP_FROM,
    BACKUP_IDENTITY,
    LOCK_WAIT,
    LOCK_TIMEOUT,
    of_app=False,
    excluded=_EXCLUDED,
)
def restore(
    run: Run,
    *,
    backup: Source = "latest",
    at: At = None,
    before_run: BeforeRun = None,
    into: Into = None,
    table: Table = None,
    data_only: DataOnly = False,
    in_place: InPlace = False,
    tenant: Tenant = None,
    schema_only: Annotated[bool, flag("--schema-only", "Restore no rows.")] = False,
    jobs: Annotated[int, option("--jobs", "N", "Number of parallel connections.", min=1)] = 2,
    drop_old: Annotated[bool, flag("--drop-old", "Drop the database that was replaced.")] = False,
    no_owner: NoOwner = False,
    trust_script: TrustScript = False,
    keep_going: KeepGoing = False,
    skip: Skip = None,
    dry_run: Annotated[bool, flag("--dry-run", "Show what would happen.")] = False,
    yes: Yes = False,
    confirm: Confirm = None,
) -> None:
    r"""Restore a backup: load it, compare it, then swap it in.

    The backup is loaded into a new database. The old one is unchanged until the swap, and is then
    kept under another name. A protected database needs --confirm with its name. BACKUP may also be
    output of pg_dump: a script, an archive or a folder, compressed or not.

    --table restores a dropped table as it was. An existing table is not changed: its rows are
    loaded into a separate schema, and the SQL that copies them is printed. With --data-only they
    are copied into the live table.

    --tenant restores one tenant while others keep working: its schema is loaded, compared and
    swapped in one transaction, and the old schema is kept under another name.

    \b
    leadctl restore latest --into shop_yesterday
    leadctl restore latest --table orders
    leadctl restore --table orders --data-only --dry-run
    leadctl restore --at "2026-11-28 14:02" --table orders
    leadctl restore ./from-elsewhere.sql.gz --into shop_elsewhere
    """
    how = _How(backup, not no_owner, dry_run, run.consent(yes=yes, confirm=confirm))
    live = run.database()
    asks = not (dry_run or into or tenant or (table and not data_only))
    guard = partial(live.foresee, "restore", how.consent) if asks else None
    with _restored_from(live, backup, at, before_run, guard) as database:
        if tenant or data_only or table or in_place:
            _restore_part(run, database, how, tenant, table or (), data_only=data_only)
        elif dry_run:
            partly = keep_going or bool(skip)
            _show_plan(run, database, how, into, trust_script=trust_script, partly=partly)
        else:
            result = database.restore(
                backup,
                into=into,
                owners=how.owners,
                rows=not schema_only,
                jobs=jobs,
                drop_old=drop_old,
                trust_script=trust_script,
                keep_going=keep_going,
                skip=skip or (),
                confirm=how.consent,
                show=run.show(views.restore.plan),
            )
            _end(run, result, database.on(into) if into else database)


class _How(NamedTuple):
    """What each way to restore is told."""

    backup: str
    owners: bool
    dry_run: bool
    consent: Any


def _restore_part(
    run: Run,
    database: "Database",
    how: _How,
    tenant: str | None,
    tables: Sequence[str],
    *,
    data_only: bool,
) -> None:
    """Restore a tenant, rows or tables, or in place where none of them is asked for."""
    backup, owners, dry_run, consent = how
    if tenant is not None:
        back = database.tenants.restore_tenant(
            tenant, backup, owners=owners, dry_run=dry_run, confirm=consent
        )
        run.emit(back, views.restore.tenant)
        _exit(complete=back.ok)
    elif data_only:
        rows = database.restore_rows(tables, backup, dry_run=dry_run, confirm=consent)
        run.emit(rows, views.restore.merged)
        _exit(complete=not rows.gone)
    else:
        result = (
            database.restore_tables(tables, backup, owners=owners, dry_run=dry_run)
            if tables
            else database.restore_in_place(backup, owners=owners, confirm=consent)
        )
        run.emit(result, views.restore.by_name)
        _exit(complete=result.ok)


def _restored_from(
    database: "Database",
    backup: str,
    at: str | None,
    before_run: int | None,
    guard: Callable[[], None] | None,
) -> "AbstractContextManager[Database]":
    """Return the database with its backups, or with what it was at a moment.

    A guard that is going to ask refuses ahead of recovering, which takes long.
    """
    exclusive(at=at, before_run=before_run)
    if at is None and before_run is None:
        return nullcontext(database)
    if backup != "latest":
        raise UsageError("BACKUP excludes --at and --before-run.", hint="Give one of them.")
    when = None if at is None else moment("--at", at)
    if guard is not None:
        guard()
    return database.as_of(when, before_run=before_run)


def _show_plan(
    run: Run, database: "Database", how: _How, into: str | None, *, trust_script: bool, partly: bool
) -> None:

    plan = database.restore_plan(how.backup, into=into)
    run.emit(plan, views.restore.plan)
    database.restore_preflight(
        plan, how.backup, owners=how.owners, trust_script=trust_script, partly=partly
    )


def _end(run: Run, result: Any, database: "Database") -> None:
    """Print a result and how the schema stands to the revisions; end with its exit code."""
    run.emit(result, views.restore.restored)
    if result.revision is not None and not run.console.quiet:
        _say_migrations(run, database)
    _exit(complete=result.complete)


def _exit(*, complete: bool) -> None:
    if not complete:
        raise typer.Exit(ExitCode.PARTLY)


def _say_migrations(run: Run, database: "Database") -> None:
    """Say how the restored schema stands to the revisions that are here."""
    from leadctl.migrate.revision import RevisionState

    try:
        found = database.status()
    except LeadctlError as error:
        run.narrate(f"Migrations: {error.message}")
        return
    counted = {state.value: found.count(state) for state in RevisionState}
    said = ", ".join(f"{count} {state}" for state, count in counted.items() if count)
    run.narrate(f"Migrations of {found.app}: {said}. See: leadctl migrate status")
