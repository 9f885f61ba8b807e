"""What must hold for rows: CHECK constraints, those of domains, and EXCLUDE constraints.

What a condition means is not read from its text: the server says of values which of them meet it.
"""

import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg import sql

from leadctl.apps.synthetic.constrained import Span
from leadctl.apps.synthetic.layout import Calendar
from leadctl.catalog.relations import Relation
from leadctl.errors import CannotInfer
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import escaped, queries_of, version_of, written_by_server
from leadctl.seed.bulk.values import SPANS

_QUERIES = queries_of(__file__, "bulk.sql")
_TEXT = re.compile(r"'((?:[^']|'')*)'")
_NUMBER = re.compile(r"(?<![\w.'])-?\d+(?:\.\d+)?")
_MATCH = re.compile(r"!?(~~?\*?) '((?:[^']|'')*)'")
_EQUATION = re.compile(r'^\("?(?P<column>\w+)"? = (?P<value>.+)\)$', re.DOTALL)
_REVERSED = re.compile(r'^\((?P<value>.+) = "?(?P<column>\w+)"?\)$', re.DOTALL)


@dataclass(frozen=True)
class Condition:
    """A CHECK constraint of a table, or one of a column's domain."""

    table: str
    name: str
    columns: tuple[str, ...]
    expression: str
    """SQL, in which a domain's column is VALUE."""
    base: str | None
    """The type beneath the domain; None for a table's constraint."""

    @property
    def asked(self) -> sql.Composed:
        """The condition on columns of a row."""
        if self.base is None:
            return sql.SQL("({})").format(_with_parameters(self.expression))
        return sql.SQL("(SELECT {} FROM (SELECT {}::{} AS value) AS domain)").format(
            _with_parameters(self.expression),
            escaped(self.columns[0]),
            written_by_server(self.base),
        )

    @property
    def of_columns(self) -> str:
        """The condition, of a domain's too, as one on columns of the table."""
        name = self.columns[0] if self.base else ""
        return re.sub(r"\bVALUE\b", name, self.expression) if self.base else self.expression

    @property
    def texts(self) -> list[str]:
        """The texts in it."""
        return [text.replace("''", "'") for text in _TEXT.findall(self.expression)]

    @property
    def numbers(self) -> list[str]:
        """The numbers in it."""
        found = _NUMBER.findall(_TEXT.sub("", self.expression))
        return [*found, *(text for text in self.texts if _NUMBER.fullmatch(text))]

    @property
    def patterns(self) -> list[str]:
        """The regular expressions in it, LIKE among them."""
        found = []
        for operator, text in _MATCH.findall(self.expression):
            pattern = text.replace("''", "'")
            if operator.startswith("~~"):
                parts = re.split(r"([%_])", pattern)
                wild = {"%": "[a-z]{3,8}", "_": "[a-z]"}
                pattern = f"^{''.join(wild.get(part, re.escape(part)) for part in parts)}$"
            found.append(pattern)
        return found

    @property
    def equation(self) -> tuple[str, str] | None:
        """The column that it says the value of, and that value as an expression."""
        found = _EQUATION.match(self.expression) or _REVERSED.match(self.expression)
        if found is None or found["column"] not in self.columns:
            return None
        column, value = found["column"], found["value"]
        depths = itertools.accumulate((c == "(") - (c == ")") for c in value)
        is_whole = all(depth >= 0 for depth in depths)
        return (column, value) if is_whole and not re.search(rf"\b{column}\b", value) else None


def read_conditions(
    connection: Connection, relations: Mapping[str, Relation]
) -> dict[str, list[Condition]]:
    """Return the conditions on rows of tables, by table."""
    found: dict[str, list[Condition]] = {name: [] for name in relations}
    names = {relation.oid: name for name, relation in relations.items()}
    for oid, name, columns, expression, base in _QUERIES.rows(
        connection, "conditions", oids=list(names)
    ):
        relation = relations[names[oid]]
        made = {column.name for column in relation.columns if column.generated}
        if made & {*columns}:
            expression = ungenerated(relation, expression)
            columns = [each for each in _named_in(relation, expression) if each not in made]
        condition = Condition(relation.name, name, tuple(columns), expression, base)
        found[condition.table].append(condition)
    return found


def ungenerated(relation: Relation, expression: str) -> str:
    """Return an expression with what generated columns are made of in the place of their names."""
    made_of = {each.name: relation.expression(each) for each in relation.columns if each.generated}
    if not made_of:
        return expression
    names = "|".join(map(re.escape, made_of))
    return re.sub(
        rf"{_TEXT.pattern}|\"?\b(?P<name>{names})\b\"?(?!\()",
        lambda at: f"({made_of[at['name']]})" if at["name"] else at[0],
        expression,
    )


def _named_in(relation: Relation, expression: str) -> list[str]:
    words = {*re.findall(r"\w+", _TEXT.sub("", expression))}
    return [column.name for column in relation.columns if column.name in words]


def _with_parameters(expression: str) -> sql.SQL:
    """Return SQL that the server wrote as a part of a statement that has parameters."""
    return written_by_server(expression.replace("%", "%%"))


Row = tuple[str | None, ...]
"""The values of some columns, as texts."""
_WITHOUT_LENGTH = {"character": "bpchar", "character varying": "varchar"}
_TELLS_VALIDITY = 160_000
"""https://www.postgresql.org/docs/16/functions-info.html#FUNCTIONS-INFO-VALIDITY"""
_GIVEN_UP = 8
"""Rows of which one is an error to the server: it is not looked which."""


class RowsAsked:
    """Rows of a table that does not have them: the server says which of them it would take."""

    def __init__(
        self,
        connection: Connection,
        relation: Relation,
        conditions: Iterable[Condition],
        nullable: Collection[str],
    ) -> None:
        self._connection = connection
        self._name = relation.name
        self._role = relation.touched_as
        self._nullable = nullable
        self._types = {
            # Without a length, to which a cast would cut.
            column.name: column.type
            if column.domain
            else _WITHOUT_LENGTH.get(column.base, column.type)
            for column in relation.columns
        }
        self._types |= {each.columns[0]: each.base for each in conditions if each.base is not None}

    def failing(
        self, columns: Sequence[str], rows: Sequence[Row], conditions: Sequence[Condition]
    ) -> list[Condition]:
        """Return the conditions that not all rows meet."""
        met = sql.SQL(", ").join(
            sql.SQL("coalesce(pg_catalog.bool_and({}), true)").format(each.asked)
            for each in conditions
        )
        query = sql.SQL("SELECT {} FROM {}").format(met, self._source(columns))
        found = self._try(query, columns, rows)
        if found is None:  # one of them, or a value, is an error
            return [
                each for each in conditions if len(self.passing(columns, rows, [each])) < len(rows)
            ]
        return [each for each, is_met in zip(conditions, found[0], strict=True) if not is_met]

    def passing(
        self, columns: Sequence[str], rows: Sequence[Row], conditions: Iterable[Condition]
    ) -> list[int]:
        """Return which rows meet conditions; one that is no row of the types does not."""
        if not rows:
            return []
        meets = [sql.SQL("{} IS NOT FALSE").format(each.asked) for each in conditions]
        query = sql.SQL('SELECT "#" OPERATOR(pg_catalog.-) 1 FROM {} WHERE {}').format(
            self._source(columns), sql.SQL(" AND ").join([sql.SQL("true"), *meets])
        )
        found = self._try(query, columns, rows)
        if found is not None:
            needed = [i for i, name in enumerate(columns) if name not in self._nullable]
            return [number for (number,) in found if None not in {rows[number][i] for i in needed}]
        if len(rows) <= _GIVEN_UP:
            return []
        middle = len(rows) // 2
        first = self.passing(columns, rows[:middle], conditions)
        second = self.passing(columns, rows[middle:], conditions)
        return [*first, *(middle + number for number in second)]

    def solved(self, columns: Sequence[str], rows: list[Row], column: str, value: str) -> list[Row]:
        """Return rows with a column set to what an expression of the others is."""
        query = sql.SQL('SELECT ({})::{}::pg_catalog.text FROM {} ORDER BY "#"').format(
            _with_parameters(value), written_by_server(self._types[column]), self._source(columns)
        )
        found = self._try(query, columns, rows)
        if found is None:
            return rows
        number = list(columns).index(column)
        return [
            (*row[:number], text, *row[number + 1 :])
            for row, (text,) in zip(rows, found, strict=True)
        ]

    def of_type(self, name: str, values: list[str | None]) -> list[str | None]:
        """Return the values that a column's type can read."""
        kind = self._types[name]
        if version_of(self._connection) < _TELLS_VALIDITY:
            query = sql.SQL("SELECT FROM {}").format(self._source([name]))
            return [value for value in values if self._try(query, [name], [(value,)]) is not None]
        found = self._connection.execute(
            "SELECT number OPERATOR(pg_catalog.-) 1"
            " FROM pg_catalog.unnest(%s::pg_catalog.text[]) WITH ORDINALITY AS t (value, number)"
            " WHERE value IS NULL OR pg_catalog.pg_input_is_valid(value, %s)",
            (values, kind),
        )
        return [values[number] for (number,) in found]

    def _try(
        self, query: sql.Composed, columns: Sequence[str], rows: Sequence[Row]
    ) -> list[tuple[Any, ...]] | None:
        """Return what a query finds; None where a value is an error to the server."""
        arrays = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in columns]
        try:
            with self._connection.transaction(), exact.as_owner(self._connection, self._role):
                return self._connection.execute(query, arrays).fetchall()
        except psycopg.OperationalError:
            raise
        except psycopg.DatabaseError:  # a function of the app's may raise any
            return None

    def _source(self, columns: Sequence[str]) -> sql.Composed:
        """Compose rows from arrays of texts, under the table's name and with its types."""
        comma = sql.SQL(", ")
        identifiers = [sql.Identifier(f"c{i}") for i in range(len(columns))]
        cast = comma.join(
            sql.SQL("{}::{} AS {}").format(
                identifier, written_by_server(self._types[name]), escaped(name)
            )
            for identifier, name in zip(identifiers, columns, strict=True)
        )
        return sql.SQL(
            '(SELECT "#", {} FROM ROWS FROM ({}) WITH ORDINALITY AS given ({}, "#")) AS {}'
        ).format(
            cast,
            comma.join([sql.SQL("pg_catalog.unnest(%s::pg_catalog.text[])")] * len(columns)),
            comma.join(identifiers),
            escaped(self._name),
        )


_ELEMENT = re.compile(r"^(.*?)(?: \w+_ops)? WITH (\S+)$")
_EDGES = re.compile(r"^(\w+range)\(\"?(\w+)\"?, \"?(\w+)\"?(?:, '..'(?:::text)?)?\)$")


@dataclass(frozen=True)
class Exclusion:
    """What an EXCLUDE constraint wants: rows that are equal in some columns do not overlap."""

    equal: tuple[str, ...]
    """Expressions."""
    span: str | None
    """The expression of what does not overlap; None where rows may not be equal at all."""
    kind: str
    """time, date or number."""
    forms: Mapping[str, str]
    """By column that is a part of the span: how it is written."""


def _read_exclusion(definition: str, types: Mapping[str, str]) -> Exclusion | None:
    """Read an EXCLUDE constraint, as `pg_get_constraintdef` writes it; None where it says more.

    `types` are the columns' types.
    """
    body = definition.partition("(")[2]
    elements, depth, start = [], 1, 0
    for position, character in enumerate(body):
        depth += (character == "(") - (character == ")")
        if depth == 0 or (depth == 1 and character == ","):
            elements.append(body[start:position].strip())
            start = position + 1
        if depth == 0:
            break
    equal: list[str] = []
    spans: list[str] = []
    for element in elements:
        found = _ELEMENT.match(element)
        if found is None or found[2] not in {"=", "&&"}:
            return None
        (equal if found[2] == "=" else spans).append(found[1])
    if not spans:
        return Exclusion(tuple(equal), None, "", {})
    if len(spans) > 1:
        return None
    (span,) = spans
    if edges := _EDGES.match(span):
        name, forms = edges[1], {edges[2]: "{0}", edges[3]: "{1}"}
    else:
        column = span.strip('"')
        name = types.get(column, "")
        multi = name.endswith("multirange")
        name = name.replace("multirange", "range")
        forms = {column: "{{[{0},{1})}}" if multi else "[{0},{1})"}
    if name.upper() not in SPANS:
        return None
    return Exclusion(tuple(equal), span, SPANS[name.upper()], forms)


def spans_apart(
    connection: Connection,
    calendar: Calendar,
    relation: Relation,
    owners: Collection[str],
    declared: Collection[str],
) -> tuple[dict[str, Span], list[list[str]]]:
    """Return makers of spans that do not overlap, by column, and columns that must differ together.

    `owners` are the columns that refer to the row's owner, `declared` those that a factory makes.
    Raises CannotInfer for an EXCLUDE constraint that is about anything else.
    """
    types = {column.name: column.base for column in relation.columns}
    makers: dict[str, Span] = {}
    unique = []
    for constraint in relation.constraints:
        if constraint.kind != "x":
            continue
        definition = relation.definition(constraint)
        if {name for name in types if re.search(rf"\b{re.escape(name)}\b", definition)} <= {
            *declared
        }:
            continue
        exclusion = _read_exclusion(definition, types)
        if exclusion is None:
            raise CannotInfer(
                f"The constraint {constraint.name} of {relation.name} cannot be read: "
                f"{definition}. Nothing was changed.",
                hint="Declare its columns in a factory: [apps.NAME] factory, "
                f"Shape({relation.name!r}, …).",
            )
        if exclusion.span is None:
            unique.append(list(exclusion.equal))
            continue
        owned = any(name.strip('"') in owners for name in exclusion.equal)
        first = _first_free(connection, calendar, relation, exclusion)
        for column, form in exclusion.forms.items():
            if column in makers:  # several constraints: apart from all that any of them is about
                owned = owned and makers[column].owned
                first = max(first, makers[column].first or 0)
            makers[column] = Span(exclusion.kind, form, first, owned)
    return makers, unique


def _first_free(
    connection: Connection, calendar: Calendar, relation: Relation, exclusion: Exclusion
) -> int:
    """Return where spans begin that overlap with none that exists, in the maker's steps."""
    assert exclusion.span is not None
    upper = sql.SQL("pg_catalog.upper({})").format(
        written_by_server(exclusion.span.replace("%", "%%"))
    )
    steps = {
        "time": sql.SQL(
            "extract(epoch FROM pg_catalog.max({0}) FILTER (WHERE pg_catalog.isfinite({0})))"
            " OPERATOR(pg_catalog./) 3600"
        ),
        "date": sql.SQL(
            "pg_catalog.max({0}) FILTER (WHERE pg_catalog.isfinite({0}))"
            " OPERATOR(pg_catalog.-) date '1970-01-01'"
        ),
        "number": sql.SQL("pg_catalog.max({0}) OPERATOR(pg_catalog./) 10.0"),
    }
    query = sql.SQL(
        "SELECT pg_catalog.ceil({})::pg_catalog.int8 OPERATOR(pg_catalog.+) 1 FROM {}"
    ).format(steps[exclusion.kind].format(upper), relation.identifier)
    with exact.as_owner(connection, relation.touched_as):
        row = connection.execute(query).fetchone()
    days = (calendar.start - date(1970, 1, 1)).days
    least = {"time": days * 24, "date": days, "number": 0}[exclusion.kind]
    return max(least, row[0] or 0) if row else least
