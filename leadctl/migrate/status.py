"""Where a schema stands: what is applied, when it was, and how that fits the folder's revisions."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from leadctl.apps.registry import App
from leadctl.errors import MigrationsInvalid, SchemaTaken, UnknownDatabase
from leadctl.journal import state
from leadctl.journal.runs import last_attempt
from leadctl.journal.state import AppliedRevision
from leadctl.migrate.revisions import History, read_history
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target


@dataclass(frozen=True)
class AppliedNow:
    """One revision that this run applied or undid."""

    revision: str
    message: str
    duration_ms: int


def read_current(connection: Connection, target: Target, app: App) -> list[str]:
    """Return the revisions that an app is at in the target's schema.

    Raises SchemaTaken for a schema that another app was migrated into.
    """
    refuse_other_apps(connection, target, app)
    return state.current_revisions(connection, target.schema, app.version_table) or []


def refuse_other_apps(connection: Connection, target: Target, app: App) -> list[AppliedRevision]:
    """Return what was recorded of an app, and nothing of others.

    Raises SchemaTaken for a schema that another app was migrated into.
    """
    recorded = state.applied_revisions(connection, target.schema)
    others = sorted({each.app for each in recorded} - {app.name})
    if others:
        tables = exact.execute(
            connection,
            "SELECT string_agg(relname, ', ' ORDER BY relname) FROM pg_class"
            " WHERE relnamespace = to_regnamespace(quote_ident(%s)) AND relkind IN ('r', 'p')",
            (target.schema,),
        ).fetchone()
        raise SchemaTaken(
            f"The schema {target.schema} of {connection.info.dbname} belongs to the app "
            f"{', '.join(others)}; conflicting tables: {tables[0] if tables else ''}.",
            hint=f"Give {app.name} a schema of its own, for example: --schema {app.name}",
        )
    return recorded


def missing_revisions(
    folder: History, current: Sequence[str], recorded: Sequence[AppliedRevision]
) -> list[str]:
    """Return what a database has applied, or is at, and the folder does not have.

    What an applied file follows was applied, too, also where nothing was recorded of it.
    """
    known = [each.revision for each in recorded]
    if folder.gaps:
        known += sorted(folder.ancestors([each for each in current if each in folder]))
    known += current
    return [revision for revision in dict.fromkeys(known) if revision not in folder]


class RevisionState(Enum):
    """How a revision stands in the database."""

    APPLIED = "applied"
    PENDING = "pending"
    FAILED = "failed"
    """Pending, and the last run stopped in it; what it did outside a transaction is there."""
    EDITED = "edited"
    """Applied, but what the file does has been changed since."""
    MISSING = "missing"
    """Applied, but the file is no longer in the folder."""
    UNKNOWN = "unknown"
    """It is applied, or may be, and neither folder nor record tell: a file is missing."""


@dataclass(frozen=True)
class RevisionStatus:
    """One revision in the folder, the database, or both."""

    revision: str
    message: str
    state: RevisionState
    applied_at: datetime | None = None
    applied_by: str | None = None
    duration_ms: int | None = None


@dataclass(frozen=True)
class MigrationStatus:
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


@dataclass(frozen=True)
class RecordedRevision(AppliedRevision):
    """A revision as it was recorded, and what its file says it does."""

    message: str
    """Empty where the folder has no such file any more."""


@dataclass(frozen=True)
class MigrationHistory:
    """The recorded revisions of an app in a schema."""

    app: str
    database: str
    schema: str
    revisions: tuple[RecordedRevision, ...]


def status(target: Target, app: App) -> MigrationStatus:
    """Compare the folder with the database; changes nothing.

    A database that does not exist yet has everything pending.  Raises SchemaTaken, and what
    connecting raises.
    """
    folder = read_history(app.versions, whole=False)
    current: list[str] = []
    recorded: list[AppliedRevision] = []
    stopped_in = None
    with suppress(UnknownDatabase), connect(target, "status", read_only=True) as connection:
        current = read_current(connection, target, app)
        recorded = state.applied_revisions(connection, target.schema)
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
    records = {record.revision: record for record in recorded}
    known_heads = [revision for revision in current if revision in history]
    applied = history.ancestors(known_heads)
    missing = missing_revisions(history, current, recorded)
    if missing:
        applied |= records.keys()  # what a missing revision follows cannot be read from the folder
    else:
        history.refuse_gaps()
    unrecorded = not records.keys() >= set(missing)
    merged = []
    for revision in history.revisions:
        record = records.get(revision.id)
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
        found = RevisionState.MISSING if name in records else RevisionState.UNKNOWN
        merged.append(_status(name, "", found, records.get(name)))
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
        folder = read_history(app.versions, whole=False)
        messages = {each.id: each.message for each in folder.revisions}
    with connect(target, "history", read_only=True) as connection:
        recorded = state.applied_revisions(connection, target.schema)
    return MigrationHistory(
        app=app.name,
        database=target.database,
        schema=target.schema,
        revisions=tuple(
            RecordedRevision(**vars(each), message=messages.get(each.revision, ""))
            for each in recorded
            if each.app == app.name or not app.name
        ),
    )
