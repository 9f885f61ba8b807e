"""The shape of a table: its columns, key and relations; and pieces of SQL with their values."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, LiteralString

from psycopg import Cursor, sql

from leadctl.catalog.facets import Reference
from leadctl.catalog.relations import Relation, read_table, relation_names
from leadctl.errors import UnknownColumn, UnknownTable
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import escaped, queries_of, written_by_server
from leadctl.text import did_you_mean


@dataclass(frozen=True)
class Fragment:
    """SQL, and the parameters of its placeholders in their order."""

    text: sql.Composable
    parameters: tuple[Any, ...] = ()

    def run(self, connection: Connection, role: str | None = None) -> Cursor[Any]:
        """Execute it as a whole statement, with the rights of a role where one is named.

        Every name in it has its schema: the session looks along the app's path, for its views.
        """
        with exact.as_owner(connection, role):
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
    return Fragment(escaped(*parts))


def operator(qualified: str) -> Fragment:
    """Return an operator as the catalog names it, `schema.symbol` with the schema quoted."""
    return Fragment(written_by_server(f"OPERATOR({qualified})".replace("%", "%%")))


QUERIES = queries_of(__file__, "studio.sql")

_ROW = "r"
_LISTED = 20
_SYMBOLS = {symbol: number for number, symbol in enumerate(("<", "<=", "=", ">=", ">"))}


@dataclass(frozen=True)
class Type:
    """A type without its domain: what values are compared as.

    `category` is PostgreSQL's: B boolean, N number, D time, S text, A array, R range, E enum, …
    https://www.postgresql.org/docs/current/catalog-pg-type.html
    """

    schema: str
    name: str
    category: str
    ordering: tuple[str, ...]
    equality: str | None
    labels: tuple[str, ...] = ()
    element: "Type | None" = None
    """What an array consists of."""
    subtype: "Type | None" = None
    """What a range is a range of."""

    @property
    def is_json(self) -> bool:
        """Whether it is json or jsonb."""
        return self.schema == "pg_catalog" and self.name in {"json", "jsonb"}

    @property
    def is_binary(self) -> bool:
        """Whether it is bytea."""
        return (self.schema, self.name) == ("pg_catalog", "bytea")

    @property
    def sortable(self) -> bool:
        """Whether its values have an order."""
        if self.element is not None:
            return bool(self.ordering) and self.element.sortable
        return len(self.ordering) == len(_SYMBOLS)

    @property
    def equal(self) -> str | None:
        """The operator by which two values are equal; None where the type has none."""
        if self.element is not None and self.element.equal is None:
            return None
        return self.order("=") if self.sortable else self.equality

    def order(self, symbol: str) -> str:
        """Return the type's own operator for <, <=, =, >= or >."""
        return self.ordering[_SYMBOLS[symbol]]

    @property
    def identifier(self) -> Fragment:
        """The type's qualified name, without a length or precision that would cut values."""
        return name(self.schema, self.name)


@dataclass(frozen=True)
class ColumnShape:
    """A column; `type` is as people write it."""

    name: str
    type: str
    base: Type
    not_null: bool
    touched_as: str | None = None
    """The role to read values as; None for this one."""
    alias: str = _ROW
    """What the statement calls the row that it is of."""

    @property
    def identifier(self) -> Fragment:
        """The column of the row that is looked at.

        It is qualified: alone, a name in ORDER BY would mean what is selected, which is a text.
        """
        return name(self.alias, self.name)


@dataclass(frozen=True)
class TableShape:
    """A table or view that is looked at; `key` is empty where rows cannot be told apart."""

    relation: Relation
    columns: tuple[ColumnShape, ...]
    key: tuple[str, ...]
    touched_as: str | None
    """The role to read rows as; None for this one."""
    alias: str = _ROW
    """What a statement calls its rows; where it reads several tables, each has another."""

    def called(self, alias: str) -> "TableShape":
        """Return the same table with another alias."""
        columns = tuple(replace(column, alias=alias) for column in self.columns)
        return replace(self, columns=columns, alias=alias)

    @property
    def schema(self) -> str:
        """The schema that it is in."""
        return self.relation.schema

    @property
    def name(self) -> str:
        """Its name."""
        return self.relation.name

    @property
    def references(self) -> tuple[Reference, ...]:
        """Its foreign keys, and then those that refer to it."""
        return (*self.relation.references, *self.relation.referrers)

    @property
    def identifier(self) -> Fragment:
        """The table's qualified name, as FROM has it."""
        return build("{} AS {}", name(self.schema, self.name), name(self.alias))

    def column(self, wanted: str) -> ColumnShape:
        """Find a column: by its exact name, else by the only one that differs in case.

        Raises UnknownColumn.
        """
        found = self.find(wanted)
        if found is None:
            names = [column.name for column in self.columns]
            raise UnknownColumn(
                f"{self.name} has no column {wanted!r}.", hint=_hint(wanted, names, "columns")
            )
        return found

    def find(self, wanted: str) -> ColumnShape | None:
        """Find a column as `column` does; None where there is none."""
        found = _pick(wanted, [column.name for column in self.columns])
        return next((column for column in self.columns if column.name == found), None)

    @cached_property
    def relation_names(self) -> tuple[str, ...]:
        """A short name for each of `references` that no other one has."""
        return tuple(_relation_names(self.references))

    def short(self, reference: Reference) -> str:
        """Return the short name of one of its references."""
        return self.relation_names[self.references.index(reference)]

    def reference(self, wanted: str) -> Reference | None:
        """Find a reference: by its short name, its constraint's, or its own columns'."""
        found = _pick(wanted, self.relation_names)
        for reference, short in zip(self.references, self.relation_names, strict=True):
            if short == found:
                return reference
        others = (
            reference
            for reference in self.references
            if reference.name == wanted
            or (reference.outgoing and wanted == ",".join(reference.columns))
        )
        return next(others, None)


def _relation_names(references: Sequence[Reference]) -> list[str]:
    """Return the names of references.

    It is the column without `_id` for one of the table, the other table for one that refers to
    it; both with the columns, or the constraint's own name, where that would be ambiguous.
    """
    candidates = [[_short(each), _longer(each), each.name] for each in references]
    for level in range(len(candidates[0]) if candidates else 0):
        taken = Counter(names[0] for names in candidates)
        for names in candidates:
            if level and taken[names[0]] > 1 and len(names) > 1:
                names.pop(0)
    return [names[0] for names in candidates]


def _short(reference: Reference) -> str:
    if not reference.outgoing:
        return reference.other[1]
    if len(reference.columns) == 1:
        return reference.columns[0].removesuffix("_id")
    return reference.other[1]


def _longer(reference: Reference) -> str:
    if reference.outgoing:
        return ",".join(reference.columns)
    return f"{reference.other[1]}.{','.join(reference.columns)}"


def read_shape(connection: Connection, schema: str, wanted: str) -> TableShape:
    """Read the shape of the table or view that somebody named.  Raises UnknownTable."""
    names = relation_names(connection, schema)
    found = _pick(wanted, names)
    relation = found and read_table(connection, schema, found, "columns", "indexes", "references")
    if not relation:
        raise UnknownTable(
            f"There is no table {wanted!r} in the schema {schema}.",
            hint=_hint(wanted, names, "tables")
            if names
            else "The schema has no tables; name another with --schema, or run: leadctl migrate",
        )
    types = _types(connection, relation)
    columns = tuple(
        ColumnShape(
            column.name,
            column.type,
            types[column.type_oid],
            column.not_null,
            relation.touched_as,
        )
        for column in relation.columns
    )
    return TableShape(relation, columns, relation.key, relation.touched_as)


def _types(connection: Connection, relation: Relation) -> dict[int, Type]:
    rows = {row["oid"]: row for row in QUERIES.rows(connection, "types", dict, oid=relation.oid)}

    def make(oid: int | None) -> Type | None:
        if oid is None:
            return None
        row = rows[oid]
        if row["base"]:
            return make(row["base"])
        return Type(
            schema=row["schema"],
            name=row["name"],
            category=row["category"],
            ordering=tuple(row["ordering"]),
            equality=row["equality"],
            labels=tuple(row["labels"]),
            element=make(row["element"]),
            subtype=make(row["subtype"]),
        )

    return {oid: made for oid in rows if (made := make(oid)) is not None}


def _pick(wanted: str, names: Sequence[str]) -> str | None:
    if wanted in names:
        return wanted
    folded = [each for each in names if each.casefold() == wanted.casefold()]
    return folded[0] if len(folded) == 1 else None


def _hint(wanted: str, names: Sequence[str], what: str) -> str:
    shown = ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
    introduced = f"Its {what}" if what == "columns" else "There are"
    return did_you_mean(wanted, names, f"{introduced}: {shown}.")
