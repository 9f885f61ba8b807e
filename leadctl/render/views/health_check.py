"""Views of a health check."""

from collections.abc import Iterator, Sequence

from leadctl.health.check import CheckStatus
from leadctl.health.run import CheckEntry, CheckList, Health
from leadctl.render.blocks import Block, Cell, Column, Grid, Line, Style, Value
from leadctl.text import place, size

_STYLES: dict[str, Style] = {
    "ok": "good",
    "warning": "warn",
    "critical": "bad",
    "skipped": "dim",
    "unknown": "warn",
}


_FOLDED = (CheckStatus.SKIPPED, CheckStatus.OK)


def health(result: Health, *, everything: bool = False) -> Iterator[Block]:
    """What is wrong, each with its evidence and the next step; the rest in a line each.

    `everything` shows each check; so does a result in which nothing is known.
    """
    of_app = f"{result.app} on " if result.app else ""
    database = f"{of_app}{place(result)}"
    for each in result.fixes:
        told = ": ".join(filter(None, (each.outcome, each.statement, each.message)))
        yield Line(told, _FIXED[each.outcome])
    yield Line(f"{database}: {result.status}", _STYLES[result.status])
    folded = () if everything or result.status == "unknown" else _FOLDED
    rows: list[Sequence[Value]] = []
    for check in result.by_urgency:
        if check.status not in folded:
            style = _STYLES[check.status.value]
            rows.append((Cell(check.status.value, style), check.name, check.message))
            rows += [("", "", Cell(check.hint, "strong"))] if check.hint else []
    if rows:
        yield Grid(["Status", "Check", "Evidence"], rows)
    for status in folded:
        names = [check.name for check in result.checks if check.status is status]
        if names:
            which = (
                f" (--all says why): {', '.join(names)}" if status is CheckStatus.SKIPPED else ""
            )
            yield Line(f"{len(names)} {status.value}{which}", "dim")


_FIXED: dict[str, Style] = {"done": "good", "declined": "dim", "failed": "bad"}


def listing(result: CheckList) -> list[Block]:
    """Every check with its thresholds."""
    rows = [
        (check.name, check.description, _limit(check, check.warning), _limit(check, check.critical))
        for check in result.checks
    ]
    return [
        Grid([Column("Check", key=True), "What it expects", "Warning", "Critical"], rows),
        Line(
            "Thresholds are set as [health.CHECK] warning = …, critical = … in leadctl.toml.", "dim"
        ),
    ]


def _limit(check: CheckEntry, value: float | None) -> str:
    if value is None:
        return ""
    sign = "<" if check.below else "≥"
    if check.unit.startswith("B"):
        return f"{sign} {size(int(value))}{check.unit.removeprefix('B')}"
    return f"{sign} {value:,.15g} {check.unit}"
