"""Classes that inherit tables: which rows are of which class, so that the ORM can load them.

A discriminator has the identities of mapped classes, and nothing else.  Where classes have tables
of their own (joined inheritance), the classes take turns in the rows of the base's table, and each
table has rows for those alone whose class it is a part of.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapper

from leadctl.apps.metadata import mappers
from leadctl.apps.synthetic.chunk import Maker, escaped_for_copy
from leadctl.apps.synthetic.layout import Chosen
from leadctl.apps.synthetic.makers import Pick, Rotated
from leadctl.apps.synthetic.shapes import Factory


@dataclass(frozen=True)
class Inheritance:
    """What the mapped classes of an app say of its tables."""

    discriminators: dict[str, tuple[str, Maker]] = field(default_factory=dict)
    """By table: its column, and what makes it."""
    parents: dict[str, str] = field(default_factory=dict)
    """By table of a class: the table of the class that it inherits from."""
    chosen: dict[str, Chosen] = field(default_factory=dict)
    """By table of a class: which rows of the parent are of it."""

    @property
    def without_rows(self) -> frozenset[str]:
        """The tables of classes that no row is of."""
        return frozenset(name for name, chosen in self.chosen.items() if not chosen.places)

    def column(self, table: str) -> frozenset[str]:
        """Return the discriminator of a table, if it has one."""
        return frozenset({self.discriminators[table][0]} if table in self.discriminators else ())

    def least(self, table: str) -> int:
        """Return how many rows a table must have so that there is one of each class."""
        parts = [self.chosen[name].among for name, above in self.parents.items() if above == table]
        return max(parts, default=1)

    def counts(self, table: str, rows: int) -> dict[str, int]:
        """Return the rows of a table and of those that inherit from it."""
        found = {table: rows}
        for name, above in self.parents.items():
            if above == table and self.chosen[name].places:
                found |= self.counts(name, self.chosen[name].before(rows))
        return found


def read_inheritance(
    metadata: sa.MetaData, filled: Collection[str], factory: Factory
) -> Inheritance:
    """Read the classes that are mapped to the tables that are filled.

    A discriminator that the factory declares is left to it.
    """
    found = Inheritance()
    for top, column in _tops(mappers(metadata)):
        shape = factory.shape(column.table.name)
        classes = {
            identity: mapper for identity, mapper in top.polymorphic_map.items()
            if mapper.isa(top) and _names(mapper) <= {*filled}
        }  # fmt: skip
        if not classes or (shape is not None and column.name in shape.columns):
            continue
        table = column.table.name
        for mapper in top.self_and_descendants:
            _place(found, mapper, table, list(classes.values()))
        values = [_as_stored(column, identity) for identity in classes]
        maker: Maker = Rotated(values)
        if table not in found.parents.values():  # the first is the usual one
            maker = Pick({value: 0.6**i for i, value in enumerate(values)}, column.name)
        found.discriminators[table] = column.name, maker
    return found


def _tops(mapped: list[Mapper[Any]]) -> Iterator[tuple[Mapper[Any], sa.Column[Any]]]:
    """Yield the classes that have a discriminator and inherit none, with its column."""
    for mapper in mapped:
        column = mapper.polymorphic_on
        inherits = mapper.inherits is not None and mapper.inherits.polymorphic_on is not None
        if isinstance(column, sa.Column) and column.table is mapper.local_table and not inherits:
            yield mapper, column


def _names(mapper: Mapper[Any]) -> set[str]:
    return {getattr(table, "name", "") for table in mapper.tables}


def _place(found: Inheritance, mapper: Mapper[Any], top: str, classes: list[Mapper[Any]]) -> None:
    """Find out which rows of the table above a class's own table has rows for."""
    above = mapper.inherits
    if above is None or mapper.local_table is above.local_table or mapper.concrete:
        return
    name, parent = _named(mapper), _named(above)
    if parent != top and parent not in found.chosen:
        return
    of_parent = [each for each in classes if parent in _names(each)]
    places = tuple(i for i, each in enumerate(of_parent) if name in _names(each))
    found.parents[name], found.chosen[name] = parent, Chosen(places, len(of_parent))


def _named(mapper: Mapper[Any]) -> str:
    return str(getattr(mapper.local_table, "name", ""))


def _as_stored(column: sa.Column[Any], identity: Any) -> str:
    """Return the value that stands for a class, as COPY reads it."""
    dialect: sa.Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    process = column.type.dialect_impl(dialect).bind_processor(dialect)
    return escaped_for_copy(str(process(identity) if process else identity))
