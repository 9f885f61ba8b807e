"""What is for a developer's database: `migrate dev`, the loop, and `db push`, without revisions."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import psycopg

from leadctl.apps.registry import App
from leadctl.catalog.definitions import Catalog, compare, named, without_grants
from leadctl.errors import OperationFailed, Protected, RowsInTheWay, UnknownDatabase
from leadctl.journal.guard import Consent, permit, protection, require_identity
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.migrate.alembic_runner import RevisionStatement
from leadctl.migrate.ddl.autodetector import changes
from leadctl.migrate.ddl.steps import Step, losses
from leadctl.migrate.drafts import Draft, prepared
from leadctl.migrate.integrity import refuse_other_apps
from leadctl.migrate.new import Ask, new
from leadctl.migrate.planner import Planner
from leadctl.migrate.required_columns import asked, filled
from leadctl.migrate.revision_writer import WrittenRevision
from leadctl.migrate.revisions import read_history
from leadctl.migrate.schema_sources import (
    database_schema,
    desired_schema,
    models_schema,
    recorded_schema,
)
from leadctl.migrate.up import MigrateResult, up
from leadctl.postgres.connect import Connection, Timeouts, connect, set_timeouts
from leadctl.postgres.provision import connect_or_create, ensure_schema
from leadctl.postgres.target import Target
from leadctl.postgres.translate import translate
from leadctl.progress import Narrate, Progress
from leadctl.sql.effects import effects
from leadctl.text import counted

_LOCAL = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Dev:
    """What was written, and where the database is now."""

    written: tuple[WrittenRevision, ...]
    migrated: MigrateResult


@dataclass(frozen=True)
class Push:
    """What was executed."""

    app: str
    database: str
    schema: str
    statements: tuple[str, ...]
    lost: tuple[str, ...]
    """What of the rows went, in words."""


def dev(
    target: Target,
    app: App,
    message: str,
    *,
    renames: Sequence[str] = (),
    fills: Sequence[str] = (),
    safe: bool = True,
    ask: Ask | None = None,
    consent: Consent,
    timeouts: Timeouts,
    narrate: Narrate,
    progress: Progress,
) -> Dev:
    """Apply what is pending, write the revisions that the models ask for, show and apply them.

    The rows are looked at before anything is written: what would be lost wants consent, a column
    that becomes required a value for the rows that have none, asked for or among `fills`
    ("table.column=SQL"), and all else is tried on the rows and undone.  Raises Protected for a
    protected database, which is no place to develop on, NotConfirmed, RowsWithoutValue,
    RowsInTheWay, and what `up` and `new` raise.
    """

    def apply() -> MigrateResult:
        return up(
            target, app, consent=Consent(), timeouts=timeouts, narrate=narrate, progress=progress
        )

    hint = (
        "Develop on a database of your own, or only write the revision: leadctl migrate new -m NAME"
    )
    with suppress(UnknownDatabase), connect(target, "dev", read_only=True) as connection:
        _refuse_protected(connection, target, "migrate dev", hint)
    app.versions.folders[0].mkdir(parents=True, exist_ok=True)  # git keeps no empty one
    first = apply()

    def ready(drafts: Sequence[Draft]) -> Sequence[Draft]:
        with connect(target, "dev", rows=True, read_only=True) as connection:
            made = filled(connection, drafts, fills, partial(asked, ask=ask))
            planner = Planner(app, read_history(app.versions), connection, target.schema)
            lost = list(_lost(planner, made))
            for each in lost:
                narrate(f"It loses {each}.")
            if lost:
                permit(connection, target, "migrate dev", consent)
        if first.current:  # else there are no rows
            _try(target, made, timeouts)
        return made

    written = new(
        target, app, message, renames=renames, safe=safe, ask=ask, ready=ready, narrate=narrate
    ).revisions
    for each in written:
        narrate(each.path.read_text(encoding="utf-8").rstrip())
    return Dev(written, apply() if written else first)


_CONCURRENTLY = re.compile(r"\b(INDEX) CONCURRENTLY(?: IF (?:NOT )?EXISTS)?\b")
_FOR_GOOD = ("22", "23", "42")
"""Classes of errors that come again: a bad value, a violated constraint, a wrong type."""


def _try(target: Target, drafts: Sequence[Draft], timeouts: Timeouts) -> None:
    """Do on the rows what revisions do, in one transaction, and undo it.

    Raises RowsInTheWay.  What ends it otherwise, such as a lock, is no reason not to write.
    """
    statements = [text for draft in drafts for step in draft.up for text in _within(step)]
    with connect(target, "dev", rows=True) as connection:
        set_timeouts(connection, timeouts)
        with connection.transaction(force_rollback=True):
            for statement in statements:
                try:
                    connection.execute(statement.encode())
                except psycopg.Error as error:
                    if (error.sqlstate or "")[:2] not in _FOR_GOOD:
                        return
                    reason = translate(error) or OperationFailed(str(error))
                    raise RowsInTheWay(
                        f"The change fails on existing rows of {target.database}: "
                        f"{reason.message}: "
                        f"{' '.join(statement.split())}. Nothing was written.",
                        hint="Change those rows, or the models, then run it again.",
                    ) from error


def _within(step: Step) -> list[str]:
    """Return what a step does as statements of one transaction."""
    if step.fill is None:
        return [_CONCURRENTLY.sub(r"\1", step.sql)]
    table, assignment, where = step.fill.table, step.fill.assignment, step.fill.where
    update = f"UPDATE {table} SET {assignment} WHERE {where}"  # noqa: S608 - the revision's own
    return [update, "SET CONSTRAINTS ALL IMMEDIATE"]  # no table can be altered before that


def _lost(planner: Planner, drafts: Sequence[Draft]) -> Iterator[str]:
    """Yield what of the rows that exist would go, and of how many."""
    for step in (each for draft in drafts for each in draft.up if each.sql):
        found = planner.statement(RevisionStatement(step.sql, transactional=True)).effects
        counts = [effect.loss for effect in found if effect.loss]
        if counts:
            about = "" if counts[0].exact else "about "
            rows = "rows" if counts[0].rows is None else about + counted(counts[0].rows, "row")
            yield f"{step.loses or counts[0].what}: that of {rows}"
            continue
        # A cast, or a value that an enum loses: only the server could say of which rows.
        untold = step.loses and not any(each.drops for each in effects(step.sql))
        if untold and (not found or any(effect.rows != 0 for effect in found)):
            yield step.loses


def push(
    target: Target,
    app: App,
    *,
    consent: Consent,
    timeouts: Timeouts,
    narrate: Narrate,
) -> Push:
    """Make the schema what the models say.

    One transaction, but for enum values that are used at once.  Tables and the like that the app
    did not make are left alone where it is known what it made.  Raises Protected for a database
    that is protected or not on this machine, and NotConfirmed where rows would go.
    """
    _refuse_remote(target)
    with suppress(UnknownDatabase), connect(target, "push", read_only=True) as connection:
        _permit_push(connection, target)
    connect_or_create(target, "push", narrate).close()
    with schema_lock(target, "db push", timeouts.lock_wait, narrate) as session:
        _permit_push(session, target)
        refuse_other_apps(session, target, app)
        ensure_schema(session, target, narrate)
        found = database_schema(session, target, app)
        record = recorded_schema(session, target, app)
        models = models_schema(target, app, narrate)
        wanted = desired_schema(target, app, models, found, record.own if record else ())
        ready = prepared(target, found, wanted, ())
        steps = [*ready.steps, *changes(ready.schema, wanted, copies=ready.copies)]
        lost = losses(steps)
        for each in lost:
            narrate(f"It loses {each}.")
        if lost:
            permit(session, target, "db push", consent)
        if steps:
            with journaled(target, "push", app.name) as entry:
                with connect(target, "push", rows=True) as connection:
                    set_timeouts(connection, timeouts)
                    _execute(connection, steps)
                entry.note(statements=len(steps))
                _check(database_schema(session, target, app), wanted)
    statements = tuple(step.sql for step in steps)
    return Push(app.name, target.database, target.schema, statements, tuple(lost))


def _permit_push(connection: Connection, target: Target) -> None:
    require_identity(connection, "db push")
    hint = "Write a revision with leadctl migrate new, and apply it with leadctl migrate."
    _refuse_protected(connection, target, "db push", hint)


def _refuse_remote(target: Target) -> None:
    hosts = str(target.url.params.get("host", "")).split(",")
    if target.embedded or all(not host or host in _LOCAL or host[0] == "/" for host in hosts):
        return
    raise Protected(
        f"db push is refused on {target.describe()}: it is not on this machine.",
        hint="Write a revision with leadctl migrate new, and apply it there with leadctl migrate.",
    )


def _refuse_protected(connection: Connection, target: Target, verb: str, hint: str) -> None:
    reason = protection(connection, target)
    if reason:
        raise Protected(
            f"{verb} is refused on {target.database}: {reason}. Nothing was changed.", hint=hint
        )


def _execute(connection: Connection, steps: Sequence[Step]) -> None:
    for _, group in groupby(steps, key=lambda step: step.stage):
        with connection.transaction():
            for step in group:
                try:
                    connection.execute(step.sql.encode())
                except psycopg.Error as error:
                    reason = translate(error) or OperationFailed(str(error))
                    raise OperationFailed(
                        f"{reason.message}: {' '.join(step.sql.split())}",
                        hint="Fix the conflicting rows, then run it again; this step was rolled "
                        "back.",
                    ) from error


def _check(found: Catalog, wanted: Catalog) -> None:
    left = without_grants(compare(found, wanted))
    if left:
        raise OperationFailed(
            f"These changes cannot be applied in place: {named(left)}.",
            hint="Change it by hand; leadctl migrate diff shows it.",
        )
