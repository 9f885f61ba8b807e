"""Which row belongs to which, and when it was made: arithmetic on row numbers, no storage.

A table has an owner, the table that its rows belong to, or none.  The rows of one owner are a
block of neighbours, older owners having more of them (the tail is heavy), each block in the order
of time; so the rows that belong to an owner can be named, too, not only the owner of a row.
An `event` table is in the order of time as a whole, and picks its owners by a hash.

A moment is a share of the span, from 0 to 1.  Only operations that IEEE 754 rounds exactly are
used (+ - * / and the square root), so that every machine computes the same rows.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import sqrt

_MASK = (1 << 64) - 1
_HALF = 1 << 32


def salt_of(*parts: object) -> int:
    """Return 64 bits that stand for some words and numbers."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def mix(number: int, salt: int) -> int:
    """Return 64 bits that look random; a bijection of the lower 64 bits of `number`.

    The multipliers are those of splitmix64 and of Pelle Evensen's rrmxmx.
    """
    x = (number * 0x9E3779B97F4A7C15 + salt) & _MASK
    x = ((x ^ (x >> 32)) * 0x9FB21C651E98DF25) & _MASK
    return x ^ (x >> 28)


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
class Layout:
    """The rows of all tables of a run."""

    placements: Mapping[str, Placement]
    seed: int

    @cached_property
    def _salts(self) -> Mapping[str, int]:
        return {name: salt_of(self.seed, name, "owner") for name in self.placements}

    def rows(self, table: str) -> int:
        """Return how many rows a table gets."""
        return self.placements[table].rows

    def owner(self, table: str, row: int) -> int:
        """Return the row of the owner's table that a row belongs to."""
        place = self.placements[table]
        assert place.owner is not None
        if place.event:
            moment = row / place.rows
            return self.pick_any(place.owner, moment, mix(row, self._salts[table]))
        owners = self.rows(place.owner)
        extra = place.rows - owners
        if place.even or extra <= 0:
            return row * owners // place.rows
        # start(u) = u + extra * sqrt(u / owners), solved for u; rounding may be off by one.
        slope = extra / sqrt(owners)
        root = (sqrt(slope * slope + 4.0 * row) - slope) / 2.0
        found = min(owners - 1, int(root * root))
        while found and self._start(place, found) > row:
            found -= 1
        while found + 1 < owners and self._start(place, found + 1) <= row:
            found += 1
        return found

    def ancestor(self, table: str, row: int, ancestor: str) -> int:
        """Return the row of a table further up that a row belongs to."""
        while table != ancestor:
            owner = self.placements[table].owner
            assert owner is not None
            row, table = self.owner(table, row), owner
        return row

    def block(self, table: str, owner_row: int) -> tuple[int, int]:
        """Return the first row that belongs to an owner, and how many do."""
        place = self.placements[table]
        first = self._start(place, owner_row)
        return first, self._start(place, owner_row + 1) - first

    def moment(self, table: str, row: int) -> float:
        """Return when a row was made; never before its owner."""
        place = self.placements[table]
        if place.owner is None or place.event:
            return row / place.rows
        owner_row = self.owner(table, row)
        made = self.moment(place.owner, owner_row)
        first, count = self.block(table, owner_row)
        return made + (1.0 - made) * ((row - first) / count)

    def pick(self, table: str, owner_row: int, moment: float, bits: int) -> int | None:
        """Return a row of an owner that was there at a moment; None where it has no rows.

        `bits` are 64 random ones.
        """
        place = self.placements[table]
        assert place.owner is not None
        first, count = self.block(table, owner_row)
        if not count:
            return None
        made = self.moment(place.owner, owner_row)
        age = (moment - made) / (1.0 - made) if moment > made else 0.0
        return first + int(count * age * ((bits & (_HALF - 1)) / _HALF))

    def pick_any(self, table: str, moment: float, bits: int) -> int:
        """Return a row that was there at a moment; rows of old owners are picked more often."""
        place = self.placements[table]
        share = (bits >> 32) / _HALF
        if place.owner is None:
            return int(place.rows * moment * share * share)
        if place.event or place.rows < self.rows(place.owner):
            return int(place.rows * moment * share)
        owner_row = self.pick_any(place.owner, moment, mix(bits, 1))
        found = self.pick(table, owner_row, moment, bits)
        return int(place.rows * moment * share) if found is None else found

    def _start(self, place: Placement, owner_row: int) -> int:
        assert place.owner is not None
        owners = self.rows(place.owner)
        extra = place.rows - owners
        if place.even or extra <= 0:
            return -(-owner_row * place.rows // owners)
        return owner_row + int(extra * sqrt(owner_row / owners))
