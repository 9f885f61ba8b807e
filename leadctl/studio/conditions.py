"""Conditions become SQL, typed against the catalog: every value is a parameter.

Whether a text is a value of a column's type is asked of the server, by a cast and nothing else;
so the statement that reads the table cannot fail for what somebody typed.
"""

import re

import psycopg

from leadctl.errors import InvalidFilter
from leadctl.postgres.connect import Connection
from leadctl.sql.fragment import Fragment, build, join, operator, value
from leadctl.studio.filters import Condition
from leadctl.studio.masking import Masking
from leadctl.studio.shape import ColumnShape, Shape, Type

_NUMBER = r"^-?[0-9]{1,200}(\.[0-9]{1,200})?([eE][+-]?[0-9]{1,2})?$"
"""What is compared as a number within JSON: any that PostgreSQL's numeric holds."""
_NOT_TEXT = (
    r"\\u0000|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)
"""What json may hold and no text: taking it out would be an error, so such rows have nothing."""
_NOT_A_VALUE = ("22", "23514", "54", "0A", "3F", "42")
"""SQLSTATEs of input functions: data exceptions, a domain's check, nested too deeply; and for the
types of names (regclass), a name that nothing has."""


def where(
    connection: Connection,
    shape: Shape,
    conditions: tuple[Condition, ...],
    masking: Masking | None,
) -> Fragment:
    """Compose conditions that must all hold; `masking` is None where secrets were revealed.

    Raises InvalidFilter, and UnknownColumn.
    """
    for condition in conditions:
        _check_encoding(connection, *condition.path, *condition.values)
    composed = [_condition(connection, shape, each, masking) for each in conditions]
    return join(" AND ", composed) if composed else build("true")


def typed(
    connection: Connection, column: ColumnShape, text: str, kind: Type | None = None
) -> Fragment:
    """Return a text as a value of a column's type, or of `kind`.

    Raises InvalidFilter where the server does not take it for one.
    """
    kind = kind or column.base
    cast = build("CAST({} AS {})", value(text), kind.identifier)
    try:
        with connection.transaction():
            build("SELECT {} IS NULL", cast).run(connection)
    except psycopg.Error as error:
        if not (error.sqlstate or "").startswith(_NOT_A_VALUE):
            raise
        raise InvalidFilter(
            f"{text!r} is no value for {column.name}, which is {column.type}: "
            f"{error.diag.message_primary}.",
            hint=f"It is one of: {', '.join(kind.labels)}." if kind.labels else "",
        ) from None
    return cast


def _condition(
    connection: Connection, shape: Shape, condition: Condition, masking: Masking | None
) -> Fragment:
    column = shape.column(condition.column)
    if masking and masking.covers(column.name) and condition.operator != "null":
        raise InvalidFilter(
            f"{column.name} is masked: comparing it would tell what it holds.",
            hint=f"What can be asked is: {column.name} is null",
        )
    if condition.path and not column.base.is_json:
        raise InvalidFilter(
            f"{column.name} is {column.type}; only JSON has a way into it.",
            hint=f"Leave out .{'.'.join(condition.path)}",
        )
    if condition.path:
        plain = _within_json(column, condition)
    else:
        plain = _on_column(connection, column, condition)
    return build("({}) IS NOT TRUE", plain) if condition.negated else build("({})", plain)


def _on_column(connection: Connection, column: ColumnShape, condition: Condition) -> Fragment:
    if condition.operator == "null":
        return build("{} IS NULL", column.identifier)
    if condition.operator == "~":
        return _contains(build("{}::text", column.identifier), condition.values[0])
    if condition.operator == "has":
        return _has(connection, column, condition.values[0])
    if condition.operator in {"=", "in"}:
        return join(" OR ", [_equals(connection, column, text) for text in condition.values])
    if not column.base.sortable:
        raise InvalidFilter(
            f"Values of {column.name}, which is {column.type}, have no order.",
            hint="They can be compared with =, != and ~.",
        )
    return build(
        "{} {} {}",
        column.identifier,
        operator(column.base.order(condition.operator)),
        typed(connection, column, condition.values[0]),
    )


def _equals(connection: Connection, column: ColumnShape, text: str) -> Fragment:
    symbol = column.base.equal
    if symbol is None:
        return build("{}::text = {}", column.identifier, value(text))
    given = typed(connection, column, text)
    return build("{} {} {}", column.identifier, operator(symbol), given)


def _contains(text: Fragment, part: str) -> Fragment:
    """Compose whether a text contains a part, in any case: the part is no pattern."""
    escaped = part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return build('{} COLLATE "default" ILIKE {}', text, value(f"%{escaped}%"))


def _has(connection: Connection, column: ColumnShape, text: str) -> Fragment:
    base = column.base
    if base.element is not None and base.equal is not None:
        element = typed(connection, column, text, base.element)
        return build("{} @> ARRAY[{}]::{}", column.identifier, element, base.identifier)
    if base.subtype is not None:
        return build("{} @> {}", column.identifier, typed(connection, column, text, base.subtype))
    if base.is_json and base.name == "jsonb":
        return build("{} ? {}", column.identifier, value(text))
    raise InvalidFilter(
        f"{column.name} is {column.type}; has asks what is in an array, a range or jsonb.",
        hint=f"For a part of a text: {column.name}~{text}",
    )


def _within_json(column: ColumnShape, condition: Condition) -> Fragment:
    """Compose a condition on what a path leads to in JSON: it is compared as text, or as a number.

    What is not there and JSON's null are both null.
    """
    path = build("ARRAY[{}]::text[]", join(", ", [value(step) for step in condition.path]))
    text = build("({} #>> {})", column.identifier, path)
    if column.base.name == "json":
        text = build(
            "CASE WHEN {}::text !~ {} THEN {} END", column.identifier, value(_NOT_TEXT), text
        )
        text = build("({})", text)
    if condition.operator == "null":
        return build("{} IS NULL", text)
    if condition.operator == "~":
        return _contains(text, condition.values[0])
    if condition.operator in {"=", "in"}:
        return join(" OR ", [build("{} = {}", text, value(each)) for each in condition.values])
    if condition.operator == "has":
        if column.base.name != "jsonb":
            raise InvalidFilter(
                f"{column.name} is json; has works in jsonb only.",
                hint=f"{column.name}.{'.'.join(condition.path)}~{condition.values[0]}",
            )
        return build("({} #> {}) ? {}", column.identifier, path, value(condition.values[0]))
    return _in_order(text, condition)


def _in_order(text: Fragment, condition: Condition) -> Fragment:
    symbol = operator(f"pg_catalog.{condition.operator}")
    given = condition.values[0]
    if _is_number(given):
        return build(
            "CASE WHEN {} ~ {} THEN {}::numeric {} {}::numeric END",
            text,
            value(_NUMBER),
            text,
            symbol,
            value(given),
        )
    return build('{} COLLATE "C" {} {}', text, symbol, value(given))


def _check_encoding(connection: Connection, *texts: str) -> None:
    """Refuse what the database's encoding lacks.  Raises InvalidFilter."""
    if connection.info.parameter_status("server_encoding") == "UTF8":
        return
    for text in texts:
        try:
            with connection.transaction():
                build("SELECT {}::text", value(text)).run(connection)
        except psycopg.DataError as error:
            raise InvalidFilter(
                f"{text!r} cannot be in this database: {error.diag.message_primary}.", hint=""
            ) from None


def _is_number(text: str) -> bool:
    return re.match(_NUMBER[:-1] + r"\Z", text) is not None
