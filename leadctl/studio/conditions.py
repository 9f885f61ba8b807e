"""The SQL that the conditions of `--where` become.

Every value is a parameter.  Whether a text is a value of a column's type is asked of the server, by
a cast and nothing else; so the statement that reads the table cannot fail for what somebody typed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import psycopg

from leadctl.catalog.facets import Reference
from leadctl.errors import InvalidFilter
from leadctl.postgres.connect import Connection
from leadctl.studio import paths
from leadctl.studio.labels import label_column
from leadctl.studio.parser import FilterCondition
from leadctl.studio.session import Session
from leadctl.studio.shape import (
    ColumnShape,
    Fragment,
    TableShape,
    Type,
    build,
    join,
    operator,
    value,
)

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
_HOPS = 8
"""Tables that a condition leads through at most: each is read in the catalog."""


@dataclass(frozen=True)
class Filter:
    """Conditions that must all hold, as SQL."""

    sql: Fragment
    columns: frozenset[str]
    """The columns of the table that they are about."""
    others: tuple[TableShape, ...]
    """The tables that they lead to."""


def where(session: Session, shape: TableShape, conditions: Sequence[FilterCondition]) -> Filter:
    """Compose conditions that must all hold.  Raises InvalidFilter, UnknownColumn."""
    for condition in conditions:
        _check_encoding(session.connection, *condition.path, *condition.values)
    made = [_Composed(session, shape, each) for each in conditions]
    return Filter(
        join(" AND ", [each.sql for each in made]) if made else build("true"),
        frozenset(name for each in made for name in each.columns),
        tuple(other for each in made for other in each.others),
    )


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
            build("SELECT {} IS NULL", cast).run(connection, column.touched_as)
    except psycopg.Error as error:
        if not (error.sqlstate or "").startswith(_NOT_A_VALUE):
            raise
        kind_of_it = "" if column.type == column.name else f", which is {column.type}"
        raise InvalidFilter(
            f"{text!r} is not a value for {column.name}{kind_of_it}: {error.diag.message_primary}.",
            hint=f"It is one of: {', '.join(kind.labels)}." if kind.labels else "",
        ) from None
    return cast


class _Composed:
    """A condition's SQL, and what it touches."""

    def __init__(self, session: Session, shape: TableShape, condition: FilterCondition) -> None:
        self._session = session
        self.columns: tuple[str, ...] = ()
        self.others: list[TableShape] = []
        plain = self._plain(shape, condition)
        self.sql = build("({}) IS NOT TRUE" if condition.negated else "({})", plain)

    def _plain(self, shape: TableShape, condition: FilterCondition) -> Fragment:
        column = shape.find(condition.column)
        within = column is not None and (not condition.path or column.base.is_json)
        led = None if within else paths.leading(shape, (condition.column, *condition.path))
        if led is not None:
            return self._across(shape, *led, condition)
        column = shape.column(condition.column)
        self._touch(column.name)
        self._check(shape, column, condition)
        if condition.path:
            return _within_json(column, condition)
        return _on_column(self._session.connection, column, condition)

    def _across(
        self,
        shape: TableShape,
        reference: Reference,
        rest: tuple[str, ...],
        condition: FilterCondition,
    ) -> Fragment:
        """Compose that a related row meets the condition; for null, that none has a value."""
        if len(self.others) == _HOPS:
            raise InvalidFilter(
                f"A condition leads through more than {_HOPS} tables.",
                hint="Start from a table that is nearer to that column.",
            )
        self._touch(*(reference.columns if reference.outgoing else ()))
        schema, table = reference.other
        other = self._session.shape(table, schema).called(f"r{len(self.others) + 1}")
        self.others.append(other)
        joined, is_null = paths.joined(shape, reference, other), condition.operator == "null"
        if not rest:
            if is_null:
                return build("NOT {}", paths.exists(other, joined))
            called = label_column(self._session, other.relation) or other.columns[0].name
            raise InvalidFilter(
                f"{condition.column} is a relation; a condition needs a column of {table}.",
                hint=f"For example: {condition.column}.{called}~{condition.values[0]}",
            )
        plain = self._plain(other, replace(condition, column=rest[0], path=rest[1:]))
        if is_null:
            return build("NOT {}", paths.exists(other, joined, build("NOT ({})", plain)))
        return paths.exists(other, joined, build("({})", plain))

    def _touch(self, *columns: str) -> None:
        if not self.others:
            self.columns = columns

    def _check(self, shape: TableShape, column: ColumnShape, condition: FilterCondition) -> None:
        masked = self._session.secrets(shape).masks(column)
        if masked and condition.operator != "null":
            raise InvalidFilter(
                f"{column.name} is masked: a comparison would reveal its value.",
                hint=f"Only this condition is allowed: {column.name} is null",
            )
        if condition.path and not column.base.is_json:
            raise InvalidFilter(
                f"{column.name} is {column.type}; only JSON columns and relations have parts.",
                hint=f"Leave out .{'.'.join(condition.path)}",
            )


def _on_column(connection: Connection, column: ColumnShape, condition: FilterCondition) -> Fragment:
    if condition.operator == "null":
        return build("{} IS NULL", column.identifier)
    if condition.operator == "~":
        return _contains(build("{}::pg_catalog.text", column.identifier), condition.values[0])
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
        return build(
            "{}::pg_catalog.text OPERATOR(pg_catalog.=) {}", column.identifier, value(text)
        )
    given = typed(connection, column, text)
    return build("{} {} {}", column.identifier, operator(symbol), given)


def _contains(text: Fragment, part: str) -> Fragment:
    """Compose whether a text contains a part, in any case: the part is no pattern."""
    escaped = part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return build(
        '{} COLLATE pg_catalog."default" OPERATOR(pg_catalog.~~*) {}', text, value(f"%{escaped}%")
    )


def _has(connection: Connection, column: ColumnShape, text: str) -> Fragment:
    base = column.base
    if base.element is not None and base.equal is not None:
        element = typed(connection, column, text, base.element)
        return build(
            "{} OPERATOR(pg_catalog.@>) ARRAY[{}]::{}", column.identifier, element, base.identifier
        )
    if base.subtype is not None:
        part = typed(connection, column, text, base.subtype)
        return build("{} OPERATOR(pg_catalog.@>) {}", column.identifier, part)
    if base.is_json and base.name == "jsonb":
        return build("{} OPERATOR(pg_catalog.?) {}", column.identifier, value(text))
    raise InvalidFilter(
        f"{column.name} is {column.type}; `has` works with arrays, ranges and jsonb only.",
        hint=f"For a part of a text: {column.name}~{text}",
    )


def _within_json(column: ColumnShape, condition: FilterCondition) -> Fragment:
    """Compose a condition on what a path leads to in JSON: it is compared as text, or as a number.

    What is not there and JSON's null are both null.
    """
    path = build(
        "ARRAY[{}]::pg_catalog.text[]", join(", ", [value(step) for step in condition.path])
    )
    text = build("({} OPERATOR(pg_catalog.#>>) {})", column.identifier, path)
    if column.base.name == "json":
        text = build(
            "CASE WHEN {}::pg_catalog.text OPERATOR(pg_catalog.!~) {} THEN {} END",
            column.identifier,
            value(_NOT_TEXT),
            text,
        )
        text = build("({})", text)
    if condition.operator == "null":
        return build("{} IS NULL", text)
    if condition.operator == "~":
        return _contains(text, condition.values[0])
    if condition.operator in {"=", "in"}:
        return join(
            " OR ",
            [build("{} OPERATOR(pg_catalog.=) {}", text, value(each)) for each in condition.values],
        )
    if condition.operator == "has":
        if column.base.name != "jsonb":
            raise InvalidFilter(
                f"{column.name} is json; has works in jsonb only.",
                hint=f"{column.name}.{'.'.join(condition.path)}~{condition.values[0]}",
            )
        return build(
            "({} OPERATOR(pg_catalog.#>) {}) OPERATOR(pg_catalog.?) {}",
            column.identifier,
            path,
            value(condition.values[0]),
        )
    return _in_order(text, condition)


def _in_order(text: Fragment, condition: FilterCondition) -> Fragment:
    symbol = operator(f"pg_catalog.{condition.operator}")
    given = condition.values[0]
    if _is_number(given):
        return build(
            "CASE WHEN {} OPERATOR(pg_catalog.~) {}"
            " THEN {}::pg_catalog.numeric {} {}::pg_catalog.numeric END",
            text,
            value(_NUMBER),
            text,
            symbol,
            value(given),
        )
    return build('{} COLLATE pg_catalog."C" {} {}', text, symbol, value(given))


def _check_encoding(connection: Connection, *texts: str) -> None:
    """Refuse what the database's encoding lacks.  Raises InvalidFilter."""
    if connection.info.parameter_status("server_encoding") == "UTF8":
        return
    for text in texts:
        try:
            with connection.transaction():
                build("SELECT {}::pg_catalog.text", value(text)).run(connection)
        except psycopg.DataError as error:
            raise InvalidFilter(
                f"{text!r} cannot be in this database: {error.diag.message_primary}.", hint=""
            ) from None


def _is_number(text: str) -> bool:
    return re.match(_NUMBER[:-1] + r"\Z", text) is not None
