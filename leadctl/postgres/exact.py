"""Statements of leadctl's own, in which a name is the server's, whatever is in the app's schema.

Functions, operators, casts and tables without a schema are looked for where the search path leads,
and one that fits the types better than the server's own would be taken: somebody who may create in
the app's schema would have code run by whoever runs leadctl.  So the search path of a session is
pg_catalog, and a statement says the schema of what is the app's.

Names and definitions are written by the server as they are seen from the app's schema.  A cursor
keeps the two apart: it is declared under the one path, and fetched from under the other.  All goes
in one round trip.

Where rows are touched, triggers, policies and views run, which look along the app's path; so do
`connect(…, rows=True)` and `run_engine`.  A statement on rows names every function, operator and
type of its own with the schema, which is as good.  What it makes run has the rights of the table's
owner where ours are a superuser's (`as_owner`).
https://www.postgresql.org/docs/current/typeconv-func.html
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from leadctl.postgres.connect import OWN_PATH, Connection, LoggingClientCursor

_READS = re.compile(r"(?:\s|--[^\n]*\n)*(?:SELECT|WITH|VALUES|TABLE)\b", re.IGNORECASE)
_WRITES = re.compile(r"\b(?:INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)
_NARROW = (
    "SELECT pg_catalog.set_config('leadctl.search_path',"
    " pg_catalog.current_setting('search_path'), true),"
    f" pg_catalog.set_config('search_path', '{OWN_PATH}', true),"
    " pg_catalog.set_config('cursor_tuple_fraction', '1', true)"
)
_AS_THE_APP = (
    "SELECT pg_catalog.set_config('search_path', pg_catalog.current_setting("
    "CASE WHEN pg_catalog.current_setting('leadctl.search_path') OPERATOR(pg_catalog.=) ANY"
    f" (ARRAY['{OWN_PATH}', pg_catalog.current_setting('leadctl.app_path', true)])"
    " THEN 'leadctl.seen_from' ELSE 'leadctl.search_path' END), true)"
)
_BACK = (
    "SELECT pg_catalog.set_config('search_path',"
    " pg_catalog.current_setting('leadctl.search_path'), true)"
)


def execute(
    connection: Connection,
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
    _send(cursor, [_NARROW, text, _BACK], values, text)
    cursor.nextset()
    return cursor


def fetch_all(
    connection: Connection,
    statements: Sequence[str],
    values: Mapping[str, Any] | None = None,
    row_factory: Any = None,
) -> list[list[Any]]:
    """Return the rows of statements that read, in one round trip.  Raises what psycopg does."""
    return [cursor.fetchall() for cursor in _reading(connection, statements, values, row_factory)]


def _reading(
    connection: Connection, statements: Sequence[str], values: Any, row_factory: Any
) -> "Iterator[psycopg.Cursor[Any]]":
    """Yield a cursor at the rows of each statement in turn."""
    numbered = list(enumerate(statements))
    parts = [
        _NARROW,
        *(f"DECLARE leadctl_{n} NO SCROLL CURSOR FOR {text}" for n, text in numbered),
        _AS_THE_APP,
        *(f"FETCH ALL FROM leadctl_{n}" for n, _ in numbered),
        *(f"CLOSE leadctl_{n}" for n, _ in numbered),
        _BACK,
    ]
    cursor = _cursor(connection, row_factory)
    _send(cursor, parts, values, "; ".join(statements))
    for _ in range(len(statements) + 1):
        cursor.nextset()
    for _ in statements:
        cursor.nextset()
        yield cursor


def fetch_each(
    connection: Connection,
    statements: Sequence[str],
    schemas: Sequence[str],
    values: Mapping[str, Any],
) -> dict[str, list[list[dict[str, Any]]]]:
    """Return the rows of statements that read, for each of some schemas, in one round trip.

    The statements are planned once, which is most of what they cost: in them `leadctl_of` is a
    schema, its `name` and its `place` as a regnamespace.  What is written of each is as seen from
    it.  Their columns have names, and values come as JSON has them.  Schemas that do not exist are
    missing.  No lock is waited for: one schema's would hold up all.  Raises what psycopg does.
    """
    paths = [sql.Identifier(schema).as_string(connection) for schema in schemas]
    columns = (
        sql.SQL("(SELECT pg_catalog.json_agg(q) FROM ({}) AS q)").format(sql.SQL(text))
        for text in statements
    )
    parts = [
        _NARROW,
        "SELECT pg_catalog.set_config('lock_timeout', '500ms', true)",
        _EACH.format(sql.SQL(", ").join(columns)).as_string(connection),
        *(_NEXT.format(path.replace("%", "%%")).as_string(connection) for path in paths),
        "CLOSE leadctl_each",
        _BACK,
    ]
    cursor = _cursor(connection, None)
    _send(cursor, parts, {**values, "each": list(schemas)}, "; ".join(statements))
    for _ in range(2):
        cursor.nextset()
    found = {}
    for schema in schemas:
        cursor.nextset()
        cursor.nextset()
        ((name, schema_number, *rows),) = cursor.fetchall()
        if name != schema:
            raise psycopg.DataError(f"{name} was read as seen from {schema}")
        if schema_number is not None:
            found[schema] = [each or [] for each in rows]
    return found


_EACH = sql.SQL(
    "DECLARE leadctl_each NO SCROLL CURSOR FOR SELECT name, place, {} FROM ("
    "SELECT s.name, to_regnamespace(quote_ident(s.name)) AS place"
    " FROM unnest(%(each)s::text[]) AS s (name) OFFSET 0) AS leadctl_of"
)
_NEXT = sql.SQL("SELECT pg_catalog.set_config('search_path', {}, true);\nFETCH 1 FROM leadctl_each")


FETCH = "FETCH ALL FROM leadctl_declared"
"""Reads what was declared."""


def declare(connection: Connection, statement: str, values: Any) -> None:
    """Let a cursor be of a statement that reads, in the caller's transaction; `close` it."""
    connection.execute(_NARROW)
    query = sql.SQL("DECLARE leadctl_declared NO SCROLL CURSOR FOR ") + sql.SQL(statement)
    connection.execute(query, values)
    connection.execute(_AS_THE_APP)


def close(connection: Connection) -> None:
    """Close what was declared, and look again along the path of before."""
    connection.execute("CLOSE leadctl_declared")
    connection.execute(_BACK)


def _send(
    cursor: "psycopg.ClientCursor[Any]", parts: Sequence[str], values: Any, meant: str
) -> None:
    """Send statements at once; the log has what is meant by them."""
    cursor.meant = meant  # type: ignore[attr-defined]
    # Without parameters a percent sign is itself; a tuple, though empty, says that it is doubled.
    cursor.execute(";\n".join(parts), values if values or isinstance(values, tuple) else None)


def _cursor(connection: Connection, row_factory: Any) -> "psycopg.ClientCursor[Any]":
    """Return a cursor that may send several statements at once, and logs where the others do."""
    kind: type[psycopg.ClientCursor[Any]] = psycopg.ClientCursor
    if connection.cursor_factory is not psycopg.Cursor:
        kind = LoggingClientCursor
    return kind(connection, row_factory=row_factory or connection.row_factory)


@contextmanager
def as_owner(connection: Connection, role: str | None) -> Iterator[None]:
    """Run the block's statements with the rights of `role`, in a transaction; None changes nothing.

    `Relation.touched_as` says which role that is.
    """
    if role is None:
        yield
        return
    outermost = connection.info.transaction_status == TransactionStatus.IDLE
    with connection.transaction():
        ((before,),) = connection.execute("SELECT pg_catalog.current_setting('role')")
        set_role(connection, role)
        yield
        if not outermost:  # else what is deferred has the owner's rights, too
            set_role(connection, before)


@contextmanager
def own_path(connection: Connection, wanted: bool = True) -> Iterator[None]:
    """Let the block's statements, in a session that touches rows, look along pg_catalog."""
    if not wanted:
        yield
        return
    connection.execute("SELECT pg_catalog.set_config('search_path', %s, false)", (OWN_PATH,))
    try:
        yield
    finally:
        # What fails is rolled back, and the path with it.
        if not connection.closed and connection.info.transaction_status < TransactionStatus.INERROR:
            connection.execute(_TAKE_APP_PATH, (False,))


_TAKE_APP_PATH = (
    "SELECT pg_catalog.set_config('search_path',"
    " pg_catalog.current_setting('leadctl.app_path'), %s)"
)


def take_app_path(connection: Connection) -> None:
    """Look along the app's path until the transaction ends."""
    connection.execute(_TAKE_APP_PATH, (True,))


def set_role(connection: Connection, role: str) -> None:
    """Take the rights of a role until the transaction ends."""
    connection.execute("SELECT pg_catalog.set_config('role', %s, true)", (role,))


class Authored(NamedTuple):
    """SQL that the app's author wrote, such as a report or a rule's condition.

    Its names are the server's, too, but for the tables of the app that it names (`tables`): as
    common table expressions they stand before it, so that it needs no other path.  What names more
    of the app's than tables, compares values of a type of an extension, which brings operators, or
    reads what runs code of the app's (a view, a policy) is read along the app's path (`exactly` is
    False).  So is what names a function with its schema, whose body looks along the path.
    """

    text: str
    tables: sql.Composable
    """What stands before a statement that holds the text; it may be empty."""
    exactly: bool
    role: str | None
    """The role to run it as; None for this one."""

    def fetch(
        self,
        connection: Connection,
        values: Mapping[str, Any],
        row_factory: Any = None,
        *,
        explain: bool = False,
    ) -> list[Any]:
        """Run it as a statement, or let the server explain it as JSON.

        Returns its rows: dicts where no other `row_factory` is given.
        """
        from psycopg.rows import dict_row

        row_factory = row_factory or dict_row
        explaining = sql.SQL("EXPLAIN (FORMAT JSON) " if explain else "")
        statement = sql.SQL("{}{}(\n{}\n)").format(
            explaining, self.tables, sql.SQL(self.text.rstrip().rstrip(";"))
        )
        with as_owner(connection, self.role):
            if self.exactly:
                try:
                    with connection.transaction():
                        return execute(connection, statement, values, row_factory).fetchall()
                except psycopg.ProgrammingError as error:
                    if isinstance(error, psycopg.errors.InsufficientPrivilege):
                        raise
            plain = sql.SQL("{}{}").format(explaining, sql.SQL(self.text))
            with connection.cursor(row_factory=row_factory) as cursor:
                return cursor.execute(plain, values).fetchall()


_WORD = re.compile(r'"((?:[^"]|"")+)"|([^\W\d][\w$]*)')
_NAMED = """
SELECT c.relname,
       CASE WHEN current_setting('is_superuser') = 'on' AND NOT c.relforcerowsecurity
            THEN (SELECT r.rolname FROM pg_roles r WHERE r.oid = c.relowner AND NOT r.rolsuper) END,
       c.relkind = 'v' OR row_security_active(c.oid)
       OR EXISTS (SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
               JOIN pg_type b
                 ON b.oid = coalesce(nullif(t.typbasetype, 0), nullif(t.typelem, 0), t.oid)
               WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                 AND b.typnamespace <> 'pg_catalog'::regnamespace
                 AND (b.typtype = 'b' AND b.typelem = 0
                      OR EXISTS (SELECT FROM pg_cast k WHERE b.oid IN (k.castsource, k.casttarget)
                                 AND k.castfunc <> 0)))
FROM pg_class c
WHERE c.relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND c.relname = ANY (%(words)s)
  AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""
_CALLED = """
SELECT 'operator' = ANY (%(words)s)
    OR EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
               WHERE p.proname = ANY (%(words)s) AND n.nspname = ANY (%(words)s)
                 AND n.nspname <> 'pg_catalog')
    OR EXISTS (SELECT FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
               WHERE t.typname = ANY (%(words)s) AND n.nspname = ANY (%(words)s)
                 AND t.typtype = 'd')
"""
"""Whether a function, an operator or a domain may be named with its schema: it is found along any
path, and what its body names without a schema is not.
"""


def authored(connection: Connection, schema: str, text: str, also: Sequence[str] = ()) -> Authored:
    """Find what SQL of the app's author names in a schema; `also` are tables that it is about."""
    words = {quoted.replace('""', '"') or bare.lower() for quoted, bare in _WORD.findall(text)}
    values = {"schema": schema, "words": sorted(words | set(also))}
    found, ((calls,),) = fetch_all(connection, [_NAMED, _CALLED], values)
    tables = [
        sql.SQL("{} AS NOT MATERIALIZED (SELECT * FROM {})").format(
            *(sql.Identifier(*(part.replace("%", "%%") for part in name)) for name in names)
        )
        for table, _, _ in found
        if table in words
        for names in [((table,), (schema, table))]
    ]
    roles = {role for _, role, _ in found}
    return Authored(
        text,
        sql.SQL("WITH {} ").format(sql.SQL(", ").join(tables)) if tables else sql.SQL(""),
        not (calls or any(brings_code for _, _, brings_code in found)),
        roles.pop() if len(roles) == 1 else None,
    )
