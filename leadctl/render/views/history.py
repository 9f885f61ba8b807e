"""The view of the journal."""

from leadctl.journal.runs import JournaledRun, RunHistory
from leadctl.render.blocks import Block, Cell, Column, Grid, Line, Style

_STYLES: dict[str, Style] = {"done": "good", "running": "warn"}


def history(result: RunHistory) -> list[Block]:
    """The newest runs first."""
    if not result.runs:
        return [Line(f"leadctl has changed nothing in {result.database} yet.")]
    rows = [
        (
            entry.started_at,
            entry.command,
            Cell(entry.outcome, _STYLES.get(entry.outcome, "bad")),
            _duration(entry),
            f"{entry.app or ''}, {entry.schema or ''}",
            _summary(entry),
            entry.run_by,
        )
        for entry in result.runs
    ]
    return [
        Grid(
            [
                "When",
                "Command",
                "Outcome",
                Column("Took", numbers=True, optional=True),
                Column("App, schema", optional=True),
                "What",
                Column("By", optional=True),
            ],
            rows,
        )
    ]


def _duration(entry: JournaledRun) -> str:
    if entry.ended_at is None:
        return ""
    return f"{(entry.ended_at - entry.started_at).total_seconds():,.1f} s"


def _summary(entry: JournaledRun) -> str:
    return ", ".join(
        f"{name} {len(value) if isinstance(value, list) else value}"
        for name, value in entry.summary.items()
    )
