"""Some neighbouring rows of one table, made column by column."""

import random
import sys
from array import array
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from leadctl.apps.synthetic.calendar import Calendar
from leadctl.apps.synthetic.layout import Layout, mix, salt_of

CHUNK_ROWS = 8192
_REMEMBERED_CHUNKS = 6
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})

Values = list[Any]
Maker = Callable[["Chunk"], Values]
"""Makes one column of a chunk: texts, numbers, or None; times as `times` says."""


def escaped(text: str) -> str:
    """Return a text as COPY wants it."""
    return text.translate(_ESCAPES)


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

    def maker(self, column: str) -> Maker:
        """Return the maker of a column."""
        return next(plan.maker for plan in self.columns if plan.name == column)


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

    def salt(self, table: str, column: str) -> int:
        """Return what scrambles a column's unique values."""
        return salt_of(self.seed, self.series, table, column)

    def chunk(self, table: str, index: int) -> "Chunk":
        """Return a chunk; the last few are remembered."""
        key = (table, index)
        found = self._chunks.pop(key, None) or Chunk(self, self.tables[table], index)
        self._chunks[key] = found
        if len(self._chunks) > _REMEMBERED_CHUNKS:
            self._chunks.popitem(last=False)
        return found

    def texts(self, table: str, column: str, rows: Sequence[int | None]) -> Values:
        """Return a unique column of any rows: what refers to them has it."""
        maker = self.tables[table].maker(column)
        there = [row for row in rows if row is not None]
        made = maker.at(self, table, there)  # type: ignore[attr-defined]
        if len(there) == len(rows):
            return list(made)
        values = iter(made)
        return [None if row is None else next(values) for row in rows]


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
            self._made[column] = self._plan.maker(column)(self)
        return self._made[column]

    def made(self, name: str, make: Callable[[], Values]) -> Values:
        """Return what several columns share, made once."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def random(self, name: str) -> random.Random:
        """Return a generator of one's own for a column: others draw without changing it."""
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

    def whole(self, name: str, low: int, high: int) -> list[int]:
        """Draw an integer a row, from `low` to `high`, each as likely; at most 65536 different."""
        width = high - low + 1
        return [low + (bits * width >> 16) for bits in self.bits(name)]

    def hashes(self, name: str) -> list[int]:
        """Return 64 bits a row that depend on the row alone."""
        salt = self.world.salt(self.table, name)
        return [mix(row, salt) for row in self.rows]

    @cached_property
    def moments(self) -> list[float]:
        """When each row was made, as a share of the span."""
        moment, table = self.world.layout.moment, self.table
        return [moment(table, row) for row in self.rows]

    @cached_property
    def owners(self) -> list[int]:
        """The row that each row belongs to; all belong to one where there is no owner."""
        owner, table = self.world.layout.owner, self.table
        if self.world.layout.placements[table].owner is None:
            return [0] * len(self.rows)
        return [owner(table, row) for row in self.rows]

    def owned_by(self, ancestor: str) -> list[int]:
        """The row of a table further up that each row belongs to."""
        place = self.world.layout.placements[self.table]
        if ancestor == place.owner:
            return self.owners
        assert place.owner is not None
        return self.made(
            f"owned by {ancestor}",
            lambda: [
                self.world.layout.ancestor(str(place.owner), row, ancestor) for row in self.owners
            ],
        )

    @cached_property
    def positions(self) -> list[int]:
        """Which of its owner's rows each row is, from 0."""
        block, table = self.world.layout.block, self.table
        if self.world.layout.placements[table].owner is None:
            return list(self.rows)
        return [
            row - block(table, owner)[0] for row, owner in zip(self.rows, self.owners, strict=True)
        ]

    def of_owner(self, column: str) -> Values:
        """Return a column of the owners of these rows; quick where they are neighbours."""
        owner = self.world.layout.placements[self.table].owner
        assert owner is not None
        chunk, values, found = -1, [], []
        for row in self.owners:
            if row // CHUNK_ROWS != chunk:
                chunk = row // CHUNK_ROWS
                values = self.world.chunk(owner, chunk)[column]
            found.append(values[row % CHUNK_ROWS])
        return found
