"""Some neighbouring rows of one table, made column by column, and as the text that COPY reads."""

import random
import re
import sys
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, cast

from leadctl.apps.synthetic.layout import Calendar, Layout
from leadctl.crypto import Key, encrypt

CHUNK_ROWS = 8192
_REMEMBERED_CHUNKS = 6
_REMEMBERED_ROWS = 100_000
"""A table up to this size has its keys remembered: many refer to them."""
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})

Values = list[Any]
Maker = Callable[["Chunk"], Values]
"""Makes one column of a chunk: texts, numbers, or None; times as `times` says."""


def escaped_for_copy(text: str) -> str:
    """Return a text as COPY wants it."""
    return text.translate(_ESCAPES)


class NumberedMaker(Protocol):
    """A maker whose values may depend on the row's number alone."""

    @property
    def by_number(self) -> bool:
        """Whether they do, so that `at` says what a row has."""

    def at(self, world: "World", table: str, rows: Sequence[int], /) -> Values:
        """Return the values of any rows."""


@dataclass(frozen=True)
class ColumnPlan:
    """One column: who makes it, and how what is made becomes text."""

    name: str
    maker: Maker
    kind: str = "text"
    """text, time, date, json or boolean."""
    context: str | None = None
    """The context of an encrypted column."""


@dataclass(frozen=True)
class TablePlan:
    """One table of a run; the columns that are not listed are left to the server."""

    name: str
    rows: int
    columns: tuple[ColumnPlan, ...]

    def column(self, name: str) -> ColumnPlan:
        """Return a column."""
        return next(plan for plan in self.columns if plan.name == name)


@dataclass(frozen=True)
class World:
    """All tables of a run: what a chunk is made from, and whom it may ask."""

    seed: int
    series: int
    """How many runs filled these tables before."""
    layout: Layout
    calendar: Calendar
    tables: Mapping[str, TablePlan]

    @cached_property
    def _chunks(self) -> OrderedDict[tuple[str, int], "Chunk"]:
        return OrderedDict()

    @cached_property
    def _columns(self) -> dict[tuple[str, str], Values]:
        return {}

    def chunk(self, table: str, index: int) -> "Chunk":
        """Return a chunk; the last few are remembered."""
        key = (table, index)
        found = self._chunks.pop(key, None) or Chunk(self, self.tables[table], index)
        self._chunks[key] = found
        if len(self._chunks) > _REMEMBERED_CHUNKS:
            self._chunks.popitem(last=False)
        return found

    def texts(self, table: str, column: str, rows: Sequence[int | None]) -> Values:
        """Return a column of any rows: what refers to them has it."""
        if self.tables[table].rows <= _REMEMBERED_ROWS:
            key = (table, column)
            if key not in self._columns:
                self._columns[key] = self._texts(table, column, range(self.tables[table].rows))
            known = self._columns[key]
            return [None if row is None else known[row] for row in rows]
        there = [row for row in rows if row is not None]
        made = self._texts(table, column, there)
        if len(there) == len(rows):
            return made
        values = iter(made)
        return [None if row is None else next(values) for row in rows]

    def _texts(self, table: str, column: str, rows: Sequence[int]) -> Values:
        plan = self.tables[table].column(column)
        if getattr(plan.maker, "by_number", False):
            return list(cast("NumberedMaker", plan.maker).at(self, table, rows))
        made, index, texts = Values([None] * len(rows)), -1, list[str]()
        for position, row in sorted(enumerate(rows), key=lambda pair: pair[1]):
            if row // CHUNK_ROWS != index:
                index = row // CHUNK_ROWS
                texts = list(_texts(self, plan, self.chunk(table, index)[column], None))
            text = texts[row % CHUNK_ROWS]
            made[position] = None if text == _NULL else text
        return made


class Chunk:
    """Some neighbouring rows of one table; `chunk[column]` is what was made for a column."""

    def __init__(self, world: World, plan: TablePlan, index: int) -> None:
        self.world = world
        self.table = plan.name
        self.index = index
        first = index * CHUNK_ROWS
        self.rows = range(first, min(first + CHUNK_ROWS, plan.rows))
        self._plan = plan
        self._made: dict[str, Values] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, column: str) -> Values:
        if column not in self._made:
            self._made[column] = self._plan.column(column).maker(self)
        return self._made[column]

    def made(self, name: str, make: Callable[[], Values]) -> Values:
        """Return what several columns share, made once."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def random(self, name: str) -> random.Random:
        """Return a generator of its own for a column: others draw without changing it."""
        return random.Random(  # noqa: S311 - made up, not secret
            f"{self.world.seed}/{self.world.series}/{self.table}/{name}/{self.index}"
        )

    def bits(self, name: str) -> Sequence[int]:
        """Return 16 random bits a row."""
        drawn = array("H", self.random(name).randbytes(2 * len(self.rows)))
        if sys.byteorder == "big":
            drawn.byteswap()
        return drawn

    def draw(self, name: str, pool: Sequence[Any]) -> Values:
        """Draw a value a row from a pool of 65536."""
        return list(map(pool.__getitem__, self.bits(name)))

    def shares(self, name: str) -> list[float]:
        """Draw a number a row, from 0 to 1."""
        draw = self.random(name).random
        return [draw() for _ in self.rows]

    @cached_property
    def moments(self) -> list[float]:
        """When each row was made, as a share of the span."""
        return self.world.layout.moments(self.table, self.rows)

    @cached_property
    def owners(self) -> list[int]:
        """The row that each row belongs to; all belong to one where there is no owner."""
        placement = self.world.layout.placements[self.table]
        if placement.owner is None:
            return [0] * len(self.rows)
        if placement.event:
            return self.world.layout.picks_any(placement.owner, self.moments, self.shares("owner"))
        return self.world.layout.owners(self.table, self.rows)

    def owned_by(self, ancestor: str) -> list[int]:
        """The row of a table further up that each row belongs to."""
        placements = self.world.layout.placements
        owner, rows = placements[self.table].owner, self.owners
        while owner != ancestor:
            assert owner is not None
            rows = self._owners_of(owner, rows)
            owner = placements[owner].owner
        return rows

    def _owners_of(self, table: str, rows: list[int]) -> list[int]:
        def make() -> list[int]:
            if not self.world.layout.placements[table].event:
                return self.world.layout.owners(table, rows)
            return self._gathered(table, rows, lambda chunk: chunk.owners)

        return self.made(f"owners of {table}", make)

    @cached_property
    def positions(self) -> list[int]:
        """Which of its owner's rows each row is, from 0."""
        if self.world.layout.placements[self.table].owner is None:
            return list(self.rows)
        starts = self.world.layout.starts(self.table)
        return [row - starts[owner] for row, owner in zip(self.rows, self.owners, strict=True)]

    def of_owner(self, column: str) -> Values:
        """Return a column of the owners of these rows; quick where they are neighbours."""
        owner = self.world.layout.placements[self.table].owner
        assert owner is not None
        return self._gathered(owner, self.owners, lambda chunk: chunk[column])

    def _gathered(
        self, table: str, rows: Sequence[int], values_of: Callable[["Chunk"], Values]
    ) -> Values:
        index, values, found = -1, Values(), Values()
        for row in rows:
            if row // CHUNK_ROWS != index:
                index = row // CHUNK_ROWS
                values = values_of(self.world.chunk(table, index))
            found.append(values[row % CHUNK_ROWS])
        return found


_NULL = "\\N"


def chunk_text(world: World, plan: TablePlan, index: int, key: Key | None) -> bytes:
    """Return the rows of a chunk, a line each; what is to be encrypted is, with the key."""
    chunk = world.chunk(plan.name, index)
    columns = [_texts(world, column, chunk[column.name], key) for column in plan.columns]
    lines = map("\t".join, zip(*columns, strict=True))
    return ("\n".join(lines) + "\n").encode()


def column_texts(chunk: Chunk, column: ColumnPlan) -> list[str | None]:
    """Return the values of a column as the server will have them, as texts."""
    texts = _texts(chunk.world, column, chunk[column.name], None)
    return [None if text == _NULL else _ESCAPED.sub(_unescaped, text) for text in texts]


_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def _unescaped(found: re.Match[str]) -> str:
    return {"t": "\t", "n": "\n", "r": "\r"}.get(found[1], found[1])


def _texts(world: World, column: ColumnPlan, values: Values, key: Key | None) -> Iterable[str]:
    if column.context is not None:
        assert key is not None
        return [
            _NULL if value is None else encrypt(str(value), key, column.context) for value in values
        ]
    if column.kind == "time":
        values = world.calendar.texts(values)
    elif column.kind == "date":
        values = world.calendar.dates(values)
    if None in values:
        values = [_NULL if value is None else value for value in values]
    return values if isinstance(values[0], str) and _all_texts(values) else map(str, values)


def _all_texts(values: Values) -> bool:
    """Whether every value is a text: a maker's values are all texts, or all numbers.

    NULL, which is a text by now, tells nothing, so the first other value is looked at.
    """
    return isinstance(next((value for value in values if value != _NULL), _NULL), str)
