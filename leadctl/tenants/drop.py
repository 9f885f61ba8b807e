"""Dropping a tenant: its schema, what is in it, and what is recorded of it; in one transaction."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from leadctl.apps.registry import App
from leadctl.catalog.citus import clean_up
from leadctl.errors import DatabaseInUse
from leadctl.journal.guard import permit, protection
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.postgres.connect import Connection, connect, set_timeouts
from leadctl.postgres.target import Target
from leadctl.postgres.translate import needs_privileges, told
from leadctl.reset import COUNT_SECONDS, TableLoss, count_rows
from leadctl.restore.database import maintenance
from leadctl.restore.in_place import drop_schema
from leadctl.tenants.citus import refuse_database
from leadctl.tenants.schemas import (
    QUERIES,
    TenantRun,
    check_name,
    find_tenant,
    forget_records,
    tenant_target,
)

DROP = "tenants drop"
"""What the guard and the journal call it."""
_AS_OWNER = "Connect as its owner. Nothing was changed."


@dataclass(frozen=True)
class DropPlan:
    """What dropping a tenant would lose."""

    name: str
    database: str
    protected: str | None
    """Why the database is protected, where it is."""
    revision: str | None
    tables: tuple[TableLoss, ...]


@dataclass(frozen=True)
class DroppedTenant:
    """A tenant that was dropped."""

    name: str
    database: str
    tables: int
    backup: str | None
    """The id of the backup that was made before."""


def plan_drop(target: Target, app: App, name: str, *, database: bool) -> DropPlan:
    """Return what dropping a tenant would lose; changes nothing.  Raises UnknownTenant."""
    tenant_at = tenant_target(target, name, database=database)
    with connect(tenant_at, "tenants", rows=True, statement_timeout=COUNT_SECONDS) as connection:
        tenant = find_tenant(connection, app, tenant_at.schema, shared=not database)
        names = QUERIES.column(connection, "tables_of", name=None if database else name)
        return DropPlan(
            name=name,
            database=tenant_at.database,
            protected=protection(connection, target),
            revision=tenant.revision,
            tables=tuple(TableLoss(each, _count(connection, each)) for each in names),
        )


def drop_database(run: TenantRun, backup: Callable[[], str | None]) -> DroppedTenant:
    """Drop a tenant that is a database, as `drop_tenant`; its sessions are not ended.

    Raises DatabaseInUse where there are some, too.
    """
    check_name(run.name, database=True, kept=True)
    tenant, verb = run.target.on(run.name), f"{DROP} {run.name}"
    with connect(tenant, "tenants") as connection:
        granted = permit(connection, tenant, verb, run.consent)
        refuse_database(connection)
        find_tenant(connection, run.app, tenant.schema, shared=False)
        with schema_lock(tenant, DROP, run.timeouts.lock_wait, run.narrate):
            made = backup()
        tables = QUERIES.column(connection, "tables_of", name=None)
        permit(connection, tenant, verb, granted)  # it may be protected by now
    with maintenance(tenant) as other:
        try:
            with needs_privileges(f"{run.name} was not dropped", _AS_OWNER):
                other.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(run.name)))
        except psycopg.errors.ObjectInUse as error:
            raise DatabaseInUse(
                f"{run.name} was not dropped: {told(error, detail=True)}",
                hint="Stop what uses it, and try again.",
            ) from None
    return DroppedTenant(run.name, run.name, len(tables), made)


def drop_tenant(run: TenantRun, backup: Callable[[], str | None]) -> DroppedTenant:
    """Drop a tenant; `backup` is called when that is agreed to, and returns the id of a backup.

    What others need stops it.  Raises Protected, NotConfirmed, UnknownTenant, DependentObjects and
    LockHeld before anything is changed, and what connecting and `backup` raise.
    """
    tenant = replace(run.target, schema=run.name)
    with connect(tenant, "tenants", like_pg_dump=True) as connection:
        granted = permit(connection, tenant, f"{DROP} {run.name}", run.consent)
        find_tenant(connection, run.app, run.name)
        with schema_lock(tenant, DROP, run.timeouts.lock_wait, run.narrate):
            made = backup()
            clean_up(connection)
            set_timeouts(connection, run.timeouts)
            tables = QUERIES.column(connection, "tables_of", name=run.name)
            with journaled(tenant, DROP, run.app.name) as entry, connection.transaction():
                permit(connection, tenant, f"{DROP} {run.name}", granted)  # it may be by now
                drop_schema(
                    connection, run.name, in_use="has objects that this role may not drop",
                    then=_AS_OWNER, as_whom=_AS_OWNER,
                )  # fmt: skip
                forget_records(connection, run.name)
                entry.commit_with(connection, dropped=len(tables), backup=made)
    return DroppedTenant(run.name, run.target.database, len(tables), made)


def _count(connection: Connection, table: str) -> int | None:
    with suppress(psycopg.errors.InsufficientPrivilege):
        return count_rows(connection, table, None)
    return None
