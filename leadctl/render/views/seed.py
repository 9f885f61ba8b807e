"""The views of seed's results."""

from leadctl.operations.bulk.load import BulkResult
from leadctl.operations.seed import SeedResult
from leadctl.render.blocks import Block, Column, Grid, Line


def seed(result: SeedResult) -> list[Block]:
    """The rows by table."""
    if not result.tables:
        return [Line(f"Seeded {result.app} on {result.database}, schema {result.schema}.")]
    rows = [(table.table, table.inserted, table.unchanged) for table in result.tables]
    return [
        Grid(["Table", Column("Inserted", numbers=True), Column("Unchanged", numbers=True)], rows)
    ]


def bulk(result: BulkResult) -> list[Block]:
    """The rows by table, and how quickly they came."""
    rows = [(table.table, table.rows, table.seconds) for table in result.tables]
    return [
        Grid(["Table", Column("Added", numbers=True), Column("Seconds", numbers=True)], rows),
        Line(
            f"{result.rows:,} rows in {result.seconds:.1f} s, {result.rows_per_second:,} a second."
        ),
    ]
