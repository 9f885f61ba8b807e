"""The database and its tables at a glance."""

from dataclasses import dataclass
from datetime import datetime

from psycopg import sql
from psycopg.errors import InsufficientPrivilege, QueryCanceled
from psycopg.rows import dict_row

from leadctl.apps.registry import App, load_reports
from leadctl.db.connect import Connection, connect
from leadctl.db.queries import beside
from leadctl.db.target import Target

_QUERIES = beside(__file__, "stats.sql")
_EXACT_BYTES = 1024 * 1024
"""A table up to this size is counted instead of estimated: that takes a few milliseconds."""
_STATEMENT_SECONDS = 30.0


@dataclass(frozen=True)
class DatabaseStats:
    """One database: sizes in bytes, `cache_hit` as a share of 1."""

    name: str
    server_version: str
    size_bytes: int
    connections: int
    max_connections: int
    started_at: datetime
    cache_hit: float | None


@dataclass(frozen=True)
class TableStats:
    """One table; `exact` says whether `rows` was counted or is the server's estimate.

    `rows` is None where nothing is known: never analysed, and too large to be counted in passing,
    or not readable for this role.
    """

    name: str
    rows: int | None
    exact: bool
    table_bytes: int
    index_bytes: int


@dataclass(frozen=True)
class Overview:
    """The database, the tables of the schema, and the names of the app's reports."""

    schema: str
    database: DatabaseStats
    tables: tuple[TableStats, ...]
    reports: tuple[str, ...]


def overview(target: Target, app: App, *, exact: bool = False) -> Overview:
    """Read sizes and row counts: `exact` counts every row, in one snapshot.

    Works on any database, with a role that may read nothing but the catalog.
    """
    with (
        connect(
            target, "stats", read_only=True, statement_timeout=None if exact else _STATEMENT_SECONDS
        ) as connection,
        connection.transaction(),
    ):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        version = connection.info.server_version
        with connection.cursor(row_factory=dict_row) as cursor:
            database = cursor.execute(_QUERIES.get("database", version)).fetchone()
            assert database is not None
            found = cursor.execute(
                _QUERIES.get("tables", version), {"schema": target.schema}
            ).fetchall()
        tables = tuple(_table(connection, row, exact=exact) for row in found)
        reports = _reports(connection, target, app)
    return Overview(
        schema=target.schema,
        database=DatabaseStats(**database),
        tables=tables,
        reports=reports,
    )


def _reports(connection: Connection, target: Target, app: App) -> tuple[str, ...]:
    """Return the names of the app's reports, unless the app never lived in this schema."""
    name = sql.Identifier(target.schema, app.version_table).as_string(connection)
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (name,)).fetchone()
    return tuple(report.name for report in load_reports(app).reports) if row == (True,) else ()


def _table(connection: Connection, row: dict[str, object], *, exact: bool) -> TableStats:
    name, unknown = str(row["name"]), row.pop("unknown")
    small = int(str(row.pop("heap_bytes"))) <= _EXACT_BYTES
    sizes = {
        "table_bytes": int(str(row["table_bytes"])),
        "index_bytes": int(str(row["index_bytes"])),
    }
    if exact or small:
        counted = _count(connection, name)
        if counted is not None:
            return TableStats(name, counted, exact=True, **sizes)
    return TableStats(name, None if unknown else int(str(row["rows"])), exact=False, **sizes)


def _count(connection: Connection, table: str) -> int | None:
    """Count a table's rows; None where this role may not read it, or it takes too long."""
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.SQL(table))  # quoted by the server
    try:
        with connection.transaction():
            row = connection.execute(query).fetchone()
    except (InsufficientPrivilege, QueryCanceled):
        return None
    return int(row[0]) if row else None
