"""SQLAlchemy engines: one for a host application's process, one for each run of leadctl."""

import os
import threading
from typing import Any

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.pool import NullPool

from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target, pooled
from leadctl.settings import Settings, load_settings

_URL = URL.create("postgresql+psycopg")
_DEFAULT_POOL_TIMEOUT = 10.0
"""Seconds; Prisma's default, too."""

_engines: dict[tuple[int, str], Engine] = {}
_guard = threading.Lock()


def engine(settings: Settings | None = None, *, app: str | None = None) -> Engine:
    """Return this process's engine for an app: made once, sized by the settings, thread-safe.

    DATABASE_POOL_MIN connections stay open, DATABASE_POOL_MAX (or the URL's connection_limit)
    are opened at most; a caller waits for one as long as the URL's pool_timeout says.  A forked
    process gets an engine of its own.  Raises what resolving the target raises.
    """
    settings = settings or load_settings()
    key = (os.getpid(), app or settings.app)
    with _guard:
        if key not in _engines:
            _engines[key] = _pooled_engine(settings, key[1])
        return _engines[key]


def run_engine(target: Target, purpose: str) -> Engine:
    """Return an engine without a pool, for one run of leadctl."""
    return create_engine(
        _URL, creator=lambda: connect(target, purpose, autocommit=False), poolclass=NullPool
    )


def _pooled_engine(settings: Settings, app: str) -> Engine:
    target = pooled(settings, app=app)
    limit = target.url.connection_limit or settings.pool_max
    size = min(settings.pool_min, limit)
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
