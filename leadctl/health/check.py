"""What a check is, and what it answers.

A check is a function that is marked with `check` in one of the modules that run.py lists: its name
is the function's, its description the docstring's first line.
"""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from leadctl.health.facts import Facts, Skip


class CheckStatus(Enum):
    """How a check went; skipped is never ok: it says that nothing is known, and why."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    SKIPPED = "skipped"


class CheckResult(NamedTuple):
    """One check's answer; `value` is its evidence in `unit`, `hint` the next step."""

    name: str
    status: CheckStatus
    value: float | str | None = None
    unit: str = ""
    message: str = ""
    hint: str = ""


class FixResult(NamedTuple):
    """How a fix went: `outcome` is done, declined or failed, `message` says why it failed."""

    check: str
    statement: str
    outcome: str
    message: str = ""


class Evidence(NamedTuple):
    """What a check found: its evidence in a unit, in words, and the next step."""

    message: str
    hint: str = ""
    value: float | str | None = None
    unit: str = ""
    status: CheckStatus | None = None
    """None where the check's thresholds grade the value, which is in their unit then."""
    doubt: str = ""
    """Why nobody knows where the grade is ok."""
    up_to: float | None = None
    """The most that the value may be: there is no doubt where that is ok, too."""
    at_least: CheckStatus = CheckStatus.OK
    """The grade where the thresholds would say ok."""


def graded(
    value: float,
    message: str,
    hint: str = "",
    *,
    doubt: str = "",
    up_to: float | None = None,
    at_least: CheckStatus = CheckStatus.OK,
) -> Evidence:
    """Return a finding that the check's thresholds grade; the hint is for where it is not ok.

    `doubt` says why the check is skipped where it would be ok, unless the value is `up_to` so much
    at most, and that is ok; `at_least` is the grade there.
    """
    return Evidence(message, hint, value, doubt=doubt, up_to=up_to, at_least=at_least)


def ok(message: str, value: float | str | None = None, unit: str = "") -> Evidence:
    """Return what is as it should be."""
    return Evidence(message, "", value, unit, CheckStatus.OK)


def warning(message: str, hint: str, value: float | str | None = None, unit: str = "") -> Evidence:
    """Return what somebody should look at."""
    return Evidence(message, hint, value, unit, CheckStatus.WARNING)


def critical(message: str, hint: str, value: float | None = None, unit: str = "") -> Evidence:
    """Return what somebody must look at now."""
    return Evidence(message, hint, value, unit, CheckStatus.CRITICAL)


class Thresholds(NamedTuple):
    """From which value on a check warns, and is critical; `below` turns it round."""

    warning: float | None
    critical: float | None
    unit: str
    below: bool = False

    def grade(self, value: float) -> CheckStatus:
        """Grade a value."""
        if self._is_reached(self.critical, value):
            return CheckStatus.CRITICAL
        return CheckStatus.WARNING if self._is_reached(self.warning, value) else CheckStatus.OK

    def _is_reached(self, threshold: float | None, value: float) -> bool:
        if threshold is None:
            return False
        return value < threshold if self.below else value >= threshold


class HealthCheck(NamedTuple):
    """A check; `thresholds` are None where it grades what it finds itself."""

    name: str
    description: str
    find: Callable[[Facts], Evidence]
    thresholds: Thresholds | None
    reports: tuple[str, ...]
    """Those of inspect that it is about: they are fetched for all checks at once."""

    def result(self, facts: Facts) -> CheckResult:
        """Run the check.  Raises Skip, psycopg.Error and LeadctlError."""
        found = self.find(facts)
        status, unit, hint = found.status, found.unit, found.hint
        if status is None:
            assert self.thresholds is not None
            assert isinstance(found.value, int | float)
            status, unit = self.thresholds.grade(found.value), self.thresholds.unit
            if status is CheckStatus.OK:
                status = found.at_least
            if status is CheckStatus.OK:
                hint = ""
                sure = found.up_to is not None and self.thresholds.grade(found.up_to) is status
                if found.doubt and not sure:
                    raise Skip(found.doubt)
        return CheckResult(self.name, status, found.value, unit, found.message, hint)


def check(
    *reports: str,
    warning: float | None = None,
    critical: float | None = None,
    unit: str = "",
    below: bool = False,
) -> Callable[[Callable[[Facts], Evidence]], HealthCheck]:
    """Make a function a check, with the reports of inspect that it is about, and its thresholds.

    With a unit its values are graded: from `warning` and `critical` on, or `below` them.  Most
    thresholds are those of check_postgres and pghero.
    """
    thresholds = Thresholds(warning, critical, unit, below) if unit else None

    def made(find: Callable[[Facts], Evidence]) -> HealthCheck:
        description = (find.__doc__ or "").partition("\n")[0]
        return HealthCheck(find.__name__.replace("_", "-"), description, find, thresholds, reports)

    return made
