"""Running the checks, within a bounded time whatever the server does."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import psycopg

from leadctl.apps.registry import App
from leadctl.backup.storage import BackupFolder
from leadctl.crypto import Keyring
from leadctl.errors import ConnectionFailed, LeadctlError, UnknownDatabase
from leadctl.health.check import (
    Check,
    CheckResult,
    CheckStatus,
    FixResult,
    Skip,
    name_of,
    reports_of,
)
from leadctl.health.facts import Facts
from leadctl.health.selection import Selection
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.deadline import cut_after
from leadctl.postgres.target import Target
from leadctl.progress import Narrate

_STATEMENT_SECONDS = 5.0
_SHARE = 0.25
"""Of the time that is left for all checks, what one statement may take where that is less: so
those that hang leave time for the others, however many they are.
"""
_LEAST_SECONDS = 0.1
_NEARLY = 0.8
"""A limit that is this share of the one before is worth telling the server."""
_RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class Timing:
    """Seconds: for all checks in all, between two looks at counters, to wait for the server."""

    timeout: float = 20.0
    interval: float = 0.0
    wait: float = 0.0

    @property
    def statement(self) -> float:
        """How long one statement may take at first."""
        return min(_STATEMENT_SECONDS, self.timeout * _SHARE)


@dataclass(frozen=True)
class Health:
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


def health(
    target: Target,
    app: App,
    keyring: Callable[[], Keyring],
    selection: Selection,
    timing: Timing,
    *,
    app_was_named: bool,
    narrate: Narrate,
    backups: BackupFolder | None = None,
) -> Health:
    """Check a database; changes nothing, and does not raise for what is wrong with it.

    `backups` is the backup folder, where one is set or there.
    """
    checks = selection.checks
    try:
        connection = _reach(target, timing, narrate)
    except ConnectionFailed as error:
        return _summary(target, app, _unreachable(error, checks))
    with connection:
        limits = selection.limits
        facts = Facts(
            connection,
            target,
            app,
            app_was_named,
            keyring,
            limits,
            timing.interval,
            backups=backups,
        )
        return _summary(target, app, _run(facts, checks, timing))


def _reach(target: Target, timing: Timing, narrate: Narrate) -> Connection:
    deadline = time.monotonic() + timing.wait
    patient = replace(target, connect_timeout=min(target.connect_timeout, timing.timeout))
    told = False
    while True:
        try:
            connection = connect(
                patient, "health-check", read_only=True, statement_timeout=timing.statement
            )
        except ConnectionFailed as error:
            if time.monotonic() >= deadline:
                raise
            if not told:
                narrate(f"Waiting up to {timing.wait:g} s: {error.message}")
                told = True
            time.sleep(min(_RETRY_SECONDS, max(0.0, deadline - time.monotonic())))
        else:
            return connection


def _unreachable(error: ConnectionFailed, checks: Sequence[Check]) -> list[CheckResult]:
    hint = error.hint
    if isinstance(error, UnknownDatabase):
        hint = "Make it with: leadctl migrate"
    first = CheckResult("server", CheckStatus.CRITICAL, message=error.message, hint=hint)
    rest = [name_of(check) for check in checks if name_of(check) != "server"]
    return [first, *(_skipped(name, "the server cannot be reached") for name in rest)]


def _run(facts: Facts, checks: Sequence[Check], timing: Timing) -> list[CheckResult]:
    deadline = time.monotonic() + timing.timeout
    with cut_after(facts.connection, timing.timeout):
        facts.prefetch(report for check in checks for report in reports_of(check))
    results = []
    limit = timing.statement
    for check in checks:
        left = deadline - time.monotonic()
        if left <= 0:
            results.append(_skipped(name_of(check), f"the {timing.timeout:g} s for all were over"))
        elif facts.connection.broken or facts.connection.closed:
            results.append(_skipped(name_of(check), "the connection was lost"))
        else:
            shrunk = left * _SHARE < limit * _NEARLY
            limit = max(_LEAST_SECONDS, left * _SHARE) if shrunk else limit
            with cut_after(facts.connection, left):
                results.append(_ask(check, facts, limit, set_limit=shrunk))
    return results


def _ask(check: Check, facts: Facts, limit: float, *, set_limit: bool) -> CheckResult:
    name = name_of(check)
    try:
        if set_limit:
            milliseconds = f"{round(limit * 1000)}ms"
            facts.connection.execute(
                "SELECT set_config('statement_timeout', %s, false)", (milliseconds,)
            )
        return check(facts)
    except Skip as reason:
        return _skipped(name, str(reason))
    except psycopg.errors.InsufficientPrivilege as error:
        return _skipped(name, f"{error.diag.message_primary}")
    except psycopg.Error as error:
        return _failed(name, facts, limit, error)
    except LeadctlError as error:
        return CheckResult(name, CheckStatus.CRITICAL, None, "", error.message, error.hint)


def _failed(name: str, facts: Facts, limit: float, error: psycopg.Error) -> CheckResult:
    if isinstance(error, psycopg.errors.QueryCanceled):
        message = f"no answer within {limit:.1f} s"
    elif facts.connection.broken:
        message = "the connection was lost, or the server does not answer"
    else:
        message = error.diag.message_primary or str(error)
    return CheckResult(
        name,
        CheckStatus.CRITICAL,
        message=message,
        hint="Look at the server's load, locks and log.",
    )


def _skipped(name: str, why: str) -> CheckResult:
    return CheckResult(name, CheckStatus.SKIPPED, message=why)


def _summary(target: Target, app: App, checks: list[CheckResult]) -> Health:
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
