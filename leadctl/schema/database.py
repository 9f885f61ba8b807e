"""Reading the schema of a live database, any that PostgreSQL has."""

from collections.abc import Mapping, Sequence
from typing import Any

from leadctl.postgres.connect import connect
from leadctl.postgres.queries import beside
from leadctl.postgres.target import Target
from leadctl.schema.definition import (
    Column,
    Constraint,
    Enumeration,
    ForeignKey,
    Index,
    Schema,
    Table,
)

_QUERIES = beside(__file__, "schema.sql")
_STATEMENT_SECONDS = 30.0


def read_database(target: Target) -> Schema:
    """Read the target's schema in two queries, whatever its size."""
    with connect(
        target, "schema", read_only=True, statement_timeout=_STATEMENT_SECONDS
    ) as connection:
        tables = _QUERIES.rows(connection, "tables", dict, schema=target.schema)
        enums = _QUERIES.rows(connection, "enums", dict, schema=target.schema)
        return Schema(
            source=f"database {connection.info.dbname}",
            name=target.schema,
            tables=tuple(_table(row) for row in tables),
            enums=tuple(Enumeration(row["name"], tuple(row["values"])) for row in enums),
        )


def _table(row: Mapping[str, Any]) -> Table:
    parts: Mapping[str, Sequence[Mapping[str, Any]]] = row["parts"]
    primary = parts.get("primary", ())
    return Table(
        name=row["name"],
        kind=row["kind"],
        columns=tuple(Column(**column) for column in parts.get("columns", ())),
        primary_key=tuple(primary[0]["columns"]) if primary else (),
        uniques=tuple(
            Constraint(each["name"], tuple(each["columns"])) for each in parts.get("uniques", ())
        ),
        checks=tuple(
            Constraint(each["name"], definition=each["definition"])
            for each in parts.get("checks", ())
        ),
        foreign_keys=tuple(
            ForeignKey(
                each["name"],
                tuple(each["columns"]),
                each["table"],
                tuple(each["referred"]),
                each["on_delete"],
            )
            for each in parts.get("foreign", ())
        ),
        indexes=tuple(
            Index(
                each["name"],
                tuple(each["columns"]),
                each["unique"],
                each["method"],
                each["where"],
            )
            for each in parts.get("indexes", ())
        ),
        comment=row["comment"],
    )
