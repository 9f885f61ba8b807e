"""Putting a restored database in the place of another, once it is ready for it.

It is analyzed, takes over the identity and the journal of the other, and is renamed: two renames,
in one transaction.
"""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from leadctl.catalog.relations import read_named
from leadctl.errors import DatabaseInUse, InsufficientPrivilege, LockHeld
from leadctl.journal import state
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.names import identifier
from leadctl.postgres.queries import beside
from leadctl.postgres.target import Target

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
    if not _QUERIES.value(connection, "lock", name=database):
        raise LockHeld(
            f"Another run restores the database {database}.",
            hint="Wait for its end: leadctl history shows it, and pg_stat_activity.",
        )
    yield


def analyze(target: Target, jobs: int) -> None:
    """Do what ANALYZE does for a database, on so many connections.

    Raises what connecting raises.
    """
    with connect(target, "restore", like_pg_dump=True) as connection:
        tables = deque(_QUERIES.column(connection, "analyzed"))

    def work(_number: int) -> None:
        with connect(target, "restore", like_pg_dump=True) as connection, suppress(IndexError):
            while True:
                table = identifier(tables.popleft())
                connection.execute(sql.SQL("ANALYZE {}").format(table))

    with ThreadPoolExecutor(jobs) as threads:
        try:
            list(threads.map(work, range(jobs)))
        finally:
            tables.clear()  # where one failed, or nobody waits any more


def carry_over(target: Target, loaded: Target) -> None:
    """Give a restored database the identity, protection and journal of the target's.

    The journal of the backup is the older part of the target's, where it is of the same database.
    Nothing where the target has none.  Raises InsufficientPrivilege and NewerState.
    """
    with (
        connect(target, "restore", read_only=True) as old,
        connect(loaded, "restore", like_pg_dump=True) as new,
    ):
        identity = state.read_identity(old)
        if identity is None:
            return
        state.ensure(new, loaded)
        with new.transaction():
            _QUERIES.run(
                new,
                "become",
                state_version=state.STATE_VERSION,
                identity=identity.id,
                environment=identity.environment,
                protected=identity.protected,
                created_at=identity.created_at,
            )
            _copy_journal(old, new)


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
                _QUERIES.run(connection, "end_sessions", name=database)
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


def _copy_journal(old: Connection, new: Connection) -> None:
    """Copy the runs, by the columns that the old journal has."""
    runs = read_named(old, ["leadctl.run"], "columns")["leadctl.run"]
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in runs.columns)
    new.execute("DELETE FROM leadctl.run")
    take = sql.SQL("COPY leadctl.run ({}) TO STDOUT").format(columns)
    give = sql.SQL("COPY leadctl.run ({}) FROM STDIN").format(columns)
    with old.cursor().copy(take) as source, new.cursor().copy(give) as sink:
        for chunk in source:
            sink.write(chunk)
    _QUERIES.run(new, "number_on_after_runs")


def _kept_name(database: str) -> str:
    suffix = f"_before_{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    return database.encode()[: _NAME_MAX - len(suffix)].decode(errors="ignore") + suffix


def _rename(connection: Connection, old: str, new: str) -> None:
    connection.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new))
    )
