"""Statements of leadctl's own, in which a name is the server's, whatever is in the app's schema.

Functions, operators, casts and tables without a schema are looked for where the search path leads,
and one that fits the types better than the server's own would be taken: somebody who may create in
the app's schema would have code run by whoever runs leadctl.  So a statement is read while the path
is pg_catalog.  It is executed under the path that the session has: names and definitions are
written by the server as they are seen from the app's schema.  A cursor keeps the two apart: it is
declared under the one, and fetched from under the other.  All goes in one round trip.
https://www.postgresql.org/docs/current/typeconv-func.html
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from leadctl.postgres.connect import Connection

_READS = re.compile(r"(?:\s|--[^\n]*\n)*(?:SELECT|WITH|VALUES|TABLE)\b", re.IGNORECASE)
_WRITES = re.compile(r"\b(?:INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)
_NARROW = (
    "SELECT pg_catalog.set_config('leadctl.search_path',"
    " pg_catalog.current_setting('search_path'), true),"
    " pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),"
    " pg_catalog.set_config('cursor_tuple_fraction', '1', true)"
)
_WIDE = (
    "SELECT pg_catalog.set_config('search_path',"
    " pg_catalog.current_setting('leadctl.search_path'), true)"
)


def execute(
    connection: "Connection",
    statement: str | sql.Composable,
    values: Mapping[str, Any] | tuple[Any, ...] | None = None,
    row_factory: Any = None,
) -> "psycopg.Cursor[Any]":
    """Execute one statement of leadctl's own; return a cursor with its rows.

    In autocommit mode it is a transaction of its own.  Raises what psycopg does.
    """
    text = statement if isinstance(statement, str) else statement.as_string(connection)
    if _READS.match(text) and not _WRITES.search(text):
        return next(_reading(connection, [text], values, row_factory))
    cursor = _cursor(connection, row_factory)
    _send(cursor, [_NARROW, text, _WIDE], values, text)
    cursor.nextset()
    return cursor


def fetch_all(
    connection: "Connection",
    statements: Sequence[str],
    values: Mapping[str, Any] | None = None,
    row_factory: Any = None,
) -> list[list[Any]]:
    """Return the rows of statements that read, in one round trip.  Raises what psycopg does."""
    return [cursor.fetchall() for cursor in _reading(connection, statements, values, row_factory)]


def _reading(
    connection: "Connection", statements: Sequence[str], values: Any, row_factory: Any
) -> "Iterator[psycopg.Cursor[Any]]":
    """Yield a cursor at the rows of each statement in turn."""
    numbered = list(enumerate(statements))
    parts = [
        _NARROW,
        *(f"DECLARE leadctl_{n} NO SCROLL CURSOR FOR {text}" for n, text in numbered),
        _WIDE,
        *(f"FETCH ALL FROM leadctl_{n}" for n, _ in numbered),
        *(f"CLOSE leadctl_{n}" for n, _ in numbered),
    ]
    cursor = _cursor(connection, row_factory)
    _send(cursor, parts, values, "; ".join(statements))
    for _ in range(len(statements) + 1):
        cursor.nextset()
    for _ in statements:
        cursor.nextset()
        yield cursor


def _send(
    cursor: "psycopg.ClientCursor[Any]", parts: Sequence[str], values: Any, meant: str
) -> None:
    """Send statements at once; the log has what is meant by them."""
    cursor.meant = meant  # type: ignore[attr-defined]
    # Without parameters a percent sign is itself; a tuple, though empty, says that it is doubled.
    cursor.execute(";\n".join(parts), values if values or isinstance(values, tuple) else None)


def _cursor(connection: "Connection", row_factory: Any) -> "psycopg.ClientCursor[Any]":
    """Return a cursor that may send several statements at once, and logs where the others do."""
    kind: type[psycopg.ClientCursor[Any]] = psycopg.ClientCursor
    if connection.cursor_factory is not psycopg.Cursor:
        from leadctl.postgres.connect import LoggingClientCursor

        kind = LoggingClientCursor
    return kind(connection, row_factory=row_factory or connection.row_factory)
