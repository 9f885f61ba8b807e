"""What earlier runs did, as the journal has it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from leadctl.cleanup.catalog import query
from leadctl.journal import state
from leadctl.postgres.connect import Connection

_RUNS = 50
_ENOUGH = 3
"""Runs from which on one can speak of a usual one."""
SUCCESS = frozenset({"done", "stopped"})
"""How a rule ends that did what it should; what is stopped by a bound goes on next time."""


@dataclass(frozen=True)
class PastRun:
    """One run: when it ended, and what it noted of each rule."""

    at: datetime
    outcome: str | None
    rules: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Past:
    """The last runs of an app's cleanup in a schema, the newest first."""

    runs: tuple[PastRun, ...]

    def usual_rows(self, rule: str) -> float | None:
        """Return how many rows a rule takes usually: the median; None where too few runs say."""
        rows = [int(noted["rows"]) for _, noted in self._successes(rule)]
        return median(rows) if len(rows) >= _ENOUGH else None

    def last_success(self, rule: str) -> datetime | None:
        """Return when a rule last ended as it should."""
        return next((at for at, _ in self._successes(rule)), None)

    def backlog(self, rule: str) -> int | None:
        """Return how many rows the last run of a rule left; None where it is not known."""
        noted = next((run.rules[rule] for run in self.runs if rule in run.rules), None)
        return None if noted is None else noted.get("backlog")

    def _successes(self, rule: str) -> Iterator[tuple[datetime, Mapping[str, Any]]]:
        for run in self.runs:
            noted = run.rules.get(rule)
            if noted is not None and noted.get("status") in SUCCESS:
                yield run.at, noted


def read_past(connection: Connection, app: str, schema: str) -> Past:
    """Read the last runs; none where leadctl never wrote here."""
    if not state.is_there(connection):
        return Past(())
    rows = query(connection, "runs", app=app, schema=schema, limit=_RUNS)
    return Past(tuple(PastRun(*row) for row in rows))
