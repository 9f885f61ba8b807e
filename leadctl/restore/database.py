"""The database of a restore: made as the original was, put in its place, or dropped again.

Once it is ready it is analyzed, takes over the identity and the journal of the other, and is
renamed: two renames, in one transaction.
"""

import re
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from leadctl.backup.manifest import DatabaseFacts
from leadctl.catalog.relations import read_named
from leadctl.errors import (
    BackupDamaged,
    ConnectionFailed,
    DatabaseInUse,
    InsufficientPrivilege,
    LeadctlError,
    LockHeld,
)
from leadctl.journal import state
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.queries import beside, identifier
from leadctl.postgres.target import Target
from leadctl.progress import Narrate

_LISTS = frozenset(
    {"search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries"}
)
"""Settings whose value is a list of names."""
_ELEMENT = re.compile(r'"((?:[^"]|"")*)"|[^,\s"]+')
_PRIVILEGES = {
    "CONNECT": sql.SQL("GRANT CONNECT ON DATABASE {} TO {}"),
    "CREATE": sql.SQL("GRANT CREATE ON DATABASE {} TO {}"),
    "TEMPORARY": sql.SQL("GRANT TEMPORARY ON DATABASE {} TO {}"),
}
"""What can be granted on a database.
https://www.postgresql.org/docs/current/ddl-priv.html"""
_MAINTENANCE = ("postgres", "template1")
_PATIENCE_MILLISECONDS = "5000"


@contextmanager
def maintenance(target: Target) -> Iterator[Connection]:
    """Connect to a database of the server that is not the target's.  Raises ConnectionFailed."""
    failure: ConnectionFailed | None = None
    for name in (each for each in _MAINTENANCE if each != target.database):
        try:
            connection = connect(target.on(name), "restore", like_pg_dump=True)
            break
        except ConnectionFailed as error:
            failure = failure or error
    else:
        assert failure is not None
        raise failure
    with connection:
        yield connection


@contextmanager
def scratch_database(
    target: Target, name: str, facts: DatabaseFacts | None, narrate: Narrate
) -> Iterator[Connection]:
    """Make an empty database on the target's server; drop it again where the block fails.

    One that a killed run left is dropped first.  Yields the connection that it was made by.
    """
    with maintenance(target) as connection:
        if drop_database(connection, name):
            narrate(f"Removed the database {name}, which a run that was ended had left.")
        try:
            create_database(connection, name, facts, narrate)
            yield connection
        except BaseException:
            drop_soon(target, name)
            raise


def drop_soon(target: Target, name: str) -> None:
    """Drop a database after a failure or a signal; what does not go now, the next run drops.

    On a connection of its own, since another may be amidst a statement.  A connection that was
    being opened when the signal came can keep the server from dropping anything for a minute.
    """
    with suppress(LeadctlError, psycopg.Error), maintenance(target) as connection:
        exact.execute(
            connection,
            "SELECT set_config('statement_timeout', %s, false)",
            (_PATIENCE_MILLISECONDS,),
        )
        drop_database(connection, name)


def create_database(
    connection: Connection, name: str, facts: DatabaseFacts | None, narrate: Narrate
) -> None:
    """Create an empty database with the encoding and locale of the original.

    Where nothing is known of that, or the server does not have the locale, the server's own is
    taken; the latter is said.  Raises InsufficientPrivilege.
    """
    plain = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {}")
    identifier = sql.Identifier(name)
    if facts is None:
        creation = plain.format(identifier, sql.Literal("UTF8"))
    else:
        creation = _creation(name, facts)
    try:
        connection.execute(creation)
    except psycopg.errors.InsufficientPrivilege:
        raise InsufficientPrivilege(
            f"The role {connection.info.user} may not create the database {name}.",
            hint=f'Let an owner run: ALTER ROLE "{connection.info.user}" CREATEDB',
        ) from None
    except (
        psycopg.errors.InvalidParameterValue,
        psycopg.errors.WrongObjectType,
        psycopg.errors.FeatureNotSupported,
    ) as error:
        if facts is None:
            raise
        narrate(
            f"This server does not have the locale {facts.locale or facts.collate} "
            f"({error.diag.message_primary}); its own is taken."
        )
        connection.execute(plain.format(identifier, sql.Literal(facts.encoding)))


def configure_database(
    connection: Connection, name: str, facts: DatabaseFacts, narrate: Narrate
) -> None:
    """Give a database the owner, settings, grants and comment of the original.

    What this role may not do, or names a role that is missing, is left out, and said.  Raises
    BackupDamaged where a grant is of no privilege on databases.
    """
    for statement in _configuration(name, facts):
        try:
            connection.execute(statement)
        except psycopg.errors.Error as error:
            text = statement.as_string(connection)
            narrate(f"Left out: {text} ({error.diag.message_primary})")


def drop_database(connection: Connection, name: str) -> bool:
    """Drop a database, whoever is connected; return whether it was there."""
    try:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
    except psycopg.errors.InvalidCatalogName:
        return False
    return True


def _creation(name: str, facts: DatabaseFacts) -> sql.Composed:
    creation = sql.SQL(
        "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LOCALE_PROVIDER {}"
        " LC_COLLATE {} LC_CTYPE {}"
    ).format(
        sql.Identifier(name),
        sql.Literal(facts.encoding),
        sql.Identifier(facts.locale_provider),
        sql.Literal(facts.collate),
        sql.Literal(facts.ctype),
    )
    if facts.locale is None:
        return creation
    icu = facts.locale_provider == "icu"
    locale = sql.SQL(" ICU_LOCALE {}") if icu else sql.SQL(" BUILTIN_LOCALE {}")
    return creation + locale.format(sql.Literal(facts.locale))


def _configuration(name: str, facts: DatabaseFacts) -> list[sql.Composed]:
    database = sql.Identifier(name)
    statements = [
        sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, sql.Identifier(facts.owner))
    ]
    for setting in facts.settings:
        statements.append(sql.SQL("ALTER DATABASE {} SET {}").format(database, _assigned(setting)))
    for setting in facts.role_settings:
        role, _, rest = setting.partition(": ")
        statements.append(
            sql.SQL("ALTER ROLE {} IN DATABASE {} SET {}").format(
                sql.Identifier(role), database, _assigned(rest)
            )
        )
    if facts.grants:
        statements.append(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    for grant in facts.grants:
        privilege, _, role = grant.partition(": ")
        if privilege not in _PRIVILEGES:
            raise BackupDamaged(f"The manifest grants {privilege!r}, which is no privilege.")
        grantee = sql.SQL("PUBLIC") if role == "PUBLIC" else sql.Identifier(role)
        statements.append(_PRIVILEGES[privilege].format(database, grantee))
    if facts.comment:
        statements.append(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, sql.Literal(facts.comment))
        )
    return statements


def _assigned(setting: str) -> sql.Composed:
    """Compose `name TO value`; a list keeps its elements apart, as pg_dump has it."""
    name, _, value = setting.partition("=")
    parts = [value]
    if name in _LISTS:
        # Elements are quoted where they need it; other values are as they were given.
        found = _ELEMENT.finditer(value)
        parts = [each[0] if each[1] is None else each[1].replace('""', '"') for each in found]
    values = sql.SQL(", ").join(map(sql.Literal, parts or [""]))
    # Names of extensions have a dot, which is no part of an identifier.
    identifier = sql.SQL(".").join(sql.Identifier(part) for part in name.split("."))
    return sql.SQL("{} TO {}").format(identifier, values)


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
