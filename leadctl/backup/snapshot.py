"""The snapshot that is dumped, and what the manifest says of it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from leadctl.backup.manifest import DatabaseFacts, ExtensionFacts, TableFacts
from leadctl.crypto import Keyring
from leadctl.journal import state
from leadctl.keys.encrypted_values import EncryptedTable, count_values
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.queries import beside
from leadctl.postgres.target import Target

_QUERIES = beside(__file__, "backup.sql")


@dataclass(frozen=True)
class Snapshot:
    """An exported snapshot, open as long as its connection's transaction."""

    connection: Connection
    target: Target
    name: str
    taken_at: datetime
    lsn: str | None
    standby: bool
    database_bytes: int

    @property
    def server_major(self) -> int:
        """The server's major version."""
        return self.connection.info.server_version // 10000

    @property
    def server_version(self) -> str:
        """The server's version, as it says it."""
        return self.connection.info.parameter_status("server_version") or ""

    def applied_app(self) -> str | None:
        """The app that the target's schema was migrated with; None where it was not."""
        applied = state.applied_revisions(self.connection, self.target.schema)
        return applied[-1].app if applied else None

    def revision(self, version_table: str) -> str | None:
        """The revision that the target's schema is at, as Alembic's table has it."""
        revisions = state.current_revisions(self.connection, self.target.schema, version_table)
        return ", ".join(revisions) if revisions else None

    def identity(self) -> state.Identity | None:
        """What the database says of itself."""
        return state.read_identity(self.connection)

    def tables(self) -> tuple[TableFacts, ...]:
        """Count the rows of every table that is dumped."""
        return count_tables(self.connection)

    def materialized_views(self) -> tuple[str, ...]:
        """The materialized views that have rows."""
        return self._column("materialized_views")

    def not_valid(self) -> tuple[str, ...]:
        """The constraints that are not validated and the indexes that are not valid."""
        return not_valid(self.connection)

    def roles(self) -> tuple[str, ...]:
        """The roles that own something or were granted something."""
        return self._column("roles")

    def large_objects(self) -> int:
        """How many large objects there are."""
        return int(self._column("large_objects")[0])

    def extensions(self) -> tuple[ExtensionFacts, ...]:
        """The extensions of the database."""
        return tuple(ExtensionFacts(**row) for row in self._rows("extensions"))

    def database(self) -> DatabaseFacts:
        """What a dump does not hold of the database itself."""
        return read_database(self.connection)

    def system_identifier(self) -> str | None:
        """The cluster's identifier; None where this role may not read it."""
        try:
            with self.connection.transaction():
                return str(self._column("system_identifier")[0])
        except psycopg.errors.InsufficientPrivilege:
            return None

    def keys(self, app: str | None) -> tuple[str, ...]:
        """The fingerprints of the keys that an app's encrypted columns need."""
        recorded = state.fingerprint(self.connection, app, self.target.schema) if app else None
        contexts: dict[str, dict[str, str]] = {}
        for name, context in (recorded or {}).get("encrypted", {}).items():
            table, _, column = name.rpartition(".")
            contexts.setdefault(table, {})[column] = context
        found: set[str] = set()
        for name, columns in contexts.items():
            table = EncryptedTable(self.target.schema, name, columns)
            if self._exists(table):
                for column in count_values(self.connection, table, Keyring([])):
                    found.update(column.under)
        return tuple(sorted(found))

    def _exists(self, table: EncryptedTable) -> bool:
        name = table.identifier.as_string(self.connection)
        return self.connection.execute(
            "SELECT to_regclass(%s) IS NOT NULL", (name,)
        ).fetchone() == (True,)

    def _column(self, name: str) -> tuple[Any, ...]:
        query = _QUERIES.get(name, self.connection.info.server_version)
        return tuple(value for (value,) in self.connection.execute(query))

    def _rows(self, name: str) -> list[Mapping[str, Any]]:
        return _rows(self.connection, name)


def count_tables(connection: Connection) -> tuple[TableFacts, ...]:
    """Count the rows of every table that a dump holds."""
    return tuple(
        TableFacts(row["name"], _count(connection, row["name"]), row["bytes"])
        for row in _rows(connection, "tables")
    )


def read_database(connection: Connection) -> DatabaseFacts:
    """Read what a dump does not hold of the database itself."""
    (row,) = _rows(connection, "database")
    lists = {name: tuple(value) for name, value in row.items() if isinstance(value, list)}
    return DatabaseFacts(**{**row, **lists})


def not_valid(connection: Connection) -> tuple[str, ...]:
    """Return the constraints that are not validated and the indexes that are not valid."""
    query = _QUERIES.get("not_valid", connection.info.server_version)
    return tuple(name for (name,) in connection.execute(query))


@contextmanager
def exported(target: Target, lock_wait: float) -> Iterator[Snapshot]:
    """Export a snapshot for pg_dump, and keep it open within the block.

    `lock_wait`, in seconds, is how long to wait for a table that is locked.  Raises what
    connecting raises.
    """
    with connect(target, "backup", read_only=True) as connection:
        connection.execute(_QUERIES.get("timeouts", connection.info.server_version))
        connection.execute(
            "SELECT set_config('lock_timeout', %s, false),"
            " set_config('row_security', 'off', false)",
            (f"{round(lock_wait * 1000)}ms",),
        )
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            with connection.cursor(row_factory=dict_row) as cursor:
                query = _QUERIES.get("snapshot", connection.info.server_version)
                row = cursor.execute(query).fetchone()
            assert row is not None
            yield Snapshot(
                connection=connection,
                target=target,
                name=row["snapshot"],
                taken_at=row["snapshot_at"],
                lsn=row["lsn"],
                standby=row["standby"],
                database_bytes=row["database_bytes"],
            )


def _count(connection: Connection, table: str) -> int:
    # The name is as the server quoted it when the catalog was read.
    query = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.SQL(table))
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def _rows(connection: Connection, name: str) -> list[Mapping[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return list(cursor.execute(_QUERIES.get(name, connection.info.server_version)))
