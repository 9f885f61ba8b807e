"""Rows of data within a width: as many columns as fit, each row on one line, values cut."""

from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from leadctl.render.blocks import Sheet, SheetColumn

PADDING = 3
"""Columns of the terminal between two columns of a table."""
_NARROWEST = 16
_WHOLE = 36
"""A key up to this width is never cut: it is what one copies."""


def widths(sheet: Sheet, rows: Sequence[Sequence[Text]], width: int) -> list[int]:
    """Return the widths of the columns that fit, from the first one on."""
    natural = [
        max([cell_len(column.title), 1, *(row[index].cell_len for row in rows)])
        for index, column in enumerate(sheet.columns)
    ]
    given: list[int] = []
    for column, wide in zip(sheet.columns, natural, strict=True):
        least = _least(column, wide)
        if given and sum(given) + len(given) * PADDING + least > width:
            break
        given.append(min(least, width))
    _share(given, natural, width - sum(given) - (len(given) - 1) * PADDING)
    return given


def table(sheet: Sheet, rows: Sequence[Sequence[Text]], given: Sequence[int]) -> Table:
    """Return the table of the columns that were given a width."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for column, wide in zip(sheet.columns, given, strict=False):
        made.add_column(
            Text(column.title),
            justify="right" if column.numbers else "left",
            width=wide,
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in rows:
        made.add_row(*row[: len(given)])
    return made


def left_out(sheet: Sheet, given: Sequence[int]) -> str:
    """Say which columns did not fit; empty where all did."""
    names = [column.title for column in sheet.columns[len(given) :]]
    if not names:
        return ""
    return f"{len(names)} of {len(sheet.columns)} columns are left out: {', '.join(names)}."


def _least(column: SheetColumn, natural: int) -> int:
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
