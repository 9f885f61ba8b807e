"""`leadctl backup` and its subcommands."""

from typing import TYPE_CHECKING, Annotated

import typer

from leadctl.cli import complete
from leadctl.cli.exit_codes import ExitCode
from leadctl.cli.fast_typer import Tree
from leadctl.cli.group import LeadctlGroup
from leadctl.cli.options import Yes
from leadctl.cli.run import (
    BACKUP_FROM,
    BACKUP_IDENTITY,
    BACKUP_KEEPS,
    BACKUP_RECIPIENTS,
    BACKUP_TO,
    LOCK_WAIT,
    Run,
    command,
)

if TYPE_CHECKING:
    from leadctl.backup.verify import Rehearse

RolePasswords = Annotated[
    bool,
    typer.Option(
        "--role-passwords", help="Put the roles' password hashes in, too.", show_envvar=False
    ),
]
Id = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help='An id, its beginning, or "latest".',
        show_default=False,
        autocompletion=complete.backups,
    ),
]

group = Tree(name="backup", cls=LeadctlGroup, invoke_without_command=True)


@group.callback()
@command(BACKUP_TO, BACKUP_RECIPIENTS, LOCK_WAIT)
def backup(run: Run, *, role_passwords: RolePasswords = False) -> None:
    r"""Back up the whole database; the subcommands list, verify and prune.

    Through pg_dump, from one snapshot: compressed and encrypted as it streams, to age public
    keys, so that this machine needs no private one. Without a key the backup is plain.

    \b
    BACKUP_RECIPIENTS=age1… leadctl backup --to /var/backups/leadctl
    leadctl backup verify latest --restore
    """
    _create(run, role_passwords=role_passwords)


@group.leaf("create")
@command(BACKUP_TO, BACKUP_RECIPIENTS, LOCK_WAIT)
def create(run: Run, *, role_passwords: RolePasswords = False) -> None:
    """Back up the whole database: what `leadctl backup` does."""
    _create(run, role_passwords=role_passwords)


@group.leaf("list")
@command(BACKUP_FROM)
def list_(run: Run) -> None:
    """List the backups: age, size, revision, and whether they were verified."""
    from leadctl.backup.configured import folder_of
    from leadctl.backup.inventory import list_backups
    from leadctl.render.views.backup import listing as view

    run.emit(list_backups(folder_of(run.settings)), view)


@group.leaf("show")
@command(BACKUP_FROM)
def show(run: Run, *, backup_id: Id) -> None:
    """Show what is in a backup, and where it comes from."""
    from leadctl.backup.configured import folder_of
    from leadctl.backup.inventory import show as operation
    from leadctl.render.views.backup import show as view

    run.emit(operation(folder_of(run.settings).find(backup_id)), view)


@group.leaf("verify")
@command(BACKUP_FROM, BACKUP_IDENTITY)
def verify(
    run: Run,
    *,
    backup_id: Id,
    restore: Annotated[
        bool,
        typer.Option(
            "--restore",
            help="Restore it into a scratch database on the target's server, too.",
            show_envvar=False,
        ),
    ] = False,
    embedded: Annotated[
        bool,
        typer.Option(
            "--embedded",
            help="Restore on the embedded server instead of the target's.",
            show_envvar=False,
        ),
    ] = False,
) -> None:
    """Check every byte of a backup, and what is in it; exit 1 where anything is wrong.

    With the private key it is decrypted and read to its end; without, it says what could not be
    checked. --restore compares rows, constraints and revision, too. The outcome is kept with it.
    """
    from leadctl.backup.configured import folder_of, identities_of
    from leadctl.backup.reader import BackupReader
    from leadctl.backup.verify import verify as operation
    from leadctl.render.views.backup import verify as view

    found = folder_of(run.settings).find(backup_id)
    rehearse = _rehearsal(run, embedded=embedded) if restore or embedded else None
    result = operation(BackupReader(found, identities_of(run.settings)), rehearse)
    run.emit(result, view)
    if not result.ok:
        raise typer.Exit(ExitCode.NO)


@group.leaf("pin")
@command(BACKUP_FROM)
def pin(
    run: Run,
    *,
    backup_id: Id,
    off: Annotated[
        bool, typer.Option("--off", help="Let prune have it again.", show_envvar=False)
    ] = False,
) -> None:
    """Keep a backup from prune, whatever its age."""
    from leadctl.backup.configured import folder_of
    from leadctl.backup.inventory import show as operation
    from leadctl.render.views.backup import show as view

    found = folder_of(run.settings).find(backup_id)
    found.pin(pinned=not off)
    run.emit(operation(found), view)


@group.leaf("prune")
@command(BACKUP_FROM, *BACKUP_KEEPS)
def prune(run: Run, *, yes: Yes = False) -> None:
    """Remove old backups; shows what would go, until --yes.

    The newest of so many days, weeks and months stay, the newest few always, and pinned ones.
    """
    from leadctl.backup.configured import folder_of
    from leadctl.backup.inventory import Retention
    from leadctl.backup.inventory import prune as operation
    from leadctl.render.views.backup import prune as view

    settings = run.settings
    retention = Retention(
        daily=settings.backup_keep_daily,
        weekly=settings.backup_keep_weekly,
        monthly=settings.backup_keep_monthly,
        minimum=settings.backup_keep_minimum,
    )
    result = operation(folder_of(settings), retention, confirmed=yes)
    run.emit(result, view)
    if result.left:
        raise typer.Exit(ExitCode.NO)


def _create(run: Run, *, role_passwords: bool) -> None:
    from leadctl.cli.backups import backed_up
    from leadctl.render.views.backup import created as view

    run.emit(backed_up(run, run.target(), role_passwords=role_passwords), view)


def _rehearsal(run: Run, *, embedded: bool) -> "Rehearse":
    from functools import partial

    from leadctl.db import embedded_target
    from leadctl.restore.backups import rehearse

    target = embedded_target(run.settings.project, run.narrate) if embedded else run.target()
    return partial(rehearse, target=target, narrate=run.narrate, progress=run.console.progress)
