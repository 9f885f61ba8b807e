"""A scratch database on the target's server, with what pending statements can reach, without rows.

The target itself is only asked what is there.  What a killed run left is dropped by the next one:
each run holds an advisory lock with the number that its database is named by.
"""

import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg
from psycopg import sql

from leadctl.catalog.definitions import Attributes, Catalog, owner, read_catalog, with_uses
from leadctl.errors import ConnectionFailed, LeadctlError, OperationFailed
from leadctl.migrate.ddl.autodetector import writable_changes
from leadctl.migrate.ddl.steps import identifier
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.queries import queries_of, version_of, written_by_server
from leadctl.postgres.target import DEFAULT_SCHEMA, Target
from leadctl.postgres.translate import told
from leadctl.sql.lexer import words_of
from leadctl.sql.reach import drops_definitions, drops_schema, is_about_all

QUERIES = queries_of(__file__, "trial.sql")
_PREFIX = "leadctl_trial_"
_LOCK_CLASS = 1_818_583_924
_MOST = 2_000
"""Relations that are copied; a plan that reaches more is read, which costs no minutes."""
_CHUNK = 50
"""Statements of a copy that are sent at once."""
_ROUNDS = 4
"""How often code that was found is read for what it names, in its turn."""
_EMPTYING = {"truncate", "execute", "do", "call"}
_WRITING = {"delete", "update", "merge", *_EMPTYING}
"""Words without which no row goes along a foreign key; some may be put together from parts."""
_LEFT_OUT = {"grant", "namespace", "other", "schema"}
"""What no lock and no row depends on, and what is made otherwise."""


SAID = "LEAD1"
"""The SQLSTATE of what our triggers say."""


class NotTried(Exception):
    """Why there is no trial, in words; then statements are judged by reading."""


@dataclass(frozen=True)
class Reached:
    """What statements can reach: the names of each kind as a catalog has them, by schema."""

    names: frozenset[tuple[str, str, str]]
    """(kind, schema, name), the name as the server quotes it."""
    plain: frozenset[tuple[str, str]]
    """(schema, name) of the relations."""
    with_parts: frozenset[tuple[str, str, str]]
    """Those of the names that come with all their parts."""
    extensions: tuple[tuple[str, str, str], ...]
    """(name, schema, version)."""
    words: frozenset[str]


def reach(connection: Connection, statements: Sequence[str]) -> Reached:
    """Find what statements can reach.  Raises NotTried where it is too much, psycopg's errors."""
    words = {word for each in statements for word in words_of(each)}
    held = {w for each in statements if drops_definitions(each) for w in words_of(each)}
    schemas = {w for each in statements if drops_schema(each) for w in words_of(each)}
    everything = any(is_about_all(each) for each in statements)
    for _ in range(_ROUNDS):
        rows = QUERIES.rows(
            connection,
            "reach",
            words=sorted(words),
            held=sorted(held),
            schemas=sorted(schemas),
            everything=everything,
            writes=not words.isdisjoint(_WRITING),
            empties=not words.isdisjoint(_EMPTYING),
        )
        functions = [row for row in rows if row[0] == "function"]
        found = {word for row in functions for word in words_of(row[4] or "")} - words
        if not found:
            break
        words |= found
    plain = frozenset((row[1], row[3]) for row in rows if row[0] in {"table", "view", "sequence"})
    if len(plain) > _MOST:
        raise NotTried(f"it reaches {len(plain):,} tables and other objects")
    return Reached(
        frozenset((row[0], row[1], row[2]) for row in rows),
        plain,
        frozenset((row[0], row[1], row[2]) for row in rows if row[5]),
        tuple((row[2], row[1], row[4]) for row in rows if row[0] == "extension"),
        frozenset(words),
    )


@contextmanager
def trial_database(target: Target, source: Connection) -> Iterator[Target]:
    """Make a scratch database like the target's, and drop it with the block.

    `source` is a connection to the target.  Raises NotTried.
    """
    number = secrets.randbelow(2**31)
    name = sql.Identifier(f"{_PREFIX}{number}")
    try:
        made_by = connect(target, "plan")
    except ConnectionFailed as error:
        raise NotTried(error.message) from None
    with made_by:
        made_by.execute("SELECT pg_catalog.pg_advisory_lock(%s, %s)", (_LOCK_CLASS, number))
        for left in QUERIES.column(made_by, "left_behind", lock=_LOCK_CLASS):
            _drop(made_by, sql.Identifier(left))
        try:
            made_by.execute(_create(name, source))
        except psycopg.Error as error:
            reason = told(error)
            raise NotTried(f"no scratch database could be made: {reason}") from None
        try:
            yield target.on(f"{_PREFIX}{number}")
        finally:
            _drop(made_by, name)


def _create(name: sql.Identifier, source: Connection) -> sql.Composed:
    (like,) = QUERIES.rows(source, "made_like", dict)
    provider = {"i": "icu", "b": "builtin"}.get(like["provider"], "libc")
    options = [
        sql.SQL("ENCODING {} LC_COLLATE {} LC_CTYPE {}").format(
            like["encoding"], like["lc_collate"], like["lc_ctype"]
        )
    ]
    if provider != "libc":
        kind = sql.SQL("ICU_LOCALE" if provider == "icu" else "BUILTIN_LOCALE")
        options.append(
            sql.SQL("LOCALE_PROVIDER {} {} {}").format(
                sql.Identifier(provider), kind, like["locale"]
            )
        )
    return sql.SQL("CREATE DATABASE {} TEMPLATE template0 {}").format(
        name, sql.SQL(" ").join(options)
    )


def _drop(connection: Connection, name: sql.Identifier) -> None:
    with suppress(psycopg.Error):  # the next run drops it
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


def copy(source: Connection, trial: Target, reached: Reached) -> Connection:
    """Make what was reached in the scratch database; return a session there.

    What cannot be made is left out: a statement that needs it fails, and is judged by reading.
    Raises NotTried where nothing can be made there.
    """
    wanted = _wanted(source, trial.schema, reached)
    schemas = {schema for _, schema, _ in reached.names} | {
        schema for _, schema, _ in reached.extensions
    }
    named = QUERIES.column(source, "schemas", names=sorted(reached.words))
    try:
        steps, _ = writable_changes(Catalog({}), wanted)
    except OperationFailed as error:
        raise NotTried(error.message) from None
    others = QUERIES.column(
        source,
        "beside",
        names=sorted(name for _, name in reached.plain),
        schemas=sorted(schemas),
        words=sorted(reached.words),
    )
    try:
        connection = connect(trial, "plan", rows=True)
        for schema in sorted({*schemas, *named, trial.schema} - {DEFAULT_SCHEMA}):
            connection.execute(
                sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema))
            )
    except (LeadctlError, psycopg.Error) as error:
        raise NotTried(f"the scratch database cannot be used: {error}") from None
    connection.execute("SET check_function_bodies = off")
    connection.execute("SET synchronous_commit = off")
    create_extensions(connection, reached.extensions)
    statements = [step.sql for step in steps] + others
    for start in range(0, len(statements), _CHUNK):
        _execute(connection, statements[start : start + _CHUNK])
    connection.execute("RESET check_function_bodies")
    connection.execute(QUERIES.statement("tell", version_of(connection)))
    return connection


def create_extensions(connection: Connection, wanted: Iterable[tuple[str, str, str]]) -> None:
    """Create extensions, by name, schema and version, as far as the server can; autocommitted."""
    for name, schema, version in wanted:
        with suppress(psycopg.Error):
            connection.execute(
                sql.SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {} VERSION {} CASCADE").format(
                    sql.Identifier(name), sql.Identifier(schema), version
                )
            )


def _execute(connection: Connection, statements: Sequence[str]) -> None:
    """Send statements at once; where one fails, send each alone."""
    try:
        connection.execute(written_by_server(";\n".join(statements)).as_string().encode())
    except psycopg.Error:
        for each in statements:
            with suppress(psycopg.Error):
                connection.execute(each.encode())


def _wanted(source: Connection, schema: str, reached: Reached) -> Catalog:
    """Read what defines all that was reached, and nothing that is a part of anything else."""
    unreached = QUERIES.column(
        source,
        "unreached",
        schema=schema,
        names=[name for of_schema, name in reached.plain if of_schema == schema],
    )
    also = sorted({other for _, other, _ in reached.names} - {schema})
    found = read_catalog(source, schema, unreached, also)
    read = with_uses(source, found, schema, also).objects
    keys = _keys(reached.names, schema)
    with_parts = _keys(reached.with_parts, schema)
    kept = {key: each for key, each in read.items() if _is_wanted(key, each, keys, with_parts)}
    return Catalog(
        {
            key: {name: value for name, value in each.items() if name != "comment"}
            for key, each in kept.items()
            if not key.startswith("property ") or each["of"] in kept
        }
    )


def _keys(names: Iterable[tuple[str, str, str]], schema: str) -> set[str]:
    """Return names as a catalog that was read of a schema has them."""
    return {
        f"{kind} {name if of_schema == schema else f'{identifier(of_schema)}.{name}'}"
        for kind, of_schema, name in names
    }


def _is_wanted(
    key: str, attributes: Attributes, keys: Collection[str], with_parts: Collection[str]
) -> bool:
    kind = key.partition(" ")[0]
    if kind in _LEFT_OUT:
        return False
    table = owner(key, attributes)
    if table is None:
        return kind == "property" or key in keys
    if f"table {table}" in with_parts or f"view {table}" in with_parts:
        return True
    return key in keys or (kind == "column" and f"table {table}" in keys)
