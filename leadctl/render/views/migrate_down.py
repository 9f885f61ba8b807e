"""Views of going down: what goes, what was undone, what a rehearsal found."""

from leadctl.migrate.down import DownPlan, DownRehearsal, DownResult, RevisionLoss, Verdict
from leadctl.render.blocks import Block, Cell, Column, Grid, Line, Style

_STYLES: dict[Verdict, Style] = {
    Verdict.REVERSIBLE: "good",
    Verdict.LOSSY: "warn",
    Verdict.IRREVERSIBLE: "bad",
}


def plan(result: DownPlan) -> list[Block]:
    """What is going to be undone, and what data goes with it."""
    place = f"{result.database}, schema {result.schema}"
    if not result.revisions:
        return [Line(f"Nothing to undo on {place}.")]
    blocks: list[Block] = [Line(f"To be undone on {place}: {', '.join(result.revisions)}.")]
    if result.losses:
        rows = [(each.revision, each.table, _what(each), _rows(each)) for each in result.losses]
        blocks.append(Grid(["Revision", "Table", "What goes", Column("Rows", numbers=True)], rows))
    blocks += [
        Line(f"What {revision} loses cannot be told: read its downgrade().", "warn")
        for revision in result.unknown
    ]
    if not result.losses and not result.unknown:
        blocks.append(Line("No rows go.", "good"))
    if result.protected:
        blocks.append(Line(f"The database is protected: {result.protected}.", "warn"))
    return blocks


def down(result: DownResult) -> list[Block]:
    """What was undone, and where the database is now."""
    place = f"{result.database}, schema {result.schema}"
    if not result.undone:
        return [Line(f"Nothing to undo: {place} is at {result.current or 'the beginning'}.")]
    rows = [(each.revision, each.message, f"{each.duration_ms:,} ms") for each in result.undone]
    return [
        Grid(["Undone", "Message", Column("Time", numbers=True)], rows),
        Line(f"{place} is at {result.current or 'the beginning'}."),
    ]


def rehearse(result: DownRehearsal) -> list[Block]:
    """The verdict on each revision."""
    if not result.revisions:
        return [Line("There is nothing to rehearse.")]
    rows = [
        (
            each.revision,
            Cell(each.verdict.value, _STYLES[each.verdict]),
            each.reason or "; ".join(each.loses),
        )
        for each in result.revisions
    ]
    blocks: list[Block] = [Grid(["Revision", "Verdict", "Loses, or why not"], rows)]
    for revision in result.revisions:
        blocks += [
            Line(f"{revision.revision}: {each.change} {each.object}", "bad")
            for each in revision.differences
        ]
    return blocks


def _what(loss: RevisionLoss) -> str:
    return loss.loss.what


def _rows(loss: RevisionLoss) -> str:
    if loss.loss.rows is None:
        return "unknown"
    return f"{loss.loss.rows:,}" if loss.loss.exact else f"about {loss.loss.rows:,}"
