"""Blocks for a terminal, through Rich: coloured, and within its width."""

import io
from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
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
            table, left_out = _grid(block, width)
            console.print(table)
            _print_left_out(console, left_out)
        elif isinstance(block, DataGrid):
            _print_data(console, block, width)
        else:
            console.print(_pairs(block))
    return buffer.getvalue()


def _grid(grid: Grid, width: int) -> tuple[Table, str]:
    """Return a table, and which columns are left out: a number that is cut means another.

    Where it is too wide, words and the titles of numbers fold; then its last columns go.
    """
    columns = [Column(each) if isinstance(each, str) else each for each in grid.columns]
    rows = [[_cell(value) for value in row] for row in grid.rows]
    kept = _that_fit(columns, rows, width)
    natural = _natural([column.title for column in columns], rows)
    least = [
        wide if column.numbers else min(wide, _LEGIBLE)
        for column, wide in zip(columns, natural, strict=True)
    ]
    titles_fold = _total(least, kept) > width
    if titles_fold:
        folded = _natural(
            [max(column.title.split(), key=cell_len, default="") for column in columns], rows
        )
        least = [
            wide if column.numbers else usual
            for column, wide, usual in zip(columns, folded, least, strict=True)
        ]
    shown = list(kept)
    while len(shown) > 1 and _total(least, shown) > width:
        shown.pop()
    keys = _keys_stay_whole(
        [columns[i] for i in shown], [[row[i] for i in shown] for row in rows], width
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for index in shown:
        column = columns[index]
        table.add_column(
            Text(column.title, no_wrap=False if titles_fold else None),
            justify="right" if column.numbers else "left",
            overflow="fold",
            no_wrap=column.numbers or (column.key and keys),
            width=least[index] if column.numbers and titles_fold else None,
        )
    for row in rows:
        table.add_row(*(row[index] for index in shown))
    hidden = range(len(columns)) if len(shown) < len(kept) else ()
    names = [columns[index].title for index in hidden if index not in shown]
    return table, _left_out(names, len(columns))


def _total(widths: Sequence[int], kept: Sequence[int]) -> int:
    """Return how wide a table of some columns is."""
    return sum(widths[index] for index in kept) + (len(kept) - 1) * _PADDING


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
    there = {index for index, _ in kept}
    names = [each.title for index, each in enumerate(block.columns) if index not in there]
    _print_left_out(console, _left_out(names, len(block.columns)))


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
        if _total(widths, kept) <= width:
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


def _left_out(names: Sequence[str], number: int) -> str:
    """Say which of a number of columns did not fit; empty where all did."""
    return f"{len(names)} of {number} columns are left out: {', '.join(names)}." if names else ""


def _print_left_out(console: Console, left_out: str) -> None:
    if left_out:
        console.print()
        console.print(Text(value_text(left_out), _STYLES["dim"]))


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
