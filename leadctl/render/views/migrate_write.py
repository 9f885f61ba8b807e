"""Views of what was written: revisions, pushes and the developer's loop."""

from collections.abc import Sequence

from leadctl.migrate.dev import Dev, Push
from leadctl.migrate.new import NewRevisions
from leadctl.migrate.resolve import Adopted
from leadctl.migrate.writer import WrittenRevision
from leadctl.render.blocks import Block, Cell, Column, Grid, Line
from leadctl.render.views.migrate import migrate


def new(result: NewRevisions) -> list[Block]:
    """Where the revisions were written, and what they lose."""
    if not result.revisions:
        return [Line("Nothing to write: the migrations make what the models say.")]
    return [
        *_written(result.revisions),
        Line("Read them, then apply them with: leadctl migrate", "dim"),
    ]


def dev(result: Dev) -> list[Block]:
    """What was written, what it says, and what was applied."""
    if not result.written:
        return [
            Line("Nothing to write: the migrations make what the models say."),
            *migrate(result.migrated),
        ]
    return [*_written(result.written), *migrate(result.migrated)]


def push(result: Push) -> list[Block]:
    """The statements that were executed."""
    place = f"{result.database}, schema {result.schema}"
    if not result.statements:
        return [Line(f"Nothing to push: {place} is what the models say.")]
    rows = [(number, " ".join(sql.split())) for number, sql in enumerate(result.statements, 1)]
    blocks: list[Block] = [Grid([Column("#", numbers=True), "Statement"], rows)]
    blocks += [Line(f"Lost {lost}.", "warn") for lost in result.lost]
    return [*blocks, Line(f"{place} is what the models say; no revision was written.", "good")]


def adopt(result: Adopted) -> list[Block]:
    """The revisions that say what was changed by hand."""
    place = f"{result.database}, schema {result.schema}"
    if not result.revisions:
        return [Line(f"Nothing to adopt: nothing of {place} was changed by hand.")]
    return [
        *_written(result.revisions),
        Line(f"They count as applied to {place}.", "good"),
        Line("Let the models say the same: leadctl migrate check", "dim"),
    ]


def _written(revisions: Sequence[WrittenRevision]) -> list[Block]:
    rows = [
        (each.revision, each.message, Cell("; ".join(each.loses), "bad"), each.path.name)
        for each in revisions
    ]
    return [
        Line(f"Wrote to {revisions[0].path.parent}"),
        Grid(["Revision", "Message", "Loses", Column("File", optional=True)], rows),
    ]
