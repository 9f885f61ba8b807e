"""`leadctl tenants`: the schemas that hold an app's tables each."""

from functools import partial
from typing import Annotated

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.fleet import FleetUse
from leadctl.cli.group import subtree
from leadctl.cli.options import (
    BACKUP_RECIPIENTS,
    BACKUP_TO,
    LOCK_TIMEOUT,
    LOCK_WAIT,
    TIMEOUTS,
    Backup,
    Confirm,
    Text,
    Yes,
    argument,
    exclusive,
    flag,
    option,
    seconds,
    tenant_names,
)
from leadctl.errors import UsageError
from leadctl.render import views

Name = Annotated[str, argument("NAME", "The tenant's schema.", names=tenant_names)]
New = Annotated[str, argument("NEW", "The new name.")]
Like = Annotated[
    Text,
    option("--like", "TENANT", "Copy the owner and grants of this tenant.", names=tenant_names),
]
Whole = Annotated[bool, flag("--database", "The tenant is a database, not a schema.")]
NoOwner = Annotated[bool, flag("--no-owner", "Skip ownership and grants; the copy belongs to you.")]

group = subtree("tenants", "Schema", "Manage tenants: schemas that each hold the app's tables.")


@group.leaf("list")
@command(Effect.READS, outputs=("table", "json", "csv"), fleet=FleetUse(refuses=("PATTERN",)))
def list_(
    run: Run,
    *,
    pattern: Annotated[
        Text, argument("PATTERN", "Only tenants with such a name, e.g. 'tenant_*'.")
    ] = None,
) -> None:
    """List the tenants: revision, pending, size, owner."""
    result = run.of_app().tenants.list_tenants(pattern)
    run.emit(result, views.tenants.listing, csv=lambda found: run.csv(found.tenants))


@group.leaf("create")
@command(Effect.ADDS, *TIMEOUTS, excluded={"database": ("like",)})
def create(
    run: Run,
    *,
    name: Name,
    database: Whole = False,
    like: Like = None,
    owner: Annotated[Text, option("--owner", "ROLE", "Make this role the owner.")] = None,
    no_seed: Annotated[bool, flag("--no-seed", "Insert no fixtures or seed files.")] = False,
    yes: Yes = False,
    confirm: Confirm = None,
) -> None:
    r"""Create a tenant: schema, revisions, fixtures, grants.

    If it was interrupted, the same command continues.

    \b
    leadctl tenants create tenant_acme --like tenant_template
    leadctl tenants create shop_acme --database --owner acme
    """
    consent = run.consent(yes=yes, confirm=confirm)
    tenants = run.database(may_create=True).tenants
    made = tenants.create_tenant(
        name, database=database, like=like, owner=owner, fixtures=not no_seed, confirm=consent
    )
    run.emit(made, views.tenants.created)


@group.leaf("drop")
@command(Effect.DESTROYS, BACKUP_TO, BACKUP_RECIPIENTS, *TIMEOUTS)
def drop(
    run: Run,
    *,
    name: Name,
    database: Whole = False,
    backup: Backup = False,
    yes: Yes = False,
    confirm: Confirm = None,
) -> None:
    """Drop a tenant with everything in it.

    Nothing else is dropped: the command is refused if objects elsewhere depend on the tenant, or
    sessions are connected to its database.
    """
    consent, tenants = run.consent(yes=yes, confirm=confirm), run.database().tenants
    show = run.show(views.tenants.drop_plan)
    how = {"database": database, "backup": backup}
    run.emit(tenants.drop_tenant(name, **how, confirm=consent, show=show), views.tenants.dropped)


@group.leaf("rename")
@command(Effect.DESTROYS, LOCK_WAIT, LOCK_TIMEOUT)
def rename(
    run: Run,
    *,
    name: Name,
    new: New,
    database: Whole = False,
    yes: Yes = False,
    confirm: Confirm = None,
) -> None:
    """Rename a tenant, and change search paths that name it."""
    consent, tenants = run.consent(yes=yes, confirm=confirm), run.database().tenants
    result = tenants.rename_tenant(name, new, database=database, confirm=consent)
    run.emit(result, views.tenants.renamed)


@group.leaf("move")
@command(Effect.DESTROYS, LOCK_WAIT, LOCK_TIMEOUT, excluded={"to_node": ("no_owner", "database")})
def move(
    run: Run,
    *,
    name: Name,
    database: Whole = False,
    to: Annotated[
        Text, option("--to", "PLACE", "The other database: an [env.NAME] or a URL.")
    ] = None,
    to_node: Annotated[
        Text, option("--to-node", "HOST:PORT", "In a Citus cluster: the node to move it to.")
    ] = None,
    window: Annotated[
        str, option("--window", "TIME", "The longest time that it may be closed.")
    ] = "10m",
    no_owner: NoOwner = False,
    yes: Yes = False,
    confirm: Confirm = None,
) -> None:
    r"""Move a tenant to another database.

    The tenant is closed to writes, copied, compared by counts and checksums, and opened in the
    other database. The old schema is kept, closed. If the move fails, the tenant is opened again;
    if the run is killed, the same command finishes it.

    In a Citus cluster use --to-node: Citus moves the tenant while writers continue.

    \b
    leadctl tenants move tenant_acme --to us --window 5m
    leadctl tenants move shop_acme --database --to us
    """
    exclusive(to=to, to_node=to_node)
    if to_node is not None:
        run.emit(run.database().tenants.move_to_node(name, to_node), views.tenants.on_node)
        return
    if to is None:
        raise UsageError("No destination is given.", hint="Add --to or --to-node.")
    consent, limit = run.consent(yes=yes, confirm=confirm), seconds("--window", window)
    tenants = run.database().tenants
    moved = tenants.move_tenant(
        name, to, database=database, window=limit, owners=not no_owner, confirm=consent
    )
    run.emit(moved, partial(views.tenants.moved, database=database))


@group.leaf("open")
@command(Effect.DESTROYS, LOCK_WAIT)
def open_(
    run: Run,
    *,
    name: Name,
    database: Whole = False,
    handed_over: Annotated[
        bool, flag("--handed-over", "Take back a tenant whose moved copy is gone.")
    ] = False,
    yes: Yes = False,
    confirm: Confirm = None,
) -> None:
    """Open a tenant that a killed move left closed."""
    consent = run.consent(yes=yes, confirm=confirm)
    tenants = run.database().tenants
    how = {"database": database, "handed_over": handed_over}
    run.emit(tenants.open_tenant(name, **how, confirm=consent), views.tenants.opened)
