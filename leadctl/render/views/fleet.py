"""Views of a fleet's report: counts by state, what failed first, each with its next command."""

import shlex
from collections.abc import Iterator
from typing import Any

from leadctl.fleet.run import FleetReport, TargetReport, TargetState
from leadctl.migrate.status import RevisionState
from leadctl.render.blocks import Block, Cell, Column, Grid, Line, Style
from leadctl.text import counted

_STYLES: dict[TargetState, Style] = {
    TargetState.DONE: "good",
    TargetState.NO: "warn",
    TargetState.FAILED: "bad",
    TargetState.NOT_RUN: "dim",
}
_ENDED = {
    "canary": "not every canary went well",
    "max failures": "--max-failures was reached",
    "interrupted": "the run was interrupted",
}
_SHOWN = 50
"""Targets that a table shows."""


def report(result: FleetReport[Any]) -> Iterator[Block]:
    """What came of the fleet in a line, then the targets that failed, with their next command."""
    counts = ", ".join(f"{count:,} {state}" for state, count in result.counts.items() if count)
    yield Line(
        f"{result.verb} on the fleet {result.fleet}: {counts} "
        f"({counted(result.total, 'target')}, {result.seconds:,.1f} s, run {result.run})",
        "good" if result.ok else "warn",
    )
    shown = result.bad or result.targets
    if shown:
        rows = [_row(result, each) for each in shown[:_SHOWN]]
        yield Grid([Column("Target", key=True), "State", "What", Column("Next", key=True)], rows)
    if len(shown) > _SHOWN:
        yield Line(f"… and {len(shown) - _SHOWN:,} more; -o json has all.", "dim")
    if result.ended:
        left = result.counts[TargetState.NOT_RUN.value]
        yield Line(
            f"{counted(left, 'target')} not run: {_ENDED[result.ended]}. "
            "Run the same command again for the rest.",
            "warn",
        )


def _row(result: FleetReport[Any], each: TargetReport[Any]) -> tuple[Cell | str, ...]:
    what = each.message or summary(each.result)
    command = next_command(result, each) if each.state is not TargetState.DONE else ""
    hint = f"{each.hint}\n" if each.hint else ""
    return each.target, Cell(each.state.value, _STYLES[each.state]), what, f"{hint}{command}"


def next_command(result: FleetReport[Any], each: TargetReport[Any]) -> str:
    """Return the command to type next for a target that failed, or whose answer is "no"."""
    pattern = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in each.target)
    verb = _NEXT.get(result.verb, result.verb) if each.failure is None else result.verb
    return shlex.join(["leadctl", *verb.split(), "--fleet", result.fleet, "--only", pattern])


_NEXT = {"migrate status": "migrate"}
"""What is done about the answer "no", where it is not the same verb again."""


def summary(result: Any) -> str:
    """Return what a target's result says, in a few words; empty where there is nothing to say."""
    told = _SUMMARIES.get(type(result).__name__)
    return told(result) if told else ""


_SUMMARIES: dict[str, Any] = {
    "MigrateResult": lambda r: (
        f"{len(r.applied)} applied, at {r.current}" if r.applied else "nothing to do"
    ),
    "MigrationStatus": lambda r: ", ".join(
        f"{count} {state.value}"
        for state in RevisionState
        if state is not RevisionState.APPLIED and (count := r.count(state))
    ),
}
