"""Views of the studio: tables, a page of rows, one record."""

import re
import shlex
from collections.abc import Iterator

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
from leadctl.studio.labels import shortened
from leadctl.studio.record import Field, Record, RelatedRows
from leadctl.studio.rows import ColumnHead, RowPage, RowSelection
from leadctl.studio.session import TableEntry, TableList
from leadctl.text import counted, estimated, listed, place

_RELATED = 6
"""So many tables that a table refers to, or is referred to by, are named in the list."""


def tables(result: TableList) -> Iterator[Block]:
    """Each table with its rows and relations."""
    if not result.tables:
        yield Line(f"{place(result)} has no tables.")
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
                listed(table.refers_to, _RELATED),
                listed(table.referred_by, _RELATED),
                *([table.comment] if commented else []),
            )
            for table in result.tables
        ],
    )
    if any(table.rows is not None and not table.exact for table in result.tables):
        yield Line("~ is the server's estimate.", "dim")


def page(result: RowPage, *, command: str, selection: RowSelection) -> Iterator[Block]:
    """A page of rows; `command` is what was typed, to which an option can be added.

    Of columns that the `selection` does not name, those that tell most are shown first.
    """
    ranks = [0] * len(result.columns) if selection.columns else _ranks(result)
    labelled = _labelled(result)
    shown = [_shown(result, number) for number in range(len(result.columns))]
    yield DataGrid(
        [
            _column(head, rank, labelled=number in labelled)
            for number, (head, rank) in enumerate(zip(result.columns, ranks, strict=True))
        ],
        list(zip(*shown, strict=True)),
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
        cell = _value(field.value, field, whole=True)
        if field.label is not None:
            cell = _called(field.label, cell.text)
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


def _value(value: str | None, about: ColumnHead | Field, *, whole: bool) -> Cell:
    """Return a value on one line, or with its line breaks; a null of JSON is none of SQL."""
    if value is not None and value.strip() == "null" and about.type in {"json", "jsonb"}:
        return Cell("null (JSON)")
    if whole and about.category != "D":
        return many_lines(value, masked=about.masked)
    return one_line(value, about.category, masked=about.masked)


def _shown(result: RowPage, column: int) -> list[Cell]:
    """Return the cells of a column: opaque ids short, and labels before their keys."""
    head, values = result.columns[column], [row[column] for row in result.rows]
    short = {} if head.masked else shortened(values)
    cells = []
    for number, value in enumerate(values):
        cell = _value(value, head, whole=False)
        if value in short:
            cell = cell._replace(short=short[value])
        label = result.labels.get((number, column))
        cells.append(cell if label is None else _called(label, cell.text, cell.short))
    return cells


def _called(label: str, key: str, short: str = "") -> Cell:
    """Return what a row is called, and its key."""
    name = one_line(label).text
    return Cell(f"{name} ({key})", short=f"{name} ({short or key})")


def _labelled(result: RowPage) -> set[int]:
    """Return the columns that have labels."""
    return {column for _, column in result.labels}


def _column(head: ColumnHead, rank: int, *, labelled: bool) -> DataColumn:
    title = one_line(head.name).text
    numbers = head.category == "N" and not labelled
    return DataColumn(title, numbers=numbers, key=head.key, rank=rank)


_NAMES = re.compile(
    r"(?:.*_)?(?:name|title|label|subject|slug|username|login|headline|summary)",
    re.IGNORECASE,
)
_EMAILS = re.compile(r"(?:.*_)?e?_?mail(?:_?address)?", re.IGNORECASE)
_STATES = re.compile(r"(?:.*_)?(?:status|state|stage|kind|type|role|priority|level)", re.IGNORECASE)
_IDS = re.compile(r"(?:.*_)?(?:id|ids|uuid|key|hash|digest|checksum|token)", re.IGNORECASE)
_TIMES_OF_ROWS = re.compile(r"(?:created|inserted|updated)_?(?:at|on)?", re.IGNORECASE)
_OPAQUE = "UA"
"""Categories of types whose values tell little in a cell: uuid and JSON, arrays."""


def _ranks(result: RowPage) -> list[int]:
    """Return how late each column is left out: by what people look for in rows, ids last.

    The best column of each kind comes before the second one of any.
    """
    labelled = _labelled(result)
    kinds = [_kind(head, column in labelled) for column, head in enumerate(result.columns)]
    best = {
        min(columns, key=lambda column: (_is_second(result.columns[column]), column))
        for kind in set(kinds)
        if (columns := [column for column, each in enumerate(kinds) if each == kind])
    }
    ranks = []
    for column, (head, kind) in enumerate(zip(result.columns, kinds, strict=True)):
        if head.key or head.name in result.asked:
            ranks.append(0 if head.key else 1)
        else:
            ranks.append(kind if column in best or kind >= _OTHERS else kind + _OTHERS)
    return ranks


_NAME, _EMAIL, _STATE, _LABEL, _TIME, _NUMBER, _OTHERS = range(2, 9)
_LAST = 2 * _OTHERS


def _kind(head: ColumnHead, labelled: bool) -> int:
    if labelled:
        return _LABEL
    if head.masked or _IDS.fullmatch(head.name) or head.category in _OPAQUE:
        return _LAST + 1
    if _NAMES.fullmatch(head.name):
        return _NAME
    if _EMAILS.fullmatch(head.name):
        return _EMAIL
    if head.category == "E" or _STATES.fullmatch(head.name):
        return _STATE
    return {"D": _TIME, "N": _NUMBER}.get(head.category, _LAST)


def _is_second(head: ColumnHead) -> bool:
    """Whether a column is of something that the row belongs to, or a time among others."""
    if head.category == "D":
        return _TIMES_OF_ROWS.fullmatch(head.name) is None
    return head.category != "E" and "_" in head.name


def _count(result: RowPage) -> str:
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


def _by(relation: RelatedRows) -> Cell:
    columns = ", ".join(relation.columns)
    return one_line(columns if relation.outgoing else f"their {columns}")


def _related(relation: RelatedRows) -> str:
    if relation.rows is None:
        return "?"
    return f"{relation.rows:,}" + (" or more" if relation.more else "")
