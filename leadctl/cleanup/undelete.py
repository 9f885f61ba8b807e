"""Bringing a soft-deleted row back, as long as its rule has not purged it."""

from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql

from leadctl.apps.registry import App
from leadctl.cleanup.tables import query
from leadctl.errors import NoPrimaryKey, RowNotFound
from leadctl.journal.runs import journaled
from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target

COLUMN = "deleted_at"
"""What the mixin SoftDelete calls it."""


@dataclass(frozen=True)
class UndeleteResult:
    """The row that is back."""

    table: str
    key: str
    deleted_at: datetime


def undelete(target: Target, app: App, table: str, key: str) -> UndeleteResult:
    """Take the mark of deletion from the row with a primary key.

    Raises RowNotFound where there is none, or it is not marked, and NoPrimaryKey where the table
    has no primary key of one column.
    """
    with connect(target, "cleanup undelete") as connection:
        name = sql.Identifier(target.schema, table)
        relation = query(connection, "relation", table=name.as_string(connection))
        if not relation:
            raise RowNotFound(
                f"There is no table {target.schema}.{table}.", hint="See: leadctl stats"
            )
        oid, columns = relation[0][0], relation[0][-1]
        if not query(connection, "column", oid=oid, column=COLUMN):
            raise RowNotFound(
                f"{table} has no column {COLUMN}: its rows are deleted for good.",
                hint="Where they were archived: leadctl cleanup unarchive FILE",
            )
        if columns is None or len(columns) != 1:
            raise NoPrimaryKey(
                f"{table} has no primary key of one column.", hint="Write an UPDATE in psql."
            )
        column = sql.Identifier(columns[0])
        with journaled(target, "cleanup undelete", app.name) as entry:
            # The server reads the key as the column's type.
            find = sql.SQL(
                "SELECT {mark} FROM {table}"
                " WHERE {column} = {key} AND {mark} IS NOT NULL FOR UPDATE"
            )
            restore = sql.SQL("UPDATE {table} SET {mark} = NULL WHERE {column} = {key}")
            parts = {"mark": sql.Identifier(COLUMN), "table": name, "column": column}
            parts_with_key = {**parts, "key": sql.Literal(key)}
            try:
                with connection.transaction():
                    row = connection.execute(find.format(**parts_with_key)).fetchone()
                    if row is None:
                        raise _not_found(table, key)
                    connection.execute(restore.format(**parts_with_key))
            except psycopg.DataError:
                raise _not_found(table, key) from None
            entry.note(table=table, key=key)
    return UndeleteResult(table, key, row[0])


def _not_found(table: str, key: str) -> RowNotFound:
    return RowNotFound(
        f"{table} has no row {key!r} that is marked as deleted.",
        hint="It was never deleted, or cleanup has purged it: see leadctl cleanup --list",
    )
