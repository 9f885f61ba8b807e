"""Which checks are run, and by which thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from leadctl.errors import UnknownCheck
from leadctl.health.check import Check, name_of
from leadctl.health.database import CHECKS
from leadctl.health.thresholds import Limits, effective
from leadctl.settings import Settings
from leadctl.text import did_you_mean


@dataclass(frozen=True)
class Selection:
    """The checks that are run, in order, and the thresholds of all."""

    checks: tuple[Check, ...]
    limits: Mapping[str, Limits]


@dataclass(frozen=True)
class CheckEntry:
    """One check as `--list` shows it; `below` says that less is worse."""

    name: str
    description: str
    warning: float | None
    critical: float | None
    unit: str
    below: bool


@dataclass(frozen=True)
class CheckList:
    """The checks that would be run."""

    checks: tuple[CheckEntry, ...]


def select(settings: Settings, only: Sequence[str] = (), without: Sequence[str] = ()) -> Selection:
    """Choose checks: `only` these, or all, but not those in `without`.

    Raises UnknownCheck, and what `thresholds.effective` raises.
    """
    by_name = {name_of(check): check for check in CHECKS}
    for name in (*only, *without):
        if name not in by_name:
            raise UnknownCheck(f"There is no check {name!r}.", hint=did_you_mean(name, by_name))
    chosen = [
        by_name[name] for name in by_name if name in (only or by_name) and name not in without
    ]
    if not chosen:
        raise UnknownCheck("No check is left to run.", hint="Name fewer with --skip.")
    return Selection(tuple(chosen), effective(settings.health, by_name))


def listing(selection: Selection) -> CheckList:
    """Return the selected checks with what they are about."""
    return CheckList(tuple(_entry(check, selection.limits) for check in selection.checks))


def _entry(check: Check, all_limits: Mapping[str, Limits]) -> CheckEntry:
    limits = all_limits.get(name_of(check), Limits(None, None, ""))
    return CheckEntry(
        name=name_of(check),
        description=(check.__doc__ or "").partition("\n")[0],
        warning=limits.warning,
        critical=limits.critical,
        unit=limits.unit,
        below=limits.below,
    )
