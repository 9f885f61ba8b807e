"""What the live catalog says of the tables that are to be filled."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql
from psycopg.rows import class_row, dict_row

from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import beside

_QUERIES = beside(__file__, "bulk.sql")


@dataclass(frozen=True)
class ColumnFacts:
    """One column; `sequence` is what numbers it, where something does."""

    table_name: str
    name: str
    required: bool
    generated: bool
    has_default: bool
    sequence: str | None


@dataclass(frozen=True)
class TableFacts:
    """One table.

    `plain` is one whose indexes may be rebuilt: an ordinary table of a role that we are.
    """

    name: str
    plain: bool
    triggers: bool
    columns: dict[str, ColumnFacts] = field(default_factory=dict)
    unique_sets: list[list[str]] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Definition:
    """An index or constraint, as it can be made again; `kind` is f, p, u, x (constraints) or i."""

    table_name: str
    name: str
    kind: str
    definition: str


def read_facts(
    connection: Connection, schema: str, tables: Sequence[str]
) -> Mapping[str, TableFacts]:
    """Return what there is to know of some tables; those that do not exist are missing."""
    parameters = _parameters(connection, schema, tables)
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_sql(connection, "tables"), parameters)
        facts = {row["name"]: TableFacts(**row) for row in rows}
        for row in cursor.execute(_sql(connection, "unique_sets"), parameters).fetchall():
            facts[row["table_name"]].unique_sets.append(row["expressions"])
        for row in cursor.execute(_sql(connection, "checks"), parameters).fetchall():
            facts[row["table_name"]].checks.append(row["definition"])
    with connection.cursor(row_factory=class_row(ColumnFacts)) as columns:
        for column in columns.execute(_sql(connection, "columns"), parameters).fetchall():
            facts[column.table_name].columns[column.name] = column
    return facts


def read_definitions(
    connection: Connection, schema: str, tables: Sequence[str]
) -> Mapping[str, list[Definition]]:
    """Return what of some tables can be dropped and made again, by table (as SQL names it)."""
    parameters = _parameters(connection, schema, tables)
    found = defaultdict(list)
    with connection.cursor(row_factory=class_row(Definition)) as cursor:
        for name in ("constraints", "indexes"):
            for item in cursor.execute(_sql(connection, name), parameters).fetchall():
                found[item.table_name].append(item)
    return found


def read_series(connection: Connection, app: str, schema: str) -> int:
    """Return how many runs have filled an app's tables; the schema `leadctl` must be there."""
    parameters = {"app": app, "schema": schema}
    row = connection.execute(_sql(connection, "series"), parameters).fetchone()
    return int(row[0]) if row else 0


def has_rows(connection: Connection, table: str, more_than: int) -> bool:
    """Whether a table has more rows than so many; reads no more than that."""
    query = sql.SQL("SELECT count(*) > {} FROM (SELECT FROM {} LIMIT {}) AS first").format(
        sql.Literal(more_than), sql.Identifier(table), sql.Literal(more_than + 1)
    )
    row = connection.execute(query).fetchone()
    return bool(row and row[0])


def _parameters(connection: Connection, schema: str, tables: Sequence[str]) -> dict[str, Any]:
    return {"schema": sql.Identifier(schema).as_string(connection), "tables": list(tables)}


def _sql(connection: Connection, name: str) -> str:
    return _QUERIES.get(name, connection.info.server_version)
