"""The views of seed's results."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from leadctl.render.blocks import Block, Grid, Line, Value, numbers
from leadctl.seed.bulk.load import BulkResult
from leadctl.seed.export import Exported
from leadctl.seed.seed import SeedResult
from leadctl.text import counted, place

if TYPE_CHECKING:
    from leadctl.reset import ResetPlan


def seed(result: SeedResult) -> Iterator[Block]:
    """The rows by table, and the files."""
    if result.nothing:
        yield Line(f"Nothing to seed: {result.nothing}.")
    elif not result.tables and not result.files:
        yield Line(f"Seeded {result.app} on {place(result)}.")
    if result.tables:
        updates = ["Updated"] if result.files else []
        rows: list[list[Value]] = [
            [each.table, each.inserted, each.unchanged, *([each.updated] if updates else [])]
            for each in result.tables
        ]
        yield Grid(["Table", *numbers("Inserted", "Unchanged", *updates)], rows)
    if result.files:
        yield Grid(["File", "State"], [(file.file, file.state) for file in result.files])


def replant_plan(result: "ResetPlan") -> Iterator[Block]:
    """The rows that go."""
    yield Line(f"This removes all rows of {result.app} in {place(result)}:", "warn")
    rows = [(loss.table, "many" if loss.rows is None else loss.rows) for loss in result.tables]
    yield Grid(["Table", *numbers("Rows")], rows)


def exported(result: Exported) -> Iterator[Block]:
    """What was written, and what was masked."""
    yield Line(f"Wrote {counted(result.rows, 'row')} of {result.table} to {result.path}.")
    if result.masked:
        yield Line(f"Masked: {', '.join(result.masked)}.")


def bulk(result: BulkResult) -> list[Block]:
    """The rows by table, and how quickly they came."""
    rows = [(table.table, table.rows, table.seconds) for table in result.tables]
    return [
        Grid(["Table", *numbers("Added", "Seconds")], rows),
        Line(
            f"{result.rows:,} rows in {result.seconds:.1f} s, {result.rows_per_second:,} a second."
        ),
    ]
