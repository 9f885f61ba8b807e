"""Views of a health check."""

from leadctl.health.check import CheckStatus
from leadctl.health.fix import FixResult
from leadctl.health.run import CheckEntry, CheckList, Health
from leadctl.render.blocks import Block, Cell, Column, Grid, Line, Style
from leadctl.text import size

_STYLES: dict[str, Style] = {
    "ok": "good",
    "warning": "warn",
    "critical": "bad",
    "skipped": "dim",
    "unknown": "warn",
}


def health(result: Health) -> list[Block]:
    """Every check with its evidence, then the next steps."""
    rows = [
        (Cell(check.status.value, _STYLES[check.status.value]), check.name, check.message)
        for check in result.checks
    ]
    place = f"{result.app} on {result.database}, schema {result.schema}"
    blocks: list[Block] = [
        *(Line(_fixed(each), _FIXED[each.outcome]) for each in result.fixes),
        Line(f"{place}: {result.status}", _STYLES[result.status]),
        Grid(["Status", "Check", "Evidence"], rows),
    ]
    blocks += [
        Line(f"{check.name}: {check.hint}")
        for check in result.checks
        if check.hint and check.status is not CheckStatus.OK
    ]
    return blocks


_FIXED: dict[str, Style] = {"done": "good", "declined": "dim", "failed": "bad"}


def _fixed(result: FixResult) -> str:
    return f"{result.outcome}: {result.statement}" + (
        f": {result.message}" if result.message else ""
    )


def listing(result: CheckList) -> list[Block]:
    """Every check with its thresholds."""
    rows = [
        (check.name, check.description, _limit(check, check.warning), _limit(check, check.critical))
        for check in result.checks
    ]
    columns = ["Check", "What it expects"]
    limits = [Column("Warning", numbers=True), Column("Critical", numbers=True)]
    return [
        Grid([*columns, *limits], rows),
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
