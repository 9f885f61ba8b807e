"""Views of migrate's results."""

from leadctl.migrate.status import MigrationHistory, MigrationStatus, RevisionState
from leadctl.migrate.up import MigrateResult
from leadctl.render.blocks import Block, Cell, Column, Grid, Line, Style

_STYLES: dict[RevisionState, Style] = {
    RevisionState.APPLIED: "good",
    RevisionState.PENDING: "warn",
    RevisionState.FAILED: "bad",
    RevisionState.EDITED: "bad",
    RevisionState.MISSING: "bad",
    RevisionState.UNKNOWN: "bad",
}
_SHOWN = 20
"""Applied revisions that a table of a long history shows."""


def migrate(result: MigrateResult) -> list[Block]:
    """What was applied, and where the database is now."""
    place = f"{result.database}, schema {result.schema}"
    if not result.applied and not result.pending:
        return [Line(f"Nothing to do: {place} is at {result.current or 'the beginning'}.")]
    blocks: list[Block] = []
    if result.applied:
        rows = [
            (step.revision, step.message, f"{step.duration_ms:,} ms") for step in result.applied
        ]
        blocks.append(Grid(["Applied", "Message", Column("Time", numbers=True)], rows))
    blocks.append(Line(f"{place} is at {result.current or 'the beginning'}."))
    if result.pending:
        blocks.append(Line(f"Still pending: {', '.join(result.pending)}.", "warn"))
    return blocks


def status(result: MigrationStatus) -> list[Block]:
    """The revisions with their states, and a sentence on what to do.

    Of a long history that is applied the end is shown.
    """
    hidden = max(0, _applied_from_the_beginning(result) - _SHOWN)
    rows = [
        (
            Cell(revision.state.value, _STYLES[revision.state]),
            revision.revision,
            revision.message,
            revision.applied_at,
            revision.applied_by,
        )
        for revision in result.revisions[hidden:]
    ]
    earlier = f"; {hidden} earlier ones are applied" if hidden else ""
    place = f"{result.app} on {result.database}, schema {result.schema}"
    return [
        Line(f"{place}: at {result.current or 'the beginning'}{earlier}"),
        Grid(["State", "Revision", "Message", "Applied", Column("By", optional=True)], rows),
        _verdict(result),
    ]


def _applied_from_the_beginning(result: MigrationStatus) -> int:
    states = [revision.state is RevisionState.APPLIED for revision in result.revisions]
    return states.index(False) if False in states else len(states)


def _verdict(result: MigrationStatus) -> Line:
    if result.ok:
        return Line("Everything is applied.", "good")
    counts = [
        f"{count} {state.value}"
        for state in RevisionState
        if state is not RevisionState.APPLIED and (count := result.count(state))
    ]
    only_pending = result.count(RevisionState.PENDING) == sum(
        revision.state is not RevisionState.APPLIED for revision in result.revisions
    )
    advice = " Apply with: leadctl migrate" if only_pending else ""
    return Line(f"{', '.join(counts)}.{advice}", "warn" if only_pending else "bad")


def history(result: MigrationHistory) -> list[Block]:
    """What was applied, in order."""
    if not result.revisions:
        return [Line(f"Nothing was applied to {result.database}, schema {result.schema}, yet.")]
    rows = [
        (entry.revision, entry.applied_at, entry.applied_by, f"{entry.duration_ms:,} ms")
        for entry in result.revisions
    ]
    return [
        Grid(
            ["Revision", "Applied", Column("By", optional=True), Column("Time", numbers=True)], rows
        )
    ]
