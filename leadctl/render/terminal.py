"""Blocks through Rich."""

import io
from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from leadctl.render import sheet
from leadctl.render.blocks import Block, Cell, Column, Grid, Line, Pairs, Sheet, Style, Value
from leadctl.text import folded, value_text

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
            text = folded(value_text(block.text), width)
            console.print(Text(text, _STYLES[block.style]), soft_wrap=True)
        elif isinstance(block, Grid):
            console.print(_grid(block, width))
        elif isinstance(block, Sheet):
            _print_sheet(console, block, width)
        else:
            console.print(_pairs(block))
    return buffer.getvalue()


def _grid(grid: Grid, width: int) -> Table:
    columns = [Column(each) if isinstance(each, str) else each for each in grid.columns]
    rows = [[_cell(value) for value in row] for row in grid.rows]
    kept = _that_fit(columns, rows, width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for index in kept:
        column = columns[index]
        justify: JustifyMethod = "right" if column.numbers else "left"
        table.add_column(column.title, justify=justify, overflow="fold", no_wrap=column.numbers)
    for row in rows:
        table.add_row(*(row[index] for index in kept))
    return table


def _print_sheet(console: Console, block: Sheet, width: int) -> None:
    rows = [[_cell(value) for value in row] for row in block.rows]
    given = sheet.widths(block, rows, width)
    console.print(sheet.table(block, rows, given))
    left_out = sheet.left_out(block, given)
    if left_out:
        console.print()
        console.print(Text(value_text(left_out), _STYLES["dim"]))


def _that_fit(columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int) -> list[int]:
    """Leave out optional columns, the last first, until the rest fits or none is left to go."""
    widths = [
        max([cell_len(column.title), *(row[index].cell_len for row in rows)])
        for index, column in enumerate(columns)
    ]
    kept = list(range(len(columns)))
    for index in reversed(range(len(columns))):
        if sum(widths[i] + sheet.PADDING for i in kept) - sheet.PADDING <= width:
            break
        if columns[index].optional:
            kept.remove(index)
    return kept


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
