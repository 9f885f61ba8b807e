"""The Prometheus writer: the text format, for the textfile collector.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Iterable, Mapping

from leadctl.health.check import CheckResult, CheckStatus
from leadctl.health.health import Health

_NUMBERS = {"ok": 0, "warning": 1, "critical": 2, "unknown": 3}


def text(result: Health) -> str:
    """Return a health check as metrics, without times: the collector adds the file's own."""
    place = {"database": result.database, "schema": result.schema, "app": result.app}
    values = [check for check in result.checks if isinstance(check.value, int | float)]
    return "\n".join(
        [
            *_metric(
                "leadctl_health_status",
                "The worst check: 0 ok, 1 warning, 2 critical, 3 unknown.",
                [(place, _NUMBERS[result.status])],
            ),
            *_metric(
                "leadctl_check_status",
                "A check: 0 ok, 1 warning, 2 critical, 3 skipped, so unknown.",
                [(place | {"check": check.name}, _status(check)) for check in result.checks],
            ),
            *_metric(
                "leadctl_check_value",
                "What a check found, in its unit.",
                [
                    (place | {"check": check.name, "unit": check.unit}, float(check.value or 0))
                    for check in values
                ],
            ),
        ]
    )


def _metric(
    name: str, help_text: str, samples: Iterable[tuple[Mapping[str, str], float]]
) -> list[str]:
    return [
        f"# HELP {name} {help_text}",
        f"# TYPE {name} gauge",
        *(f"{name}{{{_labels(labels)}}} {value:.15g}" for labels, value in samples),
    ]


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _status(check: CheckResult) -> int:
    unknown = check.status is CheckStatus.SKIPPED
    return _NUMBERS["unknown" if unknown else check.status.value]
