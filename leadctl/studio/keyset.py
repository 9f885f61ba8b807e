"""The order of rows, and pages by keyset: where a page ended is where the next one begins.

What comes after a row is cut into segments, each an equality on the first columns of the order and
a range on the next one.  Each is a plain range of an index, also where directions are mixed or
values are NULL, so that a deep page costs what the first one costs.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from leadctl.errors import InvalidFilter, InvalidFlag, NoPrimaryKey
from leadctl.postgres.connect import Connection
from leadctl.studio.conditions import typed
from leadctl.studio.projection import Masking
from leadctl.studio.shape import ColumnShape, Fragment, TableShape, build, join, operator

Cursor = Sequence[str | None]


@dataclass(frozen=True)
class SortKey:
    """A column of the order; NULL sorts as larger than any value, which is PostgreSQL's default."""

    column: ColumnShape
    descending: bool

    @property
    def order(self) -> Fragment:
        """What stands in ORDER BY."""
        return build("{} DESC" if self.descending else "{}", self.column.identifier)


@dataclass(frozen=True)
class Order:
    """The order of rows; `total` says whether no two rows are equal in it."""

    keys: tuple[SortKey, ...]
    total: bool
    tellable: bool
    """Whether the keys' values may be shown: none of them is masked."""


@dataclass(frozen=True)
class Segment:
    """A part of the rows that follow each other: which they are, and by what they are in order.

    Columns in which all of its rows are equal are not in its order: of NULLs the server does not
    see that they are, and would sort by them instead of reading an index.
    """

    condition: Fragment
    keys: tuple[SortKey, ...]

    @property
    def order(self) -> Fragment:
        """The ORDER BY clause; empty where there is nothing to order by."""
        if not self.keys:
            return build("")
        return build("ORDER BY {}", join(", ", [key.order for key in self.keys]))


def order_of(shape: TableShape, sort: Sequence[str], masking: Masking | None) -> Order:
    """Return the order that `--sort` asks for, made total by the table's key.

    Raises InvalidFilter for a column that is masked or has no order, and UnknownColumn.
    """
    keys: list[SortKey] = []
    for item in sort:
        column = shape.column(item.removeprefix("-"))
        _check_sortable(column, masking)
        if all(key.column != column for key in keys):
            keys.append(SortKey(column, item.startswith("-")))
    descending = keys[-1].descending if keys else False
    sorted_by = {key.column.name for key in keys}
    keys += [SortKey(shape.column(name), descending) for name in shape.key if name not in sorted_by]
    hidden = masking is not None and any(masking.covers(key.column.name) for key in keys)
    return Order(tuple(keys), total=bool(shape.key), tellable=not hidden)


def _check_sortable(column: ColumnShape, masking: Masking | None) -> None:
    if masking and masking.covers(column.name):
        raise InvalidFilter(
            f"{column.name} is masked: the order would reveal its values.",
            hint="Sort by another column.",
        )
    if not column.base.sortable:
        raise InvalidFilter(
            f"Values of {column.name}, which is {column.type}, have no order.",
            hint="Sort by another column.",
        )


def encode(cursor: Cursor) -> str:
    """Return what `--after` takes: the key itself, or where it has several columns a JSON list."""
    if len(cursor) == 1 and cursor[0] is not None:
        return cursor[0]
    return json.dumps(list(cursor), ensure_ascii=False, separators=(",", ":"))


def decode(text: str, shape: TableShape, order: Order) -> Cursor:
    """Read what `encode` wrote for the same order.  Raises InvalidFlag, NoPrimaryKey."""
    if not order.total:
        raise NoPrimaryKey(
            f"{shape.name} has no primary key, so there is no place to continue from.",
            hint="Use --page.",
        )
    if len(order.keys) == 1:
        return (text,)
    try:
        cursor = json.loads(text)
    except (ValueError, RecursionError):
        cursor = None
    if (
        not isinstance(cursor, list)
        or len(cursor) != len(order.keys)
        or not all(item is None or isinstance(item, str) for item in cursor)
    ):
        names = ", ".join(key.column.name for key in order.keys)
        raise InvalidFlag(
            f"--after is {text!r}, which is not a place in the order by {names}.",
            hint="Take it from the end of the page before, with the same --sort.",
        )
    return cursor


def everything(order: Order) -> Segment:
    """Return all rows as one segment."""
    return Segment(build("true"), order.keys)


def from_the_start(order: Order) -> list[Segment]:
    """Return all rows, those apart that have nothing to be sorted by: they are equal in that."""
    if not order.keys or order.keys[0].column.not_null:
        return [everything(order)]
    first = order.keys[0]
    nothing = Segment(build("{} IS NULL", first.column.identifier), order.keys[1:])
    others = Segment(build("{} IS NOT NULL", first.column.identifier), order.keys)
    return [nothing, others] if first.descending else [others, nothing]


def beyond(connection: Connection, order: Order, cursor: Cursor) -> Iterator[Segment]:
    """Yield what comes after a row, in the order in which it comes.

    Raises InvalidFlag where the cursor holds what is no value of its column.
    """
    values = [_typed(connection, key, text) for key, text in zip(order.keys, cursor, strict=True)]
    for depth in reversed(range(len(order.keys))):
        equal = [_same(key, each) for key, each in zip(order.keys, values[:depth], strict=False)]
        for part in _beyond(order.keys[depth:], values[depth]):
            yield Segment(join(" AND ", [*equal, part.condition]), part.keys)


def _typed(connection: Connection, key: SortKey, text: str | None) -> Fragment | None:
    try:
        return None if text is None else typed(connection, key.column, text)
    except InvalidFilter as error:
        raise InvalidFlag(
            f"--after: {error.message}",
            hint="Take it from the end of the page before, with the same --sort.",
        ) from None


def _same(key: SortKey, given: Fragment | None) -> Fragment:
    if given is None:
        return build("{} IS NULL", key.column.identifier)
    return build("{} {} {}", key.column.identifier, operator(key.column.base.order("=")), given)


def _beyond(keys: tuple[SortKey, ...], given: Fragment | None) -> Iterator[Segment]:
    key = keys[0]
    column = key.column.identifier
    if given is None:
        if key.descending:
            yield Segment(build("{} IS NOT NULL", column), keys)
        return
    symbol = key.column.base.order("<" if key.descending else ">")
    yield Segment(build("{} {} {}", column, operator(symbol), given), keys)
    if not key.descending and not key.column.not_null:
        yield Segment(build("{} IS NULL", column), keys[1:])
