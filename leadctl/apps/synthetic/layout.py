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
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from math import sqrt

DAY = 86_400
_QUANTILES = 1 << 16
_WEEKDAYS = (1.0, 1.06, 1.08, 1.04, 0.94, 0.55, 0.47)
"""How busy Monday to Sunday are."""
_HOURS = (3, 2, 2, 2, 3, 5, 9, 17, 29, 38, 41, 40, 36, 37, 40, 40, 38, 35, 33, 32, 29, 22, 13, 6)
"""How busy the hours of a day are, in UTC."""
_MARGIN_DAYS = 400
"""How far beyond the span a time may lie: when something expires, or is due."""


@dataclass(frozen=True)
class Calendar:
    """The days that rows are made in: whole days, up to the midnight (UTC) that `end` begins with.

    A span of several weeks is filled with whole weeks, so that the rhythm has no seam.
    """

    end: date
    days: int

    @property
    def start(self) -> date:
        """The first day."""
        return self.end - timedelta(days=self._period * self._cycles)

    @property
    def seconds(self) -> int:
        """The length of the span, in seconds."""
        return self._period * self._cycles * DAY

    @property
    def _period(self) -> int:
        return min(self.days, len(_WEEKDAYS))

    @property
    def _cycles(self) -> int:
        return self.days // self._period

    def at(self, moments: Iterable[float]) -> list[int]:
        """Return moments as seconds from the start of the span; later ones are never earlier."""
        table, cycles, period = self._quantiles, self._cycles, self._period * DAY
        times = []
        for moment in moments:
            position = moment * cycles
            cycle = int(position)
            times.append(cycle * period + table[int((position - cycle) * _QUANTILES)])
        return times

    def texts(self, seconds: Iterable[int | None]) -> list[str | None]:
        """Return times as PostgreSQL reads them, with a fraction of a second."""
        days, clock = self._days, self._clock
        return [
            None if second is None else days[second // DAY] + clock[second % DAY]
            for second in seconds
        ]

    def dates(self, seconds: Iterable[int | None]) -> list[str | None]:
        """Return the days of times."""
        return [None if second is None else self._days[second // DAY] for second in seconds]

    @cached_property
    def _days(self) -> list[str]:
        return [
            (self.start + timedelta(days=day)).isoformat()
            for day in range(self.seconds // DAY + _MARGIN_DAYS)
        ]

    @cached_property
    def _clock(self) -> list[str]:
        return [
            f" {second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
            f".{second * 7919 % 1000:03d}+00"
            for second in range(DAY)
        ]

    @cached_property
    def _quantiles(self) -> list[int]:
        """The seconds of a period by which so many 65536ths of its rows were made."""
        weights = [
            _WEEKDAYS[(self.start.weekday() + day) % len(_WEEKDAYS)] * hour
            for day in range(self._period)
            for hour in _HOURS
        ]
        scale, passed = _QUANTILES / sum(weights), 0.0
        table: list[int] = []
        for hour, weight in enumerate(weights):
            share = weight * scale
            while len(table) < min(_QUANTILES, passed + share):
                table.append(hour * 3600 + int((len(table) - passed) / share * 3600))
            passed += share
        table += [self._period * DAY - 1] * (_QUANTILES - len(table))
        return table


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
    chosen: "Chosen | None" = None
    """Which owners have a row, one each, where not the numbers decide."""


@dataclass(frozen=True)
class Chosen:
    """Of each so many rows of the owner's table those at some places have a row."""

    places: tuple[int, ...]
    among: int

    @property
    def share(self) -> float:
        """The share of the owners that have a row."""
        return len(self.places) / self.among

    def before(self, owner: int) -> int:
        """Return how many rows the owners before one have."""
        rounds, place = divmod(owner, self.among)
        return rounds * len(self.places) + bisect_left(self.places, place)

    def owner(self, row: int) -> int:
        """Return the owner of a row."""
        rounds, place = divmod(row, len(self.places))
        return rounds * self.among + self.places[place]


@dataclass(frozen=True)
class Starts(Sequence[int]):
    """The first row of each owner's block, computed; ends with the number of rows."""

    rows: int
    owners: int
    even: bool
    chosen: Chosen | None = None

    def __len__(self) -> int:
        return self.owners + 1

    def __getitem__(self, owner: int) -> int:  # type: ignore[override]
        if self.chosen is not None:
            return self.chosen.before(owner)
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
            placement = self.placements[table]
            assert placement.owner is not None
            starts: Sequence[int] = Starts(
                placement.rows, self.rows(placement.owner), placement.even, placement.chosen
            )
            if len(starts) <= _REMEMBERED:
                starts = array("q", (starts[owner] for owner in range(len(starts))))
            self._remembered[table] = starts
        return self._remembered[table]

    def owners(self, table: str, rows: Rows) -> list[int]:
        """Return the rows of the owner's table that rows belong to."""
        placement = self.placements[table]
        assert placement.owner is not None
        assert not placement.event
        if placement.chosen is not None:
            return list(map(placement.chosen.owner, rows))
        owners = self.rows(placement.owner)
        if placement.even or placement.rows <= owners:
            return [row * owners // placement.rows for row in rows]
        starts = self.starts(table)
        return [bisect_right(starts, row) - 1 for row in rows]

    def moments(self, table: str, rows: Sequence[int]) -> list[float]:
        """Return when rows were made; never before their owners."""
        placement = self.placements[table]
        if placement.owner is None or placement.event:
            return [row / placement.rows for row in rows]
        owners = self.owners(table, rows)
        made = self.moments(placement.owner, owners)
        starts = self.starts(table)
        return [
            start + (1.0 - start) * ((row - (first := starts[owner])) / (starts[owner + 1] - first))
            for row, owner, start in zip(rows, owners, made, strict=True)
        ]

    def picks(
        self, table: str, owners: Sequence[int], moments: Moments, randoms: Moments
    ) -> list[int | None]:
        """Return a row of each owner that was there at a moment; None where it has no rows."""
        placement = self.placements[table]
        assert placement.owner is not None
        starts, found = self.starts(table), list[int | None]()
        for owner, made, moment, share in zip(
            owners, self.moments(placement.owner, owners), moments, randoms, strict=True
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
        placement = self.placements[table]
        count = placement.rows
        if placement.owner is None:
            return [
                int(count * moment * share * share)
                for moment, share in zip(moments, randoms, strict=True)
            ]
        anyone = [
            int(count * moment * share) for moment, share in zip(moments, randoms, strict=True)
        ]
        if placement.event or count < self.rows(placement.owner):
            return anyone
        owners = self.picks_any(placement.owner, moments, randoms)
        # The lower digits of the same random numbers: independent enough of the upper ones.
        others = [share * 4096.0 % 1.0 for share in randoms]
        return [
            other if row is None else row
            for row, other in zip(self.picks(table, owners, moments, others), anyone, strict=True)
        ]
