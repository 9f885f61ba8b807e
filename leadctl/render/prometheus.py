"""The Prometheus writer: the text format, for the textfile collector.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from leadctl.files import write_whole
from leadctl.health.check import CheckResult, CheckStatus
from leadctl.health.run import Health

if TYPE_CHECKING:
    from leadctl.cleanup.results import CleanupResult, PastRuns, RuleResult
    from leadctl.fleet.run import FleetReport

_FILE_MODE = 0o644
_NUMBERS = {"ok": 0, "warning": 1, "critical": 2, "unknown": 3}

_Samples = Iterable[tuple[Mapping[str, str], float | None]]
"""Labels and values; None is left out."""
_Metric = tuple[str, str, _Samples]
"""A name, its help and its samples."""


def health(result: Health) -> str:
    """Return a health check as metrics, without times: the collector adds the file's own."""
    return _text(*_health([({}, result)]))


def fleet(report: "FleetReport[Health]") -> str:
    """Return the health of a fleet as metrics: how many targets are in which state, and each."""
    labels = {"fleet": report.fleet}
    counts = [(labels | {"state": state}, count) for state, count in report.counts.items()]
    return _text(
        ("leadctl_fleet_targets", "Targets of a fleet, by what came of them.", counts),
        (
            "leadctl_fleet_failed",
            "Whether a target could not be checked.",
            [
                (labels | {"target": each.target}, each.failure is not None)
                for each in report.targets
                if each.failure is not None or each.result is not None
            ],
        ),
        *_health(
            [
                (labels | {"target": each.target}, each.result)
                for each in report.targets
                if each.result is not None
            ]
        ),
    )


def _health(results: Sequence[tuple[Mapping[str, str], Health]]) -> Iterator[_Metric]:
    """Yield the metrics of health checks, each with labels of its own."""
    found = [
        ({**labels, "database": each.database, "schema": each.schema, "app": each.app}, each)
        for labels, each in results
    ]
    checks = [
        (labels | {"check": check.name}, check)
        for labels, each in found
        for check in each.by_urgency
    ]
    yield (
        "leadctl_health_status",
        "The worst check: 0 ok, 1 warning, 2 critical, 3 unknown.",
        [(labels, _NUMBERS[each.status]) for labels, each in found],
    )
    yield (
        "leadctl_check_status",
        "A check: 0 ok, 1 warning, 2 critical, 3 skipped, so unknown.",
        [(labels, _status(check)) for labels, check in checks],
    )
    yield (
        "leadctl_check_value",
        "What a check found, in its unit.",
        [
            (labels | {"unit": check.unit}, check.value)
            for labels, check in checks
            if isinstance(check.value, int | float)
        ],
    )


def cleanup(result: "CleanupResult", past: "PastRuns") -> str:
    """Return a run of cleanup as metrics; `past` are the runs of the journal, this one included."""
    from leadctl.cleanup.results import RuleStatus

    labels = {"app": result.app, "database": result.database, "schema": result.schema}

    def by_rule(
        name: str, help_text: str, value: "Callable[[RuleResult], float | None]"
    ) -> _Metric:
        samples = [(labels | {"rule": rule.rule}, value(rule)) for rule in result.rules]
        return f"leadctl_cleanup_{name}", help_text, samples

    def last_success(rule: "RuleResult") -> float | None:
        moment = past.last_success(rule.rule)
        return None if moment is None else moment.timestamp()

    bad = {RuleStatus.FAILED, RuleStatus.REFUSED}
    return _text(
        by_rule("rows", "Rows that the last run took, of the rule's table.", lambda it: it.rows),
        by_rule(
            "cascaded_rows",
            "Rows that went along in the last run.",
            lambda it: sum((it.cascaded or {}).values()),
        ),
        by_rule("seconds", "How long the last run took.", lambda it: it.seconds),
        by_rule(
            "success", "Whether the last run ended as it should.", lambda it: it.status not in bad
        ),
        by_rule(
            "partly",
            "Whether the last run was done in part, since rows may not go.",
            lambda it: it.status is RuleStatus.PARTLY,
        ),
        by_rule(
            "backlog_rows",
            "Rows that are still due.",
            lambda it: past.last(it.rule).get("backlog"),
        ),
        by_rule(
            "refused_rows",
            "Rows that are due and may not go, in the last run.",
            lambda it: it.refused,
        ),
        by_rule(
            "last_success_timestamp_seconds",
            "When the rule last ended as it should.",
            last_success,
        ),
    )


def write(path: Path, text: str) -> None:
    """Write metrics to a file, whole or not at all; the collector reads it as another user."""
    write_whole(path, f"{text}\n", _FILE_MODE)
    path.chmod(_FILE_MODE)


def _text(*metrics: _Metric) -> str:
    lines = []
    for name, help_text, samples in metrics:
        lines += [f"# HELP {name} {help_text}", f"# TYPE {name} gauge"]
        lines += [
            f"{name}{{{_labels(labels)}}} {_number(value)}"
            for labels, value in samples
            if value is not None
        ]
    return "\n".join(lines)


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return repr(float(value)).removesuffix(".0")


def _status(check: CheckResult) -> int:
    unknown = check.status is CheckStatus.SKIPPED
    return _NUMBERS["unknown" if unknown else check.status.value]
