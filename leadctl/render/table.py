"""The table writer: as wide as the terminal, or whole when piped."""

import os
from collections.abc import Iterable, Sequence
from typing import TextIO
from unicodedata import combining, east_asian_width

from leadctl.render.blocks import Block, Cell, Column, DataGrid, Grid, Line, Pairs, Value
from leadctl.text import value_text

_UNBOUNDED = 10_000
"""Columns; wide enough that nothing is wrapped in a pipe."""
_FALLBACK = 80
_BETWEEN = " " * 3
_BETWEEN_PAIRS = " " * 2


def write(view: Iterable[Block], stream: TextIO) -> None:
    """Write a view's blocks to a stream; colour only on a terminal, and not with NO_COLOR."""
    stream.write(text(view, stream))


def text(view: Iterable[Block], stream: TextIO) -> str:
    """Return what `write` writes to a stream."""
    blocks, width = list(view), _width(stream)
    lines = [block for block in blocks if isinstance(block, Line)]
    if not stream.isatty() and len(lines) == len(blocks):
        return "".join(f"{line.within(width)}\n" for line in lines)
    if not stream.isatty() and width == _UNBOUNDED:
        return dumps(blocks)
    from leadctl.render.terminal import render

    color = stream.isatty() and not os.environ.get("NO_COLOR")
    rendered = render(blocks, width=width, color=color)
    return "".join(f"{line.rstrip()}\n" for line in rendered.splitlines())


def dumps(blocks: Sequence[Block]) -> str:
    """Return blocks as text, without colour and as wide as they are, an empty line between them.

    What `terminal.render` writes for an endless width, to the letter, without the 30 ms that Rich
    takes; only spaces at the end of a text may stand elsewhere.
    """
    lines: list[str] = []
    for number, block in enumerate(blocks):
        if number and not (isinstance(block, Line) and isinstance(blocks[number - 1], Line)):
            lines.append("")
        if isinstance(block, Line):
            lines += value_text(block.text).splitlines() or [""]
        elif isinstance(block, Grid | DataGrid):
            lines += _grid(block)
        else:
            lines += _pairs(block)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _width(stream: TextIO) -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns) > 0:
        return int(columns)
    if not stream.isatty():
        return _UNBOUNDED
    return os.get_terminal_size(stream.fileno()).columns or _FALLBACK


def _grid(grid: Grid | DataGrid) -> list[str]:
    columns = [Column(each) if isinstance(each, str) else each for each in grid.columns]
    rows = [[_text(value) for value in row] for row in grid.rows]
    titles = [value_text(column.title) for column in columns]
    widths = [max(map(_columns, texts)) for texts in zip(titles, *rows, strict=True)]
    right = [column.numbers for column in columns]
    rule = "─" * (sum(widths) + len(_BETWEEN) * (len(widths) - 1))
    return [
        _row(titles, widths, right),
        rule,
        *(line for row in rows for line in _lines(row, widths, right)),
    ]


def _lines(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    """Return a row; a cell of several lines has the row take as many."""
    cells = [text.split("\n") for text in row]
    height = max(map(len, cells))
    padded = [cell + [""] * (height - len(cell)) for cell in cells]
    return [_row(line, widths, right) for line in zip(*padded, strict=True)]


def _row(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    return _BETWEEN.join(
        _padded(cell, width, right=to_right)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    )


def _pairs(pairs: Pairs) -> list[str]:
    names = [value_text(name) for name, _ in pairs.pairs]
    width = max(map(_columns, names), default=0)
    lines = []
    for name, (_, value) in zip(names, pairs.pairs, strict=True):
        first, *rest = _text(value).split("\n")
        lines.append(_padded(name, width, right=False) + _BETWEEN_PAIRS + first)
        lines += [" " * (width + len(_BETWEEN_PAIRS)) + line for line in rest]
    return lines


def _text(value: Value) -> str:
    return value_text(value.text if isinstance(value, Cell) else value)


def _padded(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - _columns(text))
    return space + text if right else text + space


def _columns(text: str) -> int:
    """Return how many columns of a terminal the longest line of a text takes."""
    if text.isascii():
        return max(map(len, text.split("\n")))
    return max(
        sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in line)
        for line in text.split("\n")
    )
