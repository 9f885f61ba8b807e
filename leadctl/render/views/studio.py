"""Views of the studio: tables, a page of rows, one record."""

import shlex

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
    one_line,
)
from leadctl.studio.record import Record, Relation
from leadctl.studio.rows import Head, Page
from leadctl.studio.session import TableEntry, TableList
from leadctl.text import counted, estimated


def tables(result: TableList) -> list[Block]:
    """Each table with its rows and relations."""
    if not result.tables:
        return [Line(f"{result.database}, schema {result.schema} has no tables.")]
    grid = Grid(
        [
            "Table",
            Column("Rows", numbers=True),
            "Refers to",
            Column("Referred to by", optional=True),
            *([Column("Comment", optional=True)] if any(t.comment for t in result.tables) else []),
        ],
        [
            (
                one_line(table.name),
                _rows(table),
                ", ".join(table.refers_to),
                ", ".join(table.referred_by),
                *([table.comment] if any(t.comment for t in result.tables) else []),
            )
            for table in result.tables
        ],
    )
    blocks: list[Block] = [grid]
    if any(table.rows is not None and not table.exact for table in result.tables):
        blocks.append(Line("~ is the server's estimate.", "dim"))
    return blocks


def page(result: Page, *, command: str) -> list[Block]:
    """A page of rows; `command` is what was typed, to which an option can be added."""
    titles = DataGrid(
        [_column(head) for head in result.columns],
        [
            [
                one_line(value, head.category, masked=head.masked)
                for value, head in zip(row, result.columns, strict=True)
            ]
            for row in result.rows
        ],
    )
    blocks: list[Block] = [titles, Line(_count(result), "dim")]
    if result.after is not None:
        blocks.append(Line(f"Next: {command} --after {shlex.quote(result.after)}", "dim"))
    elif result.more:
        blocks.append(Line("There is more: --page 2, or a larger --limit.", "dim"))
    return blocks


def record(result: Record, *, command: str) -> list[Block]:
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
    blocks: list[Block] = [Line(f"{result.table} {result.key}", "strong"), Pairs(pairs)]
    if result.relations:
        rows = [
            (one_line(each.name), one_line(each.table), _by(each), _related(each))
            for each in result.relations
        ]
        by, number = Column("By", optional=True), Column("Rows", numbers=True)
        blocks.append(Grid(["Relation", "Leads to", by, number], rows))
        example = next((each for each in result.relations if each.rows), result.relations[0])
        blocks.append(Line(f"Follow one: {command} --follow {shlex.quote(example.name)}", "dim"))
    return blocks


def _column(head: Head) -> DataColumn:
    return DataColumn(one_line(head.name).text, numbers=head.category == "N", key=head.key)


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
