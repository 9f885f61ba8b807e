"""Blocks through Rich."""

import io
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from leadctl.render.blocks import Block, Cell, Grid, Line, Pairs, Style, Value
from leadctl.render.text import value_text

_STYLES: dict[Style, str] = {
    "": "",
    "good": "green",
    "warn": "yellow",
    "bad": "red",
    "dim": "dim",
    "strong": "bold",
}


def render(blocks: Sequence[Block], *, width: int, color: bool) -> str:
    """Return blocks as text of at most `width` columns, an empty line between them."""
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        width=width,
        highlight=False,
        markup=False,
        emoji=False,
        force_terminal=color,
        no_color=not color,
        legacy_windows=False,
    )
    for number, block in enumerate(blocks):
        if number and not (isinstance(block, Line) and isinstance(blocks[number - 1], Line)):
            console.print()
        if isinstance(block, Line):
            console.print(Text(value_text(block.text), _STYLES[block.style]))
        elif isinstance(block, Grid):
            console.print(_grid(block))
        else:
            console.print(_pairs(block))
    return buffer.getvalue()


def _grid(grid: Grid) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for title in grid.titles:
        right = title.endswith(">")
        table.add_column(
            title.rstrip(">"), justify="right" if right else "left", overflow="fold", no_wrap=right
        )
    for row in grid.rows:
        table.add_row(*map(_cell, row))
    return table


def _pairs(pairs: Pairs) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs.pairs:
        table.add_row(Text(name), _cell(value))
    return table


def _cell(value: Value) -> Text:
    if isinstance(value, Cell):
        return Text(value_text(value.text), _STYLES[value.style])
    return Text(value_text(value))
