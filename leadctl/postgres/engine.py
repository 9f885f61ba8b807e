"""SQLAlchemy engines: one for a host application's process, one for each run of leadctl."""

import os
import threading
from dataclasses import replace
from typing import Any

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy import Connection as SqlConnection
from sqlalchemy.pool import NullPool

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
    return create_engine(
        _URL, creator=lambda: connect(target, purpose, autocommit=False), poolclass=NullPool
    )


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
            prepare=not target.url.pgbouncer,
            through_pooler=True,
        ),
        **options,
    )
