"""Durations and intervals as people write them.

A duration is a fixed length: `30s`, `5m`, `1h30m`, `90d`; a bare number is seconds.  An interval is
one of the calendar, as retention rules have it: `90d`, `6 months`, `P1Y6M`.  A month of it is a
month long, so the server applies it to a moment; a bare number and a bare `m` are refused, since
they could mean minutes or months.
"""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")

DURATION = 'a duration, e.g. "500ms", "30s", "5m", "1h30m" or "90d"'

_CALENDAR: dict[str, tuple[str, int]] = {
    "y": ("months", 12),
    "year": ("months", 12),
    "mon": ("months", 1),
    "month": ("months", 1),
    "w": ("days", 7),
    "week": ("days", 7),
    "d": ("days", 1),
    "day": ("days", 1),
    "h": ("seconds", 3600),
    "hour": ("seconds", 3600),
    "min": ("seconds", 60),
    "minute": ("seconds", 60),
    "s": ("seconds", 1),
    "second": ("seconds", 1),
}
_INTERVAL_PART = re.compile(r"\s*(?P<number>\d{1,6})\s*(?P<unit>[a-z]+)\s*,?")
_ISO_INTERVAL = re.compile(
    r"p(?:(?P<year>\d{1,6})y)?(?:(?P<month>\d{1,6})m)?(?:(?P<week>\d{1,6})w)?"
    r"(?:(?P<day>\d{1,6})d)?(?:t(?=\d)(?:(?P<hour>\d{1,6})h)?(?:(?P<minute>\d{1,6})m)?"
    r"(?:(?P<second>\d{1,6})s)?)?"
)

INTERVAL = 'an interval, e.g. "90d", "6 months", "1 year" or "P90D"'


MOMENT = 'a time, e.g. "2026-11-28 14:02" (UTC), "2026-11-28 14:02 Europe/Berlin", or "10m" ago'


def parse_moment(text: str) -> datetime:
    """Return a moment: a date and time, in UTC where it has no zone, or how long ago it was.

    Raises ValueError for anything else, and for a time that a zone's clock shows twice or never.
    """
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    stripped = text.strip()
    if not _NUMBER.fullmatch(stripped):  # of what, nobody knows
        with suppress(ValueError, OverflowError):
            return datetime.now(UTC) - timedelta(seconds=parse_seconds(stripped))
    date, _, zone = stripped.rpartition(" ")
    if not re.match(r"[A-Za-z]", zone):
        moment = datetime.fromisoformat(stripped)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        zone_info = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, OSError):
        raise ValueError(f"{zone} is not a time zone") from None
    moment = datetime.fromisoformat(date)
    if moment.tzinfo is not None:
        raise ValueError(f"{text!r} has two zones")
    first, second = (moment.replace(tzinfo=zone_info, fold=fold) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():
        raise ValueError(f"{date} is not one moment in {zone}: the clocks change")
    return first.astimezone(UTC)


def parse_seconds(text: str) -> float:
    """Return a duration in seconds.

    Raises ValueError for anything but `DURATION`.
    """
    stripped = text.strip().lower()
    if _NUMBER.fullmatch(stripped):
        return float(stripped)
    seconds, position = 0.0, 0
    while position < len(stripped):
        token = _TOKEN.match(stripped, position)
        if token is None:
            raise ValueError(f"{text!r} is not {DURATION}")
        seconds += float(token[1]) * _UNITS[token[2]]
        position = token.end()
    if not position:
        raise ValueError(f"{text!r} is not {DURATION}")
    return seconds


class Interval(NamedTuple):
    """Months, days and seconds, each of which PostgreSQL subtracts on its own."""

    months: int = 0
    days: int = 0
    seconds: int = 0

    @property
    def is_zero(self) -> bool:
        """Whether it has no length."""
        return not (self.months or self.days or self.seconds)

    def __str__(self) -> str:
        """Return it as `parse_interval` reads it."""
        parts = ((self.months, "mon"), (self.days, "d"), (self.seconds, "s"))
        return " ".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def parse_interval(text: str) -> Interval:
    """Return an interval.  Raises ValueError for anything but `INTERVAL`."""
    lowered = text.strip().lower()
    found = _ISO_INTERVAL.fullmatch(lowered)
    if found and len(lowered) > 1:
        return _total([(unit, number) for unit, number in found.groupdict().items() if number])
    parts: list[tuple[str, str]] = []
    position = 0
    while position < len(lowered):
        part = _INTERVAL_PART.match(lowered, position)
        unit = part["unit"] if part else ""
        name = unit if unit in _CALENDAR else unit.removesuffix("s")
        if part is None or name not in _CALENDAR:
            raise ValueError(f"{text!r} is not {INTERVAL}")
        parts.append((name, part["number"]))
        position = part.end()
    if not parts:
        raise ValueError(f"{text!r} is not {INTERVAL}")
    return _total(parts)


def _total(parts: list[tuple[str, str]]) -> Interval:
    totals = {"months": 0, "days": 0, "seconds": 0}
    for unit, number in parts:
        field, size = _CALENDAR[unit]
        totals[field] += int(number) * size
    return Interval(**totals)
