"""What was asked of a bulk seed, read from texts."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from leadctl.apps.synthetic.calendar import Calendar
from leadctl.errors import InvalidFlag
from leadctl.seed.bulk.plan import BulkOptions
from leadctl.settings.durations import DURATION, parse_seconds

_DAYS = 365
_DAY = 86_400
_MOST_DAYS = 36_525
_SEED_MAX = 2**63


def bulk_options(
    rows: int,
    random_seed: int | None,
    scale: Iterable[str] = (),
    span: str | None = None,
    today: date | None = None,
) -> BulkOptions:
    """Return the options of a run; times end with the midnight (UTC) that began today.

    `span` is a duration of whole days, or two dates with `..` between them, the last included.
    Raises InvalidFlag.
    """
    if random_seed is not None and not -_SEED_MAX <= random_seed < _SEED_MAX:
        raise InvalidFlag("--random-seed does not fit into 64 bits.", hint="Give a smaller one.")
    end = today or datetime.now(UTC).date()
    return BulkOptions(rows, random_seed or 0, _scales(scale), _calendar(span, end))


def _scales(texts: Iterable[str]) -> dict[str, int]:
    scales: dict[str, int] = {}
    for text in texts:
        table, equals, number = text.partition("=")
        if not (table and equals and number.isascii() and number.isdecimal() and int(number)):
            raise InvalidFlag(
                f"--scale {text!r} is not a table and a number of rows.",
                hint="Write it as --scale leads=500000",
            )
        if table in scales:
            raise InvalidFlag(f"--scale names {table} twice.", hint="Give it once.")
        scales[table] = int(number)
    return scales


def _calendar(span: str | None, today: date) -> Calendar:
    if span is None:
        return Calendar(today, _DAYS)
    try:
        if ".." in span:
            first, last = map(date.fromisoformat, span.split("..", 1))
            end, days = last + timedelta(days=1), (last - first).days + 1
        else:
            end, days = today, int(parse_seconds(span) // _DAY)
    except (ValueError, OverflowError):
        raise InvalidFlag(
            f"--span {span!r} is no span of days.",
            hint=f"Give {DURATION}, of at least a day, or two dates as 2025-01-01..2025-12-31.",
        ) from None
    if not 1 <= days <= _MOST_DAYS:
        raise InvalidFlag(
            f"--span {span!r} is {max(days, 0)} days.", hint="Allowed are a day to a hundred years."
        )
    return Calendar(end, days)
