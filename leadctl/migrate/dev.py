"""What is for a developer's database: `migrate dev`, the loop, and `db push`, without revisions."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby

import psycopg

from leadctl.apps.registry import App
from leadctl.catalog.definitions import Catalog, compare, without_grants
from leadctl.errors import OperationFailed, Protected, UnknownDatabase
from leadctl.journal.guard import Consent, permit, protection, require_identity
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.migrate.ddl.autodetector import changes
from leadctl.migrate.ddl.steps import Step, losses
from leadctl.migrate.diff import (
    database_schema,
    desired_schema,
    models_schema,
    recorded_schema,
)
from leadctl.migrate.new import Ask, new
from leadctl.migrate.status import refuse_other_apps
from leadctl.migrate.up import MigrateResult, up
from leadctl.migrate.writer import WrittenRevision
from leadctl.postgres.connect import Connection, Timeouts, connect, set_timeouts
from leadctl.postgres.provision import connect_or_create, ensure_schema
from leadctl.postgres.target import Target
from leadctl.postgres.translate import translate
from leadctl.progress import Narrate, Progress

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
    ask: Ask | None = None,
    timeouts: Timeouts,
    narrate: Narrate,
    progress: Progress,
) -> Dev:
    """Apply what is pending, write the revisions that the models ask for, show and apply them.

    Raises Protected for a protected database, which is no place to develop on, and what `up` and
    `new` raise.
    """

    def apply() -> MigrateResult:
        return up(
            target, app, consent=Consent(), timeouts=timeouts, narrate=narrate, progress=progress
        )

    hint = "Develop on a database of your own, and write revisions with migrate new."
    with suppress(UnknownDatabase), connect(target, "dev", read_only=True) as connection:
        _refuse_protected(connection, target, "migrate dev", hint)
    first = apply()
    written = new(target, app, message, renames=renames, ask=ask, narrate=narrate).revisions
    for each in written:
        narrate(each.path.read_text(encoding="utf-8").rstrip())
    return Dev(written, apply() if written else first)


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
        models = models_schema(target, app)
        wanted = desired_schema(app, models, found, record.own if record else ())
        steps = changes(found, wanted)
        lost = losses(steps)
        for each in lost:
            narrate(f"It loses {each}.")
        if lost:
            permit(session, target, "db push", consent)
        if steps:
            with journaled(target, "push", app.name) as entry:
                set_timeouts(session, timeouts)
                _execute(session, steps)
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
                        hint="Change the rows that are in the way; what this stage did is undone.",
                    ) from error


def _check(found: Catalog, wanted: Catalog) -> None:
    left = without_grants(compare(found, wanted))
    if left:
        raise OperationFailed(
            "Left over is what cannot be changed in place: "
            f"{', '.join(f'{each.change} {each.object}' for each in left)}.",
            hint="Change it by hand; leadctl migrate diff shows it.",
        )
