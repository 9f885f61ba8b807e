"""`leadctl backup` and its subcommands."""

from typing import Annotated

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.fleet import FleetUse
from leadctl.cli.group import subtree
from leadctl.cli.options import (
    BACKUP_FROM,
    BACKUP_IDENTITY,
    BACKUP_KEEPS,
    BACKUP_RECIPIENTS,
    BACKUP_TO,
    LOCK_WAIT,
    Tenant,
    Texts,
    argument,
    backup_ids,
    flag,
    option,
    table_names,
)
from leadctl.render import views

RolePasswords = Annotated[
    bool, flag("--role-passwords", "Include the password hashes of the roles.")
]
Exclude = Annotated[
    Texts,
    option("--exclude", "TABLE", "Leave this table out (repeatable).", names=table_names),
]
ExcludeData = Annotated[
    Texts,
    option(
        "--exclude-data",
        "TABLE",
        "Leave the rows of this table out (repeatable).",
        names=table_names,
    ),
]
Id = Annotated[
    str, argument("ID", 'A backup id, the beginning of one, or "latest".', names=backup_ids)
]
To = Annotated[str, option("--to", "PLACE", "A folder, or s3://bucket/prefix, gs://, az://.")]
Off = Annotated[bool, flag("--off", "Unpin it: prune may remove it again.")]

group = subtree("backup", "Backups")


@group.callback()
@command(
    Effect.ADDS,
    BACKUP_TO,
    BACKUP_RECIPIENTS,
    LOCK_WAIT,
    of_app=False,
    fleet=FleetUse(by_database=True),
    excluded={"tenant": ("role_passwords",)},
)
def backup(
    run: Run,
    *,
    exclude: Exclude = None,
    exclude_data: ExcludeData = None,
    role_passwords: RolePasswords = False,
    tenant: Tenant = None,
) -> None:
    r"""Back up the whole database; see also the subcommands.

    pg_dump reads one snapshot; the stream is compressed and encrypted to age public keys, so this
    machine needs no private key. Without a public key the backup is not encrypted.

    --tenant backs up one tenant's schema, into tenants/NAME of the folder. "latest" never means
    such a backup, unless --tenant is given.

    \b
    BACKUP_RECIPIENTS=age1… leadctl backup --to /var/backups/leadctl
    leadctl backup verify latest --restore
    """
    without = {"exclude": exclude or (), "exclude_data": exclude_data or ()}
    database = run.database().of_tenant(tenant)
    run.emit(database.backup(role_passwords=role_passwords, **without), views.backup.created)


group.leaf("create", summary="Back up the whole database (same as `leadctl backup`).")(backup)


@group.leaf("list")
@command(Effect.READS, BACKUP_FROM)
def list_(run: Run, *, tenant: Tenant = None) -> None:
    """List the backups: age, size, revision, verification."""
    run.emit(run.project().of_tenant(tenant).backups(), views.backup.listing)


@group.leaf("show")
@command(Effect.READS, BACKUP_FROM)
def show(run: Run, *, backup_id: Id, tenant: Tenant = None) -> None:
    """Show what is in a backup, and where it comes from."""
    run.emit(run.project().of_tenant(tenant).show_backup(backup_id), views.backup.show)


@group.leaf("verify")
@command(Effect.READS, BACKUP_FROM, BACKUP_IDENTITY, fleet=FleetUse(by_database=True))
def verify(
    run: Run,
    *,
    backup_id: Id,
    restore: Annotated[
        bool, flag("--restore", "Also restore it into a scratch database of the server.")
    ] = False,
    embedded: Annotated[
        bool, flag("--embedded", "Restore on the embedded server instead of the target's.")
    ] = False,
    tenant: Tenant = None,
) -> None:
    """Check every byte of a backup, and its contents.

    Exit 1 if anything is wrong.

    With the private key the backup is decrypted and read to its end. Without it, the result says
    what could not be checked. --restore also compares rows, constraints and revision. The result is
    stored with the backup.
    """
    database = run.database().of_tenant(tenant)
    result = database.verify_backup(backup_id, restore=restore, embedded=embedded)
    run.emit(result, views.backup.verify, ok=result.ok and result.not_rehearsed is None)


@group.leaf("copy")
@command(Effect.ADDS, BACKUP_FROM, of_app=False)
def copy(run: Run, *, backup_id: Id, to: To, tenant: Tenant = None) -> None:
    r"""Copy a backup to another disk or bucket.

    The copy keeps its id and its encryption; every byte is compared. Set BACKUP_COPY_TO to copy
    each new backup.

    \b
    leadctl backup copy latest --to s3://bucket/prefix
    """
    run.emit(run.project().of_tenant(tenant).copy_backup(backup_id, to), views.backup.copied)


@group.leaf("pin")
@command(Effect.ADDS, BACKUP_FROM, of_app=False)
def pin(run: Run, *, backup_id: Id, off: Off = False, tenant: Tenant = None) -> None:
    """Protect a backup from prune, whatever its age."""
    result = run.project().of_tenant(tenant).pin_backup(backup_id, pinned=not off)
    run.emit(result, views.backup.show)


@group.leaf("prune")
@command(Effect.DESTROYS, BACKUP_FROM, *BACKUP_KEEPS, of_app=False)
def prune(
    run: Run,
    *,
    yes: Annotated[
        bool, flag("--yes -y", "Remove them; without it, only list them.", consent=True)
    ] = False,
    tenant: Tenant = None,
) -> None:
    """Remove old backups; without --yes only list them.

    Kept are: the newest backup of each of the last days, weeks and months (see the options), the
    newest few in any case, and every pinned backup.
    """
    result = run.project().of_tenant(tenant).prune_backups(confirmed=yes)
    run.emit(result, views.backup.prune, ok=not result.left)
