"""The view of the journal."""

from collections.abc import Mapping
from typing import Any

from leadctl.journal.runs import JournaledRun, RunHistory
from leadctl.render.blocks import Block, Cell, Column, Grid, Line, Style, is_amount

_STYLES: dict[str, Style] = {"done": "good", "running": "warn", "partly": "warn"}


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
    parts = (_fact(name, value) for name, value in entry.summary.items() if value is not None)
    return ", ".join(part for part in parts if part)


def _fact(name: str, value: Any) -> str:
    """Return a fact as people read it: a list is counted, what is nested has its own facts."""
    word = name.replace("_", " ")
    if isinstance(value, list) and not (len(value) == 1 and isinstance(value[0], str)):
        return f"{word} {len(value):,}"
    if isinstance(value, Mapping):
        nested = (f"{key}: {_nested(each)}" for key, each in value.items())
        return "; ".join(nested) or f"{word} none"
    if isinstance(value, bool):
        return f"{word} {'yes' if value else 'no'}"
    shown = f"{value:,}" if isinstance(value, int | float) and is_amount(name) else value
    return f"{word} {shown[0] if isinstance(shown, list) else shown}"


def _nested(facts: Any) -> str:
    if not isinstance(facts, Mapping):
        return str(facts)
    telling = {name: value for name, value in facts.items() if value not in (0, None, "done")}
    return ", ".join(_nested_fact(name, value) for name, value in telling.items()) or "rows 0"


def _nested_fact(name: str, value: Any) -> str:
    if not isinstance(value, int):
        return str(value)
    return f"{name.replace('_', ' ')} {f'{value:,}' if is_amount(name) else value}"
