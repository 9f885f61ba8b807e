"""Views of a restore: what it would do, and what it did."""

from leadctl.operations.restore.restore import RestorePlan, RestoreResult
from leadctl.operations.restore.tables import RestoredTables
from leadctl.render.blocks import Block, Cell, Column, Grid, Line, Pairs, Value
from leadctl.render.text import size


def plan(result: RestorePlan) -> list[Block]:
    """Which backup becomes which database, and what is in the way."""
    if result.replaces:
        what = Cell("replaced; kept under another name", "warn")
    else:
        what = Cell("new, or empty so far", "good")
    pairs: list[tuple[str, Value]] = [
        ("Backup", result.backup),
        ("Made", result.made_at),
        ("Of", f"{result.source_database}, {result.revision or 'no revision'}"),
        ("Rows", result.rows),
        ("Takes about", size(result.bytes)),
        ("Database", result.database),
        ("It is", what),
    ]
    if result.protected:
        pairs.append(("Protected", Cell(result.protected, "warn")))
    if result.missing_extensions:
        pairs.append(("Missing extensions", Cell(", ".join(result.missing_extensions), "bad")))
    if result.missing_roles:
        pairs.append(("Missing roles", Cell(", ".join(result.missing_roles), "warn")))
    return [Pairs(pairs)]


def restored(result: RestoreResult) -> list[Block]:
    """What is there now, and where the old one is."""
    blocks: list[Block] = [
        Line(
            f"Restored {result.backup} as {result.database}: {result.rows:,} rows in "
            f"{result.tables} tables, revision {result.revision or 'none'}, compared with the "
            f"manifest, {result.duration_ms / 1000:.1f} s.",
            "good",
        )
    ]
    if result.previous:
        blocks.append(
            Line(f'The old one is kept; when it is not needed: DROP DATABASE "{result.previous}"')
        )
    return blocks


def tables(result: RestoredTables) -> list[Block]:
    """How many rows came back to each table."""
    columns: list[Column | str] = [
        "Table",
        Column("In the backup", numbers=True),
        Column("Brought back", numbers=True),
        Column("Changed back", numbers=True),
    ]
    rows = [(t.table, t.rows, t.inserted, t.updated) for t in result.tables]
    if result.dry_run:
        verdict = Line("Nothing was changed.", "warn")
    else:
        verdict = Line("Rows that are newer than the backup stay as they are.", "good")
    return [Grid(columns, rows), verdict]
