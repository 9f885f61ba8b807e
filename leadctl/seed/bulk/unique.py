"""A table that is filled, and what must differ in its rows: keys and unique indexes.

What can have a few values only, such as bounded numbers, takes turns: each combination comes once,
behind those that exist.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from leadctl.apps.synthetic.chunk import Maker
from leadctl.apps.synthetic.constrained import Span
from leadctl.apps.synthetic.makers import (
    DAYS,
    MOMENTS,
    Days,
    Email,
    InTurn,
    Link,
    Moments,
    Name,
    Position,
    Reference,
    Serial,
    Short,
    Unique,
)
from leadctl.apps.synthetic.shapes import Shape
from leadctl.catalog.relations import Relation
from leadctl.errors import CannotInfer
from leadctl.seed.bulk.conditions import ungenerated
from leadctl.seed.bulk.values import (
    CheckRules,
    column_type,
    few_values,
    made_column,
)

_TOKEN = 10  # the length of a unique text
_NAME = 60  # what holds any unique name


@dataclass
class PlannedTable:
    """A table that is being planned."""

    table: sa.Table
    relation: Relation
    rules: CheckRules
    shape: Shape
    first_numbers: dict[str, int]
    """By column that a sequence numbers: where to begin."""
    kinds: dict[str, TypeEngine[Any]] = field(init=False)
    """The columns' types, without decorators and domains."""
    made: str | None = field(init=False)
    """The column that says when a row was made."""
    makers: dict[str, Maker] = field(init=False)
    even: bool = field(init=False)
    at_most: float | None = field(init=False)
    in_all: int | None = field(default=None, init=False)
    """How many rows there can be of the table, whatever its owner has."""
    unique: list[list[str]] = field(default_factory=list, init=False)
    """Columns that must differ together, besides those of unique indexes."""

    def __post_init__(self) -> None:
        self.kinds = {
            column.name: column_type(column, self.relation) for column in self.table.columns
        }
        self.made = made_column(self.table, self.kinds)
        self.makers = {name: maker for name, maker in self.shape.columns.items() if maker}
        self.even, self.at_most = self.shape.even, self.shape.at_most

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    @property
    def owner(self) -> str | None:
        """The table that its rows belong to."""
        return self.shape.owner

    def serial(self, column: str) -> Serial:
        """Return a maker of the numbers behind those that exist, and that may be there."""
        return Serial(max(self.first_numbers[column], int(self.rules.least.get(column, 0))))


def differ(found: PlannedTable) -> None:
    """Give makers of different values to the columns of unique sets, the smallest set first."""
    wanted = [*_unique_sets(found.relation), *found.unique]
    sets = [_columns_of(found, expressions) for expressions in wanted]
    for columns in sorted(filter(None, sets), key=len):
        one_each = found.even and found.at_most == 1 and names_owner(found, columns)
        if not one_each and not any(_differs(found, column) for column in columns):
            _makediffer(found, columns)


def _unique_sets(relation: Relation) -> list[list[str]]:
    """Return the expressions that must differ together, those of the primary key first."""
    unique = [index for index in relation.indexes if index.unique]
    return [
        [ungenerated(relation, expression) for expression in relation.key_of(each)]
        for each in sorted(unique, key=lambda each: not each.primary)
    ]


def _columns_of(found: PlannedTable, expressions: Sequence[str]) -> list[str]:
    """Return the columns in the expressions of an index, in the order of the expressions."""
    names = [re.findall(r"\w+", expression) for expression in expressions]
    return [name for words in names for name in words if name in found.table.columns]


def _differs(found: PlannedTable, column: str) -> bool:
    maker = found.makers.get(column)
    if column in found.shape.columns:
        return True  # the factory's word is taken
    apart = isinstance(maker, Span) and maker.first is not None
    return apart or isinstance(
        maker, Unique | Serial | Short | Email | Days | Moments | InTurn | Position
    )


def _makediffer(found: PlannedTable, columns: Sequence[str]) -> None:
    owned = names_owner(found, columns)
    free = [column for column in columns if column not in found.makers]
    few = {
        column: few_values(column, found.kinds[column], found.rules)
        for column in free
        if column not in found.relation.sequences
    }
    if free and all(few.get(column) for column in free):
        _take_turns(found, few, owned=owned)
        return
    for column in free:
        if few.get(column):
            continue
        maker = _unique_maker(found, found.table.columns[column], owned=owned)
        if maker is not None:
            found.makers[column] = maker
            return
    for column, values in few.items():
        if values:
            _take_turns(found, {column: values}, owned=owned)
            return
    for column in columns:
        maker = found.makers.get(column)
        if isinstance(maker, Reference) and maker.link.table != found.owner:
            link = Link(maker.link.table, turn=True, required=True)
            found.makers[column] = Reference(link, maker.column)
            _limit(found, None)
            return
    if owned:
        _limit(found, 1)
        return
    raise CannotInfer(
        f"{found.name} ({', '.join(columns)}) must differ in every row, and leadctl cannot make "
        f"such values.",
        hint=f"Declare the column in a factory: [apps.NAME] factory, Shape({found.name!r}, …).",
    )


def _take_turns(found: PlannedTable, columns: Mapping[str, Sequence[Any]], *, owned: bool) -> None:
    """Let rows have each combination of the values once, behind those that exist."""
    # Existing numbers are smaller: what counts slowest begins behind them.
    free = {
        name: sum(float(value) >= found.first_numbers[name] for value in values)
        for name, values in columns.items()
        if name in found.first_numbers and not owned
    }
    slowest = max(free, key=lambda name: free[name] / len(columns[name]), default=None)
    order = sorted(columns, key=lambda name: name == slowest)
    stride, first, makers = 1, 0, dict[str, InTurn]()
    for name in order:
        if name == slowest:
            first = (len(columns[name]) - free[name]) * stride
        makers[name] = InTurn(columns[name], stride)
        stride *= len(columns[name])
    if first == stride:
        raise CannotInfer(
            f"{found.name} ({', '.join(columns)}) must differ in every row, and all allowed "
            f"values are used already.",
            hint="Empty the table first, or leave it out by a factory.",
        )
    if owned:
        found.makers |= makers
        _limit(found, stride)
        return
    found.makers |= {name: replace(maker, first=first) for name, maker in makers.items()}
    found.in_all = min(stride - first, found.in_all or stride)


def names_owner(found: PlannedTable, columns: Sequence[str]) -> bool:
    """Whether columns say which row of the owner's a row belongs to."""
    return any(
        key.referred_table.name == found.owner
        and all(
            column.name in columns
            and isinstance(maker := found.makers.get(column.name), Reference)
            and maker.link.table == found.owner
            for column in key.columns
        )
        for key in found.table.foreign_key_constraints
    )


def _limit(found: PlannedTable, rows: int | None) -> None:
    found.even = True
    if rows is not None:
        found.at_most = min(rows, found.at_most or rows)


def _unique_maker(found: PlannedTable, column: sa.Column[Any], *, owned: bool) -> Maker | None:
    kind, name = found.kinds[column.name], column.name
    if isinstance(kind, sa.Enum) or name in found.rules.values:
        return None
    if name in found.first_numbers:
        return found.serial(name)
    if isinstance(kind, sa.Integer | sa.Numeric | sa.Float):
        found.even = found.even or owned
        first = int(found.rules.least.get(name, 1))
        return Position(first) if owned and found.owner else Serial(first)
    if isinstance(kind, sa.Uuid):
        return Unique("uuid")
    if isinstance(kind, sa.Date):
        found.at_most, found.even = DAYS, True
        return Days(owned=owned)
    if isinstance(kind, sa.DateTime):
        found.in_all = min(MOMENTS, found.in_all or MOMENTS)
        return Moments()
    return _unique_text(found, column, kind) if isinstance(kind, sa.String) else None


def _unique_text(found: PlannedTable, column: sa.Column[Any], kind: sa.String) -> Maker:
    name = column.name
    longest = min(kind.length or 1 << 20, found.rules.longest.get(name, 1 << 20))
    if name in found.rules.phones or "phone" in name:
        return Unique("phone")
    if "email" in name and longest >= 60:
        return Email()
    checked = any(name in text for text in found.rules.texts)
    if {"name", "title"} & {*name.lower().split("_")} and longest >= _NAME and not checked:
        return Name()
    if column.primary_key and longest >= 24:
        return Unique("cuid")
    if name.endswith("_id") and longest >= 15:
        return Unique("digits", name=name)
    if longest >= _TOKEN:
        return Unique("token", name=name)
    short = Short(longest)
    found.in_all = min(short.of_a_run, found.in_all or short.of_a_run)
    return short


def refers(column: sa.Column[Any]) -> bool:
    """Whether a column refers to others, and not to itself in a row of the same table."""
    return any(key.column is not column for key in column.foreign_keys)


def numbered(table: sa.Table, relation: Relation) -> list[str]:
    """Return the columns that a sequence numbers, and the numbers that are unique by themselves."""
    referring = {column.name for column in table.columns if refers(column)}
    alone = {name for names in _unique_sets(relation) if not referring & {*names} for name in names}
    numbers = {
        column.name
        for column in table.columns
        if isinstance(column_type(column, relation), sa.Integer | sa.Numeric | sa.Float)
        and not refers(column)
    }
    return [
        column.name
        for column in relation.columns
        if column.name in relation.sequences or column.name in numbers & alone
    ]
