"""What a check is, and what it answers."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leadctl.health.facts import Facts


class CheckStatus(Enum):
    """How a check went; skipped is never ok: it says that nothing is known, and why."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class CheckResult:
    """One check's answer; `value` is its evidence in `unit`, `hint` the next step."""

    name: str
    status: CheckStatus
    value: float | str | None = None
    unit: str = ""
    message: str = ""
    hint: str = ""


@dataclass(frozen=True)
class FixResult:
    """How a fix went: `outcome` is done, declined or failed, `message` says why it failed."""

    check: str
    statement: str
    outcome: str
    message: str = ""


class Skip(Exception):
    """Raised by a check that cannot know the answer; its text says why."""


Check = Callable[["Facts"], CheckResult]
"""A function named as its check; its docstring's first line is what `--list` shows."""

_asked: dict[Check, tuple[str, ...]] = {}


def asks(*reports: str) -> Callable[[Check], Check]:
    """Say which of inspect's reports a check is about: they are fetched for all checks at once."""

    def mark(check: Check) -> Check:
        _asked[check] = reports
        return check

    return mark


def reports_of(check: Check) -> tuple[str, ...]:
    """Return the reports that a check asks for."""
    return _asked.get(check, ())


def name_of(check: Check) -> str:
    """Return a check's name as people write it."""
    return check.__name__.replace("_", "-")
