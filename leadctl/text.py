"""Values as people read them: numbers, times, and data that must not reach the terminal raw."""

import re
import shlex
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from textwrap import fill
from typing import Protocol

_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
_FORMULA = re.compile(r"(^|[;\t\r\n])(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")
"""Where a spreadsheet sees the beginning of a formula, also in full width, or after a semicolon
or a tab, by which some of them tell cells apart.  https://owasp.org/www-community/attacks/CSV_Injection
"""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_AGES = ((60, "s", 1), (3600, "min", 60), (86400, "h", 3600), (86400 * 60, "d", 86400))


def plain(text: str) -> str:
    """Return a text in which control characters show as their code instead of acting."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def inert(text: str) -> str:
    """Return a cell of CSV in which a spreadsheet sees a text or a number, and no formula."""
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub(r"\1'", text)


class _Placed(Protocol):
    @property
    def database(self) -> str: ...
    @property
    def schema(self) -> str: ...


def place(of: _Placed) -> str:
    """Return the database and schema of a result or a target, as a sentence names them."""
    return f"{of.database}, schema {of.schema}"


def quoted(text: str) -> str:
    """Return a text in double quotes, those in it doubled."""
    return '"' + text.replace('"', '""') + '"'


def unquoted(text: str) -> str:
    """Return what stands between double quotes; a text without them as it is."""
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def ago(moment: datetime, now: datetime | None = None) -> str:
    """Return how long ago a moment was, or in how long it will be; a date where it is far away.

    Less than a minute ahead is the difference of two clocks, and counts as now.
    """
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    if -60 < seconds < 0:
        seconds = 0
    for limit, unit, size in _AGES:
        if abs(seconds) < limit:
            span = f"{abs(seconds) // size:.0f} {unit}"
            return f"{span} ago" if seconds >= 0 else f"in {span}"
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def utc(moment: datetime) -> str:
    """Return a moment to the second, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def span(seconds: float) -> str:
    """Return a length of time in the unit that people would say it in."""
    if abs(seconds) < 1:
        return f"{seconds * 1000:.0f} ms"
    unit, size = next(
        ((unit, size) for limit, unit, size in _AGES if abs(seconds) < limit), _AGES[-1][1:]
    )
    return f"{seconds / size:.0f} {unit}"


def value_text(value: object) -> str:
    """Return any value of a cell as text: nothing as empty, times from now, numbers grouped."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, datetime):
        return ago(value)
    return plain(str(value))


def folded(text: str, width: int) -> str:
    """Return a text in lines of at most `width` columns; a word is never broken.

    So a URL, a key or a path can be copied, and read by a program, at any width.
    """
    lines = [
        fill(line, width, break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    ]
    return "\n".join(lines)


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural by an s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Return names with commas between them: at most so many, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def estimated(count: int | None, *, exact: bool) -> str:
    """Return a number of rows, after a tilde where it is an estimate; ? where nothing is known."""
    if count is None:
        return "?"
    return f"{count:,}" if exact else f"~{count:,}"


def size(count: float) -> str:
    """Return a number of bytes in the unit that fits: kB, MB, GB and TB are powers of 1000."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:,.0f} {unit}" if value >= 9.95 or unit == "B" else f"{value:.1f} {unit}"


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return a hint at the known name that a word resembles; else `otherwise`, or all names."""
    from difflib import get_close_matches

    names = list(known)
    if close := get_close_matches(word, names, n=1):
        return f"Did you mean {close[0]}?"
    return otherwise or f"Available: {', '.join(names) or 'none'}."


def restore_command(tables: Iterable[str]) -> str:
    """Return what brings tables back from the newest backup, to be typed in a shell."""
    named = [part for table in tables for part in ("--table", table)]
    return shlex.join(["leadctl", "restore", "latest", *named])
