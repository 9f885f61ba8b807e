"""What the checks look at: a connection that may read only, and what was read through it."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import psycopg
from psycopg.rows import dict_row

from leadctl.apps.registry import App
from leadctl.backup.storage import BackupFolder
from leadctl.crypto import Keyring
from leadctl.health.check import CheckResult, CheckStatus, Skip
from leadctl.health.thresholds import Limits
from leadctl.inspect.registry import block_of, reports
from leadctl.inspect.run import ask, missing_extension
from leadctl.journal import state
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import beside
from leadctl.postgres.target import Target

QUERIES = beside(__file__, "health.sql")

Row = dict[str, Any]

_COUNTERS: Mapping[str, tuple[str, ...]] = {
    "cache-hit": ("table", "hits", "reads"),
    "index-usage": ("table", "sequential_scans", "index_scans"),
    "database": ("database", "deadlocks", "temp_bytes"),
}
"""Reports with numbers that only grow: the column that tells their rows apart, then the numbers."""


@dataclass(frozen=True)
class Powers:
    """What the server is, and what this role may see of it."""

    role: str
    in_recovery: bool
    sees_sessions: bool
    counted_seconds: float | None
    """The age of the database's counters; None where the server does not tell."""
    extensions: Mapping[str, str]
    """Installed extensions and the schema of each."""


@dataclass(frozen=True)
class Facts:
    """The facts of one run of the checks, each read once, when a check first asks for it."""

    connection: Connection
    target: Target
    app: App
    app_was_named: bool
    """Whether somebody named the app, rather than its being the default."""
    keyring: Callable[[], Keyring]
    """Reads the keyring; raises what `crypto.keyring.keyring_of` raises."""
    limits: Mapping[str, Limits]
    interval: float = 0.0
    """Seconds between two looks at counters; 0 for one look at what they counted so far."""
    backups: BackupFolder | None = None
    """The backup folder, where one is set or there."""
    _rows: dict[str, list[Row]] = field(default_factory=dict)
    _earlier: dict[str, list[Row]] = field(default_factory=dict)

    def query(self, name: str, **params: Any) -> list[Any]:
        """Run a named block of health.sql and return its rows."""
        sql = QUERIES.get(name, self.connection.info.server_version)
        return self.connection.execute(sql, {"schema": self.target.schema, **params}).fetchall()

    def grade(self, name: str, value: float) -> CheckStatus:
        """Grade a value by the thresholds of a check."""
        limits = self.limits[name]
        if limits.reached(limits.critical, value):
            return CheckStatus.CRITICAL
        return CheckStatus.WARNING if limits.reached(limits.warning, value) else CheckStatus.OK

    def graded(self, name: str, value: float, message: str, hint: str = "") -> CheckResult:
        """Return a check's result: its value, graded; the hint where that is not ok."""
        status = self.grade(name, value)
        hint = hint if status is not CheckStatus.OK else ""
        return CheckResult(name, status, value, self.limits[name].unit, message, hint)

    def rows(self, report: str) -> list[Row]:
        """Return the rows of one of inspect's reports.

        Of counters: what was counted between two looks, where there is an interval.  Raises Skip
        where an extension is missing, and psycopg.Error.
        """
        if report not in self._rows:
            self._rows[report] = self._ask(report)
        if report in self._earlier:
            return _difference(self._earlier[report], self._rows[report], _COUNTERS[report])
        return self._rows[report]

    def rows_of_schema(self, report: str) -> list[Row]:
        """Return the rows of a report on the schema.  Raises Skip where it has no tables."""
        if not self.tables:
            raise Skip(f"the schema {self.target.schema} has no tables")
        return self.rows(report)

    def prefetch(self, wanted: Iterable[str]) -> None:
        """Read reports in one round trip; what cannot be had so is asked by itself later."""
        names = [name for name in dict.fromkeys(wanted) if not reports()[name].needs]
        if self.interval:
            self._rows.update(self._fetch([name for name in names if name in _COUNTERS]))
            self._earlier.update(self._rows)
            self._rows.clear()
            time.sleep(self.interval)
        self._rows.update(self._fetch(names))

    def _fetch(self, names: list[str]) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        version, parameters = self.connection.info.server_version, {"schema": self.target.schema}
        try:
            with self.connection.pipeline():
                cursors = {
                    name: self.connection.cursor(row_factory=dict_row).execute(
                        block_of(reports()[name], version).sql, parameters
                    )
                    for name in names
                }
                for name, cursor in cursors.items():
                    found[name] = cursor.fetchall()
        except psycopg.Error:
            return found
        return found

    def _ask(self, report: str) -> list[Row]:
        found = reports()[report]
        home = self.powers.extensions.get(found.needs) if found.needs else None
        missing = missing_extension(found.needs, home) if found.needs else None
        if missing:
            raise Skip(missing)
        return ask(self.connection, found, self.target.schema, home)

    @property
    def counted(self) -> str:
        """Say over which time counters counted."""
        if self.interval:
            return f"within {self.interval:g} s"
        age = self.powers.counted_seconds
        return f"within {age / 86400:.1f} days" if age is not None else "since counting began"

    @property
    def counted_hours(self) -> float | None:
        """How long counters counted; None where that is not known."""
        seconds = self.interval or self.powers.counted_seconds
        return seconds / 3600 if seconds else None

    @cached_property
    def powers(self) -> Powers:
        """What the server is, and what this role may see of it."""
        return Powers(*self.query("powers")[0])

    @cached_property
    def current(self) -> list[str] | None:
        """The revisions that the schema is at; None where it was never migrated."""
        return state.current_revisions(self.connection, self.target.schema, self.app.version_table)

    @cached_property
    def fingerprint(self) -> Mapping[str, Any] | None:
        """What the schema should look like, as recorded."""
        return state.fingerprint(
            self.connection, self.app.name, self.target.schema, self.app.version_table
        )

    @cached_property
    def tables(self) -> int:
        """How many tables the schema has, Alembic's own not counted."""
        return int(self.query("tables")[0][0])

    @property
    def is_stranger(self) -> bool:
        """Whether the database has tables, and none of them through leadctl or Alembic.

        Then nobody expects migrations there, unless the app was named.
        """
        return self.current is None and self.tables > 0 and not self.app_was_named


def _difference(before: list[Row], after: list[Row], columns: tuple[str, ...]) -> list[Row]:
    """Return the rows of `after` with what was counted since `before`; new rows count whole."""
    key, *counters = columns
    earlier = {row[key]: row for row in before}
    return [
        row | {name: row[name] - earlier[row[key]][name] for name in counters}
        if row[key] in earlier
        else row
        for row in after
    ]
