"""Views of a health check."""

from collections.abc import Iterator

from leadctl.health.check import CheckStatus
from leadctl.health.fix import FixResult
from leadctl.health.run import CheckEntry, CheckList, Health
from leadctl.render.blocks import Block, Cell, Grid, Line, Style, numbers
from leadctl.text import size

_STYLES: dict[str, Style] = {
    "ok": "good",
    "warning": "warn",
    "critical": "bad",
    "skipped": "dim",
    "unknown": "warn",
}


def health(result: Health) -> Iterator[Block]:
    """Every check with its evidence, then the next steps."""
    rows = [
        (Cell(check.status.value, _STYLES[check.status.value]), check.name, check.message)
        for check in result.checks
    ]
    place = f"{result.app} on {result.database}, schema {result.schema}"
    yield from (Line(_fixed(each), _FIXED[each.outcome]) for each in result.fixes)
    yield Line(f"{place}: {result.status}", _STYLES[result.status])
    yield Grid(["Status", "Check", "Evidence"], rows)
    for check in result.checks:
        if check.hint and check.status is not CheckStatus.OK:
            yield Line(f"{check.name}: {check.hint}")


_FIXED: dict[str, Style] = {"done": "good", "declined": "dim", "failed": "bad"}


def _fixed(result: FixResult) -> str:
    return ": ".join(filter(None, (result.outcome, result.statement, result.message)))


def listing(result: CheckList) -> list[Block]:
    """Every check with its thresholds."""
    rows = [
        (check.name, check.description, _limit(check, check.warning), _limit(check, check.critical))
        for check in result.checks
    ]
    return [
        Grid(["Check", "What it expects", *numbers("Warning", "Critical")], rows),
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
