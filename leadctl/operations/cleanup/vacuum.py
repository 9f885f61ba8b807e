"""VACUUM (ANALYZE) after large deletions, so that scans do not wade through what is gone."""

from collections.abc import Callable

import psycopg
from psycopg import sql

from leadctl.db.connect import Connection
from leadctl.operations.cleanup.batches import Deleted
from leadctl.operations.cleanup.catalog import Subject
from leadctl.operations.cleanup.stop import Limits

_ROWS = 10_000
"""Deletions that autovacuum can be left alone with."""

Narrate = Callable[[str], None]


def vacuum(
    connection: Connection, subject: Subject, done: Deleted, limits: Limits, narrate: Narrate
) -> None:
    """Vacuum the tables that lost many rows, within the time of the run.

    The file is not truncated, which would need a lock that stops everybody.
    """
    lost = {subject.oid: done.rows} | dict(done.cascaded)
    for oid, rows in lost.items():
        if rows < _ROWS or limits.reached is not None:
            continue
        name = subject.tables[oid]
        narrate(f"Vacuuming {name}")
        statement = sql.SQL("VACUUM (ANALYZE, SKIP_LOCKED, TRUNCATE false) {}")
        seconds = limits.seconds_left
        timeout = "0" if seconds is None else f"{max(1, round(seconds * 1000))}ms"
        connection.execute("SELECT set_config('statement_timeout', %s, false)", (timeout,))
        try:
            with limits.cancelling(connection):
                connection.execute(statement.format(sql.SQL(name)))
        except psycopg.errors.QueryCanceled:
            narrate(f"Vacuuming {name} was left to autovacuum.")
        finally:
            connection.execute("SET statement_timeout = 0")
