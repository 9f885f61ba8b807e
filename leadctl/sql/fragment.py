"""Pieces of SQL that carry their parameters along, so that they can be put together freely."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import Cursor, sql

from leadctl.postgres.connect import Connection


@dataclass(frozen=True)
class Fragment:
    """SQL, and the parameters of its placeholders in their order."""

    text: sql.Composable
    parameters: tuple[Any, ...] = ()

    def run(self, connection: Connection) -> Cursor[Any]:
        """Execute it as a whole statement."""
        return connection.execute(*self.statement())

    def statement(self) -> tuple[sql.Composed, tuple[Any, ...]]:
        """Return what psycopg's `execute` takes."""
        return sql.Composed([self.text]), self.parameters


def build(template: LiteralString, *parts: Fragment) -> Fragment:
    """Put parts into the `{}` of a template."""
    return Fragment(
        sql.SQL(template).format(*(part.text for part in parts)),
        tuple(parameter for part in parts for parameter in part.parameters),
    )


def join(separator: LiteralString, parts: Iterable[Fragment]) -> Fragment:
    """Join parts."""
    listed = list(parts)
    return Fragment(
        sql.SQL(separator).join(part.text for part in listed),
        tuple(parameter for part in listed for parameter in part.parameters),
    )


def value(given: Any) -> Fragment:
    """Return a parameter."""
    return Fragment(sql.Placeholder(), (given,))


def name(*parts: str) -> Fragment:
    """Return an identifier; a % in it is doubled, since statements here always have parameters."""
    return Fragment(sql.Identifier(*(part.replace("%", "%%") for part in parts)))


def operator(qualified: str) -> Fragment:
    """Return an operator as the catalog names it, `schema.symbol` with the schema quoted."""
    return Fragment(sql.SQL("OPERATOR({})").format(sql.SQL(qualified.replace("%", "%%"))))
