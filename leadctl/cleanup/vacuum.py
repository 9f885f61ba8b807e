"""VACUUM (ANALYZE) after large deletions, so that scans do not wade through what is gone."""

from collections.abc import Mapping

import psycopg
from psycopg import sql

from leadctl.cleanup.context import Limits
from leadctl.cleanup.tables import query
from leadctl.postgres.connect import Connection
from leadctl.progress import Narrate

_ROWS = 10_000
"""Deletions of a table that are not worth a VACUUM."""
_PACE = """
SELECT set_config('vacuum_cost_delay', '0.2ms', false),
       set_config('vacuum_cost_limit', '100', false), set_config('statement_timeout', %s, false)
"""
"""Five times as fast as autovacuum by default: at full speed, with parallel workers or in longer
steps its WAL is what commits of others wait for.
https://www.postgresql.org/docs/current/runtime-config-vacuum.html#RUNTIME-CONFIG-RESOURCE-VACUUM-COST
"""


def vacuum(
    connection: Connection, lost: Mapping[int, int], limits: Limits, narrate: Narrate
) -> None:
    """Vacuum the tables that lost many rows, by oid, within the time of the run.

    Where so many are dead that autovacuum comes by itself, it is left to that, which is gentler to
    others.  The file is not truncated, which would need a lock that stops everybody.
    """
    large = [oid for oid, rows in lost.items() if rows >= _ROWS]
    if not large:
        return
    query(connection, "flush")
    for name, is_autovacuum_due in query(connection, "with_dead_rows", oids=large):
        if is_autovacuum_due:
            narrate(f"Autovacuum is due for {name}: it is left to that.")
        elif limits.reached is None:
            _vacuum(connection, name, limits, narrate)


def _vacuum(connection: Connection, name: str, limits: Limits, narrate: Narrate) -> None:
    narrate(f"Vacuuming {name}")
    seconds = limits.seconds_left
    timeout = "0" if seconds is None else f"{max(1, round(seconds * 1000))}ms"
    connection.execute(_PACE, (timeout,))
    try:
        with limits.cancelling(connection):
            statement = sql.SQL("VACUUM (ANALYZE, SKIP_LOCKED, TRUNCATE false, PARALLEL 0) {}")
            connection.execute(statement.format(sql.SQL(name)))
    except psycopg.errors.QueryCanceled:
        narrate(f"Vacuuming {name} was left to autovacuum.")
    finally:
        connection.execute("SET statement_timeout = 0")
