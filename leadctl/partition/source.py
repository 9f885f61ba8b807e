"""The table that is to be partitioned, and why it may not be."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from leadctl.errors import CannotPartition
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import beside

_QUERIES = beside(__file__, "partition.sql")
_TYPES = ("timestamp with time zone", "timestamp without time zone", "date")


@dataclass(frozen=True)
class Constraint:
    """A key or foreign key: its definition as ALTER TABLE has it."""

    name: str
    kind: str
    definition: str
    columns: list[str]


@dataclass(frozen=True)
class Source:
    """A table as it is, without partitions."""

    name: str
    column: str
    columns: list[str]
    """Those that can be written."""
    key: Constraint | None
    foreign_keys: tuple[Constraint, ...]
    indexes: dict[str, str]
    """Definitions by name."""


def read_source(connection: Connection, schema: str, table: str, column: str | None) -> Source:
    """Read a table that can be partitioned by a column.

    Raises CannotPartition with every reason why it cannot; that nobody knows the column is one.
    """
    name = sql.Identifier(schema, table).as_string(connection)
    found = _rows(connection, "table", table=name)
    if not found:
        raise _refusal(table, "it does not exist")
    facts = found[0]
    constraints = [Constraint(**row) for row in _rows(connection, "constraints", oid=facts["oid"])]
    indexes = _rows(connection, "indexes", oid=facts["oid"])
    reasons = [
        *_reasons_of_table(facts),
        *_reasons_of_column(connection, facts["oid"], column),
        *_reasons_of_keys(facts, constraints, indexes, column or "the time"),
    ]
    if reasons or column is None:
        raise _refusal(table, "; ".join(reasons))
    return Source(
        name=table,
        column=column,
        columns=facts["columns"],
        key=next((found for found in constraints if found.kind == "p"), None),
        foreign_keys=tuple(found for found in constraints if found.kind == "f"),
        indexes={index["name"]: index["definition"] for index in indexes},
    )


def _reasons_of_table(facts: dict[str, Any]) -> Iterator[str]:
    if facts["kind"] == "p" or facts["is_partition"]:
        yield "it is partitioned already"
    elif facts["kind"] != "r" or facts["inherits"]:
        yield "it is no plain table"
    if facts["row_security"]:
        yield "it has row security, whose policies would have to be written anew"
    for what, why in {
        "triggers": "its triggers would have to be made anew",
        "sequences": "a sequence of its own would go with its oldest partition",
        "views": "views would go on reading its oldest partition",
    }.items():
        if facts[what]:
            yield f"{why}: {', '.join(facts[what])}"


def _reasons_of_column(connection: Connection, oid: int, column: str | None) -> Iterator[str]:
    if column is None:
        yield "no retention rule says which column tells a row's age, nor does --column"
        return
    columns = _rows(connection, "column", oid=oid, column=column)
    if not columns:
        yield f"it has no column {column}"
    elif columns[0]["type"] not in _TYPES:
        yield f"{column} is of type {columns[0]['type']}, which is no time"
    elif not columns[0]["required"]:
        yield f"{column} may be NULL, and a row without a time belongs to no partition"


def _reasons_of_keys(
    facts: dict[str, Any],
    constraints: list[Constraint],
    indexes: list[dict[str, Any]],
    column: str,
) -> Iterator[str]:
    """Say which keys would have to hold the time, since PostgreSQL keeps them per partition."""
    if facts["referring"]:
        yield (
            f"its primary key would have to hold {column}, and with it every foreign key that "
            f"refers to it: {', '.join(facts['referring'])}"
        )
    for found in constraints:
        if found.kind == "u" and column not in found.columns:
            yield f"{found.name} would have to hold {column}, and would not be unique without it"
        if found.kind == "x":
            yield f"the exclusion {found.name} cannot reach across partitions"
    for index in indexes:
        if index["is_unique"]:
            yield f"the unique index {index['name']} would have to hold {column}"


def _refusal(table: str, reasons: str) -> CannotPartition:
    return CannotPartition(
        f"{table} cannot be partitioned: {reasons}.",
        hint="A retention rule deletes from it row by row: leadctl cleanup --list",
    )


def _rows(connection: Connection, block: str, **parameters: Any) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        statement = _QUERIES.get(block, connection.info.server_version)
        return cursor.execute(statement, parameters).fetchall()
