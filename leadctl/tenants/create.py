"""Making a tenant: its schema, the app's revisions, the fixtures, and the privileges of a tenant.

A run that was killed is continued by the same command: the journal says that it began.
"""

from collections.abc import Callable
from dataclasses import dataclass

from psycopg import sql

from leadctl.apps.registry import App
from leadctl.crypto import Keyring
from leadctl.errors import DatabaseExists, InsufficientPrivilege, MissingRole, SchemaExists
from leadctl.journal import state
from leadctl.journal.runs import journaled
from leadctl.migrate.revisions import read_history
from leadctl.migrate.up import MigrateResult
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.provision import connect_or_create, ensure_schema, has_schema
from leadctl.postgres.queries import written_by_server
from leadctl.postgres.target import DEFAULT_SCHEMA, Target
from leadctl.postgres.translate import needs_privileges
from leadctl.progress import Narrate
from leadctl.restore.database import maintenance
from leadctl.seed.seed import check_key, seed
from leadctl.tenants.schemas import QUERIES, check_name, find_tenant, tenant_target

CREATE = "tenants create"
"""What the journal calls it."""


@dataclass(frozen=True)
class CreatedTenant:
    """A tenant that was made."""

    name: str
    app: str
    database: str
    revision: str | None
    """What it is at."""
    applied: int
    """Revisions that this run applied."""
    rows: int
    """Fixtures and rows of seed files that it inserted."""
    owner: str
    like: str | None
    """The tenant whose grants it has."""
    grants: int
    """Privileges that were granted on it, and default privileges."""


def create_tenant(
    target: Target,
    app: App,
    keyring: Keyring,
    name: str,
    *,
    database: bool,
    like: str | None,
    owner: str | None,
    fixtures: bool,
    migrate: Callable[[Target], MigrateResult],
    narrate: Narrate,
) -> CreatedTenant:
    """Make a tenant, or continue with one whose making was ended.

    It is a schema, or a `database` with the target's schema.  `migrate` applies the app's revisions
    to it.  It gets the owner and the grants of the schema `like`, where one is named; `owner` goes
    before its owner.  Raises InvalidTenantName, SchemaExists, DatabaseExists, UnknownTenant,
    MissingRole, and what migrate and seed raise.
    """
    check_name(name, database=database)
    if not database:
        app.require_table_in_each_schema()
    if fixtures:
        check_key(app, keyring)
    read_history(app.versions).goals  # noqa: B018 - raises where it could not be applied
    tenant = tenant_target(target, name, database=database)
    if database and owner is not None:
        with maintenance(tenant) as other:  # before the database is made
            _require_role(other, owner)
    with connect_or_create(tenant, "tenants", narrate) as connection:
        if like is not None:
            owner = owner or find_tenant(connection, app, like).owner
        if owner is not None:
            _require_role(connection, owner)
        _require_free(connection, tenant, narrate, database=database)
        with journaled(tenant, CREATE, app.name) as entry:
            ensure_schema(connection, tenant, narrate)
            migrated = migrate(tenant)
            inserted = seed(tenant, app, keyring, narrate).inserted if fixtures else 0
            grants = _set_privileges(tenant, owner, like, database=database)
            entry.note(applied=len(migrated.applied), inserted=inserted, like=like)
        return CreatedTenant(
            name=name,
            app=app.name,
            database=tenant.database,
            revision=migrated.current,
            applied=len(migrated.applied),
            rows=inserted,
            owner=_owner(connection, None if database else name),
            like=like,
            grants=grants,
        )


def _owner(connection: Connection, schema: str | None) -> str:
    """Return the owner of a schema, or of the database."""
    if schema is None:
        return str(QUERIES.value(connection, "database"))
    return str(QUERIES.value(connection, "schema_owner", name=schema))


def _require_role(connection: Connection, owner: str) -> None:
    may = QUERIES.value(connection, "role", name=owner)
    if may is None:
        raise MissingRole(
            f"There is no role {owner} on this server.", hint=f'Make it: CREATE ROLE "{owner}"'
        )
    if not may:
        raise InsufficientPrivilege(
            f"The role {connection.info.user} may not make {owner} an owner.",
            hint=f'Let an administrator run: GRANT "{owner}" TO "{connection.info.user}"',
        )


def _require_free(
    connection: Connection, tenant: Target, narrate: Narrate, *, database: bool
) -> None:
    """Refuse an existing schema, unless an ended run of the same command began it.

    Of a database that was made just now, or by a run that was ended, nothing is there yet.
    """
    if not (state.has_tables(connection) if database else has_schema(connection, tenant.schema)):
        return
    if state.is_there(connection):
        last = QUERIES.one(connection, "last_change", name=tenant.schema)
        if last is not None and last[0] == CREATE and last[1] != "done":
            narrate(f"Continuing with {tenant.schema}, which an interrupted run began.")
            return
    if database:
        raise DatabaseExists(
            f"There is a database {tenant.database} already.",
            hint="If it is to be a tenant, bring it up to date: leadctl migrate --url URL",
        )
    raise SchemaExists(
        f"In {connection.info.dbname} there is a schema {tenant.schema} already.",
        hint=f"If it is to be a tenant, bring it up to date: leadctl migrate --schema "
        f"{tenant.schema}",
    )


def _set_privileges(tenant: Target, owner: str | None, like: str | None, *, database: bool) -> int:
    """Give a tenant's objects their owner, and the grants of another one, in one transaction."""
    if owner is None:
        return 0
    from leadctl.restore.in_place import own_objects

    name = tenant.database if database else tenant.schema
    role, schema = sql.Identifier(owner), sql.Identifier(tenant.schema)
    with (
        connect(tenant, "tenants") as connection,
        connection.transaction(),
        needs_privileges(
            f"{name} was created, but its privileges are not set",
            "Connect as a role that may set them, and run the same command again.",
        ),
    ):
        for each in own_objects(connection, [tenant.schema]):
            alter = sql.SQL("ALTER {} {} OWNER TO {}")
            connection.execute(alter.format(written_by_server(each.kind), each.name, role))
        if tenant.schema != DEFAULT_SCHEMA:
            connection.execute(sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(schema, role))
        if database:
            alter = sql.SQL("ALTER DATABASE {} OWNER TO {}")
            connection.execute(alter.format(sql.Identifier(tenant.database), role))
        return _set_grants(connection, tenant.schema, like) if like else 0


def _set_grants(connection: Connection, schema: str, like: str) -> int:
    """Grant on a schema, and on what is in it, what is granted on another; return how many.

    Raises what psycopg does.
    """
    statements = QUERIES.rows(connection, "grants_like", like=like, name=schema)
    for _, statement in statements:
        connection.execute(written_by_server(statement))
    return len(statements)
