"""What a view consists of, before any format: lines, pairs and grids."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Style = Literal["", "good", "warn", "bad", "dim", "strong"]


@dataclass(frozen=True)
class Cell:
    """A text with a meaning that a terminal may colour."""

    text: str
    style: Style = ""


Value = str | int | float | datetime | bool | None | Cell


@dataclass(frozen=True)
class Line:
    """A sentence."""

    text: str
    style: Style = ""


@dataclass(frozen=True)
class Column:
    """A column of a grid; an optional one is left out where the terminal is too narrow."""

    title: str
    numbers: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Grid:
    """A table; a column that is given as a text is one of plain text."""

    columns: Sequence[Column | str]
    rows: Sequence[Sequence[Value]]


@dataclass(frozen=True)
class Pairs:
    """Names and values, one pair a line."""

    pairs: Sequence[tuple[str, Value]]


@dataclass(frozen=True)
class DataColumn:
    """A column of data; one that is part of the key is not cut."""

    title: str
    numbers: bool = False
    key: bool = False


@dataclass(frozen=True)
class DataGrid:
    """Rows of data, one line each: what does not fit the terminal is cut, or left out and named."""

    columns: Sequence[DataColumn]
    rows: Sequence[Sequence[Cell]]


Block = Line | Grid | Pairs | DataGrid
