"""One record: every column of it, and what it refers to and is referred by."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psycopg

from leadctl.catalog.facets import Reference
from leadctl.errors import InvalidFilter, NoPrimaryKey, RowNotFound, UnknownRelation
from leadctl.postgres.connect import Connection, set_session
from leadctl.studio.conditions import check_text, join_list, split_list, typed
from leadctl.studio.projection import Projection, as_json, as_text
from leadctl.studio.rows import (
    Page,
    Selection,
    Stream,
    chosen,
    facts,
    head,
    page_of,
    stream_of,
)
from leadctl.studio.session import Access, Session, looking
from leadctl.studio.shape import ColumnShape, Fragment, Shape, build, join, name, operator, value

_VALUE = 20_000
"""Characters of a value that a record shows at most."""
_COUNTED = 1000
"""Related rows that are counted at most."""
_COUNT_TIMEOUT = "2s"


@dataclass(frozen=True)
class Field:
    """A column of a record; `characters` is the length of a text of which only a part is there."""

    name: str
    type: str
    category: str
    value: str | None
    masked: bool
    characters: int | None


@dataclass(frozen=True)
class Relation:
    """What a record refers to, or what refers to it.

    `rows` is how many rows, at most a thousand (then `more` is set), or None where counting took
    too long or is not allowed.
    """

    name: str
    outgoing: bool
    table: str
    columns: tuple[str, ...]
    rows: int | None
    more: bool


@dataclass(frozen=True)
class Record:
    """One row of a table."""

    database: str
    schema: str
    table: str
    key: str
    fields: tuple[Field, ...]
    relations: tuple[Relation, ...]


class Found:
    """What a key and a relation lead to: one record, or the rows that refer to one."""

    def __init__(
        self, session: Session, shape: Shape, condition: Fragment, selection: Selection
    ) -> None:
        self._session, self._shape = session, shape
        self._condition, self._selection = condition, selection
        self.key: str | None = None
        """The key of the record; None where it is rows that were found."""

    def record(self, *, as_json_text: bool) -> Record:
        """Read the record: values as texts for people, cut where they are long, or as JSON."""
        reading = _Record(self._session, self._shape, self._condition, self._selection.columns)
        return reading.whole(self.key or "") if as_json_text else reading.readable(self.key or "")

    def page(self) -> Page:
        """Read a page of the rows."""
        return page_of(self._session, self._shape, self._selection, self._condition)

    def stream(self, *, as_json_text: bool) -> Stream:
        """Stream the rows, or the record as the only one."""
        return stream_of(
            self._session, self._shape, self._selection, self._condition, as_json_text=as_json_text
        )


@contextmanager
def finding(
    access: Access, table: str, key: str, relation: str | None, selection: Selection
) -> Iterator[Found]:
    """Find a record by its key; where a relation is named, what that leads to.

    Of a key of several columns `key` lists the values.  Raises NoPrimaryKey, RowNotFound,
    UnknownRelation, and InvalidFilter where the key is no value of its type.
    """
    with looking(access, **facts(table, selection)) as session:
        shape = session.shape(table)
        here = at_key(session, shape, key)
        found = Found(session, shape, here, selection)
        found.key = _key_of(session.connection, shape, here)
        if found.key is None:
            raise RowNotFound(
                f"{shape.name} has no record {key!r} ({', '.join(shape.key)}).",
                hint=f"Look for it with: leadctl studio {shape.name} --where …",
            )
        yield found if relation is None else _followed(session, shape, here, relation, selection)


def _followed(
    session: Session, shape: Shape, here: Fragment, wanted: str, selection: Selection
) -> Found:
    names = relation_names(shape.references)
    fitting = [
        reference
        for reference, short in zip(shape.references, names, strict=True)
        if wanted in {short, reference.name}
    ]
    if not fitting:
        raise UnknownRelation(
            f"{shape.name} has no relation {wanted!r}.",
            hint=f"There are: {', '.join(names)}." if names else "No foreign key leads anywhere.",
        )
    reference = fitting[0]
    schema, table = reference.other
    other = session.shape(table, schema)
    if other.touched_as != shape.touched_as:  # one statement reads both
        other = replace(other, touched_as=None)
    condition = _related(shape, reference, here)
    found = Found(session, other, condition, selection)
    if reference.outgoing:
        found.key = _key_of(session.connection, other, condition)
        if found.key is None:
            raise RowNotFound(
                f"This record of {shape.name} refers to no {wanted}.", hint="It is null there."
            )
    return found


def at_key(session: Session, shape: Shape, key: str) -> Fragment:
    """Compose the condition that a key makes.  Raises as `read_record` does."""
    if not shape.key:
        raise NoPrimaryKey(
            f"{shape.name} has no primary key, so no record of it can be named.",
            hint=f"Look for it with: leadctl studio {shape.name} --where …",
        )
    check_text(key)
    values = (key,) if len(shape.key) == 1 else split_list(key)
    if len(values) != len(shape.key):
        raise InvalidFilter(
            f"{shape.name} is keyed by {', '.join(shape.key)}; {key!r} is not as many values.",
            hint="Write them as a list: a,b",
        )
    columns = [shape.column(name) for name in shape.key]
    return join(
        " AND ",
        [
            build(
                "{} {} {}",
                column.identifier,
                operator(column.base.order("=")),
                typed(session.connection, column, each),
            )
            for column, each in zip(columns, values, strict=True)
        ],
    )


def relation_names(references: Sequence[Reference]) -> list[str]:
    """Return a short name for each reference that no other one has.

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


class _Record:
    """One row, read by a condition."""

    def __init__(self, session: Session, shape: Shape, here: Fragment, columns: str | None) -> None:
        self._session, self._shape, self._here = session, shape, here
        self._secrets = session.secrets(shape)
        self._columns = chosen(shape, columns)

    def whole(self, key: str) -> Record:
        """Read it with values as JSON."""
        return self._record(key, self._read([as_json(c, self._secrets) for c in self._columns]))

    def readable(self, key: str) -> Record:
        """Read it with values as text, cut where they are long."""
        fields = self._read([self._readable(column) for column in self._columns])
        return self._record(key, [self._cut(field) for field in fields])

    def _readable(self, column: ColumnShape) -> Projection:
        projection = as_text(column, self._secrets, _VALUE + 1)
        hidden = self._secrets.masks(column) or self._secrets.opens(column)
        if column.base.name != "jsonb" or hidden:
            return projection
        pretty = build(
            "pg_catalog.left(pg_catalog.jsonb_pretty({}), {})", column.identifier, value(_VALUE + 1)
        )
        return Projection(pretty, str)

    def _read(self, projections: Sequence[Projection]) -> list[Field]:
        expressions = [projection.expression for projection in projections]
        row = _select(self._session.connection, self._shape, expressions, self._here) or ()
        heads = [head(self._shape, column, self._secrets) for column in self._columns]
        return [
            Field(
                about.name,
                about.type,
                about.category,
                None if read is None else projection.decode(read),
                about.masked,
                None,
            )
            for about, read, projection in zip(heads, row, projections, strict=True)
        ]

    def _cut(self, field: Field) -> Field:
        if field.value is None or len(field.value) <= _VALUE:
            return field
        length = build("pg_catalog.length({}::pg_catalog.text)", name(field.name))
        row = _select(self._session.connection, self._shape, [length], self._here)
        return replace(field, value=field.value[:_VALUE], characters=int(row[0] or 0) if row else 0)

    def _record(self, key: str, fields: Sequence[Field]) -> Record:
        return Record(
            database=self._session.connection.info.dbname,
            schema=self._shape.schema,
            table=self._shape.name,
            key=key,
            fields=tuple(fields),
            relations=tuple(_relations(self._session, self._shape, self._here)),
        )


def _relations(session: Session, shape: Shape, here: Fragment) -> Iterator[Relation]:
    connection = session.connection
    set_session(connection, {"statement_timeout": _COUNT_TIMEOUT}, transaction=True)
    names = relation_names(shape.references)
    for reference, short in zip(shape.references, names, strict=True):
        rows = _count(connection, reference, _related(shape, reference, here))
        columns = reference.columns
        more = rows is not None and rows > _COUNTED
        counted = _COUNTED if more else rows
        yield Relation(short, reference.outgoing, reference.other[1], columns, counted, more)


def _related(shape: Shape, reference: Reference, here: Fragment) -> Fragment:
    """Compose that rows of the other side are those of a reference of the record."""
    columns = zip(reference.referred, reference.columns, reference.equal, strict=True)
    return join(" AND ", [_equal(shape, reference, here, *each) for each in columns])


def _equal(
    shape: Shape, reference: Reference, here: Fragment, referred: str, column: str, equal: str
) -> Fragment:
    other, own = (referred, column) if reference.outgoing else (column, referred)
    held = build("(SELECT {} FROM {} WHERE {})", name(own), shape.identifier, here)
    # The operator has what is referred to on its left.
    sides = [name(other), held] if reference.outgoing else [held, name(other)]
    return build("{} {} {}", sides[0], operator(equal), sides[1])


def _count(connection: Connection, reference: Reference, related: Fragment) -> int | None:
    """Count related rows up to the limit; None where it takes too long or is not allowed."""
    query = build(
        "SELECT pg_catalog.count(*) FROM (SELECT FROM {} WHERE {} LIMIT {}) AS related",
        name(*reference.other),
        related,
        value(_COUNTED + 1),
    )
    try:
        with connection.transaction():
            row = query.run(connection).fetchone()
    except (psycopg.errors.QueryCanceled, psycopg.errors.InsufficientPrivilege):
        return None
    return int(row[0]) if row else None


def _key_of(connection: Connection, shape: Shape, condition: Fragment) -> str | None:
    """Return the key of the row that a condition finds, as `at_key` reads it."""
    columns = [build("{}::pg_catalog.text", name(column)) for column in shape.key]
    row = _select(connection, shape, columns or [build("''")], condition)
    return None if row is None else join_list([each or "" for each in row])


def _select(
    connection: Connection, shape: Shape, columns: Sequence[Fragment], condition: Fragment
) -> tuple[str | None, ...] | None:
    query = build("SELECT {} FROM {} WHERE {}", join(", ", columns), shape.identifier, condition)
    return query.run(connection, shape.touched_as).fetchone()
