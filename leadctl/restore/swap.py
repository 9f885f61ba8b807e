"""Putting a restored database in the place of another: two renames, in one transaction."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from leadctl.errors import DatabaseInUse, InsufficientPrivilege, LockHeld
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import beside

_QUERIES = beside(__file__, "restore.sql")
_NAME_MAX = 63
"""Bytes of a name; PostgreSQL cuts the rest."""
_TRIES = 5
_PAUSE_SECONDS = 0.5


@contextmanager
def restore_lock(connection: Connection, database: str) -> Iterator[None]:
    """Let nobody else restore a database; held by a session of the maintenance database.

    Raises LockHeld at once where another restore of it goes on.
    """
    connection.execute("SET idle_session_timeout = 0")
    row = connection.execute(_sql(connection, "lock"), {"name": database}).fetchone()
    if not (row and row[0]):
        raise LockHeld(
            f"Another run restores the database {database}.",
            hint="Wait for its end: leadctl history shows it, and pg_stat_activity.",
        )
    yield


def swap(connection: Connection, new: str, database: str, *, replace: bool) -> str | None:
    """Rename `new` to `database`; what had that name is kept under the name that is returned.

    Sessions on the old database are ended.  Raises DatabaseInUse where some cannot be, and
    InsufficientPrivilege; then nothing is renamed.
    """
    if not replace:
        _rename(connection, new, database)
        return None
    for _ in range(_TRIES):
        previous = _kept_name(database)
        try:
            with connection.transaction():
                connection.execute(_sql(connection, "end_sessions"), {"name": database})
                _rename(connection, database, previous)
                _rename(connection, new, database)
            return previous
        except (psycopg.errors.ObjectInUse, psycopg.errors.DuplicateDatabase):
            time.sleep(_PAUSE_SECONDS)
        except psycopg.errors.InsufficientPrivilege as error:
            raise InsufficientPrivilege(
                f"The role {connection.info.user} may not replace the database {database}: "
                f"{error.diag.message_primary}.",
                hint="Connect as its owner, who may create databases, and end its sessions first.",
            ) from None
    raise DatabaseInUse(
        f"The database {database} has sessions that do not end.",
        hint="End them, or stop what connects anew, and restore again. Nothing was replaced.",
    )


def _kept_name(database: str) -> str:
    suffix = f"_before_{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    return database.encode()[: _NAME_MAX - len(suffix)].decode(errors="ignore") + suffix


def _rename(connection: Connection, old: str, new: str) -> None:
    connection.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new))
    )


def _sql(connection: Connection, name: str) -> str:
    return _QUERIES.get(name, connection.info.server_version)
