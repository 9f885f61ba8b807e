"""One record: every column of it, and what it refers to and is referred by."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count

import psycopg

from leadctl.catalog.facets import Reference
from leadctl.catalog.relations import read_numbered
from leadctl.errors import AmbiguousRow, InvalidFilter, LeadctlError, NoPrimaryKey, RowNotFound
from leadctl.postgres.connect import Connection, set_session
from leadctl.studio import paths
from leadctl.studio.conditions import typed
from leadctl.studio.labels import is_opaque, read_labels
from leadctl.studio.parser import check_text, join_list, split_list
from leadctl.studio.projection import Projection, as_json, as_text
from leadctl.studio.rows import (
    RowPage,
    RowSelection,
    Stream,
    chosen,
    facts,
    head,
    page_of,
    stream_of,
)
from leadctl.studio.session import Access, Session, read_session
from leadctl.studio.shape import (
    ColumnShape,
    Fragment,
    TableShape,
    build,
    join,
    name,
    operator,
    value,
)

_VALUE = 20_000
"""Characters of a value that a record shows at most."""
_COUNTED = 1000
"""Related rows that are counted at most."""
_COUNT_TIMEOUT = "2s"
_RELATED = "o"
_FITTING = 4
"""Keys with the same beginning that are looked for at most."""
_SHORTEST = 4
_CUT = "…~"
"""What a page puts behind the beginning of an id, also where the terminal lacks it."""
_FIRST_UUID = "00000000-0000-0000-0000-000000000000"
_LAST_UUID = "ffffffff-ffff-ffff-ffff-ffffffffffff"


@dataclass(frozen=True)
class Field:
    """A column of a record; `characters` is the length of a text of which only a part is there."""

    name: str
    type: str
    category: str
    value: str | None
    masked: bool
    characters: int | None
    label: str | None = field(default=None, metadata={"json": False})
    """What the row is called that it refers to."""


@dataclass(frozen=True)
class RelatedRows:
    """A relation of a record: a row that it refers to, or rows that refer to it.

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
    relations: tuple[RelatedRows, ...]


@dataclass(frozen=True)
class Found:
    """The result of a key and a relation: one record, or the rows that refer to one."""

    _session: Session
    _shape: TableShape
    _condition: Fragment
    _selection: RowSelection
    key: str | None
    """The key of the record; None where it is rows that were found."""

    def record(self, *, as_json_text: bool) -> Record:
        """Read the record: values as texts for people, cut where they are long, or as JSON."""
        reading = _Record(self._session, self._shape, self._condition, self._selection.columns)
        read = reading.as_json_record if as_json_text else reading.readable
        return read(self.key or "")

    def page(self) -> RowPage:
        """Read a page of the rows."""
        return page_of(self._session, self._shape, self._selection, self._condition)

    def stream(self, *, as_json_text: bool) -> Stream:
        """Stream the rows, or the record as the only one."""
        return stream_of(
            self._session, self._shape, self._selection, self._condition, as_json_text=as_json_text
        )


@contextmanager
def finding(
    access: Access, table: str, key: str, relation: str | None, selection: RowSelection
) -> Iterator[Found]:
    """Find a record by its key; where a relation is named, what that leads to.

    Of a key of several columns `key` lists the values.  Raises NoPrimaryKey, RowNotFound,
    UnknownRelation, and InvalidFilter where the key is no value of its type.
    """
    with read_session(access, **facts(table, selection)) as session:
        shape = session.shape(table)
        here, found_key = _find(session, shape, key)
        if relation is None:
            yield Found(session, shape, here, selection, found_key)
        else:
            yield _followed(session, shape, here, relation, selection)


def _find(session: Session, shape: TableShape, wanted: str) -> tuple[Fragment, str]:
    """Find a row by its key, or by the beginning of one that is an opaque id."""
    refused: LeadctlError = RowNotFound(
        f"{shape.name} has no record {wanted!r} ({', '.join(shape.key)}).",
        hint=f"Look for it with: leadctl studio {shlex.quote(shape.name)} --where …",
    )
    try:
        here = _at_key(session, shape, wanted)
        key = _key_of(session.connection, shape, here)
        if key is not None:
            return here, key
    except InvalidFilter as error:
        refused = error
    keys = _keys_beginning(session, shape, wanted)
    if not keys:
        raise refused
    if len(keys) > 1:
        raise AmbiguousRow(
            f"More than one record of {shape.name} begins with {wanted!r}: {', '.join(keys)}"
            f"{', …' if len(keys) == _FITTING else ''}.",
            hint="Give more characters of the id.",
        )
    return _at_key(session, shape, keys[0]), keys[0]


def _keys_beginning(session: Session, shape: TableShape, wanted: str) -> list[str]:
    """Return some keys that are opaque ids and begin so, as a page shortens them."""
    values = split_list(wanted) if len(shape.key) > 1 else (wanted,)
    values = tuple(each.rstrip(_CUT) for each in values)
    if len(values) != len(shape.key) or not all(len(each) >= _SHORTEST for each in values):
        return []
    columns = [shape.column(name) for name in shape.key]
    conditions = [_beginning(*each) for each in zip(columns, values, strict=True)]
    fitting = [condition for condition in conditions if condition is not None]
    if len(fitting) < len(conditions):
        return []
    query = build(
        "SELECT {} FROM {} WHERE {} LIMIT {}",
        join(", ", [build("{}::pg_catalog.text", column.identifier) for column in columns]),
        shape.identifier,
        join(" AND ", fitting),
        value(_FITTING),
    )
    rows = query.run(session.connection, shape.touched_as).fetchall()
    return [join_list(row) for row in rows if all(map(is_opaque, row))]


def _followed(
    session: Session, shape: TableShape, here: Fragment, wanted: str, selection: RowSelection
) -> Found:
    """Go along relations: to a record while each refers to one, else to all rows reached."""
    names, read, key = tuple(wanted.split(".")), [shape], ""
    at_one = True
    for depth in count(1):
        reference, names = paths.relation(shape, names)
        other = session.shape(reference.other[1], reference.other[0]).called(f"r{depth}")
        if at_one:
            condition = paths.related(shape, reference, here, other.alias)
        else:
            condition = paths.exists(shape, paths.joined(shape, reference, other), here)
        at_one = at_one and reference.outgoing
        read.append(other)
        left, shape, here = shape, replace(other, touched_as=paths.role_of(read)), condition
        if at_one:
            found = _key_of(session.connection, shape, here)
            if found is None:
                raise RowNotFound(
                    f"This record of {left.name} refers to no {left.short(reference)}.",
                    hint="The foreign key is NULL in this record.",
                )
            key = found
            if other.key:  # its own key leads there, and nobody else's table
                read, shape, here = [other], other, _at_key(session, other, key)
        if not names:
            break
    return Found(session, shape, here, selection, key if at_one else None)


def _at_key(session: Session, shape: TableShape, key: str) -> Fragment:
    """Compose the condition that a key makes.  Raises as `read_record` does."""
    if not shape.key:
        raise NoPrimaryKey(
            f"{shape.name} has no primary key, so no record of it can be named.",
            hint=f"Look for it with: leadctl studio {shlex.quote(shape.name)} --where …",
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


def _beginning(column: ColumnShape, text: str) -> Fragment | None:
    """Compose that an id begins so; None where it has no beginning that could be searched for."""
    kind = column.base
    if (kind.schema, kind.name) == ("pg_catalog", "uuid"):
        ends = [text.lower() + uuid[len(text) :] for uuid in (_FIRST_UUID, _LAST_UUID)]
        if not all(map(is_opaque, ends)):
            return None
        first, last = (build("{}::pg_catalog.uuid", value(each)) for each in ends)
        return build(
            "{} OPERATOR(pg_catalog.>=) {} AND {} OPERATOR(pg_catalog.<=) {}",
            column.identifier,
            first,
            column.identifier,
            last,
        )
    if kind.category == "S":
        return build(
            "pg_catalog.starts_with({}::pg_catalog.text, {})", column.identifier, value(text)
        )
    return None


class _Record:
    """One row, read by a condition."""

    def __init__(
        self, session: Session, shape: TableShape, here: Fragment, columns: str | None
    ) -> None:
        self._session, self._shape, self._here = session, shape, here
        self._secrets = session.secrets(shape)
        self._columns = chosen(shape, columns)

    def as_json_record(self, key: str) -> Record:
        """Read it with values as JSON."""
        projections = [as_json(column, self._secrets) for column in self._columns]
        return self._record(key, self._fields(projections, self._row(projections)))

    def readable(self, key: str) -> Record:
        """Read it with values as text, cut where they are long."""
        projections = [self._readable(column) for column in self._columns]
        row = self._row(projections)
        labels = read_labels(self._session, self._shape, self._columns, [row])
        fields = [
            replace(self._cut(each), label=labels.get((0, number)))
            for number, each in enumerate(self._fields(projections, row))
        ]
        return self._record(key, fields)

    def _readable(self, column: ColumnShape) -> Projection:
        projection = as_text(column, self._secrets, _VALUE + 1)
        hidden = self._secrets.masks(column) or self._secrets.opens(column)
        if column.base.name != "jsonb" or hidden:
            return projection
        pretty = build(
            "pg_catalog.left(pg_catalog.jsonb_pretty({}), {})", column.identifier, value(_VALUE + 1)
        )
        return Projection(pretty, str)

    def _row(self, projections: Sequence[Projection]) -> Sequence[str | None]:
        expressions = [projection.expression for projection in projections]
        return _select(self._session.connection, self._shape, expressions, self._here) or ()

    def _fields(self, projections: Sequence[Projection], row: Sequence[str | None]) -> list[Field]:
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

    def _cut(self, found: Field) -> Field:
        if found.value is None or len(found.value) <= _VALUE:
            return found
        length = build("pg_catalog.length({}::pg_catalog.text)", name(found.name))
        row = _select(self._session.connection, self._shape, [length], self._here)
        return replace(found, value=found.value[:_VALUE], characters=int(row[0] or 0) if row else 0)

    def _record(self, key: str, fields: Sequence[Field]) -> Record:
        return Record(
            database=self._session.connection.info.dbname,
            schema=self._shape.schema,
            table=self._shape.name,
            key=key,
            fields=tuple(fields),
            relations=tuple(_relations(self._session, self._shape, self._here)),
        )


def _relations(session: Session, shape: TableShape, here: Fragment) -> Iterator[RelatedRows]:
    connection = session.connection
    set_session(connection, {"statement_timeout": _COUNT_TIMEOUT}, transaction=True)
    others = read_numbered(connection, {_other(each) for each in shape.references})
    with session.hurried():
        for reference, short in zip(shape.references, shape.relation_names, strict=True):
            role = shape.touched_as or others[_other(reference)].touched_as
            condition = paths.related(shape, reference, here, _RELATED)
            rows = _count(connection, reference, condition, role)
            more = rows is not None and rows > _COUNTED
            yield RelatedRows(
                short,
                reference.outgoing,
                reference.other[1],
                reference.columns,
                _COUNTED if more else rows,
                more,
            )


def _other(reference: Reference) -> int:
    return reference.parent if reference.outgoing else reference.child


def _count(
    connection: Connection, reference: Reference, related: Fragment, role: str | None
) -> int | None:
    """Count related rows up to the limit; None where it takes too long or is not allowed."""
    query = build(
        "SELECT pg_catalog.count(*) FROM (SELECT FROM {} AS {} WHERE {} LIMIT {}) AS related",
        name(*reference.other),
        name(_RELATED),
        related,
        value(_COUNTED + 1),
    )
    try:
        with connection.transaction():
            row = query.run(connection, role).fetchone()
    except (
        psycopg.errors.QueryCanceled,
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.LockNotAvailable,
    ):
        return None
    return int(row[0]) if row else None


def _key_of(connection: Connection, shape: TableShape, condition: Fragment) -> str | None:
    """Return the key of the row that a condition finds, as `_at_key` reads it."""
    columns = [build("{}::pg_catalog.text", name(column)) for column in shape.key]
    row = _select(connection, shape, columns or [build("''")], condition)
    return None if row is None else join_list([each or "" for each in row])


def _select(
    connection: Connection, shape: TableShape, columns: Sequence[Fragment], condition: Fragment
) -> tuple[str | None, ...] | None:
    query = build("SELECT {} FROM {} WHERE {}", join(", ", columns), shape.identifier, condition)
    return query.run(connection, shape.touched_as).fetchone()
