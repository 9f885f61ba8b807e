"""`leadctl tenants`: the schemas that hold an app's tables each."""

from typing import Annotated

from leadctl.cli.command import Effect, Run, command
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
    flag,
    option,
    tenant_names,
)

Name = Annotated[str, argument("NAME", "The tenant's schema.", names=tenant_names)]
New = Annotated[str, argument("NEW", "What to call it.")]
Like = Annotated[
    Text,
    option("--like", "TENANT", "Give it the owner and grants of this one.", names=tenant_names),
]

group = subtree("tenants", "Schema", "Schemas that hold one app's tables each.")


@group.leaf("list")
@command(Effect.READS, outputs=("table", "json", "csv"))
def list_(
    run: Run,
    *,
    pattern: Annotated[
        Text, argument("PATTERN", "What their names are like, e.g. 'tenant_*'.")
    ] = None,
) -> None:
    """List the tenants: revision, pending, size, owner."""
    from leadctl.render.views.tenants import listing as view

    result = run.of_app().tenants.list_tenants(pattern)
    run.emit(result, view, csv=lambda found: run.csv(found.tenants))


@group.leaf("create")
@command(Effect.ADDS, *TIMEOUTS)
def create(
    run: Run,
    *,
    name: Name,
    like: Like = None,
    owner: Annotated[Text, option("--owner", "ROLE", "Let this role own it.")] = None,
    no_seed: Annotated[bool, flag("--no-seed", "Bring in no fixtures and seed files.")] = False,
    yes: Yes = False,
    confirm: Confirm = None,
) -> None:
    r"""Make a tenant: schema, revisions, fixtures, grants.

    If it was interrupted, the same command continues.

    \b
    leadctl tenants create tenant_acme --like tenant_template
    """
    from leadctl.render.views.tenants import created as view

    consent = run.consent(yes=yes, confirm=confirm)
    tenants = run.database(may_create=True).tenants
    made = tenants.create_tenant(
        name, like=like, owner=owner, fixtures=not no_seed, confirm=consent
    )
    run.emit(made, view)


@group.leaf("drop")
@command(Effect.DESTROYS, BACKUP_TO, BACKUP_RECIPIENTS, *TIMEOUTS)
def drop(
    run: Run,
    *,
    name: Name,
    backup: Backup = False,
    yes: Yes = False,
    confirm: Confirm = None,
) -> None:
    """Drop a tenant with all that is in it.

    Nothing else goes with it: what depends on it elsewhere stops it.
    """
    from leadctl.render.views import tenants as views

    consent, tenants = run.consent(yes=yes, confirm=confirm), run.database().tenants
    show = run.show(views.drop_plan)
    run.emit(tenants.drop_tenant(name, backup=backup, confirm=consent, show=show), views.dropped)


@group.leaf("rename")
@command(Effect.DESTROYS, LOCK_WAIT, LOCK_TIMEOUT)
def rename(run: Run, *, name: Name, new: New, yes: Yes = False, confirm: Confirm = None) -> None:
    """Rename a tenant, with the search paths that lead to it."""
    from leadctl.render.views.tenants import renamed as view

    consent = run.consent(yes=yes, confirm=confirm)
    run.emit(run.database().tenants.rename_tenant(name, new, confirm=consent), view)
