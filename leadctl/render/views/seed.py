"""The view of seed's result."""

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
