"""The view of a health check."""

from leadctl.operations.health.check import CheckStatus
from leadctl.operations.health.health import Health
from leadctl.render.blocks import Block, Cell, Grid, Line, Style

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
        Line(f"{place}: {result.status}", _STYLES[result.status]),
        Grid(["Status", "Check", "Evidence"], rows),
    ]
    blocks += [
        Line(f"{check.name}: {check.hint}")
        for check in result.checks
        if check.hint and check.status is not CheckStatus.OK
    ]
    return blocks
