"""Views of what a reset drops and did."""

from collections.abc import Iterator

from leadctl.render.blocks import Block, Grid, Line, numbers
from leadctl.reset import ResetPlan, ResetResult
from leadctl.text import counted, place


def plan(result: ResetPlan) -> Iterator[Block]:
    """What goes, with the rows that are in it."""
    database = place(result)
    if not result.tables and not result.others:
        yield Line(f"{result.app} has nothing in {database} yet.")
        return
    yield Line(f"This drops everything of {result.app} in {database}:", "warn")
    rows = [(loss.table, "many" if loss.rows is None else loss.rows) for loss in result.tables]
    yield Grid(["Table", *numbers("Rows")], rows)
    if result.others:
        yield Line(f"and {', '.join(result.others)}")


def reset(result: ResetResult) -> list[Block]:
    """What was dropped, applied and inserted."""
    database = place(result)
    inserted = sum(table.inserted for table in result.seeded)
    return [
        Line(
            f"Reset {result.app} on {database}: {counted(len(result.dropped), 'object')} "
            f"dropped, {counted(len(result.applied), 'revision')} applied, "
            f"{counted(inserted, 'row')} inserted."
        )
    ]
