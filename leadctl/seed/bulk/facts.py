"""What the live catalog says of the tables that are to be filled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import beside

QUERIES = beside(__file__, "bulk.sql")


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


def read_facts(
    connection: Connection, schema: str, tables: Sequence[str]
) -> Mapping[str, TableFacts]:
    """Return what there is to know of some tables; those that do not exist are missing."""
    place = {"schema": sql.Identifier(schema).as_string(connection), "tables": list(tables)}
    facts = {row.name: row for row in QUERIES.rows(connection, "tables", TableFacts, **place)}
    for table, expressions in QUERIES.rows(connection, "unique_sets", **place):
        facts[table].unique_sets.append(expressions)
    for table, definition in QUERIES.rows(connection, "checks", **place):
        facts[table].checks.append(definition)
    for column in QUERIES.rows(connection, "columns", ColumnFacts, **place):
        facts[column.table_name].columns[column.name] = column
    return facts
