"""Statistics for the planner, which a dump does not hold."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from psycopg import sql

from leadctl.postgres.connect import connect
from leadctl.postgres.queries import beside
from leadctl.postgres.target import Target

_QUERIES = beside(__file__, "restore.sql")


def analyze(target: Target, jobs: int) -> None:
    """Do what ANALYZE does for a database, on so many connections.

    Raises what connecting raises.
    """
    with connect(target, "restore") as connection:
        query = _QUERIES.get("analyzed", connection.info.server_version)
        tables = deque(name for (name,) in connection.execute(query))

    def work(_number: int) -> None:
        with connect(target, "restore") as connection, suppress(IndexError):
            while True:
                # The name is as the server quoted it.
                table = sql.SQL(tables.popleft())
                connection.execute(sql.SQL("ANALYZE {}").format(table))

    with ThreadPoolExecutor(jobs) as threads:
        try:
            list(threads.map(work, range(jobs)))
        finally:
            tables.clear()  # where one failed, or nobody waits any more
