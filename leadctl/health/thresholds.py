"""The thresholds of the checks that have any, as `[health.CHECK]` may set them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from leadctl.errors import InvalidSetting, UnknownSetting
from leadctl.settings.model import HealthConfig

_GB = 10**9


@dataclass(frozen=True)
class Limits:
    """From which value on a check warns, and is critical; `below` turns it round."""

    warning: float | None
    critical: float | None
    unit: str
    below: bool = False

    def reached(self, threshold: float | None, value: float) -> bool:
        """Whether a value has reached a threshold, or is below it where less is worse."""
        if threshold is None:
            return False
        return value < threshold if self.below else value >= threshold


DEFAULTS: Mapping[str, Limits] = {
    "latency": Limits(100, 1000, "ms"),
    "connections": Limits(90, 95, "%"),
    "duplicate-indexes": Limits(1, None, "indexes"),
    "invalid-indexes": Limits(1, None, "indexes"),
    "missing-indexes": Limits(1, None, "foreign keys"),
    "unvalidated-constraints": Limits(1, None, "constraints"),
    "sequences": Limits(85, 95, "%"),
    "vacuum": Limits(200, None, "%"),
    "statistics": Limits(1, None, "tables"),
    "bloat": Limits(20, None, "%"),
    "cache-hit": Limits(99, 94, "%", below=True),
    "index-usage": Limits(95, None, "%", below=True),
    "transaction-age": Limits(1.3e9, 1.4e9, "transactions"),
    "multixact-age": Limits(1.3e9, 1.4e9, "multixacts"),
    "blocking": Limits(1, 120, "s"),
    "idle-in-transaction": Limits(60, 300, "s"),
    "long-queries": Limits(60, None, "s"),
    "prepared-transactions": Limits(1, None, "s"),
    "slow-queries": Limits(33, None, "%"),
    "deadlocks": Limits(1, None, "an hour"),
    "temporary-files": Limits(10 * _GB, None, "B an hour"),
    "checksums": Limits(None, 1, "failures"),
    "replication": Limits(30, 300, "s"),
    "replication-slots": Limits(5 * _GB, 50 * _GB, "B"),
    "archiving": Limits(42, None, "segments"),
}
"""Most are those of check_postgres and pghero; docs/health.md says what each is about."""


def effective(
    overrides: Mapping[str, HealthConfig], checks: Mapping[str, object]
) -> dict[str, Limits]:
    """Return the thresholds with the overrides of leadctl.toml applied.

    Raises UnknownSetting for what is no check or has no threshold, InvalidSetting where a check
    would be critical before it warns.
    """
    found = dict(DEFAULTS)
    for name, override in overrides.items():
        if name not in DEFAULTS:
            what = "has no threshold" if name in checks else "is no check"
            raise UnknownSetting(
                f"[health.{name}] in leadctl.toml: {name} {what}.",
                hint="See: leadctl health-check --list",
            )
        default = DEFAULTS[name]
        warning = default.warning if override.warning is None else override.warning
        critical = default.critical if override.critical is None else override.critical
        found[name] = _checked(name, replace(default, warning=warning, critical=critical))
    return found


def _checked(name: str, limits: Limits) -> Limits:
    if limits.warning is not None and limits.critical is not None:
        early = (
            limits.critical > limits.warning if limits.below else limits.critical < limits.warning
        )
        if early:
            raise InvalidSetting(
                f"[health.{name}] in leadctl.toml is critical at {limits.critical:g} before it "
                f"warns at {limits.warning:g}.",
                hint="Set both warning and critical.",
            )
    return limits
