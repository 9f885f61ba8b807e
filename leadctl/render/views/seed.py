"""The views of seed's results."""

from leadctl.render.blocks import Block, Column, Grid, Line, Value
from leadctl.seed.bulk.load import BulkResult
from leadctl.seed.export import Exported
from leadctl.seed.seed import SeedResult


def seed(result: SeedResult) -> list[Block]:
    """The rows by table, and the files."""
    if not result.tables and not result.files:
        return [Line(f"Seeded {result.app} on {result.database}, schema {result.schema}.")]
    blocks: list[Block] = []
    if result.tables:
        columns: list[Column | str] = ["Table", *map(_number, ("Inserted", "Unchanged"))]
        rows: list[list[Value]] = [
            [table.table, table.inserted, table.unchanged] for table in result.tables
        ]
        if result.files:
            columns.append(_number("Updated"))
            for row, table in zip(rows, result.tables, strict=True):
                row.append(table.updated)
        blocks.append(Grid(columns, rows))
    if result.files:
        blocks.append(Grid(["File", "State"], [(file.file, file.state) for file in result.files]))
    return blocks


def _number(title: str) -> Column:
    return Column(title, numbers=True)


def exported(result: Exported) -> list[Block]:
    """What was written, and what was masked."""
    blocks: list[Block] = [Line(f"Wrote {result.rows} rows of {result.table} to {result.path}.")]
    if result.masked:
        blocks.append(Line(f"Masked: {', '.join(result.masked)}."))
    return blocks


def bulk(result: BulkResult) -> list[Block]:
    """The rows by table, and how quickly they came."""
    rows = [(table.table, table.rows, table.seconds) for table in result.tables]
    return [
        Grid(["Table", Column("Added", numbers=True), Column("Seconds", numbers=True)], rows),
        Line(
            f"{result.rows:,} rows in {result.seconds:.1f} s, {result.rows_per_second:,} a second."
        ),
    ]
