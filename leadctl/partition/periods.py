"""The periods that partitions cover: their bounds, their names, how many are made ahead."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Period:
    """A unit of time; `pattern` names a partition after its beginning, as to_char has it."""

    unit: str
    pattern: str
    strftime: str
    ahead: int
    """Partitions that are kept ready for times to come."""

    def after(self, begin: datetime) -> datetime:
        """Return where a period that begins there ends."""
        if self.unit == "month":
            return (begin.replace(day=1) + timedelta(days=32)).replace(day=1)
        return begin + timedelta(days=7 if self.unit == "week" else 1)

    def name(self, table: str, begin: datetime) -> str:
        """Return the name of the partition that begins there."""
        return f"{table}_{begin.strftime(self.strftime)}"


PERIODS = {
    period.unit: period
    for period in (
        Period("month", "YYYY_MM", "%Y_%m", 4),
        Period("week", "YYYY_MM_DD", "%Y_%m_%d", 8),
        Period("day", "YYYY_MM_DD", "%Y_%m_%d", 14),
    )
}


def period_of(begin: datetime, end: datetime) -> Period | None:
    """Return the period that a partition covers; None where it is none of ours."""
    return next((period for period in PERIODS.values() if period.after(begin) == end), None)
