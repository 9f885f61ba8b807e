"""The snapshot that is dumped, and what the manifest says of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from leadctl.backup.manifest import DatabaseFacts, DumpedTable, ExtensionFacts
from leadctl.crypto import Keyring
from leadctl.journal import state
from leadctl.journal.state import VERSION_TABLE
from leadctl.keys.encrypted_values import EncryptedTable, count_values
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, connect, set_session
from leadctl.postgres.queries import beside, identifier
from leadctl.postgres.target import Target

_QUERIES = beside(__file__, "backup.sql")


@dataclass(frozen=True)
class Snapshot:
    """An exported snapshot, open as long as its connection's transaction."""

    connection: Connection
    name: str
    taken_at: datetime
    lsn: str | None
    standby: bool
    database_bytes: int

    @property
    def server_major(self) -> int:
        """The server's major version."""
        return self.connection.info.server_version // 10000

    def facts(self, schema: str, version_table: str) -> dict[str, Any]:
        """Return what the manifest says of the database, by the manifest's names.

        `schema` is the one whose migrations and keys are looked at.
        """
        connection = self.connection
        applied = state.applied_revisions(connection, schema)
        identity = state.read_identity(connection)
        app = applied[-1].app if applied else None
        return {
            "app": app,
            "schema": schema,
            "version_table": version_table,
            "revision": revision(connection, schema, version_table),
            "database": connection.info.dbname,
            "identity": str(identity.id) if identity else None,
            "environment": identity.environment if identity else None,
            "system_identifier": _system_identifier(connection),
            "server_version": connection.info.parameter_status("server_version") or "",
            "snapshot_at": self.taken_at,
            "lsn": self.lsn,
            "database_bytes": self.database_bytes,
            "tables": count_tables(connection),
            "materialized_views": tuple(_QUERIES.column(connection, "materialized_views")),
            "large_objects": _QUERIES.value(connection, "large_objects"),
            "not_valid": not_valid(connection),
            "extensions": tuple(_QUERIES.rows(connection, "extensions", ExtensionFacts)),
            "roles": tuple(_QUERIES.column(connection, "roles")),
            "keys": _keys(connection, app, schema) if app else (),
            "settings": read_database(connection),
        }


@contextmanager
def exported(target: Target, lock_wait: float) -> Iterator[Snapshot]:
    """Export a snapshot for pg_dump, and keep it open within the block.

    `lock_wait`, in seconds, is how long to wait for a table that is locked.  Raises what
    connecting raises.
    """
    with connect(target, "backup", read_only=True, like_pg_dump=True) as connection:
        set_session(connection, {"lock_timeout": f"{round(lock_wait * 1000)}ms"})
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            found = _QUERIES.one(connection, "snapshot", dict[str, Any])
            assert found is not None
            yield Snapshot(connection, **found)


def revision(connection: Connection, schema: str, version_table: str = VERSION_TABLE) -> str | None:
    """Return the revision that a schema is at, as Alembic's table has it."""
    revisions = state.current_revisions(connection, schema, version_table)
    return ", ".join(revisions) if revisions else None


def count_tables(connection: Connection) -> tuple[DumpedTable, ...]:
    """Count the rows of every table that a dump holds."""
    return tuple(
        DumpedTable(name, count_rows(connection, name), size)
        for name, size in _QUERIES.rows(connection, "tables")
    )


def count_rows(connection: Connection, table: str) -> int:
    """Count the rows of a table; its name is as the server quoted it."""
    query = sql.SQL("SELECT count(*) FROM ONLY {}").format(identifier(table))
    ((count,),) = connection.execute(query)
    return int(count)


def read_database(connection: Connection) -> DatabaseFacts:
    """Read what a dump does not hold of the database itself."""
    row = _QUERIES.one(connection, "database", dict[str, Any])
    assert row is not None
    lists = {name: tuple(value) for name, value in row.items() if isinstance(value, list)}
    return DatabaseFacts(**{**row, **lists})


def not_valid(connection: Connection) -> tuple[str, ...]:
    """Return the constraints that are not validated and the indexes that are not valid."""
    return tuple(_QUERIES.column(connection, "not_valid"))


def _system_identifier(connection: Connection) -> str | None:
    """Return the cluster's identifier; None where this role may not read it."""
    try:
        with connection.transaction():
            return str(_QUERIES.value(connection, "system_identifier"))
    except psycopg.errors.InsufficientPrivilege:
        return None


def _keys(connection: Connection, app: str, schema: str) -> tuple[str, ...]:
    """Return the fingerprints of the keys that an app's encrypted columns need."""
    recorded = state.fingerprint(connection, app, schema) or {}
    contexts: dict[str, dict[str, str]] = {}
    for name, context in recorded.get("encrypted", {}).items():
        table, _, column = name.rpartition(".")
        contexts.setdefault(table, {})[column] = context
    found: set[str] = set()
    for name, columns in contexts.items():
        table = EncryptedTable(schema, name, columns)
        identifier = table.identifier.as_string(connection)
        ((exists,),) = exact.execute(
            connection, "SELECT to_regclass(%s) IS NOT NULL", (identifier,)
        )
        if exists:
            for column in count_values(connection, table, Keyring([])):
                found.update(column.under)
    return tuple(sorted(found))
