"""Moments as times: a span of days with the rhythm of a product, busy by day and on weekdays."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

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
