"""Views of what a reset drops and did."""

from leadctl.render.blocks import Block, Column, Grid, Line
from leadctl.reset import ResetPlan, ResetResult
from leadctl.text import counted


def plan(result: ResetPlan) -> list[Block]:
    """What goes, with the rows that are in it."""
    place = f"{result.database}, schema {result.schema}"
    if not result.tables and not result.others:
        return [Line(f"{result.app} has nothing in {place} yet.")]
    blocks: list[Block] = [Line(f"This drops everything of {result.app} in {place}:", "warn")]
    rows = [(loss.table, "many" if loss.rows is None else loss.rows) for loss in result.tables]
    blocks.append(Grid(["Table", Column("Rows", numbers=True)], rows))
    if result.others:
        blocks.append(Line(f"and {', '.join(result.others)}"))
    return blocks


def reset(result: ResetResult) -> list[Block]:
    """What was dropped, applied and inserted."""
    place = f"{result.database}, schema {result.schema}"
    inserted = sum(table.inserted for table in result.seeded)
    return [
        Line(
            f"Reset {result.app} on {place}: {counted(len(result.dropped), 'object')} "
            f"dropped, {counted(len(result.applied), 'revision')} applied, "
            f"{counted(inserted, 'row')} inserted."
        )
    ]
