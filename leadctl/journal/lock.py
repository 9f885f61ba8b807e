"""The advisory lock that lets one run at a time change a target's schema."""

import random
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from leadctl.errors import LockHeld
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target
from leadctl.progress import Narrate
from leadctl.text import utc

_CLASS = zlib.crc32(b"leadctl") & 0x7FFFFFFF
_POLL_SECONDS = 0.1
_POLL_SECONDS_MAX = 1.0


@contextmanager
def schema_lock(
    target: Target, purpose: str, wait: float, narrate: Narrate
) -> Iterator[Connection]:
    """Hold the target's lock: the database's and schema's, for migrate, reset and their like.

    It is polled on a session of its own, so that waiting blocks nobody and holds no transaction
    open, which CREATE INDEX CONCURRENTLY would wait for.  The session is handed over for whatever
    else is short.  Raises LockHeld after `wait` seconds.
    """
    key = lock_key(target.schema)[1]
    with connect(target, purpose) as session:
        session.execute("SET idle_session_timeout = 0")
        deadline = time.monotonic() + wait
        pause, told = _POLL_SECONDS, False
        while not _try(session, key):
            holder = _holder(session, key)
            if time.monotonic() >= deadline:
                raise LockHeld(
                    f"Another run holds the lock on schema {target.schema}: {holder}.",
                    hint=f"leadctl waited for it {wait:g} s; wait longer with --lock-wait.",
                )
            if not told:
                narrate(f"Waiting for another run: {holder}")
                told = True
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())) * random.uniform(0.7, 1))  # noqa: S311
            pause = min(pause * 1.5, _POLL_SECONDS_MAX)
        yield session


def lock_key(schema: str) -> tuple[int, int]:
    """Return the two numbers of the advisory lock on a schema, within its database."""
    return _CLASS, zlib.crc32(schema.encode()) & 0x7FFFFFFF


def _try(session: Connection, key: int) -> bool:
    row = exact.execute(session, "SELECT pg_try_advisory_lock(%s, %s)", (_CLASS, key)).fetchone()
    return bool(row and row[0])


def _holder(session: Connection, key: int) -> str:
    row = exact.execute(
        session,
        "SELECT l.pid, a.application_name, a.usename, a.backend_start "
        "FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid) "
        "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2"
        "  AND l.classid = %s::bigint::oid AND l.objid = %s::bigint::oid"
        "  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        (_CLASS, key),
    ).fetchone()
    if row is None:
        return "a run that has just ended"
    pid, name, user, since = row
    started = f", since {utc(since)}" if since else ""
    return f"{name or 'a session'} (server process {pid}, role {user}{started})"
