"""`health-check --fix`: what can be fixed without losing anything, each step by its name.

INVALID indexes are dropped, missing indexes that were recorded are built, constraints are
validated, tables without statistics are analysed; all of it while queries run, and none while
somebody works on the table: whoever builds an index concurrently would wait for us, and we for it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from leadctl.apps.registry import App
from leadctl.errors import NotConfirmed, OperationFailed
from leadctl.health.check import FixResult
from leadctl.health.database import missing_recorded
from leadctl.health.facts import QUERIES
from leadctl.inspect.run import ask, find, server_facts
from leadctl.journal import records, state
from leadctl.journal.guard import Consent
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.postgres.connect import Connection, Timeouts, connect, set_session
from leadctl.postgres.queries import identifier, parts_of, written_by_server
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told
from leadctl.progress import Narrate


@dataclass(frozen=True)
class Fix:
    """One statement that fixes what `check` found."""

    check: str
    statement: sql.Composed
    table: sql.Identifier
    """The table that it works on."""
    waits: bool = False
    """Whether it may wait for locks as long as it takes, as a concurrent index build must."""
    drops: sql.Identifier | None = None
    """The index that it drops, which is to be invalid."""


_LOOK_SECONDS = 0.01
_PATIENCE_SECONDS = 1.0
"""How long autovacuum may work on a table of moderate size."""


def fix(
    target: Target,
    app: App,
    checks: Sequence[str],
    consent: Consent,
    timeouts: Timeouts,
    narrate: Narrate,
) -> tuple[FixResult, ...]:
    """Fix what the named checks find and what can safely be fixed, each after consent.

    Raises NotConfirmed where nobody can be asked, OperationFailed on a standby, LockHeld, and
    ConnectionFailed.
    """
    with connect(target, "fix", rows=True) as connection, ExitStack() as stack:
        if server_facts(connection).in_recovery:
            raise OperationFailed(
                "This server is a standby: nothing can be changed here.",
                hint="Fix it on its primary.",
            )
        if not any(True for _ in _fixes(connection, target, app, checks)):
            narrate("There is nothing that --fix can fix.")
            return ()
        if not consent.yes and consent.ask is None:
            raise NotConfirmed(
                "--fix asks before each step, but there is no terminal.",
                hint="Rerun with --yes.",
            )
        stack.enter_context(schema_lock(target, "fix", timeouts.lock_wait, narrate))
        entry = None
        if state.is_there(connection):
            entry = stack.enter_context(journaled(target, "health-check --fix", app.name))
        worker = stack.enter_context(connect(target, "fix", rows=True))
        results: list[FixResult] = []
        for step in _fixes(connection, target, app, checks):
            if consent.yes:
                narrate(step.statement.as_string(connection))
            results.append(_apply(connection, worker, step, consent, timeouts))
            if entry:
                done = [each.statement for each in results if each.outcome == "done"]
                entry.note(fixed=done)
                if any(each.outcome == "failed" for each in results):
                    entry.outcome = "partly" if done else "failed"
        return tuple(results)


def _fixes(
    connection: Connection, target: Target, app: App, checks: Sequence[str]
) -> Iterator[Fix]:
    """Find what to fix, each kind when the one before is done: a dropped index is missing then."""
    for make, check in _MAKERS:
        if check in checks:
            yield from make(connection, target, app)


def _apply(
    connection: Connection, worker: Connection, step: Fix, consent: Consent, timeouts: Timeouts
) -> FixResult:
    statement = step.statement.as_string(connection)
    if not consent.yes and not (consent.ask and consent.ask(f"{statement}?")):
        return FixResult(step.check, statement, "declined")
    timeout = 0 if step.waits else round(timeouts.lock_timeout * 1000)
    set_session(worker, {"lock_timeout": f"{timeout}ms"})
    try:
        _alone(connection, worker, step)
    except psycopg.Error as error:
        if connection.broken or worker.broken:
            raise
        message = told(error)
        return FixResult(step.check, statement, "failed", message)
    except _LockQueueBusy as error:
        return FixResult(step.check, statement, "failed", str(error))
    return FixResult(step.check, statement, "done")


class _LockQueueBusy(Exception):
    """Somebody works on the table, or what was to be fixed is no longer there."""


def _alone(connection: Connection, worker: Connection, step: Fix) -> None:
    """Run a step as the next, and only one, that works on its table.  Raises _LockQueueBusy.

    Every step takes SHARE UPDATE EXCLUSIVE on its table, which is what everybody holds who builds,
    attaches, vacuums or validates there, from the first to the last.  While we hold it ourselves
    nobody does: so the step is proven to be right, and begun by another session, which waits for us
    and nobody else.  When we let go of it, nobody can come between.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        with connection.transaction():
            _prove_abandoned(connection, step)
            running = pool.submit(worker.execute, step.statement)
            try:
                _wait_for_turn(connection, worker, running)
                _prove_needed(connection, step)
            except BaseException:
                worker.cancel_safe()
                running.exception()
                raise
        try:
            running.result()
        except KeyboardInterrupt:
            worker.cancel_safe()
            raise


def _wait_for_turn(connection: Connection, worker: Connection, running: "Future[Any]") -> None:
    """Wait until the worker waits for us alone.  Raises _LockQueueBusy if another is before it."""
    pid = worker.info.backend_pid
    while not running.done():
        blockers = set(QUERIES.value(connection, "blockers", session=pid))
        if blockers - {connection.info.backend_pid}:
            raise _LockQueueBusy("another session waits for a lock on its table; try again later")
        if blockers:
            return
        time.sleep(_LOOK_SECONDS)


def _prove_abandoned(connection: Connection, step: Fix) -> None:
    _lock(connection, step.table)
    table = step.table.as_string(connection)
    if QUERIES.value(connection, "detaching", name=table):
        raise _LockQueueBusy(
            "a partition of it is being detached; if that was interrupted: "
            "ALTER TABLE … DETACH … FINALIZE"
        )
    _prove_needed(connection, step)


def _lock(connection: Connection, table: sql.Identifier) -> None:
    """Lock a table in the caller's transaction, or raise _LockQueueBusy: others never wait for us.

    It is asked for again and again: who waits in the lock's queue keeps others waiting.
    """
    lock = sql.SQL("LOCK TABLE ONLY {} IN SHARE UPDATE EXCLUSIVE MODE NOWAIT").format(table)
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            with connection.transaction():
                connection.execute(lock)
            return
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() > until:
                raise _LockQueueBusy(
                    "another session works on its table, and may be building an index; "
                    "try again later"
                ) from None
        time.sleep(_LOOK_SECONDS)


def _prove_needed(connection: Connection, step: Fix) -> None:
    if step.drops is not None:
        index = step.drops.as_string(connection)
        if not QUERIES.value(connection, "is_invalid", name=index):
            raise _LockQueueBusy("the index is valid now, or was dropped")


def _drop_invalid_indexes(connection: Connection, target: Target, app: App) -> Iterator[Fix]:
    for row in _rows(connection, target, app, "invalid-indexes"):
        if not (row["partitioned"] or row["of_toast"]):
            index, table = (_qualified(target, row[each]) for each in ("index", "table"))
            statement = sql.SQL("DROP INDEX CONCURRENTLY {}").format(index)
            yield Fix("invalid-indexes", statement, table, drops=index)


def _build_recorded_indexes(connection: Connection, target: Target, app: App) -> Iterator[Fix]:
    recorded = records.fingerprint(connection, app.name, target.schema, app.version_table) or {}
    missing = missing_recorded(connection, target.schema, app.schemas, recorded)
    for table, definition in missing:
        concurrently = definition.replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
        statement = sql.Composed([written_by_server(concurrently)])
        yield Fix("indexes", statement, _qualified(target, table), waits=True)


def _validate_constraints(connection: Connection, target: Target, app: App) -> Iterator[Fix]:
    for row in _rows(connection, target, app, "unvalidated-constraints"):
        if row["of_domain"]:  # whose tables are many, and locked by nobody
            continue
        table = _qualified(target, row["table"])
        validate = sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}")
        statement = validate.format(table, identifier(row["constraint"]))
        yield Fix("unvalidated-constraints", statement, table)


def _analyse(connection: Connection, target: Target, app: App) -> Iterator[Fix]:
    for row in _rows(connection, target, app, "vacuum"):
        if row["analysed"] is False and max(row["live_rows"], row["rows_then"]) > 0:
            table = _qualified(target, row["table"])
            yield Fix("statistics", sql.SQL("ANALYZE {}").format(table), table)


_MAKERS: tuple[tuple[Callable[[Connection, Target, App], Iterator[Fix]], str], ...] = (
    (_drop_invalid_indexes, "invalid-indexes"),
    (_build_recorded_indexes, "indexes"),
    (_validate_constraints, "unvalidated-constraints"),
    (_analyse, "statistics"),
)


def _rows(connection: Connection, target: Target, app: App, report: str) -> list[dict[str, Any]]:
    return ask(connection, find(report), [target.schema, *app.schemas], {})


def _qualified(target: Target, name: str) -> sql.Identifier:
    """Return the whole name of an object, as the server quoted it as seen from the schema."""
    *schema, own = parts_of(name)
    return sql.Identifier(*(schema or [target.schema]), own)
