"""The Nagios writer: one line, then the performance data.

https://nagios-plugins.org/doc/guidelines.html
"""

from leadctl.health.check import CheckResult, CheckStatus
from leadctl.health.run import Health
from leadctl.text import plain

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
    numbers = " ".join(_performance(check) for check in result.by_urgency if _is_number(check))
    text = plain(text).replace("|", "/").replace("\n", " ")  # | begins the performance data
    return f"LEADCTL {_WORDS[result.status]} - {text}" + (f" | {numbers}" if numbers else "")


def _is_number(check: CheckResult) -> bool:
    return isinstance(check.value, int | float)


def _performance(check: CheckResult) -> str:
    unit = check.unit if check.unit in {"ms", "s", "%", "B"} else ""
    return f"{check.name}={check.value}{unit}"
