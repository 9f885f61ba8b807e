"""Blocks for a terminal, through Rich: coloured, and within its width."""

import io
from collections.abc import Collection, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from leadctl.render.blocks import (
    Block,
    Cell,
    Column,
    DataColumn,
    DataGrid,
    Grid,
    Line,
    Pairs,
    Style,
    Value,
)
from leadctl.text import value_text

_STYLES: dict[Style, str] = {
    "": "",
    "good": "green",
    "warn": "yellow",
    "bad": "red",
    "dim": "dim",
    "strong": "bold",
}

_PADDING = 3
"""Columns of the terminal between two columns of a table."""
_READABLE = 12
"""A narrower column of words is hard to read."""
_LEGIBLE = 8
"""A narrower one cannot be read at all."""
_NARROWEST = 16
_WHOLE = 36
"""A key up to this width is never cut: it is what one copies."""


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
            console.print(Text(block.within(width), _STYLES[block.style]), soft_wrap=True)
        elif isinstance(block, Grid):
            table, least = _grid(block, width)
            console.width = max(width, least)
            console.print(table)
            console.width = width
        elif isinstance(block, DataGrid):
            _print_data(console, block, width)
        else:
            console.print(_pairs(block))
    return buffer.getvalue()


def _grid(grid: Grid, width: int) -> tuple[Table, int]:
    """Return a table, and the width below which its numbers would be cut and mean another."""
    columns = [Column(each) if isinstance(each, str) else each for each in grid.columns]
    rows = [[_cell(value) for value in row] for row in grid.rows]
    kept = _that_fit(columns, rows, width)
    keys = _keys_stay_whole(
        [columns[i] for i in kept], [[row[i] for i in kept] for row in rows], width
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for index in kept:
        column = columns[index]
        justify: JustifyMethod = "right" if column.numbers else "left"
        unbroken = column.numbers or (column.key and keys)
        table.add_column(column.title, justify=justify, overflow="fold", no_wrap=unbroken)
    for row in rows:
        table.add_row(*(row[index] for index in kept))
    widths = _natural([columns[i].title for i in kept], [[row[i] for i in kept] for row in rows])
    least = (
        wide if columns[index].numbers else min(wide, _LEGIBLE)
        for index, wide in zip(kept, widths, strict=True)
    )
    return table, sum(least) + (len(kept) - 1) * _PADDING


def _natural(titles: Sequence[str], rows: Sequence[Sequence[Text]]) -> list[int]:
    """Return how wide each column is that nothing is folded in."""
    return [
        max([cell_len(title), 1, *(row[index].cell_len for row in rows)])
        for index, title in enumerate(titles)
    ]


def _print_data(console: Console, block: DataGrid, width: int) -> None:
    ranked = sorted(range(len(block.columns)), key=lambda index: block.columns[index].rank)
    given = _widths(_only(block, ranked), width)
    kept = sorted(zip(ranked, given, strict=False))
    shown = _only(block, [index for index, _ in kept])
    console.print(_data_table(shown, [width for _, width in kept]))
    left_out = _left_out(block, {index for index, _ in kept})
    if left_out:
        console.print()
        console.print(Text(value_text(left_out), _STYLES["dim"]))


def _only(grid: DataGrid, kept: Sequence[int]) -> DataGrid:
    """Return a grid with some of its columns, in a given order."""
    columns = [grid.columns[number] for number in kept]
    return DataGrid(columns, [[row[number] for number in kept] for row in grid.rows])


def _keys_stay_whole(columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int) -> bool:
    """Whether keys in one line leave room for the other columns, which are not seen else."""
    left = width - (len(columns) - 1) * _PADDING
    for index, column in enumerate(columns):
        lines = (line for row in rows for line in row[index].plain.split("\n"))
        widest = max(map(cell_len, (column.title, *lines)))
        left -= widest if column.numbers or column.key else min(widest, _READABLE)
    return left >= 0


def _that_fit(columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int) -> list[int]:
    """Leave out optional columns, the last first, until the rest fits or none is left to go."""
    widths = _natural([column.title for column in columns], rows)
    kept = list(range(len(columns)))
    for index in reversed(range(len(columns))):
        if sum(widths[i] + _PADDING for i in kept) - _PADDING <= width:
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
        return Text(value_text(value.short or value.text), _STYLES[value.style])
    return Text(value_text(value))


def _widths(grid: DataGrid, width: int) -> list[int]:
    """Return the widths of the columns that fit, from the first one on."""
    rows = [[_cell(value) for value in row] for row in grid.rows]
    natural = _natural([column.title for column in grid.columns], rows)
    given: list[int] = []
    for column, wide in zip(grid.columns, natural, strict=True):
        least = _least(column, wide)
        if given and sum(given) + len(given) * _PADDING + least > width:
            break
        given.append(min(least, width))
    _share(given, natural, width - sum(given) - (len(given) - 1) * _PADDING)
    return given


def _data_table(grid: DataGrid, given: Sequence[int]) -> Table:
    """Return the table of columns that were each given a width."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for column, wide in zip(grid.columns, given, strict=True):
        made.add_column(
            Text(column.title),
            justify="right" if column.numbers else "left",
            width=wide,
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in grid.rows:
        made.add_row(*map(_cell, row))
    return made


def _left_out(grid: DataGrid, kept: Collection[int]) -> str:
    """Say which columns did not fit; empty where all did."""
    names = [column.title for number, column in enumerate(grid.columns) if number not in kept]
    if not names:
        return ""
    return f"{len(names)} of {len(grid.columns)} columns are left out: {', '.join(names)}."


def _least(column: DataColumn, natural: int) -> int:
    if column.key or column.numbers:
        return min(natural, _WHOLE)
    return min(natural, _NARROWEST)


def _share(given: list[int], natural: Sequence[int], spare: int) -> None:
    """Share out what is left of the width, the narrowest first, until all have what they need."""
    while spare > 0:
        needy = [i for i in range(len(given)) if given[i] < natural[i]]
        if not needy:
            return
        narrowest = min(needy, key=lambda i: given[i])
        given[narrowest] += 1
        spare -= 1
