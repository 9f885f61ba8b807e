"""Where a schema stands: what is applied, when it was, and how that fits the folder's revisions."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from leadctl.apps.registry import App
from leadctl.errors import MigrationsInvalid, UnknownDatabase
from leadctl.journal import records
from leadctl.journal.records import AppliedRevision
from leadctl.journal.runs import last_attempt
from leadctl.migrate.integrity import missing_revisions, read_applied
from leadctl.migrate.revision import RevisionState
from leadctl.migrate.revisions import History, read_history
from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target


class RevisionStatus(NamedTuple):
    """One revision in the folder, the database, or both."""

    revision: str
    message: str
    state: RevisionState
    applied_at: datetime | None = None
    applied_by: str | None = None
    duration_ms: int | None = None


class MigrationStatus(NamedTuple):
    """The history of an app in a schema."""

    app: str
    database: str
    schema: str
    current: str | None
    ok: bool
    """Whether all is applied and nothing was edited, is missing or unknown."""
    revisions: tuple[RevisionStatus, ...]
    unjoined: tuple[str, ...] = ()
    """The ends of a history that should have one: nothing is applied before they are joined."""

    def count(self, wanted: RevisionState) -> int:
        """Return how many revisions are in a state."""
        return sum(revision.state is wanted for revision in self.revisions)


class MigrationHistory(NamedTuple):
    """The recorded revisions of an app in a schema."""

    app: str
    database: str
    schema: str
    revisions: tuple[AppliedRevision, ...]


def status(target: Target, app: App) -> MigrationStatus:
    """Compare the folder with the database; changes nothing.

    A database that does not exist yet has everything pending.  Raises SchemaTaken, and what
    connecting raises.
    """
    folder = read_history(app.versions, complete=False)
    current: list[str] = []
    recorded: list[AppliedRevision] = []
    stopped_in = None
    with suppress(UnknownDatabase), connect(target, "status", read_only=True) as connection:
        current, recorded = read_applied(connection, target, app)
        stopped_in = last_attempt(connection, app.name, target.schema)
    return status_of(target, app, folder, current, recorded, stopped_in)


def status_of(
    target: Target,
    app: App,
    folder: History,
    current: Sequence[str],
    recorded: Sequence[AppliedRevision],
    stopped_in: str | None = None,
) -> MigrationStatus:
    """Compare the folder with what was read of a database; `stopped_in` failed the last time.

    Raises MigrationsInvalid where a file is missing that the database has not applied.
    """
    revisions = _merge(folder, current, recorded, stopped_in)
    return MigrationStatus(
        app=app.name,
        database=target.database,
        schema=target.schema,
        current=", ".join(current) or None,
        ok=all(revision.state is RevisionState.APPLIED for revision in revisions),
        revisions=tuple(revisions),
        unjoined=folder.unjoined,
    )


def _merge(
    history: History,
    current: Sequence[str],
    recorded: Sequence[AppliedRevision],
    stopped_in: str | None,
) -> list[RevisionStatus]:
    by_id = {record.revision: record for record in recorded}
    known_heads = [revision for revision in current if revision in history]
    applied = history.ancestors(known_heads)
    missing = missing_revisions(history, current, recorded)
    if missing:
        applied |= by_id.keys()  # what a missing revision follows cannot be read from the folder
    else:
        history.refuse_gaps()
    unrecorded = not by_id.keys() >= set(missing)
    merged = []
    for revision in history.revisions:
        record = by_id.get(revision.id)
        if revision.id not in applied:
            found = RevisionState.PENDING
            if revision.id == stopped_in:
                found = RevisionState.FAILED
            elif unrecorded and applied.isdisjoint(history.ancestors([revision.id])):
                found = RevisionState.UNKNOWN  # it may come before what is missing
        elif record and not revision.is_recorded_as(record.checksum):
            found = RevisionState.EDITED
        else:
            found = RevisionState.APPLIED
        merged.append(_status(revision.id, revision.message, found, record))
    for name in missing:
        found = RevisionState.MISSING if name in by_id else RevisionState.UNKNOWN
        merged.append(_status(name, "", found, by_id.get(name)))
    return merged


def _status(
    revision: str, message: str, found: RevisionState, record: AppliedRevision | None
) -> RevisionStatus:
    if record is None or found in {RevisionState.PENDING, RevisionState.FAILED}:
        return RevisionStatus(revision, message, found)
    return RevisionStatus(
        revision, message, found, record.applied_at, record.applied_by, record.duration_ms
    )


def history(target: Target, app: App) -> MigrationHistory:
    """Read what was recorded; changes nothing.  Raises what connecting raises.

    A folder that is no history tells no messages, and nothing else of it counts.
    """
    messages: dict[str, str] = {}
    with suppress(MigrationsInvalid):
        # Without an app there is no folder; what a database has is told all the same.
        folder = read_history(app.versions, complete=False)
        messages = {each.id: each.message for each in folder.revisions}
    with connect(target, "history", read_only=True) as connection:
        recorded = records.applied_revisions(connection, target.schema)
    return MigrationHistory(
        app=app.name,
        database=target.database,
        schema=target.schema,
        revisions=tuple(
            each._replace(message=messages.get(each.revision, ""))
            for each in recorded
            if each.app == app.name or not app.name
        ),
    )
