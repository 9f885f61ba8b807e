"""SQLAlchemy engines: one for a host application's process, one for each run of leadctl."""

import os
import re
import threading
from dataclasses import replace
from typing import Any

from psycopg.pq import TransactionStatus
from sqlalchemy import URL, Delete, Engine, Select, Table, Update, create_engine, event
from sqlalchemy import Connection as SqlConnection
from sqlalchemy.pool import NullPool
from sqlalchemy.sql import visitors

from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target
from leadctl.settings import Settings
from leadctl.settings.url import DatabaseUrl

_URL = URL.create("postgresql+psycopg")
_DEFAULT_POOL_TIMEOUT = 10.0
"""Seconds; Prisma's default, too."""

_engines: dict[object, Engine] = {}
_guard = threading.Lock()


def application_engine(target: Target, settings: Settings) -> Engine:
    """Return this process's engine for a target: made once, sized by the settings, thread-safe.

    It connects as an application does: to DATABASE_URL, through a pooler perhaps.
    DATABASE_POOL_MIN connections stay open, DATABASE_POOL_MAX (or the URL's connection_limit)
    are opened at most; a caller waits for one as long as the URL's pool_timeout says.  A forked
    process gets an engine of its own.
    """
    target = replace(target, url=target.application_url or target.url)
    # The URL of a url_command changes with each token; what prints it says which database it is.
    named = replace(target, url=DatabaseUrl()) if target.url_command else target
    size = (settings.pool_min, settings.pool_max)
    key = (os.getpid(), settings.app, named, size, frozenset(settings.libpq.items()))
    with _guard:
        if key not in _engines:
            _engines[key] = _pooled_engine(target, *size)
        return _engines[key]


def run_engine(target: Target, purpose: str) -> Engine:
    """Return an engine without a pool, for one run of leadctl."""
    engine = create_engine(
        _URL,
        creator=lambda: connect(target, purpose, autocommit=False, rows=True),
        poolclass=NullPool,
        # A session that the server ended cannot be rolled back, and SQLAlchemy would print that.
        pool_reset_on_return=None,
    )
    event.listen(engine, "before_cursor_execute", _name_exactly, retval=True)
    event.listen(engine, "after_cursor_execute", _close_declared)
    event.listen(engine, "do_execute", _send_as_it_is)
    return engine


_LONE_PERCENT = re.compile(r"(?<!%)(?:%%)*%(?!%)")


def _send_as_it_is(cursor: Any, statement: str, values: Any, context: Any) -> bool:
    """Send a text with lone percent signs and no values as psycopg2 and asyncpg send it.

    psycopg would take the signs for placeholders, and refuse what revisions were written for.
    """
    if values or context is None or context.compiled is not None:
        return False
    if not _LONE_PERCENT.search(statement):
        return False
    cursor.execute(statement.encode())
    return True


def _name_exactly(
    connection: SqlConnection, _cursor: Any, statement: str, values: Any, context: Any, _many: bool
) -> tuple[str, Any]:
    """Let names be the server's in what SQLAlchemy and Alembic themselves say.

    They ask the catalog, and write which revision is applied, in a session whose path is the app's.
    """
    made_of = getattr(getattr(context, "compiled", None), "statement", None)
    if isinstance(made_of, Update | Delete) and _is_version_table(made_of.table):
        return statement.replace(_IS_REVISION, _IS_REVISION_EXACTLY), values
    if not (isinstance(made_of, Select) and _reads_catalog(made_of)):
        return statement, values
    driver = driver_connection(connection)
    if driver.info.transaction_status == TransactionStatus.IDLE:
        driver.execute("BEGIN")
        context.leadctl_began = True
    exact.declare(driver, statement, values)
    return exact.FETCH, {}


_IS_REVISION = ".version_num = "
_IS_REVISION_EXACTLY = ".version_num OPERATOR(pg_catalog.=) "


def _is_version_table(table: object) -> bool:
    return isinstance(table, Table) and table.columns.keys() == ["version_num"]


def _close_declared(
    connection: SqlConnection, _cursor: Any, statement: str, _values: Any, context: Any, _many: bool
) -> None:
    if statement == exact.FETCH:
        driver = driver_connection(connection)
        exact.close(driver)
        if getattr(context, "leadctl_began", False):
            driver.execute("COMMIT")


def _reads_catalog(statement: Select[Any]) -> bool:
    """Whether a query is of nothing but tables of pg_catalog."""
    tables = [each for each in visitors.iterate(statement) if isinstance(each, Table)]
    return bool(tables) and all(table.schema == "pg_catalog" for table in tables)


def driver_connection(connection: SqlConnection) -> Connection:
    """Return psycopg's connection beneath SQLAlchemy's."""
    found: Connection | None = connection.connection.driver_connection
    assert found is not None
    return found


def _pooled_engine(target: Target, pool_min: int, pool_max: int) -> Engine:
    limit = target.url.connection_limit or pool_max
    size = min(pool_min, limit)
    wait = target.url.pool_timeout
    options: dict[str, Any] = {
        "pool_size": size,
        "max_overflow": limit - size,
        "pool_timeout": _DEFAULT_POOL_TIMEOUT if wait is None else wait,
        "pool_pre_ping": True,
    }
    return create_engine(
        _URL,
        creator=lambda: connect(
            target,
            "application",
            autocommit=False,
            rows=True,
            prepare=not target.url.pgbouncer,
            through_pooler=True,
        ),
        **options,
    )
