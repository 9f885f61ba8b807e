"""The Nagios writer: one line, then the performance data.

https://nagios-plugins.org/doc/guidelines.html
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from leadctl.health.check import CheckResult, CheckStatus
from leadctl.health.run import Health
from leadctl.text import plain

if TYPE_CHECKING:
    from leadctl.fleet.run import FleetReport, TargetReport

_WORDS = {"ok": "OK", "warning": "WARNING", "critical": "CRITICAL", "unknown": "UNKNOWN"}


def line(result: Health) -> str:
    """Return the plugin's line for a health check."""
    bad = [
        check
        for check in result.by_urgency
        if check.status in {CheckStatus.CRITICAL, CheckStatus.WARNING}
    ]
    skipped = sum(check.status is CheckStatus.SKIPPED for check in result.checks)
    if bad:
        text = "; ".join(f"{check.name}: {check.message}" for check in bad)
    else:
        text = f"{len(result.checks) - skipped} checks ok"
    if skipped:
        text += f", {skipped} skipped"
    numbers = " ".join(
        _performance(check) for check in result.by_urgency if isinstance(check.value, int | float)
    )
    text = plain(text).replace("|", "/").replace("\n", " ")  # | begins the performance data
    return f"LEADCTL {_WORDS[result.status]} - {text}" + (f" | {numbers}" if numbers else "")


_URGENCY = ("critical", "warning", "unknown", "ok")
_NAMED = 5
"""Targets that a line names."""


def fleet(report: "FleetReport[Health]", statuses: Sequence[str]) -> str:
    """Return the plugin's line for the health of a fleet: counts, then the worst targets.

    `statuses` are those of the targets, in their order.
    """
    found = Counter(statuses)
    status = next((each for each in _URGENCY if found[each]), "unknown")
    counts = ", ".join(f"{found[each]} {each}" for each in _URGENCY if found[each])
    both = zip(report.targets, statuses, strict=True)
    worst = [each for each, its in both if its == status != "ok"]
    named = "; ".join(f"{each.target}: {_reason(each, status)}" for each in worst[:_NAMED])
    more = f"; and {len(worst) - _NAMED} more" if len(worst) > _NAMED else ""
    text = plain(f"{report.fleet}: {counts}{f': {named}{more}' if named else ''}")
    text = text.replace("|", "/").replace("\n", " ")
    numbers = " ".join(f"{each}={found[each]}" for each in _URGENCY)
    return f"LEADCTL {_WORDS[status]} - {text} | {numbers}"


def _reason(each: "TargetReport[Health]", status: str) -> str:
    if each.result is None:
        return each.message or each.state.value
    return ", ".join(check.name for check in each.result.checks if check.status.value == status)


def _performance(check: CheckResult) -> str:
    unit = check.unit if check.unit in {"ms", "s", "%", "B"} else ""
    return f"{check.name}={check.value}{unit}"
