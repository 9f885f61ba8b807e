"""Correcting the record of what is applied, where the database and the record disagree."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from leadctl.apps.registry import App
from leadctl.catalog.definitions import read_names
from leadctl.errors import OperationFailed
from leadctl.journal import state
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.migrate.recorder import named_by_models, record_fingerprint, recorded_facts
from leadctl.migrate.revisions import History, Revision, read_history
from leadctl.migrate.up import refuse_other_apps
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target


class Resolution(Enum):
    """What is right."""

    ACCEPT_EDIT = "edit accepted"
    """The file as it is now: what was changed since does nothing else."""
    APPLIED = "applied"
    """The database: it has what the revision does."""
    ROLLED_BACK = "rolled back"
    """The database: it has nothing of what the revision does."""


@dataclass(frozen=True)
class Resolved:
    """What was corrected."""

    app: str
    database: str
    schema: str
    resolution: Resolution
    revisions: tuple[str, ...]
    """Those whose record was changed; none where the record was right."""
    current: str | None


def resolve(
    target: Target,
    app: App,
    resolution: Resolution,
    name: str,
    *,
    lock_wait: float,
    narrate: Callable[[str], None],
) -> Resolved:
    """Correct the record of a revision; nothing but records is changed.

    `lock_wait` is in seconds.  Raises UnknownRevision, OperationFailed for what cannot be, and
    LockHeld.
    """
    history = read_history(app.migrations)
    revision = history.get(name)
    with schema_lock(target, "resolve", lock_wait, narrate):
        with connect(target, "resolve") as connection:
            refuse_other_apps(connection, target, app)
        with (
            journaled(target, "migrate", app.name) as entry,
            connect(target, "resolve") as connection,
            connection.transaction(),
        ):
            current = state.current_revisions(connection, target.schema, app.version_table) or []
            change = {
                Resolution.ACCEPT_EDIT: _accept_edit,
                Resolution.APPLIED: _applied,
                Resolution.ROLLED_BACK: _rolled_back,
            }[resolution]
            changed = change(connection, target, app, history, revision, current)
            after = state.current_revisions(connection, target.schema, app.version_table) or []
            entry.note(**{resolution.value.replace(" ", "_"): changed})
    return Resolved(
        app.name,
        target.database,
        target.schema,
        resolution,
        tuple(changed),
        ", ".join(after) or None,
    )


def _accept_edit(
    connection: Connection,
    target: Target,
    app: App,
    history: History,
    revision: Revision,
    current: list[str],
) -> list[str]:
    if revision.id not in history.ancestors(current):
        raise OperationFailed(
            f"{revision.id} is not applied, so its file may be edited as you like.",
            hint="Apply it with: leadctl migrate",
        )
    changed = state.accept_edit(
        connection,
        app=app.name,
        schema=target.schema,
        revision=revision.id,
        checksum=revision.checksum,
    )
    return [revision.id] if changed else []


def _applied(
    connection: Connection,
    target: Target,
    app: App,
    history: History,
    revision: Revision,
    current: list[str],
) -> list[str]:
    pending = {each.id for each in history.pending(current)}
    changed = [each for each in history.revisions if each.id in history.ancestors([revision.id])]
    changed = [each for each in changed if each.id in pending]
    heads = [each for each in current if each not in history.ancestors([revision.id])]
    if changed:
        state.write_current(connection, target.schema, [*heads, revision.id], app.version_table)
        _record(connection, target, app, changed)
    return [each.id for each in changed]


def _record(connection: Connection, target: Target, app: App, revisions: list[Revision]) -> None:
    """Record revisions that were not run: what the models name is theirs, so reset drops it."""
    schema = target.schema
    known = state.made_by(connection, app.name, schema)
    made = (named_by_models(app) & read_names(connection, schema, [app.version_table])) - known
    for each in revisions:
        last = each is revisions[-1]
        record = state.RevisionRecord(each.id, each.checksum, "", 0, sorted(made) if last else [])
        state.record_migration(connection, app=app.name, schema=schema, record=record)
    record_fingerprint(connection, app, schema, [revisions[-1].id], recorded_facts(app))


def _rolled_back(
    connection: Connection,
    target: Target,
    app: App,
    history: History,
    revision: Revision,
    current: list[str],
) -> list[str]:
    applied = history.ancestors(current)
    if revision.id not in applied:
        return []
    if revision.id not in current:
        followers = [each.id for each in history.revisions if revision.id in each.down]
        raise OperationFailed(
            f"{revision.id} is followed by {', '.join(followers)}, which is applied.",
            hint="Roll that back first.",
        )
    others = [each for each in current if each != revision.id]
    below = [each for each in revision.down if each not in history.ancestors(others)]
    state.write_current(connection, target.schema, [*others, *below], app.version_table)
    state.forget_migration(connection, app=app.name, schema=target.schema, revision=revision.id)
    return [revision.id]
