"""The database of a restore: made as the original was, put in its place, or dropped again.

Once it is ready it is analyzed, takes over the identity and the journal of the other, and is
renamed: two renames, in one transaction.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace

import psycopg
from psycopg import sql

from leadctl.catalog.relations import read_named
from leadctl.errors import (
    DatabaseInUse,
    LeadctlError,
    LockHeld,
    UnknownDatabase,
)
from leadctl.journal import state
from leadctl.journal.kept_names import kept_database
from leadctl.postgres.connect import Connection, connect, set_session
from leadctl.postgres.provision import connect_to_maintenance
from leadctl.postgres.queries import identifier, queries_of
from leadctl.postgres.target import Target
from leadctl.postgres.translate import needs_privileges, told
from leadctl.progress import Narrate
from leadctl.restore.properties import DatabaseProperties, create_database, let_load_modules
from leadctl.restore.restorable import Origin

_QUERIES = queries_of(__file__, "restore.sql")
_DROP_SUBSCRIPTION = (
    sql.SQL("ALTER SUBSCRIPTION {} DISABLE"),
    sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)"),
    sql.SQL("DROP SUBSCRIPTION {}"),
)
_PATIENCE, _CONNECT_SECONDS = "5s", 3.0
"""For what follows a failure: whoever sent a signal waits for it, perhaps on a silent network."""
_TRIES = 5
_PAUSE_SECONDS = 0.5
_ENDING_SECONDS, _LOOK_SECONDS, _LOCK_SECONDS = 2.0, 0.005, 0.1
_LOADED_WITH = {"synchronous_commit": "off"}
"""No statement waits for the disk.  The one that renames the database does, for all of the WAL
before it, too: a server that crashes either has all or still has the old database."""
_LITTLE_BYTES, _MODERATE_BYTES = 128 * 2**20, 2 * 2**30
_LITTLE_LOADED_WITH = {"max_parallel_maintenance_workers": "0"}
"""Sorting so little takes less than starting more processes."""
_MODERATE_LOADED_WITH = {"maintenance_work_mem": "8MB"}
"""What is sorted stays in the processor's cache: indexes on texts take a third less CPU than with
64 MB.  Of more rows it would be merged more than once; indexes that are no B-trees are not sorted,
and may need memory."""

_NOT_OF_TABLE = ("08", "53", "57")
"""Classes of SQLSTATE that end ANALYZE for all tables: the connection, resources, a cancel."""
_UNDISTRIBUTED = {"citus.enable_schema_based_sharding": "off"}
"""A distributed table does not take all of what pg_restore does to one."""


def maintenance(target: Target) -> Connection:
    """Connect to a database of the server that is not the target's.  Raises ConnectionFailed."""
    return connect_to_maintenance(target, "restore", like_pg_dump=True)


@contextmanager
def scratch_database(
    target: Target,
    connection: Connection,
    name: str,
    properties: DatabaseProperties,
    narrate: Narrate,
    settings: Mapping[str, str],
) -> Iterator[None]:
    """Make an empty database by a connection to the target's server; drop it if the block fails.

    One that a killed run left is dropped first.  Its sessions have `settings` until
    `configure_database`.
    """
    if drop_database(target, connection, name):
        narrate(f"Removed the database {name}, left by an interrupted run.")
    with _dropped_on_failure(target, name, narrate):
        create_database(connection, name, properties, narrate)
        _set_for_loading(connection, name, settings)
        let_load_modules(target.on(name), connection, properties, narrate)
        yield


def settings_for_loading(origin: Origin) -> Mapping[str, str]:
    """Return with which settings sessions load a source."""
    if origin.bytes < _LITTLE_BYTES:
        return _LOADED_WITH | _LITTLE_LOADED_WITH
    if origin.bytes < _MODERATE_BYTES and origin.needs.b_trees:
        return _LOADED_WITH | _MODERATE_LOADED_WITH
    return _LOADED_WITH


def _set_for_loading(connection: Connection, name: str, settings: Mapping[str, str]) -> None:
    if _QUERIES.value(connection, "limits_temporary_files"):
        settings = {each: settings[each] for each in settings.keys() - _MODERATE_LOADED_WITH}
    if _QUERIES.value(connection, "distributes_schemas"):
        settings = {**settings, **_UNDISTRIBUTED}
    with connection.transaction():
        for setting, value in settings.items():
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                    sql.Identifier(name), sql.Identifier(setting), value
                )
            )


@contextmanager
def _dropped_on_failure(target: Target, name: str, narrate: Narrate) -> Iterator[None]:
    """Drop a database if the block fails or is ended; where that cannot be, say what is left.

    On a connection of its own, since another may be amidst a statement.  A connection that was
    being opened when a signal came can keep the server from dropping anything for a minute.
    """
    try:
        yield
    except BaseException:
        try:
            seconds = min(target.connect_timeout, _CONNECT_SECONDS)
            with maintenance(replace(target, connect_timeout=seconds)) as connection:
                set_session(connection, {"statement_timeout": _PATIENCE})
                drop_database(target, connection, name)
        except (LeadctlError, psycopg.Error):
            quoted = sql.Identifier(name).as_string()
            narrate(
                f"The database {name}, a copy of the rows, was not removed. The same command "
                f"removes it; "
                f"or run: DROP DATABASE {quoted} WITH (FORCE)"
            )
        raise


def drop_database(target: Target, connection: Connection, name: str) -> bool:
    """Drop a database of the target's server, whoever is connected; return whether it was there.

    It may be a template.  Its subscriptions go without their slots, which a database that took its
    place still needs.  What connects again at once, as Citus does, is ended again.
    """
    drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
    for left in reversed(range(_TRIES)):
        try:
            _let_go(target, connection, name)
            connection.execute(drop)
        except (psycopg.errors.InvalidCatalogName, UnknownDatabase):
            return False
        except psycopg.errors.ObjectInUse:
            if not left:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            break
    return True


def _let_go(target: Target, connection: Connection, name: str) -> None:
    """Take from a database what the server does not drop it with."""
    found = _QUERIES.one(connection, "kept_from_dropping", name=name)
    template, subscriptions = found or (False, 0)
    if template:
        no_template = sql.SQL("ALTER DATABASE {} IS_TEMPLATE false")
        connection.execute(no_template.format(sql.Identifier(name)))
    if not subscriptions:
        return
    with connect(target.on(name), "restore", like_pg_dump=True) as inside:
        for subscription in map(sql.Identifier, _QUERIES.column(inside, "subscriptions")):
            for statement in _DROP_SUBSCRIPTION:
                inside.execute(statement.format(subscription))


@contextmanager
def restore_lock(connection: Connection, database: str) -> Iterator[None]:
    """Keep other runs from restoring a database, by a lock in the maintenance database.

    Raises LockHeld where another restore of it goes on: a run that has just ended may hold the lock
    until the server has noticed.
    """
    connection.execute("SET idle_session_timeout = 0")
    until = time.monotonic() + _ENDING_SECONDS
    while not _QUERIES.value(connection, "lock", name=database):
        if time.monotonic() > until:
            raise LockHeld(
                f"Another run restores the database {database}.",
                hint="Wait for it to finish; see: leadctl history",
            )
        time.sleep(_LOCK_SECONDS)
    yield


def analyze(connection: Connection, target: Target, jobs: int, narrate: Narrate) -> None:
    """Let ANALYZE gather the statistics that were not restored, on so many connections.

    `connection` is the first of them, to the target's database.  A table that it fails for, as an
    expression of its statistics does, is said.  Raises what connecting raises.
    """
    tables = deque(_QUERIES.column(connection, "analyzed"))

    def work(connection: Connection) -> None:
        with suppress(IndexError):
            while True:
                name = tables.popleft()
                try:
                    connection.execute(sql.SQL("ANALYZE {}").format(identifier(name)))
                except psycopg.Error as error:
                    if (error.sqlstate or "08").startswith(_NOT_OF_TABLE):
                        raise
                    narrate(f"{name} has no planner statistics: ANALYZE failed: {told(error)}")

    def help_on(_number: int) -> None:
        with connect(target, "restore", like_pg_dump=True) as another:
            work(another)

    helpers = min(jobs, len(tables)) - 1
    with ThreadPoolExecutor(jobs) as threads:
        try:
            others = [threads.submit(help_on, number) for number in range(helpers)]
            work(connection)
            for other in others:
                other.result()
        finally:
            tables.clear()  # where one failed, or nobody waits any more


@contextmanager
def all_rows_seen(connection: Connection) -> Iterator[None]:
    """Let policies hide no row of a database that nobody else uses from its owner, for the block.

    All of the block is rolled back.
    """
    tables = _QUERIES.column(connection, "hide_from_owner")
    with connection.transaction(force_rollback=True) if tables else nullcontext():
        for name in tables:
            shown = sql.SQL("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY")
            connection.execute(shown.format(identifier(name)))
        yield


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


def end_sessions(connection: Connection, database: str) -> int:
    """End the sessions of a database, and wait a little until they are gone; return how many.

    The server's own waiting takes 100 ms of each, one after another.  Raises
    psycopg.errors.InsufficientPrivilege where this role may not.
    """
    pids = _QUERIES.column(connection, "end_sessions", name=database)
    until = time.monotonic() + _ENDING_SECONDS
    while pids and _QUERIES.value(connection, "are_there", pids=pids):
        if time.monotonic() > until:
            break
        time.sleep(_LOOK_SECONDS)
        connection.execute("SELECT pg_catalog.pg_stat_clear_snapshot()")
    return len(pids)


Elsewhere = Callable[[str, str, str | None], AbstractContextManager[Callable[[], None]]]
"""Yields what renames databases elsewhere, too, as soon as a transaction here is committed."""


@contextmanager
def _sessions_ended(target: Target, connection: Connection) -> Iterator[None]:
    """End the sessions of the target's database; where there were any, again and again.

    An application that connects again at once is in before a rename holds the database.  That waits
    five seconds for it to leave, and lets nobody else in.
    """
    if not end_sessions(connection, target.database):
        yield
        return
    done = threading.Event()

    def work() -> None:
        with suppress(LeadctlError, psycopg.Error), maintenance(target) as another:
            while not done.wait(_LOOK_SECONDS):
                end_sessions(another, target.database)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def swap(
    target: Target,
    connection: Connection,
    new: str,
    *,
    replace: bool,
    elsewhere: Elsewhere | None = None,
) -> str | None:
    """Give `new` the name of the target's database, and return the name the old one is kept under.

    Sessions on both are ended.  Raises DatabaseInUse where some cannot be, and
    InsufficientPrivilege; then nothing is renamed.
    """
    database = target.database
    for _ in range(_TRIES):
        previous = kept_database(database) if replace else None
        try:
            others = elsewhere(new, database, previous) if elsewhere else nullcontext()
            privileges = needs_privileges(
                f"The role {connection.info.user} may not replace the database {database}",
                "Connect as its owner, who may create databases, and end its sessions first.",
            )
            ended = _sessions_ended(target, connection) if replace else nullcontext()
            with privileges, ended, others as prepare, connection.transaction():
                rename(connection, new, database, previous)
                if prepare:
                    prepare()
            return previous
        except (psycopg.errors.ObjectInUse, psycopg.errors.DuplicateDatabase) as error:
            if previous is None and isinstance(error, psycopg.errors.DuplicateDatabase):
                raise
            time.sleep(_PAUSE_SECONDS)
    raise DatabaseInUse(
        f"The database {database} has sessions that do not end.",
        hint="End them, or stop what keeps connecting, and restore again. Nothing was replaced.",
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


def rename(connection: Connection, new: str, database: str, previous: str | None) -> None:
    """Give databases their names, in the caller's transaction; their sessions are ended.

    `previous` is the one that the database of that name is kept under, where there is one.
    """
    if previous is not None:
        end_sessions(connection, database)
        set_database_name(connection, database, previous)
    end_sessions(connection, new)  # such as those that Citus opens by itself
    set_database_name(connection, new, database)


def set_database_name(connection: Connection, old: str, new: str) -> None:
    """Give a database another name; raises what the server says against it."""
    connection.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new))
    )
