"""Which row belongs to which, and when it was made: arithmetic on row numbers, no storage.

A table has an owner, the table that its rows belong to, or none.  The rows of one owner are a
block of neighbours in the order of time, older owners having more of them (the tail is heavy); so
the rows that belong to an owner can be named, too, not only the owner of a row.  An `event` table
is in the order of time as a whole, and its chunks draw the owners.

A moment is a share of the span, from 0 to 1.  Only operations that IEEE 754 rounds exactly are
used (+ - * / and the square root), so that every machine computes the same rows.  Everything works
on lists: a call per row would take most of the time.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt

_REMEMBERED = 1_000_000
"""Owners whose blocks are remembered, 8 bytes each; others are computed each time."""

Rows = Iterable[int]
Moments = Iterable[float]
"""Shares of the span, or random numbers from 0 to 1."""


@dataclass(frozen=True)
class Placement:
    """How the rows of one table are laid out."""

    table: str
    rows: int
    owner: str | None = None
    event: bool = False
    even: bool = False
    """Whether every owner has the same number of rows, give or take one."""


@dataclass(frozen=True)
class Starts(Sequence[int]):
    """The first row of each owner's block, computed; ends with the number of rows."""

    rows: int
    owners: int
    even: bool

    def __len__(self) -> int:
        return self.owners + 1

    def __getitem__(self, owner: int) -> int:  # type: ignore[override]
        extra = self.rows - self.owners
        if self.even or extra <= 0:
            return -(-owner * self.rows // self.owners)
        return owner + int(extra * sqrt(owner / self.owners))


@dataclass(frozen=True)
class Layout:
    """The rows of all tables of a run."""

    placements: Mapping[str, Placement]

    def rows(self, table: str) -> int:
        """Return how many rows a table gets."""
        return self.placements[table].rows

    @cached_property
    def _remembered(self) -> dict[str, Sequence[int]]:
        return {}

    def starts(self, table: str) -> Sequence[int]:
        """Return the first row of each owner's block, and the number of rows at the end."""
        if table not in self._remembered:
            place = self.placements[table]
            assert place.owner is not None
            starts: Sequence[int] = Starts(place.rows, self.rows(place.owner), place.even)
            if len(starts) <= _REMEMBERED:
                starts = array("q", (starts[owner] for owner in range(len(starts))))
            self._remembered[table] = starts
        return self._remembered[table]

    def owners(self, table: str, rows: Rows) -> list[int]:
        """Return the rows of the owner's table that rows belong to."""
        place = self.placements[table]
        assert place.owner is not None
        assert not place.event
        owners = self.rows(place.owner)
        if place.even or place.rows <= owners:
            return [row * owners // place.rows for row in rows]
        starts = self.starts(table)
        return [bisect_right(starts, row) - 1 for row in rows]

    def moments(self, table: str, rows: Sequence[int]) -> list[float]:
        """Return when rows were made; never before their owners."""
        place = self.placements[table]
        if place.owner is None or place.event:
            return [row / place.rows for row in rows]
        owners = self.owners(table, rows)
        made = self.moments(place.owner, owners)
        starts = self.starts(table)
        return [
            start + (1.0 - start) * ((row - (first := starts[owner])) / (starts[owner + 1] - first))
            for row, owner, start in zip(rows, owners, made, strict=True)
        ]

    def picks(
        self, table: str, owners: Sequence[int], moments: Moments, randoms: Moments
    ) -> list[int | None]:
        """Return a row of each owner that was there at a moment; None where it has no rows."""
        place = self.placements[table]
        assert place.owner is not None
        starts, found = self.starts(table), list[int | None]()
        for owner, made, moment, share in zip(
            owners, self.moments(place.owner, owners), moments, randoms, strict=True
        ):
            first = starts[owner]
            count = starts[owner + 1] - first
            age = (moment - made) / (1.0 - made) if moment > made else 0.0
            found.append(first + int(count * age * share) if count else None)
        return found

    def picks_any(
        self, table: str, moments: Sequence[float], randoms: Sequence[float]
    ) -> list[int]:
        """Return rows that were there at some moments; rows of old owners are picked more often."""
        place = self.placements[table]
        count = place.rows
        if place.owner is None:
            return [
                int(count * moment * share * share)
                for moment, share in zip(moments, randoms, strict=True)
            ]
        anyone = [
            int(count * moment * share) for moment, share in zip(moments, randoms, strict=True)
        ]
        if place.event or count < self.rows(place.owner):
            return anyone
        owners = self.picks_any(place.owner, moments, randoms)
        # The lower digits of the same random numbers: independent enough of the upper ones.
        others = [share * 4096.0 % 1.0 for share in randoms]
        return [
            other if row is None else row
            for row, other in zip(self.picks(table, owners, moments, others), anyone, strict=True)
        ]
