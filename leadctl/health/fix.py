"""`health-check --fix`: what can be mended without losing anything, each step by its name.

INVALID indexes are dropped, missing indexes that were recorded are built, constraints are
validated, tables without statistics are analysed; all of it beside running queries.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from leadctl.apps.registry import App
from leadctl.errors import NotConfirmed
from leadctl.health.check import QUERIES
from leadctl.health.database import missing_recorded
from leadctl.inspect.run import ask, find
from leadctl.journal import state
from leadctl.journal.guard import Consent
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.postgres.connect import Connection, connect, set_session
from leadctl.postgres.queries import identifier, parts_of, written_by_server
from leadctl.postgres.target import Target
from leadctl.progress import Narrate


@dataclass(frozen=True)
class Fix:
    """One statement that mends what `check` found."""

    check: str
    statement: str
    waits: bool = False
    """Whether it may wait for locks as long as it takes, as a concurrent index build must."""
    index: int | None = None
    """The oid of the index that it drops, where it is to be invalid and nobody's work."""


@dataclass(frozen=True)
class FixResult:
    """How a fix went: `outcome` is done, declined or failed, `message` says why it failed."""

    check: str
    statement: str
    outcome: str
    message: str = ""


@dataclass(frozen=True)
class Patience:
    """Seconds to wait for another run of leadctl, and for a lock on a table."""

    lock_wait: float
    lock_timeout: float


def fix(
    target: Target,
    app: App,
    checks: Sequence[str],
    consent: Consent,
    patience: Patience,
    narrate: Narrate,
) -> tuple[FixResult, ...]:
    """Mend what the named checks find and what can safely be mended, each after consent.

    Raises NotConfirmed where nobody can be asked, LockHeld, and ConnectionFailed.
    """
    with connect(target, "fix") as connection, ExitStack() as stack:
        if not any(True for _ in _fixes(connection, target, app, checks)):
            narrate("There is nothing that --fix mends.")
            return ()
        if not consent.yes and consent.ask is None:
            raise NotConfirmed(
                "--fix asks before each step, and nobody is there to be asked.",
                hint="Say yes beforehand with --yes.",
            )
        stack.enter_context(schema_lock(target, "fix", patience.lock_wait, narrate))
        entry = None
        if state.is_there(connection):
            entry = stack.enter_context(journaled(target, "health-check --fix", app.name))
        results: list[FixResult] = []
        for step in _fixes(connection, target, app, checks):
            if consent.yes:
                narrate(step.statement)
            results.append(_apply(connection, step, consent, patience))
            if entry:
                done = [each.statement for each in results if each.outcome == "done"]
                entry.note(fixed=done)
        return tuple(results)


def _fixes(
    connection: Connection, target: Target, app: App, checks: Sequence[str]
) -> Iterator[Fix]:
    """Find what to mend, each kind when the one before is done: a dropped index is missing then."""
    for make, check in _MAKERS:
        if check in checks:
            for statement, waits, index in make(connection, target, app):
                yield Fix(check, statement.as_string(connection), waits, index)


def _apply(connection: Connection, step: Fix, consent: Consent, patience: Patience) -> FixResult:
    if not consent.yes and not (consent.ask and consent.ask(f"{step.statement}?")):
        return FixResult(step.check, step.statement, "declined")
    timeout = 0 if step.waits else round(patience.lock_timeout * 1000)
    set_session(connection, {"lock_timeout": f"{timeout}ms"})
    try:
        if step.index is not None:
            _prove_abandoned(connection, step.index)
        connection.execute(written_by_server(step.statement))
    except psycopg.Error as error:
        if connection.broken:
            raise
        message = error.diag.message_primary or str(error)
        return FixResult(step.check, step.statement, "failed", message)
    except _InWork as error:
        return FixResult(step.check, step.statement, "failed", str(error))
    return FixResult(step.check, step.statement, "done")


class _InWork(Exception):
    """An index is not, or not surely, what a cancelled build left."""


def _prove_abandoned(connection: Connection, index: int) -> None:
    """Prove that an index is invalid while nobody builds one of its table.

    Who builds an index concurrently holds SHARE UPDATE EXCLUSIVE on the table from the first to the
    last, so nobody does while we hold it.  What the progress views show depends on the role.
    Raises _InWork.
    """
    with connection.transaction():
        found = QUERIES.rows(connection, "invalid_index", oid=index)
        if not found:
            raise _InWork("the index is valid now, or gone")
        schema, table = found[0]
        lock = sql.SQL("LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE NOWAIT")
        try:
            connection.execute(lock.format(sql.Identifier(schema, table)))
        except psycopg.errors.LockNotAvailable:
            raise _InWork(
                "somebody is at work on its table, and may be building it; try again later"
            ) from None
        if not QUERIES.rows(connection, "invalid_index", oid=index):
            raise _InWork("the index is valid now, or gone")


Statements = Iterator[tuple[sql.Composed, bool, int | None]]


def _drop_invalid_indexes(connection: Connection, target: Target, _app: App) -> Statements:
    for row in _rows(connection, target, "invalid-indexes"):
        if not row["partitioned"]:
            drop = _statement(sql.SQL("DROP INDEX CONCURRENTLY {}"), target, row["index"])
            yield drop, False, _oid(connection, target, row["index"])


def _build_recorded_indexes(connection: Connection, target: Target, app: App) -> Statements:
    recorded = state.fingerprint(connection, app.name, target.schema, app.version_table)
    for definition in missing_recorded(connection, target.schema, app.schemas, recorded or {}):
        yield sql.Composed([written_by_server(_concurrently(definition))]), True, None


def _validate_constraints(connection: Connection, target: Target, _app: App) -> Statements:
    for row in _rows(connection, target, "unvalidated-constraints"):
        name = identifier(row["constraint"])
        validate = sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT ")
        yield _statement(validate, target, row["table"]) + name, False, None


def _analyse(connection: Connection, target: Target, _app: App) -> Statements:
    for row in _rows(connection, target, "vacuum"):
        if not row["analysed"] and row["live_rows"]:
            yield _statement(sql.SQL("ANALYZE {}"), target, row["table"]), False, None


_MAKERS: tuple[tuple[Callable[[Connection, Target, App], Statements], str], ...] = (
    (_drop_invalid_indexes, "invalid-indexes"),
    (_build_recorded_indexes, "indexes"),
    (_validate_constraints, "unvalidated-constraints"),
    (_analyse, "statistics"),
)


def _rows(connection: Connection, target: Target, report: str) -> list[dict[str, Any]]:
    return ask(connection, find(report), target.schema, {})


def _statement(statement: sql.SQL, target: Target, quoted: str) -> sql.Composed:
    """Compose a statement on an object of the schema; its name was quoted by the server."""
    return statement.format(sql.Identifier(target.schema, *parts_of(quoted)))


def _oid(connection: Connection, target: Target, quoted: str) -> int:
    name = sql.Identifier(target.schema, *parts_of(quoted)).as_string(connection)
    return int(QUERIES.value(connection, "oid", name=name))


def _concurrently(definition: str) -> Any:
    """Return a definition of an index, as the server writes it, for a concurrent build."""
    return definition.replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
