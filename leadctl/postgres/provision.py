"""Making the database and the schema of a target where they are missing."""

import psycopg
from psycopg import sql

from leadctl.errors import (
    ConnectionFailed,
    ConnectionTimeout,
    InsufficientPrivilege,
    UnknownDatabase,
    UnknownSchema,
)
from leadctl.postgres import exact
from leadctl.postgres.connect import MAINTENANCE, Connection, acts_as, connect
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told
from leadctl.progress import Narrate


def connect_or_create(
    target: Target, purpose: str, narrate: Narrate, *, read_only: bool = False
) -> Connection:
    """Connect to the target, whose database is created where it is missing.

    Raises UnknownDatabase where this role may not create it, and what connecting raises.
    """
    try:
        return connect(target, purpose, read_only=read_only)
    except UnknownDatabase:
        _create_database(target, narrate)
        return connect(target, purpose, read_only=read_only)


def _create_database(target: Target, narrate: Narrate) -> None:
    """Create the target's database.  Safe where another run creates it at the same time."""
    name = target.database
    try:
        maintenance = connect_to_maintenance(target, "create database")
    except ConnectionFailed as error:
        raise UnknownDatabase(
            f"The database {name} does not exist, and it cannot be created: {error.message}",
            hint=f"Create the database {name} by hand.",
        ) from None
    with maintenance as connection:
        try:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            return  # another run was faster
        except psycopg.errors.InsufficientPrivilege as error:
            raise UnknownDatabase(
                f"The database {name} does not exist, and the role {connection.info.user} "
                f"may not create it: {told(error)}.",
                hint=f'Let an owner run: CREATE DATABASE "{name}" OWNER "{connection.info.user}"',
            ) from None
    narrate(f"Created the database {name}.")


def ensure_schema(connection: Connection, target: Target, narrate: Narrate) -> None:
    """Create the target's schema where it is missing; the caller holds the target's lock.

    Raises InsufficientPrivilege.
    """
    if has_schema(connection, target.schema):
        return
    try:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(target.schema)))
    except psycopg.errors.InsufficientPrivilege:
        role = acts_as(connection)
        raise InsufficientPrivilege(
            f"The schema {target.schema} does not exist, and the role {role} may not create it.",
            hint=f'Let an owner run: CREATE SCHEMA "{target.schema}" AUTHORIZATION "{role}"',
        ) from None
    narrate(f"Created the schema {target.schema}.")


def has_schema(connection: Connection, name: str) -> bool:
    """Whether the connected database has a schema of this name."""
    quoted = sql.Identifier(name).as_string(connection)
    found = exact.execute(connection, "SELECT to_regnamespace(%s) IS NOT NULL", (quoted,))
    return found.fetchone() == (True,)


def require_schema(connection: Connection, name: str) -> None:
    """Raise UnknownSchema where the connected database has no schema of this name."""
    if not has_schema(connection, name):
        raise UnknownSchema(
            f"There is no schema {name} in {connection.info.dbname}.",
            hint="Name another one with --schema, or make it: leadctl migrate",
        )


def connect_to_maintenance(
    target: Target, purpose: str, *, like_pg_dump: bool = False
) -> Connection:
    """Connect to a database of the server that is not the target's.  Raises ConnectionFailed."""
    failure: ConnectionFailed | None = None
    for name in (each for each in MAINTENANCE if each != target.database):
        try:
            return connect(target.on(name), purpose, like_pg_dump=like_pg_dump)
        except ConnectionTimeout:  # the server is silent, whatever the database
            raise
        except ConnectionFailed as error:
            failure = failure or error
    assert failure is not None
    raise failure
