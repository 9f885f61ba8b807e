"""A table as PostgreSQL has it: its columns, keys, references both ways, partitions and size.

Relations are read together, one statement for any number of them.  A facet, such as the columns,
is read when one is first asked for it, for all relations that were read together; a facet that is
named when they are read comes in the same statement.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeVar

from psycopg import sql

from leadctl.catalog.citus import with_shards
from leadctl.catalog.facets import (
    Column,
    Constraint,
    Descendant,
    Index,
    Leaf,
    Numbering,
    Reference,
    Size,
    Trigger,
)
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import queries_of, version_of

Facet = Literal[
    "columns",
    "sequences",
    "indexes",
    "constraints",
    "references",
    "expressions",
    "descendants",
    "triggers",
    "sizes",
]
QUERIES = queries_of(__file__, "relations.sql")
_SELECTED = "ARRAY(SELECT oid FROM selected)"
_KINDS = {"v": "view", "m": "materialized view", "f": "foreign table"}
_LISTS = {
    "relations": ("partition_key", "parents"),
    "indexes": ("columns",),
    "constraints": ("columns",),
    "references": ("columns", "referred", "equal"),
}
"""What of each block's rows is a list."""
_T = TypeVar("_T")


_SETVAL = "SELECT pg_catalog.setval(%s::pg_catalog.regclass, %s::pg_catalog.int8)"


@dataclass(frozen=True, eq=False)
class Relation:
    """A table, view or the like.

    `quoted` is its name as SQL has it where the search path is the session's, `qualified` with its
    schema in any case.  `kind` is r, p, v, m or f, as pg_class has it.
    """

    oid: int
    schema: str
    name: str
    quoted: str
    qualified: str
    kind: str
    owner: str
    owned: bool
    """Whether this role has the owner's privileges."""
    touched_as: str | None
    """The role to read and write its rows as (`exact.as_owner`); None for this one."""
    row_security: bool
    is_partition: bool
    strategy: str | None
    """How it is partitioned: r, l or h."""
    partition_key: tuple[str | None, ...]
    """The columns that it is partitioned by; None for an expression."""
    parents: tuple[int, ...]
    """What it is a partition of, or inherits from."""
    of_extension: bool
    """Whether it is part of an extension."""
    comment: str | None
    _facets: "_Facets" = field(repr=False)

    @property
    def label(self) -> str:
        """What people call its kind."""
        return _KINDS.get(self.kind, "table")

    @property
    def is_table(self) -> bool:
        """Whether it is an ordinary or a partitioned table."""
        return self.kind in {"r", "p"}

    @property
    def identifier(self) -> sql.Identifier:
        """Its qualified name."""
        return sql.Identifier(self.schema, self.name)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns, in order."""
        return self._facet("columns", Column)

    def column(self, name: str) -> Column | None:
        """Find a column."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def sequences(self) -> Mapping[str, sql.Identifier]:
        """The sequences by the columns that they number."""
        found = self._facet("sequences", Numbering)
        return {each.column: sql.Identifier(each.schema, each.name) for each in reversed(found)}

    @property
    def owned_sequences(self) -> list[str]:
        """The columns that own a sequence."""
        return [each.column for each in self._facet("sequences", Numbering) if each.owned]

    @property
    def indexes(self) -> tuple[Index, ...]:
        """The indexes, in the order in which they were made."""
        return self._facet("indexes", Index)

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The columns of the primary key, in its order; empty where there is none."""
        found = (index.columns for index in self.indexes if index.primary)
        return tuple(name for name in next(found, ()) if name is not None)

    @property
    def key(self) -> tuple[str, ...]:
        """What identifies a row: the primary key, else the shortest unique index without NULLs."""
        required = {column.name for column in self.columns if column.not_null}
        keys = [
            index
            for index in self.indexes
            if index.unique and index.immediate and index.valid and not index.partial
            if required.issuperset(index.columns)
        ]
        best = min(
            keys, key=lambda key: (not key.primary, len(key.columns), key.name), default=None
        )
        return tuple(filter(None, best.columns)) if best else ()

    def is_served(self, columns: Sequence[str]) -> bool:
        """Whether an index finds rows by columns, in any order of them.

        One of only the rows in which a single column is not NULL does, too.
        """
        return any(self._serves(index, columns) for index in self.indexes)

    def _serves(self, index: Index, columns: Sequence[str]) -> bool:
        if not index.valid or set(index.columns[: len(columns)]) != set(columns):
            return False
        names = (columns[0], sql.Identifier(columns[0]).as_string())
        return not index.partial or (
            len(columns) == 1 and self.predicate(index) in {f"{name} IS NOT NULL" for name in names}
        )

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """The constraints, by name."""
        return self._facet("constraints", Constraint)

    @property
    def references(self) -> tuple[Reference, ...]:
        """The foreign keys, by table and name."""
        return tuple(each for each in self._facet("references", Reference) if each.outgoing)

    @property
    def referrers(self) -> tuple[Reference, ...]:
        """The foreign keys that refer to it, by table and name."""
        return tuple(each for each in self._facet("references", Reference) if not each.outgoing)

    def expression(self, column: Column) -> str | None:
        """Return a column's default or generation expression as SQL."""
        return self._expressions.get(("column", column.name, 0))

    def definition(self, constraint: Constraint) -> str:
        """Return a constraint as ALTER TABLE has it."""
        return self._expressions["constraint", constraint.name, 0]

    def predicate(self, index: Index) -> str | None:
        """Return the condition of a partial index as SQL."""
        return self._expressions.get(("predicate", index.name, 0))

    def key_of(self, index: Index) -> list[str]:
        """Return the columns of an index by their names, and its expressions as SQL."""
        return [
            self._expressions["key", index.name, number] if name is None else name
            for number, name in enumerate(index.columns, 1)
        ]

    @cached_property
    def _expressions(self) -> Mapping[tuple[str, str, int], str]:
        return dict(self._facet("expressions", tuple))

    @property
    def descendants(self) -> tuple[Descendant, ...]:
        """The tables below it, partitions and those that inherit, by name."""
        return self._facet("descendants", Descendant)

    @property
    def partitions(self) -> tuple[Descendant, ...]:
        """Its own partitions; those below them are not among them."""
        return tuple(
            each for each in self.descendants if each.is_partition and each.parent == self.oid
        )

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """The tables that hold its rows, as far as they are PostgreSQL's own, by name.

        That is itself, or its partitions but for those that are being detached.
        """
        if self.kind == "r":
            return (Leaf(self.oid, self.quoted, self.qualified),)
        return tuple(
            Leaf(each.oid, each.quoted, each.qualified)
            for each in self.descendants
            if each.is_partition and each.kind == "r" and not each.detaching
        )

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """Its own triggers, by name."""
        return self._facet("triggers", Trigger)

    @property
    def size(self) -> Size:
        """Bytes and estimated rows."""
        (size,) = self._facet("sizes", Size)
        return size

    def _facet(self, facet: Facet, _kind: type[_T]) -> tuple[_T, ...]:
        return self._facets.of(facet, self.oid)


def relation_names(connection: Connection, schema: str) -> list[str]:
    """Return the names of the tables and views of a schema, partitions among them."""
    return QUERIES.column(connection, "names", schema=schema)


def read_schema(connection: Connection, schema: str, *facets: Facet) -> list[Relation]:
    """Read the tables and views of a schema, by name, but for partitions."""
    return list(_read(connection, "in_schema", facets, schema=schema)[0].values())


def read_numbered(
    connection: Connection, oids: Iterable[int], *facets: Facet
) -> dict[int, Relation]:
    """Read relations by their oids; what does not exist is missing."""
    wanted = list(oids)
    return _read(connection, "numbered", facets, oids=wanted)[0] if wanted else {}


def read_named(connection: Connection, names: Iterable[str], *facets: Facet) -> dict[str, Relation]:
    """Read relations by name, as SQL has it or as it is; what does not exist is missing.

    A name without a schema is looked for in the search path.
    """
    found, asked = _read(connection, "named", facets, names=list(names))
    return {name: found[oid] for name, oid in asked if oid in found}


def read_tables(
    connection: Connection, schema: str, names: Iterable[str], *facets: Facet
) -> dict[str, Relation]:
    """Read relations of a schema by their plain names; what does not exist is missing."""
    quoted = [sql.Identifier(schema, name).as_string(connection) for name in names]
    return {each.name: each for each in read_named(connection, quoted, *facets).values()}


def read_table(connection: Connection, schema: str, name: str, *facets: Facet) -> Relation | None:
    """Read one relation of a schema by its plain name; None where it does not exist."""
    return read_tables(connection, schema, [name], *facets).get(name)


class Counter(NamedTuple):
    """How a sequence counts; `drawn` is its last number, or one step before its first."""

    step: int
    least: int
    most: int
    start: int
    drawn: int


def _read_counter(connection: Connection, sequence: sql.Identifier | None) -> Counter | None:
    """Read how a sequence counts; None where there is none of the name."""
    name = sequence and sequence.as_string(connection)
    found = QUERIES.one(connection, "sequence", name=name)
    if sequence is None or found is None:
        return None
    step, least, most, start, drawn, readable = found
    if drawn is None:  # a sequence may be told where to begin
        query = sql.SQL("SELECT last_value FROM {}").format(sequence)
        begins = connection.execute(query).fetchone() if readable else None
        drawn = (begins[0] if begins else start) - step
    return Counter(step, least, most, start, drawn)


def next_number(connection: Connection, sequence: sql.Identifier | None) -> int:
    """Return a number that a sequence does not draw, nor any after it unless they are drawn."""
    counts = _read_counter(connection, sequence)
    if counts is None:
        return 1
    return max(1, counts.drawn + counts.step if counts.step > 0 else counts.start + 1)


def advance_sequences(
    connection: Connection,
    relation: Relation,
    of_models: Mapping[str, sql.Identifier] = MappingProxyType({}),
) -> None:
    """Set the sequences of a table to continue after its last number; none is set back.

    `of_models` are those that the app itself draws from, of which the server knows nothing.
    """
    for column, sequence in {**of_models, **relation.sequences}.items():
        query = sql.SQL("SELECT pg_catalog.max({0}), pg_catalog.min({0}) FROM {1}")
        found = connection.execute(query.format(sql.Identifier(column), relation.identifier))
        advance_sequence(connection, sequence, found.fetchone() or (None, None))


def advance_sequence(connection: Connection, sequence: sql.Identifier, ends: Sequence[Any]) -> None:
    """Let a sequence go on after the numbers between two ends, unless it is there already."""
    counts = _read_counter(connection, sequence)
    if counts is None or None in ends:
        return
    last = min(max(ends), counts.most) if counts.step > 0 else max(min(ends), counts.least)
    if (last - counts.drawn) * counts.step > 0:
        name = sequence.as_string(connection)
        connection.execute(_SETVAL, (name, math.floor(last)))


def common_role(relations: Iterable[Relation]) -> str | None:
    """Return the role to touch rows of all of them as; None where it is not one for all."""
    roles = {relation.touched_as for relation in relations}
    return roles.pop() if len(roles) == 1 else None


class _Facets:
    """What was read of some relations that were read together, by facet and oid."""

    def __init__(self, connection: Connection) -> None:
        self.oids: list[int] = []
        self._connection = connection
        self._read: dict[str, Mapping[int, tuple[Any, ...]]] = {}

    def of(self, facet: Facet, oid: int) -> tuple[Any, ...]:
        if facet not in self._read:
            rows = QUERIES.rows(self._connection, facet, dict, oids=self.oids)
            self.keep(facet, rows)
        return self._read[facet].get(oid, ())

    def keep(self, facet: str, rows: Iterable[dict[str, Any]]) -> None:
        found = defaultdict(list)
        for row in with_shards(self._connection, rows) if facet == "sizes" else rows:
            found[row.pop("oid")].append(_MAKE[facet](**_with_tuples(facet, row)))
        self._read[facet] = {oid: tuple(parts) for oid, parts in found.items()}


def _read(
    connection: Connection, selection: str, facets: Sequence[Facet], **values: Any
) -> tuple[dict[int, Relation], list[tuple[str, int]]]:
    """Read what a block selects; return relations by oid, and the oids of the names asked for."""
    version = version_of(connection)
    # Every block begins with oids; here they are those of the selection, in the same statement.
    parts = [
        sql.SQL("SELECT {}, pg_catalog.json_agg(q) FROM ({}) AS q").format(
            block, QUERIES.statement(block, version, oids=_SELECTED)
        )
        for block in ("relations", *facets)
    ]
    statement = sql.SQL(
        "WITH selected AS MATERIALIZED ({}) SELECT 'selected', pg_catalog.json_agg(s)"
        " FROM selected AS s UNION ALL {}"
    ).format(QUERIES.statement(selection, version), sql.SQL(" UNION ALL ").join(parts))
    rows: dict[str, list[dict[str, Any]]] = {
        part: found or [] for part, found in exact.execute(connection, statement, values)
    }
    found = _Facets(connection)
    relations = {
        row["oid"]: Relation(**_with_tuples("relations", row), _facets=found)
        for row in rows["relations"]
    }
    found.oids = list(relations)
    for facet in facets:
        found.keep(facet, rows[facet])
    return relations, [(row["asked"], row["oid"]) for row in rows["selected"]]


def _with_tuples(part: str, row: dict[str, Any]) -> dict[str, Any]:
    for name in _LISTS.get(part, ()):
        row[name] = tuple(row[name])
    return row


def _size(last_vacuum: datetime | str | None, **size: Any) -> Size:
    if isinstance(last_vacuum, str):  # as JSON has it
        last_vacuum = datetime.fromisoformat(last_vacuum)
    return Size(last_vacuum=last_vacuum, **size)


_MAKE: Mapping[str, Callable[..., Any]] = {
    "columns": Column,
    "sequences": Numbering,
    "indexes": Index,
    "constraints": Constraint,
    "references": Reference,
    "expressions": lambda of, name, number, sql: ((of, name, number), sql),
    "descendants": lambda child, **row: Descendant(oid=child, **row),
    "triggers": Trigger,
    "sizes": _size,
}
"""What makes a part of a relation from a row of each facet's block."""
