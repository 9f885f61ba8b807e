"""Calendar intervals as retention rules write them: `90d`, `6 months`, `P1Y6M`.

Unlike a duration a month is a month long, so an interval has no fixed length: the server applies it
to a moment.  A bare number and a bare `m` are refused, since they could mean minutes or months.
"""

import re
from dataclasses import dataclass

_UNITS: dict[str, tuple[str, int]] = {
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
_PART = re.compile(r"\s*(?P<number>\d{1,6})\s*(?P<unit>[a-z]+)\s*,?")
_ISO = re.compile(
    r"p(?:(?P<year>\d{1,6})y)?(?:(?P<month>\d{1,6})m)?(?:(?P<week>\d{1,6})w)?"
    r"(?:(?P<day>\d{1,6})d)?(?:t(?=\d)(?:(?P<hour>\d{1,6})h)?(?:(?P<minute>\d{1,6})m)?"
    r"(?:(?P<second>\d{1,6})s)?)?"
)

ALLOWED = 'an interval such as "90d", "6 months", "1 year" or "P90D"'


@dataclass(frozen=True)
class Interval:
    """Months, days and seconds, each of which PostgreSQL subtracts on its own."""

    months: int = 0
    days: int = 0
    seconds: int = 0

    @property
    def is_zero(self) -> bool:
        """Whether it has no length."""
        return not (self.months or self.days or self.seconds)


def parse_interval(text: str) -> Interval:
    """Return an interval.  Raises ValueError for anything but `ALLOWED`."""
    lowered = text.strip().lower()
    found = _ISO.fullmatch(lowered)
    if found and len(lowered) > 1:
        return _total([(unit, number) for unit, number in found.groupdict().items() if number])
    parts: list[tuple[str, str]] = []
    position = 0
    while position < len(lowered):
        part = _PART.match(lowered, position)
        unit = part["unit"] if part else ""
        name = unit if unit in _UNITS else unit.removesuffix("s")
        if part is None or name not in _UNITS:
            raise ValueError(f"{text!r} is not {ALLOWED}")
        parts.append((name, part["number"]))
        position = part.end()
    if not parts:
        raise ValueError(f"{text!r} is not {ALLOWED}")
    return _total(parts)


def _total(parts: list[tuple[str, str]]) -> Interval:
    totals = {"months": 0, "days": 0, "seconds": 0}
    for unit, number in parts:
        field, size = _UNITS[unit]
        totals[field] += int(number) * size
    return Interval(**totals)
