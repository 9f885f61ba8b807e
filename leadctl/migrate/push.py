"""Push: the models straight into a local database, without a revision."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import psycopg

from leadctl.apps.registry import App
from leadctl.catalog.compare import compare, without_grants
from leadctl.catalog.definitions import Catalog
from leadctl.errors import OperationFailed, Protected, UnknownDatabase
from leadctl.journal.guard import Consent, permit, protection
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.migrate import schema_sources
from leadctl.migrate.ddl.autodetector import changes
from leadctl.migrate.ddl.steps import Step, losses
from leadctl.migrate.desired_schema import goal
from leadctl.migrate.up import refuse_other_apps
from leadctl.postgres.connect import Connection, Timeouts, connect, set_timeouts
from leadctl.postgres.provision import ensure_database, ensure_schema
from leadctl.postgres.target import Target
from leadctl.postgres.translate import translate

_LOCAL = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Push:
    """What was executed."""

    app: str
    database: str
    schema: str
    statements: tuple[str, ...]
    lost: tuple[str, ...]
    """What of the rows went, in words."""


def push(
    target: Target,
    app: App,
    *,
    consent: Consent,
    timeouts: Timeouts,
    narrate: Callable[[str], None],
) -> Push:
    """Make the schema what the models say.

    One transaction, but for enum values that are used at once.  Tables and the like that the app
    did not make are left alone where it is known what it made.  Raises Protected for a database
    that is protected or not on this machine, and NotConfirmed where rows would go.
    """
    _refuse_remote(target)
    try:
        connect(target, "push").close()
    except UnknownDatabase:
        ensure_database(target, narrate)
    with schema_lock(target, "db push", timeouts.lock_wait, narrate):
        with connect(target, "push") as connection:
            _refuse_protected(connection, target)
            refuse_other_apps(connection, target, app)
            ensure_schema(connection, target, narrate)
            found = schema_sources.of_database(connection, target, app)
            record = schema_sources.recorded(connection, target, app)
        wanted = goal(
            app, schema_sources.of_models(target, app), found, record.own if record else ()
        )
        steps = changes(found, wanted)
        lost = losses(steps)
        for each in lost:
            narrate(f"It loses {each}.")
        if not steps:
            return Push(app.name, target.database, target.schema, (), ())
        with connect(target, "push") as connection:
            if lost:
                permit(connection, target, "db push", consent)
        with (
            journaled(target, "push", app.name) as entry,
            connect(target, "push", autocommit=True) as connection,
        ):
            set_timeouts(connection, timeouts)
            _execute(connection, steps)
            entry.note(statements=len(steps))
            _check(schema_sources.of_database(connection, target, app), wanted)
    statements = tuple(step.sql for step in steps)
    return Push(app.name, target.database, target.schema, statements, tuple(lost))


def _refuse_remote(target: Target) -> None:
    hosts = str(target.url.params.get("host", "")).split(",")
    if target.embedded or all(not host or host in _LOCAL or host[0] == "/" for host in hosts):
        return
    raise Protected(
        f"db push is refused on {target.describe()}: it is not on this machine.",
        hint="Write a revision with leadctl migrate new, and apply it there with leadctl migrate.",
    )


def _refuse_protected(connection: Connection, target: Target) -> None:
    reason = protection(connection, target)
    if reason:
        raise Protected(
            f"db push is refused on {connection.info.dbname}: {reason}. Nothing was changed.",
            hint="Write a revision with leadctl migrate new, and apply it with leadctl migrate.",
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
