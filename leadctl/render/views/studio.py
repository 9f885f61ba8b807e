"""Views of the studio: tables, a page of rows, one record."""

import re
import shlex
from collections.abc import Collection, Iterator

from leadctl.render.blocks import (
    Block,
    Cell,
    Column,
    DataColumn,
    DataGrid,
    Grid,
    Line,
    Pairs,
    many_lines,
    numbers,
    one_line,
)
from leadctl.studio.record import Record, Relation
from leadctl.studio.rows import Head, Page, Selection
from leadctl.studio.session import TableEntry, TableList
from leadctl.text import counted, estimated


def tables(result: TableList) -> Iterator[Block]:
    """Each table with its rows and relations."""
    if not result.tables:
        yield Line(f"{result.database}, schema {result.schema} has no tables.")
        return
    commented = any(table.comment for table in result.tables)
    yield Grid(
        [
            "Table",
            *numbers("Rows"),
            "Refers to",
            "Referred to by",
            *([Column("Comment", optional=True)] if commented else []),
        ],
        [
            (
                one_line(table.name),
                _rows(table),
                ", ".join(table.refers_to),
                ", ".join(table.referred_by),
                *([table.comment] if commented else []),
            )
            for table in result.tables
        ],
    )
    if any(table.rows is not None and not table.exact for table in result.tables):
        yield Line("~ is the server's estimate.", "dim")


def page(result: Page, *, command: str, selection: Selection) -> Iterator[Block]:
    """A page of rows; `command` is what was typed, to which an option can be added.

    Of columns that the `selection` does not name, those that tell most are shown first.
    """
    asked = {name.lower() for name in selection.asked}
    yield DataGrid(
        [_column(head, 0 if selection.columns else _rank(head, asked)) for head in result.columns],
        [
            [
                one_line(value, head.category, masked=head.masked)
                for value, head in zip(row, result.columns, strict=True)
            ]
            for row in result.rows
        ],
    )
    yield Line(_count(result), "dim")
    if result.after is not None:
        next_page = f"Next: {command} --after {shlex.quote(result.after)}"
        yield Line(next_page, "dim", command=True)
    elif result.more:
        yield Line("There is more: --page 2, or a larger --limit.", "dim")


def record(result: Record, *, command: str) -> Iterator[Block]:
    """A record's columns, then its relations; `command` shows this record."""
    pairs: list[tuple[str, Cell]] = []
    for field in result.fields:
        cell = (
            one_line(field.value, field.category, masked=field.masked)
            if field.category == "D"
            else many_lines(field.value, masked=field.masked)
        )
        if field.characters is not None:
            cell = Cell(f"{cell.text}… ({field.characters:,} characters; all with -o json)")
        pairs.append((one_line(field.name).text, cell))
    yield Line(f"{result.table} {result.key}", "strong")
    yield Pairs(pairs)
    if result.relations:
        rows = [
            (one_line(each.name), one_line(each.table), _by(each), _related(each))
            for each in result.relations
        ]
        by = Column("By", optional=True)
        yield Grid(["Relation", "Leads to", by, *numbers("Rows")], rows)
        example = next((each for each in result.relations if each.rows), result.relations[0])
        follow = f"Follow one: {command} --follow {shlex.quote(example.name)}"
        yield Line(follow, "dim", command=True)


def _column(head: Head, rank: int) -> DataColumn:
    title = one_line(head.name).text
    return DataColumn(title, numbers=head.category == "N", key=head.key, rank=rank)


_NAMES = re.compile(
    r"(?:.*_)?(?:name|title|label|email|e_?mail|subject|slug|username|login|headline|summary)",
    re.IGNORECASE,
)
_STATES = re.compile(r"(?:.*_)?(?:status|state|stage|kind|type|role|priority|level)", re.IGNORECASE)
_IDS = re.compile(r"(?:.*_)?(?:id|ids|uuid|key|hash|digest|checksum|token)", re.IGNORECASE)


def _rank(head: Head, asked: Collection[str]) -> int:
    """Return how late a column is left out: by what people look for in rows, ids last."""
    if head.key:
        return 0
    if head.name.lower() in asked:
        return 1
    if head.masked or _IDS.fullmatch(head.name) or head.category in _OPAQUE:
        return 7
    if _NAMES.fullmatch(head.name):
        return 2
    if head.category == "E" or _STATES.fullmatch(head.name):
        return 3
    return _RANKS.get(head.category, 6)


_OPAQUE = "UA"
"""Categories of types whose values tell little in a cell: uuid and JSON, arrays."""
_RANKS = {"D": 4, "N": 5}
"""Times and numbers, by the category of their type."""


def _count(result: Page) -> str:
    shown = counted(len(result.rows), "row")
    if result.total is not None:
        return f"{shown} of {result.total:,}"
    if result.more and result.estimate is not None:
        return f"{shown} of {estimated(result.estimate, exact=False)}"
    return f"{shown}, and there are more" if result.more else shown


def _rows(table: TableEntry) -> Cell | str:
    if table.kind == "view":
        return Cell("view", "dim")
    return estimated(table.rows, exact=table.exact)


def _by(relation: Relation) -> Cell:
    columns = ", ".join(relation.columns)
    return one_line(columns if relation.outgoing else f"their {columns}")


def _related(relation: Relation) -> str:
    if relation.rows is None:
        return "?"
    return f"{relation.rows:,}" + (" or more" if relation.more else "")
