"""The only place that opens connections, and how long they may take.

A pooler is found out, and in which mode it is: in transaction mode a session is not one.  What it
sets stays behind for another client, and what it locks is let go by another one.
https://www.pgbouncer.org/features.html
"""

import getpass
import json
import logging
import os
import select
import socket
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from typing import Any, NamedTuple, Self

import psycopg
from psycopg import sql
from psycopg.types.json import set_json_dumps

from leadctl.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    InsufficientPrivilege,
    PoolerInTransactionMode,
    UnsupportedServer,
)
from leadctl.postgres import LONGEST_NAME, OLDEST_MAJOR, sessions
from leadctl.postgres.target import Target
from leadctl.postgres.translate import connecting, unknown_database
from leadctl.redact import scrub

Connection = psycopg.Connection[Any]

MAINTENANCE = ("postgres", "template1")
"""Databases that a server has from the start."""
OWN_PATH = "pg_catalog, pg_temp"
"""The search path where nothing of the app's is named without its schema."""
_APP_PATH = """
WITH found AS (
    SELECT concat_ws(', ', %(schema)s::text, (
        SELECT string_agg(quote_ident(n.nspname), ', ' ORDER BY n.nspname)
        FROM pg_namespace n
        WHERE n.oid IN (SELECT extnamespace FROM pg_extension)
          AND quote_ident(n.nspname) NOT IN ('pg_catalog', quote_ident(%(name)s::text))
          AND NOT EXISTS (
              SELECT FROM pg_class c
              WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
                AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                                AND d.objid = c.oid AND d.deptype = 'e'))
          AND NOT EXISTS (
              SELECT FROM pg_type t
              WHERE t.typnamespace = n.oid AND t.typtype IN ('e', 'd', 'r')
                AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass
                                AND d.objid = t.oid AND d.deptype = 'e')))) AS path)
SELECT set_config('leadctl.app_path', path, false), set_config('search_path', path, false),
       -- Else no foreign key and no trigger would notice what is deleted.
       CASE WHEN current_setting('session_replication_role') = 'origin'
                 OR current_setting('default_transaction_read_only') = 'on' THEN ''
            WHEN has_parameter_privilege('session_replication_role', 'SET')
            THEN set_config('session_replication_role', 'origin', false) END
FROM found"""
"""Looks along the app's path: its schema, and those where extensions are.

A schema that has tables or types of somebody's own, too, is left out: an enum or a version table of
the app's would be taken from there.
"""
_IN_ENGLISH = sql.SQL(
    "CASE WHEN pg_catalog.current_setting('lc_messages')"
    " OPERATOR(pg_catalog.!~) '^(C$|C[.]|POSIX|en_|English)'"
    " AND pg_catalog.has_parameter_privilege('lc_messages', 'SET')"
    " THEN pg_catalog.set_config('lc_messages', 'C', false) END"
)
"""Where the role may choose: what is decided goes by SQLSTATE, but people look for messages."""
_IDLES = sql.SQL("pg_catalog.current_setting('idle_session_timeout') OPERATOR(pg_catalog.<>) '0'")
_of_programs: dict[tuple[object, ...], str] = {}
"""What sessions of PostgreSQL's programs are set to, of logins that need it."""
_PREPARE_AFTER = 5
"""Executions after which psycopg prepares a statement; its own default."""
SESSION_SETTINGS = {
    "search_path": OWN_PATH,
    "TimeZone": "UTC",
    # What values look like: psycopg reads no other, and texts are compared.
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    # How texts are read again: literals, the elements of arrays, XML that is no document.
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "xmloption": "content",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
    "client_min_messages": "warning",
    # A deferrable one that reads waits for others that write.
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    # Compiling a statement on the catalogs takes seconds where reading them takes milliseconds.
    "jit": "off",
    # A statement of a killed run ends soon, instead of going on for nobody.
    "client_connection_check_interval": "1s",
}
"""What each session of leadctl's is set to."""
_LIKE_PG_DUMP = """
SELECT pg_catalog.set_config(s.name, v.value, false)
FROM (VALUES ('statement_timeout', '0'), ('lock_timeout', '0'), ('transaction_timeout', '0'),
             ('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'),
             ('row_security', 'off'), ('event_triggers', 'off')) AS v (name, value)
JOIN pg_catalog.pg_settings AS s ON s.name OPERATOR(pg_catalog.=) v.name
WHERE s.context OPERATOR(pg_catalog.=) 'user'
   OR pg_catalog.has_parameter_privilege(s.name, 'SET')"""
"""As far as the server has the setting and lets this role change it.
https://www.postgresql.org/docs/current/runtime-config-client.html"""
KEEPALIVES = {
    # A server that vanished without a word is noticed within about a minute.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
"""https://www.postgresql.org/docs/current/libpq-connect.html"""
_READ_LOCK_TIMEOUT = "60s"
"""What only reads is held up by an exclusive lock alone; by default as long as by another run."""
_TRANSACTION_TIMEOUT = 170_000
"""The first server that has it."""
_LOOKS = 5
"""At a pooler: in a busy one, one look is not enough."""
_HOLD = b"BEGIN; SELECT pg_catalog.pg_backend_pid()"
_SOON = 1.0
_CANCEL_SECONDS = 0.5
_known: "weakref.WeakSet[Connection]" = weakref.WeakSet()
"""The connections of this process."""
_LOGGER = logging.getLogger("leadctl.sql")
"""Of `-vv` and LEADCTL_LOG_SQL: every statement and its time, no parameters."""
# What psycopg passes over on the way of an error that it raises; else Python writes it to stderr.
logging.getLogger("psycopg").addHandler(logging.NullHandler())


class Timeouts(NamedTuple):
    """How long a run may wait, and its statements, in seconds."""

    lock_wait: float
    """For another run that holds the lock on the target."""
    lock_timeout: float
    """For a lock on a table, each statement."""
    statement_timeout: float | None = None
    """For a statement in all; None for no limit."""

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a session that bound what its statements wait for, and take."""
        return {
            "lock_timeout": f"{round(self.lock_timeout * 1000)}ms",
            "statement_timeout": f"{round((self.statement_timeout or 0) * 1000)}ms",
        }


def connect(
    target: Target,
    purpose: str = "",
    *,
    autocommit: bool = True,
    rows: bool = False,
    read_only: bool = False,
    statement_timeout: float | None = None,
    prepare: bool = False,
    through_pooler: bool = False,
    like_pg_dump: bool = False,
) -> Connection:
    """Open a connection to the target, in which names are the server's own.

    `purpose` is shown in pg_stat_activity, so that others see who holds what.  Where `rows` of the
    app are touched, or its code is run, the search path is the target's schema, then extensions'.
    `statement_timeout` is in seconds.  `prepare` lets statements that come again be prepared,
    which a pooler in transaction mode does not bear; `through_pooler` lets there be one.
    `like_pg_dump` is for what copies databases: no timeout of the role ends it, no policy hides
    rows from it, and event triggers rest where the server has a switch for them.  Raises
    ConnectionFailed and PoolerInTransactionMode.
    """
    target = target.fresh()
    try:
        connection = _opened(target, purpose, prepare=prepare, through_pooler=through_pooler)
    except AuthenticationFailed:
        renewed = target.fresh(refused=True)
        if renewed == target:
            raise
        connection = _opened(renewed, purpose, prepare=prepare, through_pooler=through_pooler)
    except ConnectionFailed as error:
        raise _whatever_its_language(error, target) from None
    with connecting(target), _closed_on_error(connection):
        _configure(connection, target, purpose, statement_timeout, rows=rows, read_only=read_only)
        if like_pg_dump:
            connection.execute(_LIKE_PG_DUMP)
        connection.autocommit = autocommit
    return connection


def _dumps(value: Any) -> str:
    """Write JSON in letters: what stands for them has no meaning in a database in SQL_ASCII."""
    return json.dumps(value, ensure_ascii=False).encode(errors="replace").decode()


def _whatever_its_language(error: ConnectionFailed, target: Target) -> ConnectionFailed:
    """Return UnknownDatabase where that is why a server refuses, in words that are not English.

    libpq has no SQLSTATE for a refused connection, so another database is asked for this one, if
    it is named at all: what a pooler says of a server that it does not reach is another thing.
    """
    said = error.message.removeprefix(f"Cannot connect to {target.describe()}: ")
    if type(error) is not ConnectionFailed or target.database not in said:
        return error
    for name in MAINTENANCE:
        with suppress(psycopg.Error):
            parameters = _parameters(target.on(name), "")
            with psycopg.connect(**parameters, autocommit=True) as connection:
                found = connection.execute(
                    "SELECT FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) %s",
                    (target.database,),
                )
                return (
                    error
                    if found.fetchone() is not None
                    else unknown_database(error.message, target)
                )
    return error


def _own_variables(target: Target) -> AbstractContextManager[None]:
    """Return a block in which libpq's variables are those that are meant for the target."""
    if not target.embedded:
        return nullcontext()
    from leadctl.postgres.embedded import without_libpq_variables

    return without_libpq_variables()


def _opened(target: Target, purpose: str, *, prepare: bool, through_pooler: bool) -> Connection:
    """Open a connection in autocommit mode to a server that leadctl supports.

    Where sessions are used again it may be one that is open: it is as new.
    """
    parameters = _parameters(target, purpose)
    kept = sessions.current.get()
    key = (target.url._replace(schema=None), target.embedded, through_pooler)
    connection: sessions.LentConnection | psycopg.Connection[Any] | None
    connection = kept.take(key) if kept else None
    is_known = connection is not None
    with connecting(target):
        if connection is None:
            made = sessions.LentConnection if kept else psycopg.Connection
            with _own_variables(target):
                connection = made.connect(**parameters, autocommit=True)
            if isinstance(connection, sessions.LentConnection) and kept:
                connection.lend(kept, key)
        set_json_dumps(_dumps, connection)
        connection.prepare_threshold = _PREPARE_AFTER if prepare else None
        connection.cursor_factory = _Logging if target.log_sql else psycopg.Cursor
        _known.add(connection)
        if is_known:
            return connection
        with _closed_on_error(connection):
            _check_server(connection, target)
            if not through_pooler:
                _refuse_transaction_mode(connection, target, parameters)
    return connection


@contextmanager
def _closed_on_error(connection: Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def set_session(
    connection: Connection, settings: Mapping[str, str], *, transaction: bool = False
) -> None:
    """Change settings of the session, or of its transaction alone, in one statement."""
    connection.execute(sql.SQL("SELECT {}").format(_calls(settings, transaction=transaction)))


def _calls(settings: Mapping[str, str], *, transaction: bool = False) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("pg_catalog.set_config({}, {}, {})").format(name, value, transaction)
        for name, value in settings.items()
    )


def as_timeout(seconds: float | None) -> str:
    """Return a span as a setting has it, a millisecond at least; None is no limit."""
    return "0" if seconds is None else f"{max(1, round(seconds * 1000))}ms"


def set_timeouts(connection: Connection, timeouts: Timeouts) -> None:
    """Bound how long each statement of the session waits for a table's lock, and takes in all."""
    set_session(connection, timeouts.settings)


def lift_timeouts(connection: Connection) -> None:
    """Let statements take as long as they take.

    What works CONCURRENTLY waits for older transactions without blocking anybody: no timeout is
    due, and one would leave an invalid index behind.
    """
    set_timeouts(connection, Timeouts(lock_wait=0, lock_timeout=0))


def cut_off_all(seconds: float) -> None:
    """Cut off, after so many seconds, the connections that are open now and still are then.

    For a process that is to end: it would wait without end for a server that says nothing.
    """
    known = list(_known)

    def cut_open() -> None:
        for connection in known:
            with suppress(psycopg.OperationalError):  # closed
                _cut(connection.pgconn.socket)

    timer = threading.Timer(seconds, cut_open)
    timer.daemon = True
    timer.start()


def cancel_all() -> None:
    """Cancel what runs on all connections, for a process that ends at once: servers would go on."""
    for connection in list(_known):
        with suppress(psycopg.Error):
            connection.cancel_safe(timeout=_CANCEL_SECONDS)


def _cut(handle: int) -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(handle)) as wire:
        wire.shutdown(socket.SHUT_RDWR)


@contextmanager
def cut_after(connection: Connection, seconds: float) -> Iterator[None]:
    """Cut a connection off when the block takes longer than `seconds`.

    statement_timeout is kept by the server; this holds where the server itself hangs.  The
    statement that waits then fails with psycopg.OperationalError.
    """
    handle = os.dup(connection.pgconn.socket)
    timer = threading.Timer(seconds, _cut, [handle])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        os.close(handle)


@contextmanager
def pipeline(connection: Connection) -> Iterator[None]:
    """Send the block's statements as one trip, and never use a connection that stays in it.

    Where the server refuses the very end of a pipeline, libpq cannot leave it; whatever was sent
    next would wait without end.  Such a connection is closed.
    """
    try:
        with connection.pipeline():
            yield
    finally:
        if not connection.closed and connection.pgconn.pipeline_status:
            connection.close()


@contextmanager
def pipelined_transaction(connection: Connection) -> Iterator[None]:
    """Run the block's statements in a transaction of their own, all of it as one trip.

    COMMIT is a statement of the pipeline: where a deferred constraint refuses there, the error is
    that statement's, and the connection goes on to serve.
    """
    try:
        with pipeline(connection):
            connection.execute("BEGIN")
            yield
            connection.execute("COMMIT")
    except BaseException:
        if not connection.closed and connection.info.transaction_status:
            connection.execute("ROLLBACK")
        raise


def acts_as(connection: Connection) -> str:
    """Return the role whose rights a session has, which may be set for its user or database."""
    with suppress(psycopg.Error):  # in a transaction that failed
        (role,) = connection.execute("SELECT current_user").fetchone() or (connection.info.user,)
        return str(role)
    return connection.info.user


def options_of_programs(target: Target) -> str:
    """Return what PostgreSQL's programs are to ask for when they log in, as PGOPTIONS has it.

    Where the server would end a session that idles, or speak another language than English and lets
    this login choose.  Known once a connection was opened.
    """
    return _of_programs.get(_login(target), "")


def _login(target: Target) -> tuple[object, ...]:
    return tuple(target.url.params.get(name) for name in ("host", "hostaddr", "port", "user"))


def whoami() -> str:
    """Return who runs this process: user, host and process id, as the journal records it."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's numeric user without an entry in passwd
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} pid {os.getpid()}"


def _parameters(target: Target, purpose: str) -> dict[str, Any]:
    defaults = {
        "connect_timeout": str(max(2, round(target.connect_timeout))),
        "client_encoding": "UTF8",
        **KEEPALIVES,
    }
    hidden = {name: secret.reveal() for name, secret in target.url.hidden.items()}
    parameters = {**defaults, **target.url.params, **hidden}
    parameters["application_name"] = _name(purpose)
    if target.url.password:
        parameters["password"] = target.url.password.reveal()
    return parameters


def _name(purpose: str) -> str:
    """Return what pg_stat_activity shows of a session."""
    name = f"leadctl {purpose} {whoami()}".replace("  ", " ")
    return name.encode()[:LONGEST_NAME].decode(errors="ignore")


def _check_server(connection: Connection, target: Target) -> None:
    major = connection.info.server_version // 10000
    cockroach = connection.info.parameter_status("crdb_version")
    if cockroach or major < OLDEST_MAJOR:
        what = cockroach or f"PostgreSQL {major}"
        raise UnsupportedServer(
            f"The server of {target.describe()} is {what}.",
            hint=f"leadctl supports PostgreSQL {OLDEST_MAJOR} and newer.",
        )


def _configure(
    connection: Connection,
    target: Target,
    purpose: str,
    statement_timeout: float | None,
    *,
    rows: bool,
    read_only: bool,
) -> None:
    if target.role:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(target.role)))
    schema = sql.Identifier(target.schema).as_string(connection)
    settings = SESSION_SETTINGS | {
        "application_name": _name(purpose),  # of a session that is used again
        "leadctl.seen_from": schema,
        "leadctl.app_path": schema,
    }
    # How long things may take is the command's affair, and not that of the role or its database.
    settings["statement_timeout"] = f"{round((statement_timeout or 0) * 1000)}ms"
    settings |= {"idle_in_transaction_session_timeout": "0", "idle_session_timeout": "0"}
    if connection.info.server_version >= _TRANSACTION_TIMEOUT:
        settings["transaction_timeout"] = "0"
    if read_only:
        settings |= {"default_transaction_read_only": "on", "lock_timeout": _READ_LOCK_TIMEOUT}
    select = sql.SQL("SELECT {}, {}, {}").format(_IN_ENGLISH, _IDLES, _calls(settings))
    (chosen, idles, *_) = connection.execute(select).fetchone() or (None, False)
    if chosen is not None or idles:
        english = " -c lc_messages=C" if chosen is not None else ""
        _of_programs[_login(target)] = "-c idle_session_timeout=0" + english
    if rows:
        names = {"schema": schema, "name": target.schema}
        if None in (connection.execute(_APP_PATH, names).fetchone() or ()):
            raise InsufficientPrivilege(
                "session_replication_role is set for this role or database, so that no foreign "
                "key and no trigger would notice a change, and this role may not reset it.",
                hint="Let a superuser run: ALTER ROLE … RESET session_replication_role, or the "
                "same of the database.",
            )


def _refuse_transaction_mode(
    connection: Connection, target: Target, parameters: dict[str, Any]
) -> None:
    """Return where a connection is a session of its own; it is in autocommit mode.

    A pooler hands out process ids of its own, so the one of the connection and the server's
    differ.  `parameters` open another connection like it.  Raises PoolerInTransactionMode.
    """
    backend = _backend(connection)
    if backend == connection.info.backend_pid:
        return
    with closing(psycopg.connect(**parameters, autocommit=True)) as other:
        for _ in range(_LOOKS):
            other.pgconn.send_query(_HOLD)  # in a transaction, so that nobody else gets this one
            if _waits(other) and _backend(connection) == backend and _waits(other):
                return  # a pool that is full: who waited longer would be served before
            held = _last_value(other)
            if held == backend or _backend(connection) != backend:
                raise PoolerInTransactionMode(
                    f"{target.describe()} is reached through a pooler in transaction mode, "
                    "which keeps neither locks nor settings.",
                    hint="Set DIRECT_URL to the server itself, or to a pooler in session mode.",
                )
            other.execute("ROLLBACK")


def _waits(connection: Connection) -> bool:
    """Whether the answer to what was sent is not there, and does not come soon."""
    return not select.select([connection.pgconn.socket], [], [], _SOON)[0]


def _last_value(connection: Connection) -> int:
    """Return the number that the last of the statements sent answers."""
    found = 0
    while (result := connection.pgconn.get_result()) is not None:
        if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
            raise psycopg.OperationalError(result.get_error_message())
        if result.ntuples:
            found = int(result.get_value(0, 0) or 0)
    return found


def _backend(connection: Connection) -> int:
    row = connection.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])


class _Logging(psycopg.Cursor[Any]):
    """A cursor that logs what it executes."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        """Execute and log one statement."""
        started = time.perf_counter()
        try:
            return super().execute(query, params, **options)
        finally:
            self._log(query, started)

    def executemany(self, query: Any, params_seq: Iterable[Any], **options: Any) -> None:
        """Execute and log a statement for many parameters, as one."""
        started = time.perf_counter()
        try:
            super().executemany(query, params_seq, **options)
        finally:
            self._log(query, started)

    meant: str | None = None
    """What is logged instead of what is sent."""

    def _log(self, query: Any, started: float) -> None:
        query = self.meant or query
        milliseconds = (time.perf_counter() - started) * 1000
        text = query if isinstance(query, str) else psycopg.sql.SQL("{}").format(query)
        plain = text if isinstance(text, str) else text.as_string(self)
        _LOGGER.info("%.1f ms  %s", milliseconds, scrub(" ".join(plain.split())))


class LoggingClientCursor(_Logging, psycopg.ClientCursor[Any]):
    """One that logs, and may send several statements at once."""
