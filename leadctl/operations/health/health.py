"""Running the checks, within a bounded time whatever the server does."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from leadctl.apps.registry import App
from leadctl.crypto import Keyring
from leadctl.db.connect import Connection, connect
from leadctl.db.deadline import cut_after
from leadctl.db.target import Target
from leadctl.errors import ConnectionFailed, LeadctlError, UnknownDatabase
from leadctl.operations.health.check import CheckResult, CheckStatus, Facts
from leadctl.operations.health.checks import CHECKS

_STATEMENT_SECONDS = 5.0
_ALL_SECONDS = 20.0
_RETRY_SECONDS = 0.5

Narrate = Callable[[str], None]


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


def health(
    target: Target,
    app: App,
    keyring: Callable[[], Keyring],
    *,
    app_was_named: bool,
    wait: float,
    narrate: Narrate,
) -> Health:
    """Check a database; changes nothing, and does not raise for what is wrong with it.

    `wait` is how long, in seconds, to try again to reach a server that cannot be reached.
    """
    try:
        connection = _reach(target, wait, narrate)
    except ConnectionFailed as error:
        return _summary(target, app, _unreachable(error))
    with connection:
        facts = Facts(connection, target, app, app_was_named, keyring)
        return _summary(target, app, _run(facts))


def _reach(target: Target, wait: float, narrate: Narrate) -> Connection:
    deadline = time.monotonic() + wait
    told = False
    while True:
        try:
            return connect(
                target, "health-check", read_only=True, statement_timeout=_STATEMENT_SECONDS
            )
        except ConnectionFailed as error:
            if time.monotonic() >= deadline:
                raise
            if not told:
                narrate(f"Waiting up to {wait:g} s: {error.message}")
                told = True
            time.sleep(min(_RETRY_SECONDS, max(0.0, deadline - time.monotonic())))


def _unreachable(error: ConnectionFailed) -> list[CheckResult]:
    hint = error.hint
    if isinstance(error, UnknownDatabase):
        hint = "Make it with: leadctl migrate"
    first = CheckResult("server", CheckStatus.CRITICAL, message=error.message, hint=hint)
    rest = [_skipped(check.__name__, "the server cannot be reached") for check in CHECKS[1:]]
    return [first, *rest]


def _run(facts: Facts) -> list[CheckResult]:
    results: list[CheckResult] = []
    deadline = time.monotonic() + _ALL_SECONDS
    for check in CHECKS:
        name = check.__name__
        if facts.connection.broken or facts.connection.closed:
            results.append(_skipped(name, "the connection was lost"))
            continue
        try:
            with cut_after(facts.connection, max(0.0, deadline - time.monotonic())):
                result = check(facts)
            if result is not None:
                results.append(result)
        except psycopg.errors.InsufficientPrivilege as error:
            results.append(_skipped(name, f"{error.diag.message_primary}"))
        except psycopg.Error as error:
            results.append(_failed(name, facts, error))
        except LeadctlError as error:
            results.append(
                CheckResult(name, CheckStatus.CRITICAL, None, "", error.message, error.hint)
            )
    return results


def _failed(name: str, facts: Facts, error: psycopg.Error) -> CheckResult:
    if isinstance(error, psycopg.errors.QueryCanceled):
        message = f"no answer within {_STATEMENT_SECONDS:g} s"
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
