"""Choosing the checks and running them, within a bounded time whatever the server does."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import psycopg

from leadctl.catalog.definitions import Catalog
from leadctl.errors import (
    ConnectionFailed,
    InvalidSetting,
    LeadctlError,
    UnknownCheck,
    UnknownSetting,
)
from leadctl.health import activity, data, database, objects, server
from leadctl.health.check import CheckResult, CheckStatus, FixResult, HealthCheck, Thresholds
from leadctl.health.facts import BackgroundReading, Facts, Skip
from leadctl.health.shared_readings import SharedReadings
from leadctl.journal import state
from leadctl.postgres.connect import Connection, connect, cut_after, set_session
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told
from leadctl.progress import Narrate, unheard
from leadctl.settings import Settings
from leadctl.settings.model import HealthConfig
from leadctl.text import did_you_mean

if TYPE_CHECKING:
    from leadctl.apps.registry import App
    from leadctl.backup.storage import BackupFolder
    from leadctl.crypto import Keyring
    from leadctl.pitr.wal_archive import WalArchive

CHECKS: tuple[HealthCheck, ...] = tuple(
    found
    for module in (database, data, objects, activity, server)
    for found in vars(module).values()
    if isinstance(found, HealthCheck)
)
"""Every check, in the order in which they are shown."""
_STATEMENT_SECONDS = 5.0
_SHARE = 0.25
"""Of the time that is left for all checks, what one statement may take where that is less: so
those that hang leave time for the others, however many they are.
"""
_LEAST_SECONDS = 0.1
_NEARLY = 0.8
"""A limit that is this share of the one before is worth telling the server."""
_RETRY_SECONDS = 0.5


class Timing(NamedTuple):
    """Seconds: for all checks in all, between two looks at counters, to wait for the server.

    Somebody may be told that it is waited for.
    """

    timeout: float = 20.0
    interval: float = 0.0
    wait: float = 0.0
    narrate: Narrate = unheard

    @property
    def statement(self) -> float:
        """How long one statement may take at first."""
        return min(_STATEMENT_SECONDS, self.timeout * _SHARE)


_URGENCY = (CheckStatus.CRITICAL, CheckStatus.WARNING, CheckStatus.SKIPPED, CheckStatus.OK)


class Health(NamedTuple):
    """The state of a database: `status` is the worst of the checks that were not skipped.

    It is "unknown" where all were skipped.  `healthy` means that nothing is critical.
    """

    status: str
    healthy: bool
    latency_ms: float | None
    database: str
    schema: str
    app: str
    checks: tuple[CheckResult, ...]
    fixes: tuple[FixResult, ...] = ()
    """What `--fix` did before the checks were run again."""

    @property
    def by_urgency(self) -> tuple[CheckResult, ...]:
        """The checks with what is wrong first, then what nobody knows, then what is ok."""
        return tuple(sorted(self.checks, key=lambda check: _URGENCY.index(check.status)))


class CheckEntry(NamedTuple):
    """One check as `--list` shows it; `below` says that less is worse."""

    name: str
    description: str
    warning: float | None
    critical: float | None
    unit: str
    below: bool


class CheckList(NamedTuple):
    """The checks that would be run."""

    checks: tuple[CheckEntry, ...]


def select(
    settings: Settings, only: Sequence[str] = (), without: Sequence[str] = ()
) -> tuple[HealthCheck, ...]:
    """Choose checks: `only` these, or all, but not those in `without`.

    Their thresholds are those of `[health.CHECK]` where it sets any.  Raises UnknownCheck;
    UnknownSetting for what is no check or has no threshold, InvalidSetting where a check would be
    critical before it warns.
    """
    by_name = {check.name: check for check in CHECKS}
    for name in (*only, *without):
        if name not in by_name:
            raise UnknownCheck(f"There is no check {name!r}.", hint=did_you_mean(name, by_name))
    for name, override in settings.health.items():
        by_name[name] = _overridden(name, by_name.get(name), override)
    chosen = tuple(
        check
        for name, check in by_name.items()
        if name in (only or by_name) and name not in without
    )
    if not chosen:
        raise UnknownCheck("No check is left to run.", hint="Skip fewer checks.")
    return chosen


def _overridden(name: str, check: HealthCheck | None, override: HealthConfig) -> HealthCheck:
    if check is None or check.thresholds is None:
        what = "has no threshold" if check else "is not a check"
        raise UnknownSetting(
            f"[health.{name}] in leadctl.toml: {name} {what}.",
            hint="See: leadctl health-check --list",
        )
    default = check.thresholds
    warning = default.warning if override.warning is None else override.warning
    critical = default.critical if override.critical is None else override.critical
    if (
        warning is not None
        and critical is not None
        and (critical > warning if default.below else critical < warning)
    ):
        raise InvalidSetting(
            f"[health.{name}] in leadctl.toml is critical at {critical:g} before it warns at "
            f"{warning:g}.",
            hint="Set both warning and critical.",
        )
    return check._replace(thresholds=default._replace(warning=warning, critical=critical))


def listing(checks: Sequence[HealthCheck]) -> CheckList:
    """Return checks with what they are about."""
    entries = []
    for check in checks:
        found = check.thresholds or Thresholds(None, None, "")
        entries.append(
            CheckEntry(
                name=check.name,
                description=check.description,
                warning=found.warning,
                critical=found.critical,
                unit=found.unit,
                below=found.below,
            )
        )
    return CheckList(tuple(entries))


def health(
    target: Target,
    app: "App",
    keyring: "Callable[[], Keyring]",
    rules: Callable[[], Iterable[str]],
    checks: Sequence[HealthCheck],
    timing: Timing,
    *,
    app_was_named: bool,
    folders: "tuple[BackupFolder | None, BackupFolder | None, WalArchive | None]" = (None,) * 3,
    shared: SharedReadings | None = None,
) -> Health:
    """Check a database; changes nothing, and does not raise for what is wrong with it.

    `keyring` and `rules` read the keys and the names of the app's retention rules, where a check
    needs them; `places` are the backup folder, where backups are copied to, and the archive for
    point in time, where they are set or there; `shared` is what other schemas' checks have read.
    """
    try:
        connection = _reach(target, timing)
    except ConnectionFailed as error:
        return _summary(target, app, _unreachable(error, checks))
    shared = shared or SharedReadings()
    with connection, state.asked_once(connection, shared.once("state", dict)):
        facts = Facts(
            connection,
            target,
            app,
            app_was_named,
            keyring,
            rules,
            timing.interval,
            *folders,
            shared,
        )
        return _summary(target, app, _run(facts, checks, timing))


def _reach(target: Target, timing: Timing) -> Connection:
    deadline = time.monotonic() + timing.wait
    told = False
    while True:
        try:
            connection = _connected(target, timing, timing.timeout, rows=True)
        except ConnectionFailed as error:
            if time.monotonic() >= deadline:
                raise
            if not told:
                timing.narrate(f"Waiting up to {timing.wait:g} s: {error.message}")
                told = True
            time.sleep(min(_RETRY_SECONDS, max(0.0, deadline - time.monotonic())))
        else:
            return connection


def _connected(target: Target, timing: Timing, patience: float, *, rows: bool) -> Connection:
    return connect(
        replace(target, connect_timeout=min(target.connect_timeout, patience)),
        "health-check",
        rows=rows,
        read_only=True,
        statement_timeout=timing.statement,
    )


def _unreachable(error: ConnectionFailed, checks: Sequence[HealthCheck]) -> list[CheckResult]:
    first = CheckResult("server", CheckStatus.CRITICAL, message=error.message, hint=error.hint)
    rest = [check.name for check in checks if check.name != "server"]
    return [first, *(_skipped(name, "the server cannot be reached") for name in rest)]


def _run(facts: Facts, checks: Sequence[HealthCheck], timing: Timing) -> list[CheckResult]:
    with cut_after(facts.connection, timing.timeout):
        return _results(facts, checks, timing)


def _results(facts: Facts, checks: Sequence[HealthCheck], timing: Timing) -> list[CheckResult]:
    deadline = time.monotonic() + timing.timeout
    wanted = [report for check in checks for report in check.reports]
    limit, found, compares = timing.statement, dict[str, CheckResult](), database.drift in checks

    def compare_aside() -> None:
        if compares and database.connections in checks:
            used = found[database.connections.name] = _ask(
                database.connections, facts, limit, set_limit=False
            )
            if used.status is CheckStatus.OK:
                _read_aside(facts, timing, deadline)

    facts.prefetch(wanted, compare_aside, definitions=compares)
    rest = [check for check in checks if check.name not in found]
    for check in sorted(
        rest, key=database.drift.__eq__
    ):  # last: it waits for what is read in the background
        left = deadline - time.monotonic()
        if left <= 0:
            found[check.name] = _skipped(
                check.name, f"the {timing.timeout:g} s for all checks were over"
            )
        elif facts.connection.broken or facts.connection.closed:
            found[check.name] = _skipped(check.name, "the connection was lost")
        else:
            shrunk = left * _SHARE < limit * _NEARLY
            limit = max(_LEAST_SECONDS, left * _SHARE) if shrunk else limit
            found[check.name] = _ask(check, facts, limit, set_limit=shrunk)
    return [found[check.name] for check in checks]


def _read_aside(facts: Facts, timing: Timing, deadline: float) -> None:
    """Read what defines the schema on a second connection, where it is going to be compared.

    It takes the server as long as all other checks.  There are connections left, they were counted
    without this one, and what goes on was read before it.
    """

    def read(reached: Callable[[], None]) -> Catalog:
        left = max(_LEAST_SECONDS, deadline - time.monotonic())
        with (
            _connected(facts.target, timing, left, rows=False) as connection,
            cut_after(connection, left),
        ):
            reached()
            return facts.read_definitions(connection)

    with suppress(Skip, psycopg.Error, LeadctlError):
        if not facts.has_definitions and facts.fingerprint is not None:
            facts.background.append(BackgroundReading(read))


def _ask(check: HealthCheck, facts: Facts, limit: float, *, set_limit: bool) -> CheckResult:
    try:
        if set_limit:
            set_session(facts.connection, {"statement_timeout": f"{round(limit * 1000)}ms"})
        return check.result(facts)
    except Skip as reason:
        return _skipped(check.name, str(reason))
    except psycopg.errors.InsufficientPrivilege as error:
        return _skipped(check.name, told(error))
    except psycopg.Error as error:
        return _failed(check.name, facts, limit, error)
    except LeadctlError as error:
        return CheckResult(check.name, CheckStatus.CRITICAL, None, "", error.message, error.hint)


def _failed(name: str, facts: Facts, limit: float, error: psycopg.Error) -> CheckResult:
    if isinstance(error, psycopg.errors.QueryCanceled):
        message = f"no answer within {limit:.1f} s"
    elif facts.connection.broken:
        message = "the connection was lost, or the server does not answer"
    else:
        message = told(error)
    return CheckResult(
        name,
        CheckStatus.CRITICAL,
        message=message,
        hint="Look at the server's load, locks and log.",
    )


def _skipped(name: str, why: str) -> CheckResult:
    return CheckResult(name, CheckStatus.SKIPPED, message=why)


def _summary(target: Target, app: "App", checks: list[CheckResult]) -> Health:
    order = (CheckStatus.CRITICAL, CheckStatus.WARNING, CheckStatus.OK)
    found = {check.status for check in checks}
    worst = next((status.value for status in order if status in found), "unknown")
    latency = next((check.value for check in checks if check.name == "latency"), None)
    return Health(
        status=worst,
        healthy=worst in {"ok", "warning"},
        latency_ms=latency if isinstance(latency, float) else None,
        database=target.database,
        schema=target.schema,
        app=app.name,
        checks=tuple(checks),
    )
