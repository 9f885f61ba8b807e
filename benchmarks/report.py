"""What was measured: as JSON, as a table, as docs/benchmarks.md."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.measure import Summary
from benchmarks.rows import all_rows
from leadctl.text import size

_HEADER_LINES = 2
_MINUTE, _HOUR = 60, 3600
_BILLION = 1e9


@dataclass(frozen=True)
class Machine:
    """Where it was measured."""

    measured: str
    cores: int
    memory_bytes: int
    system: str
    python: str
    server: int
    """PostgreSQL's major version."""
    load: float
    """The load average when it began: what others did on the machine stretches times."""
    quick: bool
    """Whether it was a quick run, on small databases."""


@dataclass(frozen=True)
class Measurement:
    """One row at one size of the database."""

    name: str
    peer: str
    rows: int
    goal: float
    size_goal: float | None
    ours: Summary
    theirs: Summary

    @property
    def ratio(self) -> float:
        """Our time divided by the peer's."""
        return self.ours.seconds / self.theirs.seconds

    @property
    def size_ratio(self) -> float | None:
        """Our result's size divided by the peer's, where results are files."""
        if not self.ours.result_bytes or not self.theirs.result_bytes:
            return None
        return self.ours.result_bytes / self.theirs.result_bytes

    @property
    def reached(self) -> bool:
        """Whether the goals are reached."""
        small = self.size_goal is None or (self.size_ratio or 0) <= self.size_goal
        return self.ratio <= self.goal and small


@dataclass(frozen=True)
class Results:
    """Everything that was measured."""

    machine: Machine
    measurements: Sequence[Measurement]


def store(path: Path, machine: Machine, new: Iterable[Measurement]) -> None:
    """Write measurements to a file, in the order of the rows; those of other rows stay.

    The goals are those of today's rows.
    """
    before = load(path).measurements if path.exists() else ()
    found = {(m.name, m.peer, m.rows): m for m in (*before, *new)}
    rows = {(row.name, row.peer): row for row in all_rows()}
    order = list(rows)
    listed = [
        replace(m, goal=row.goal_at(m.rows), size_goal=row.size_goal)
        for m in found.values()
        if (row := rows.get((m.name, m.peer)))
    ]
    listed.sort(key=lambda m: (order.index((m.name, m.peer)), m.rows))
    document = {
        "machine": asdict(machine),
        "measurements": [
            {**asdict(m), "ratio": round(m.ratio, 3), "reached": m.reached} for m in listed
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")


def load(path: Path) -> Results:
    """Read what `store` wrote."""
    document = json.loads(path.read_text())
    return Results(
        Machine(**document["machine"]), [_measurement(m) for m in document["measurements"]]
    )


def table(results: Results) -> str:
    """Return the table, for a screen and for Markdown alike."""
    header = ["leadctl", "beside", "rows", "ours", "peer", "ratio", "goal", "", "peak memory"]
    lines = [header, *(_cells(m) for m in results.measurements)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    rule = [["-" * width for width in widths]]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in [header, *rule, *lines[1:]]
    )


def growth(results: Results) -> str:
    """Return how each command's time grows between its smallest and largest database.

    The exponent is the slope in a log-log plot: 0 is a cost that does not depend on the rows,
    1 one that is proportional to them.  The last column goes on along it.
    """
    lines = [
        "| leadctl | rows | ours | exponent | peer's exponent | a billion rows, along it |",
        "|---|---|---|---|---|---|",
    ]
    for (name, _), group in groupby(results.measurements, key=lambda m: (m.name, m.peer)):
        sized = [m for m in group if m.rows]
        if len(sized) > 1:
            first, last = sized[0], sized[-1]
            times = ", ".join(_seconds(m.ours.seconds) for m in sized)
            rows = ", ".join(f"{m.rows:,}" for m in sized)
            slope = _slope(first, last, ours=True)
            far = last.ours.seconds * (_BILLION / last.rows) ** max(slope, 0.0)
            lines.append(
                f"| {name} | {rows} | {times} | {slope:.2f} |"
                f" {_slope(first, last, ours=False):.2f} | {_seconds(far)} |"
            )
    if len(lines) == _HEADER_LINES:
        return "Not measured: a quick run has one size of each database."
    return "\n".join(lines)


def document(results: Results) -> str:
    """Return docs/benchmarks.md."""
    machine = results.machine
    text = Path(__file__).with_name("benchmarks.md").read_text()
    return text.format(
        table=table(results),
        growth=growth(results),
        machine=f"{machine.cores} cores, {size(machine.memory_bytes)} of memory, "
        f"{machine.system}, PostgreSQL {machine.server}, Python {machine.python}, "
        f"{machine.measured}, a {'quick' if machine.quick else 'full'} run; "
        f"load average of the machine when it began: {machine.load:.1f}",
    )


def _cells(m: Measurement) -> list[str]:
    ratio = f"{m.ratio:.2f}" + (f" (size {m.size_ratio:.2f})" if m.size_ratio else "")
    goal = f"≤ {m.goal:g}" + (f" (size ≤ {m.size_goal:g})" if m.size_goal else "")
    return [
        m.name,
        m.peer,
        f"{m.rows:,}" if m.rows else "",
        _seconds(m.ours.seconds),
        _seconds(m.theirs.seconds),
        ratio,
        goal,
        "reached" if m.reached else "missed",
        size(m.ours.peak_bytes),
    ]


def _seconds(value: float) -> str:
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < _MINUTE:
        return f"{value:.2f} s"
    return f"{value / _MINUTE:.1f} min" if value < _HOUR else f"{value / _HOUR:.1f} h"


def _slope(first: Measurement, last: Measurement, *, ours: bool) -> float:
    low, high = (m.ours.seconds if ours else m.theirs.seconds for m in (first, last))
    return math.log(high / low) / math.log(last.rows / first.rows)


def _measurement(document: dict[str, Any]) -> Measurement:
    fields = {key: value for key, value in document.items() if key not in {"ratio", "reached"}}
    for side in ("ours", "theirs"):
        fields[side] = Summary(**{**fields[side], "runs": tuple(fields[side]["runs"])})
    return Measurement(**fields)
