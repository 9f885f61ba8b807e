"""Adopting drift: what was changed by hand becomes a revision that is applied already."""

from collections.abc import Callable
from dataclasses import dataclass

from leadctl.apps.registry import App
from leadctl.catalog.definitions import read_names
from leadctl.errors import OperationFailed
from leadctl.journal import state
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.migrate.compose import Written, compose, write_drafts
from leadctl.migrate.drift import compared
from leadctl.migrate.recorder import record_fingerprint, recorded_facts
from leadctl.migrate.revisions import read_history
from leadctl.migrate.up import refuse_other_apps
from leadctl.migrate.writer import check_writable
from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target


@dataclass(frozen=True)
class Adopted:
    """The revisions that were written, and count as applied; none where nothing had drifted."""

    app: str
    database: str
    schema: str
    revisions: tuple[Written, ...]


def adopt(
    target: Target,
    app: App,
    message: str,
    *,
    lock_wait: float,
    narrate: Callable[[str], None],
) -> Adopted:
    """Write what was changed by hand as revisions, and record them as applied.

    Applied to another database they do there what was done here by hand.  `lock_wait` is in
    seconds.  Raises OperationFailed where revisions are pending or it cannot be written.
    """
    check_writable(app)
    history = read_history(app.migrations)
    with schema_lock(target, "resolve", lock_wait, narrate):
        with connect(target, "resolve") as connection:
            refuse_other_apps(connection, target, app)
            current = state.current_revisions(connection, target.schema, app.version_table) or []
            if history.pending(current):
                raise OperationFailed(
                    f"Revisions are pending on {target.database}, which this one would follow.",
                    hint="Apply them first with: leadctl migrate",
                )
            found = compared(connection, target, app, narrate)
        if found.drift.ok:
            return Adopted(app.name, target.database, target.schema, ())
        drafts = compose(target, found.should, found.found)
        written = write_drafts(app, history, message, drafts)
        for each in written:
            for lost in each.loses:
                narrate(f"{each.revision} loses {lost} where it is applied.")
        made = [each.object for each in found.drift.differences if each.change == "extra"]
        _record(target, app, written, made)
    return Adopted(app.name, target.database, target.schema, tuple(written))


def _record(target: Target, app: App, written: list[Written], made: list[str]) -> None:
    """Record revisions as applied; what was made by hand is the app's own from now on."""
    history = read_history(app.migrations)
    schema, last = target.schema, written[-1].revision
    with (
        journaled(target, "migrate", app.name) as entry,
        connect(target, "resolve") as connection,
        connection.transaction(),
    ):
        state.write_current(connection, schema, [last], app.version_table)
        own = sorted(set(made) & read_names(connection, schema, [app.version_table], app.schemas))
        for each in written:
            checksum = history.get(each.revision).checksum
            record = state.RevisionRecord(
                each.revision, checksum, "", 0, own if each.revision == last else []
            )
            state.record_migration(connection, app=app.name, schema=schema, record=record)
        record_fingerprint(connection, app, schema, [last], recorded_facts(app))
        entry.note(adopted=[each.revision for each in written])
