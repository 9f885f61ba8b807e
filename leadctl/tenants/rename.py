"""Renaming a tenant: its schema, what is recorded of it, and the search paths that lead to it.

All is one transaction.  Sessions that are open go on with the path that they have.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import psycopg
from psycopg import sql

from leadctl.errors import DatabaseExists, DatabaseInUse, SchemaExists
from leadctl.journal.guard import permit
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.postgres.connect import Connection, connect, set_timeouts
from leadctl.postgres.provision import has_schema
from leadctl.postgres.queries import written_by_server
from leadctl.postgres.translate import needs_privileges, told
from leadctl.restore.database import maintenance, set_database_name
from leadctl.tenants.citus import refuse_database
from leadctl.tenants.schemas import (
    QUERIES,
    TenantRun,
    check_name,
    find_tenant,
    move_records,
)

RENAME = "tenants rename"
"""What the guard and the journal call it."""
_ELEMENT = re.compile(r'\s*(?:"(?P<quoted>(?:[^"]|"")*)"|(?P<plain>[^",\s]+))\s*(?:,|$)')


@dataclass(frozen=True)
class RenamedTenant:
    """A tenant under its new name."""

    name: str
    previous: str
    database: str
    paths: tuple[str, ...]
    """Roles, databases and functions whose search path leads to the new name now."""
    mentions: tuple[str, ...]
    """Functions that name the old schema in their text: nobody but their author can change that."""


class _Path(NamedTuple):
    """A search path that is to lead elsewhere."""

    what: str
    """What has it, for people."""
    whose: sql.Composed
    """The same, as ALTER names it."""
    path: sql.Composed

    @property
    def statement(self) -> sql.Composed:
        """What sets it."""
        return sql.SQL("ALTER {} SET search_path TO {}").format(self.whose, self.path)


def rename_tenant(run: TenantRun, new: str) -> RenamedTenant:
    """Rename a tenant, which may be a kept one.

    Raises Protected, NotConfirmed, InvalidTenantName, UnknownTenant, SchemaExists, LockHeld and
    InsufficientPrivilege; then nothing was changed.
    """
    tenant, renamed = replace(run.target, schema=run.name), replace(run.target, schema=new)
    with connect(tenant, "tenants") as connection:
        granted = permit(connection, tenant, f"{RENAME} {run.name}", run.consent)
        check_name(new)
        find_tenant(connection, run.app, run.name)
        if has_schema(connection, new):
            raise SchemaExists(
                f"In {connection.info.dbname} there is a schema {new} already.",
                hint="Choose another name, or rename that one first.",
            )
        # In the order of their names, so that two renames never wait for each other.
        first, second = sorted((tenant, renamed), key=lambda each: each.schema)
        wait = run.timeouts.lock_wait
        with (
            schema_lock(first, RENAME, wait, run.narrate),
            schema_lock(second, RENAME, wait, run.narrate),
            journaled(renamed, RENAME, run.app.name) as entry,
        ):
            set_timeouts(connection, run.timeouts)
            with connection.transaction():
                permit(connection, tenant, f"{RENAME} {run.name}", granted)
                paths = _rename_schema(connection, run.name, new)
                entry.commit_with(connection, previous=run.name, paths=len(paths))
        mentions = QUERIES.column(connection, "mentions", name=run.name)
        if QUERIES.value(connection, "role_of_the_name", name=run.name):
            run.narrate(
                f'The role {run.name} finds its schema by "$user", and no longer finds this one: '
                "rename the role, too, or set its search_path."
            )
        run.narrate(
            "Sessions that are open keep the path that they have: let applications reconnect."
        )
    return RenamedTenant(new, run.name, run.target.database, tuple(paths), tuple(mentions))


def rename_database(run: TenantRun, new: str) -> RenamedTenant:
    """Rename a tenant that is a database, as `rename_tenant`; its sessions are not ended.

    Raises DatabaseExists and DatabaseInUse, too.
    """
    tenant, renamed = run.target.on(run.name), run.target.on(new)
    with connect(tenant, "tenants") as connection:
        permit(connection, tenant, f"{RENAME} {run.name}", run.consent)
        refuse_database(connection)
        check_name(new, database=True)
        find_tenant(connection, run.app, tenant.schema, shared=False)
    with maintenance(tenant) as other:
        _alter_database(other, run.name, new)
    with journaled(renamed, RENAME, run.app.name) as entry:
        entry.note(previous=run.name)
    run.narrate(f"Backups that a fleet made of it are still in the folder {run.name}.")
    return RenamedTenant(new, run.name, new, (), ())


def _alter_database(connection: Connection, name: str, new: str) -> None:
    as_owner = "Connect as its owner, who has CREATEDB. Nothing was changed."
    try:
        with needs_privileges(f"{name} was not renamed", as_owner):
            set_database_name(connection, name, new)
    except psycopg.errors.DuplicateDatabase:
        raise DatabaseExists(
            f"There is a database {new} already.", hint="Choose another name. Nothing was changed."
        ) from None
    except psycopg.errors.ObjectInUse as error:
        raise DatabaseInUse(
            f"{name} was not renamed: {told(error, detail=True)}",
            hint="Stop what uses it, and try again.",
        ) from None


def _rename_schema(connection: Connection, name: str, new: str) -> list[str]:
    """Rename a schema in the caller's transaction, with records and search paths.

    Returns whose search paths were changed.  Raises InsufficientPrivilege and SchemaExists.
    """
    paths = _paths(connection, name, new)
    rename = sql.SQL("ALTER SCHEMA {} RENAME TO {}")
    try:
        with needs_privileges(
            f"{name} cannot be renamed as the role {connection.info.user}",
            "Connect as its owner, who may also set the search paths of roles that lead there. "
            "Nothing was changed.",
        ):
            for path in paths:  # first, while functions have the names that were read
                connection.execute(path.statement)
            connection.execute(rename.format(sql.Identifier(name), sql.Identifier(new)))
    except psycopg.errors.DuplicateSchema:
        raise SchemaExists(
            f"In {connection.info.dbname} there is a schema {new} already.",
            hint="Choose another name. Nothing was changed.",
        ) from None
    move_records(connection, name, new)
    return [path.what for path in paths]


def _paths(connection: Connection, name: str, new: str) -> list[_Path]:
    """Return what leads to a schema by its name, and how it is led to another one."""
    database = sql.Identifier(connection.info.dbname)
    found: list[_Path] = []
    rows = QUERIES.rows(connection, "search_paths")
    of_here = {role for role, here, _ in rows if here}
    for role, here, text in rows:
        path = _parse_path(text)
        # What is set for every database is another one's, too: so it is set for this one.
        if name not in path or (not here and role in of_here):
            continue
        if role is None:
            whose, what = sql.SQL("DATABASE {}").format(database), connection.info.dbname
        else:
            alter = sql.SQL("ROLE {} IN DATABASE {}")
            whose, what = alter.format(sql.Identifier(role), database), f"role {role}"
        found.append(_Path(what, whose, _written(path, name, new)))
    for routine, text in QUERIES.rows(connection, "paths_of_routines"):
        path = _parse_path(text)
        if name in path:
            whose = sql.SQL("ROUTINE {}").format(written_by_server(routine))
            found.append(_Path(routine, whose, _written(path, name, new)))
    return found


def _parse_path(text: str) -> list[str]:
    """Return the schemas of a search path as it is written in a setting."""
    return [
        (match["quoted"].replace('""', '"') if match["plain"] is None else match["plain"].lower())
        for match in _ELEMENT.finditer(text)
    ]


def _written(path: Sequence[str], name: str, new: str) -> sql.Composed:
    schemas = [sql.Identifier(new if schema == name else schema) for schema in path]
    return sql.SQL(", ").join(schemas)
