"""Shadows: functions, operators, tables and types of the app's schema under the server's names.

Each takes an argument of another type than the server's, so that a call without a schema, whose
types are not exactly the server's, would be of the shadow.  Each writes down that it was called.
"""

import re
from collections.abc import Iterable
from itertools import islice, product
from pathlib import Path

import psycopg

import leadctl

SOURCES = Path(leadctl.__file__).parent
FITS = {
    "text": ["text", "name", "varchar", '"char"'],
    "name": ["name", "text", "varchar"],
    "oid": ["oid", "int4", "int8", "regclass"],
    "regclass": ["regclass", "oid"],
    "int8": ["int8", "int4", "int2"],
    "int4": ["int4", "int2"],
    "float8": ["float8", "int8", "int4"],
    "numeric": ["numeric", "int8"],
    "_text": ["text[]", "name[]"],
    "anyarray": ["text[]", "name[]", "int2[]", "int4[]", "oid[]", "int2vector", "int8[]"],
    "anycompatiblearray": ["text[]", "int4[]"],
    "any": ["text", "name", "int4", "oid"],
    "anyelement": ["text", "name", "int4", "int2"],
    "timestamptz": ["timestamptz"],
    "bool": ["bool"],
    "jsonb": ["jsonb"],
}
OPERATORS = ("=", "<>", "||", "~", "!~", "~~", "<", ">", "<=", ">=", "+", "-", "*", "/")
OPERANDS = (
    ("name", "text"),
    ("text", "name"),
    ("name", "name[]"),
    ('"char"', "text"),
    ("int2", "int4"),
    ("int2", "int2"),
    ("int4", "oid"),
    ("oid", "int4"),
    ("oid", "int8"),
    ("regclass", "oid"),
    ("oid", "regclass"),
    ("regclass", "regclass"),
    ("varchar", "text"),
    ("varchar", "varchar"),
    ("int8", "int2"),
    ("text", "int8"),
    ("text", "int4"),
    ("text", "int2"),
    ("text[]", "text"),
)
LOG = """
CREATE FUNCTION log_shadow(called text) RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog AS $$ BEGIN
    EXECUTE format('COPY (SELECT %L) TO %L', called || ' in ' || current_query(),
        format('%s/shadowed_%s_%s_%s', current_setting('data_directory'), current_database(),
               pg_backend_pid(), extract(epoch FROM clock_timestamp())));
END $$;
"""
"""Writes a file of the server's, which no rollback takes away and a read-only session may write."""
AGGREGATES = ("text", "name", "varchar", "int2", "int4", "oid", '"char"', "bool", "timestamp")
CATALOGS = (
    "pg_class",
    "pg_roles",
    "pg_namespace",
    "pg_proc",
    "pg_type",
    "pg_settings",
    "pg_database",
)
TYPES = ("text", "name", "oid", "regclass", "int8", "tid", "jsonb", "xid")
_CALLED = re.compile(r"\b([a-z_][a-z0-9_]*)\s*\(")


def called_names() -> set[str]:
    """Return the names that stand before a parenthesis anywhere in our SQL and Python."""
    files = [path for kind in ("*.sql", "*.py") for path in SOURCES.rglob(kind)]
    return {name for path in files for name in _CALLED.findall(path.read_text())}


def make_shadows(connection: psycopg.Connection, *, at_most: int) -> int:
    """Make the shadows in schema public; return how many.  The connection is in autocommit mode."""
    connection.execute(LOG)
    rows = connection.execute(
        "SELECT p.proname, p.proretset, format_type(p.prorettype, NULL),"
        " ARRAY(SELECT t.typname::text FROM unnest(p.proargtypes) WITH ORDINALITY u (o, n)"
        " JOIN pg_type t ON t.oid = u.o ORDER BY n) FROM pg_proc p"
        " WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f'"
        " AND pronargs BETWEEN 1 AND 3 AND proname = ANY (%s) ORDER BY proname, oid",
        (sorted(called_names()),),
    ).fetchall()
    made = 0
    for name, is_set, result, arguments in rows:
        for types in islice(_variants(arguments), at_most):
            made += _make(connection, name, types, result, is_set=is_set)
    for symbol, (left, right) in product(OPERATORS, OPERANDS):
        kind = "text" if symbol == "||" else "int8" if symbol in "+-*/" else "bool"
        function = f'"op_{symbol}_{left}_{right}"'.replace('"char"', "char")
        signature = f"{function}({left}, {right})"
        call = f"({left} {symbol} {right})".replace("'", "")
        wrong = "NULL" if kind != "bool" else "false"
        with connection.transaction():
            connection.execute(
                f"CREATE FUNCTION {signature} RETURNS {kind} LANGUAGE plpgsql AS $f$ BEGIN"
                f" PERFORM public.log_shadow('{call}'); RETURN {wrong}; END $f$;"
                f" CREATE OPERATOR {symbol} (LEFTARG = {left}, RIGHTARG = {right},"
                f" FUNCTION = {function})"
            )
        made += 1
    return made + _make_aggregates(connection) + _make_relations(connection)


def _make_aggregates(connection: psycopg.Connection) -> int:
    """Make count, max and min of types that the server counts as any, or as others."""
    for number, (kind, name) in enumerate(product(AGGREGATES, ("count", "max", "min"))):
        step = f"counted_{number}"
        connection.execute(
            f"CREATE FUNCTION {step}(int8, {kind}) RETURNS int8 LANGUAGE plpgsql AS $f$ BEGIN"
            f" PERFORM public.log_shadow('{name}({kind.replace(chr(34), '')})'); RETURN 0; END $f$;"
            f" CREATE AGGREGATE {name}({kind}) (SFUNC = {step}, STYPE = int8, INITCOND = '0')"
        )
    return 3 * len(AGGREGATES)


def _make_relations(connection: psycopg.Connection) -> int:
    """Make views and domains under names of the server's."""
    connection.execute(
        "CREATE FUNCTION shadow_row(what text) RETURNS boolean LANGUAGE plpgsql VOLATILE"
        " AS $f$ BEGIN PERFORM public.log_shadow(what); RETURN true; END $f$"
    )
    for name in CATALOGS:
        connection.execute(
            f"CREATE VIEW public.{name} AS SELECT * FROM pg_catalog.{name}"
            f" WHERE public.shadow_row('table {name}')"
        )
    for name in TYPES:
        connection.execute(
            f"CREATE DOMAIN public.{name} AS pg_catalog.{name} CHECK (shadow_row('type {name}'))"
        )
    return len(CATALOGS) + len(TYPES)


def _variants(arguments: list[str]) -> Iterable[tuple[str, ...]]:
    kinds = [FITS.get(argument, []) for argument in arguments]
    own = tuple(kind[0] if kind else "" for kind in kinds)
    is_any = any(argument.startswith("any") for argument in arguments)
    return (types for types in product(*kinds) if is_any or types != own)


def _make(
    connection: psycopg.Connection, name: str, types: tuple[str, ...], result: str, *, is_set: bool
) -> bool:
    if result.startswith("any") or result in {"internal", "record", "trigger"}:
        result = types[0].removesuffix("[]") if types[0] != "int2vector" else "int2"
    end = "RETURN" if is_set else "RETURN NULL"
    of = "SETOF " if is_set else ""
    call = f"{name}({', '.join(types)})"
    try:
        connection.execute(
            f'CREATE FUNCTION public."{name}"({", ".join(types)}) RETURNS {of}{result}'
            f" LANGUAGE plpgsql AS $f$ BEGIN PERFORM public.log_shadow('{call}'); {end}; END $f$"
        )
    except psycopg.Error:  # the server has just this one, or no such type may be returned
        return False
    return True


def calls_of(connection: psycopg.Connection) -> set[str]:
    """Return what shadows of the database were called, with the statements that did."""
    connection.execute("SET search_path = pg_catalog")
    rows = connection.execute(
        "SELECT pg_read_file(f), f FROM pg_ls_dir('.') f"
        " WHERE starts_with(f, 'shadowed_' || current_database() || '_')"
    )
    return {f"{text} ({file})" for text, file in rows}
