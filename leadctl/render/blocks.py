"""What a view consists of, before any format: lines, pairs, grids, and the cells of rows."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from leadctl.text import folded, plain, value_text

Style = Literal["", "good", "warn", "bad", "dim", "strong"]


class Cell(NamedTuple):
    """A text with a meaning that a terminal may colour."""

    text: str
    style: Style = ""
    short: str = ""
    """What stands for the text within the width of a terminal."""


Value = str | int | float | datetime | bool | None | Cell


class Line(NamedTuple):
    """A sentence; one that is a `command` is never broken, so that it can be copied."""

    text: str
    style: Style = ""
    command: bool = False

    def within(self, width: int) -> str:
        """Return the text in lines of at most `width` columns, or whole, if it is a command."""
        text = value_text(self.text)
        return text if self.command else folded(text, width)


class Column(NamedTuple):
    """A column of a grid; an optional one is left out where the terminal is too narrow."""

    title: str
    numbers: bool = False
    optional: bool = False
    key: bool = False
    """Whether people copy what it has: it is not broken into lines."""


def numbers(*titles: str) -> list[Column]:
    """Return columns of numbers."""
    return [Column(title, numbers=True) for title in titles]


class Grid(NamedTuple):
    """A table; a column that is given as a text is one of plain text."""

    columns: Sequence[Column | str]
    rows: Sequence[Sequence[Value]]


class Pairs(NamedTuple):
    """Names and values, one pair a line."""

    pairs: Sequence[tuple[str, Value]]


class DataColumn(NamedTuple):
    """A column of data; one that is part of the key is not cut.

    Where not all fit, those of the lowest `rank` are shown, in the grid's order.
    """

    title: str
    numbers: bool = False
    key: bool = False
    rank: int = 0


class DataGrid(NamedTuple):
    """Rows of data, one line each: what does not fit the terminal is cut, or left out and named."""

    columns: Sequence[DataColumn]
    rows: Sequence[Sequence[Cell]]


Block = Line | Grid | Pairs | DataGrid


_BREAKS = re.compile(r"\r\n|[\n\r\v\f\u2028\u2029]")
_TIME = re.compile(r"(\d{4,}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.\d+)?(?:\+00)?\Z")
_SHORT = (
    ("timestamp with time zone", "timestamptz"),
    ("timestamp without time zone", "timestamp"),
    ("time with time zone", "timetz"),
    ("time without time zone", "time"),
    ("character varying", "varchar"),
    ("double precision", "float8"),
)
_LOOKS_LIKE_NOTHING = frozenset({"", "null"})


def one_line(value: str | None, category: str = "S", *, masked: bool = False) -> Cell:
    """Return a value on one line: NULL, an empty text and the text `null` can be told apart.

    A time is without its fraction of a second, in UTC; `category` is that of PostgreSQL's type.
    """
    if value is None:
        return Cell("null", "dim")
    if masked:
        return Cell(value, "dim")
    if category == "D" and (time := _TIME.match(value)):
        return Cell(time[1])
    text = plain(_BREAKS.sub("↵", value).replace("\t", " "))
    if text.lower() in _LOOKS_LIKE_NOTHING or text != text.strip():
        return Cell(f'"{text}"')
    return Cell(text)


def many_lines(value: str | None, *, masked: bool = False) -> Cell:
    """Return a value with its line breaks."""
    if value is None or masked or value.strip() != value or value.lower() in _LOOKS_LIKE_NOTHING:
        return one_line(value, masked=masked)
    return Cell(_BREAKS.sub("\n", value).replace("\t", "    "))


def short_type(name: str) -> str:
    """Return a type's shorter name, where it has one."""
    for long, short in _SHORT:
        name = name.replace(long, short)
    return name


_NAMES = frozenset(
    {"pid", "oid", "id", "port", "year", "seed", "heap", "block", "blocked_by"}
    | {"last_value", "last_possible"}
)


def is_amount(name: str) -> bool:
    """Whether a number of this name is an amount, and not a name such as a pid."""
    return name not in _NAMES and name.rpartition("_")[2] not in _NAMES


def named_value(name: str, value: Any) -> Any:
    """Return a value of a column; a number that is no amount is a text, without separators."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return Cell(str(value)) if is_whole and not is_amount(name) else value


def holds_numbers(name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether a column's values are numbers, by the first that is not NULL."""
    first = next((row[name] for row in rows if row[name] is not None), None)
    return isinstance(first, int | float) and not isinstance(first, bool)
