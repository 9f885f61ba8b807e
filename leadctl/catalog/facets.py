"""What a relation consists of: columns, indexes, constraints, references, partitions, size."""

from datetime import datetime
from typing import NamedTuple

from psycopg import sql

from leadctl.postgres.queries import written_by_server


class Column(NamedTuple):
    """A column; `type` is as SQL has it, `base` the type beneath a domain, without a length."""

    name: str
    type: str
    type_oid: int
    base: str
    operators: str
    """The schema of the operators of `base`, quoted."""
    domain: bool
    not_null: bool
    has_expression: bool
    """Whether it has a default or, if generated, an expression: `Relation.expression`."""
    generated: str | None
    """s for stored, v for virtual."""
    identity: str | None
    """a for always, d for by default."""
    comment: str | None

    def compared(self, symbol: str) -> sql.Composable:
        """Return the type's own operator for =, <, > and so on, with its schema."""
        return written_by_server(f"OPERATOR({self.operators}.{symbol})")

    @property
    def has_default(self) -> bool:
        """Whether the server has a value for it where an INSERT has none."""
        return self.has_expression or self.identity is not None

    @property
    def written(self) -> bool:
        """Whether an INSERT may give it a value."""
        return self.generated is None


class Index(NamedTuple):
    """An index; `columns` has None for an expression.  `constraint` is the key that it is for."""

    name: str
    method: str
    columns: tuple[str | None, ...]
    unique: bool
    primary: bool
    immediate: bool
    valid: bool
    partial: bool
    constraint: str | None


class Constraint(NamedTuple):
    """A constraint; `kind` is p, u, c (check), x (exclusion) or f, as pg_constraint has it."""

    name: str
    kind: str
    columns: tuple[str, ...]
    validated: bool


class Reference(NamedTuple):
    """A foreign key from `child` to `parent`; `outgoing` is whether the relation is the child.

    `on_delete` is a (no action), r (restrict), c (cascade), n (set NULL) or d (set default).
    """

    name: str
    outgoing: bool
    child: int
    child_schema: str
    child_table: str
    child_quoted: str
    child_partitioned: bool
    parent: int
    parent_schema: str
    parent_table: str
    parent_quoted: str
    parent_partitioned: bool
    columns: tuple[str, ...]
    referred: tuple[str, ...]
    equal: tuple[str, ...]
    """The operators by which `referred` are compared with `columns`, as `schema.symbol`."""
    on_delete: str
    period: bool
    """Whether its last columns are periods: what refers needs rows that cover it together."""
    enforced: bool
    """Whether it is looked at when rows change (from PostgreSQL 18 it may not be)."""

    @property
    def other(self) -> tuple[str, str]:
        """The schema and name of the table on the other side."""
        if self.outgoing:
            return self.parent_schema, self.parent_table
        return self.child_schema, self.child_table


class Numbering(NamedTuple):
    """A column whose numbers a sequence draws; an `owned` one goes where the column goes."""

    column: str
    schema: str
    name: str
    owned: bool


class Descendant(NamedTuple):
    """A partition, or a table that inherits, on any level below a relation."""

    oid: int
    parent: int
    name: str
    quoted: str
    qualified: str
    kind: str
    is_partition: bool
    detaching: bool
    bound: str | None


class Leaf(NamedTuple):
    """A table that holds rows: a relation itself, or a partition of it."""

    oid: int
    quoted: str
    qualified: str


class Trigger(NamedTuple):
    """A trigger; `enabled` is O, A, R or D, as pg_trigger has it."""

    name: str
    enabled: str
    on_insert: bool


class Size(NamedTuple):
    """Bytes and estimated rows of a relation with its partitions.

    `known_rows` are those of the parts that were ever analysed, None where none was; `unknown` is
    whether a part was not.  `dense_rows` are as many as the pages of now may hold.  A table that is
    `locked` has the sizes of its last VACUUM.
    """

    locked: bool
    heap_bytes: int
    table_bytes: int
    index_bytes: int
    pages: int
    known_rows: int | None
    unknown: bool
    dense_rows: int
    dead_rows: int | None
    """None where the server does not count them."""
    last_vacuum: datetime | None
    partly: bool = False
    """Whether a node of Citus that has some of it does not answer: its bytes are not in here."""

    @property
    def total_bytes(self) -> int:
        """Bytes of the table with its indexes."""
        return self.table_bytes + self.index_bytes

    @property
    def rows(self) -> int | None:
        """The estimated rows; None where a part was never analysed."""
        return None if self.unknown else self.known_rows
