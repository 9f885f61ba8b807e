"""Metrics of a run in Prometheus's text format, for the textfile collector."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from leadctl.cleanup.results import CleanupResult, Past, RuleResult, RuleStatus, read_past
from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target

_READABLE = 0o644
"""The collector is another user."""


def write_metrics(target: Target, result: CleanupResult, path: Path) -> None:
    """Write a run's metrics in place of those that are there, at once."""
    with connect(target, "cleanup", read_only=True) as connection:
        past = read_past(connection, result.app, result.schema)
    text = "\n".join(_lines(result, past)) + "\n"
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        try:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), _READABLE)
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _lines(result: CleanupResult, past: Past) -> Iterator[str]:
    yield from _metric(
        "rows", "Rows that the last run took, of the rule's table.", result, lambda rule: rule.rows
    )
    yield from _metric(
        "cascaded_rows",
        "Rows that went along in the last run.",
        result,
        lambda rule: sum((rule.cascaded or {}).values()),
    )
    yield from _metric("seconds", "How long the last run took.", result, lambda rule: rule.seconds)
    yield from _metric(
        "success",
        "Whether the last run ended as it should.",
        result,
        lambda rule: int(rule.status not in {RuleStatus.FAILED, RuleStatus.REFUSED}),
    )
    yield from _metric(
        "backlog_rows", "Rows that are still due.", result, lambda rule: past.backlog(rule.rule)
    )
    yield from _metric(
        "last_success_timestamp_seconds",
        "When the rule last ended as it should.",
        result,
        lambda rule: _timestamp(past, rule),
    )


def _timestamp(past: Past, rule: RuleResult) -> float | None:
    moment = past.last_success(rule.rule)
    return None if moment is None else moment.timestamp()


def _metric(name: str, help_text: str, result: CleanupResult, value: object) -> Iterator[str]:
    yield f"# HELP leadctl_cleanup_{name} {help_text}"
    yield f"# TYPE leadctl_cleanup_{name} gauge"
    for rule in result.rules:
        found = value(rule)  # type: ignore[operator]
        if found is not None:
            labels = {
                "app": result.app,
                "database": result.database,
                "schema": result.schema,
                "rule": rule.rule,
            }
            inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            yield f"leadctl_cleanup_{name}{{{inside}}} {found}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
