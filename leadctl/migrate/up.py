"""Applying what is pending.

Nothing to do is found out without SQLAlchemy and Alembic: the folder is read as text, the
database with psycopg.  Only then is the lock taken and the machinery loaded.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from leadctl.apps.registry import App
from leadctl.errors import SchemaTaken, UnknownDatabase
from leadctl.journal import state
from leadctl.journal.guard import Consent
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import Entry, journaled
from leadctl.migrate.permit import permit_revisions
from leadctl.migrate.revisions import History, Revision, read_history
from leadctl.postgres.connect import Connection, Timeouts, connect
from leadctl.postgres.provision import ensure_database, ensure_schema
from leadctl.postgres.target import Target
from leadctl.progress import Narrate, Progress


@dataclass(frozen=True)
class AppliedNow:
    """One revision that this run applied."""

    revision: str
    message: str
    duration_ms: int


@dataclass(frozen=True)
class MigrateResult:
    """What `migrate` did."""

    app: str
    database: str
    schema: str
    current: str | None
    """The revision that the database is at now."""
    applied: tuple[AppliedNow, ...]
    pending: tuple[str, ...]
    """What is still pending: not empty only where fewer were asked for."""


def up(
    target: Target,
    app: App,
    *,
    to: str | None = None,
    steps: int | None = None,
    allow: Collection[str] = (),
    consent: Consent,
    timeouts: Timeouts,
    narrate: Narrate,
    progress: Progress,
    before: Callable[[], None] = lambda: None,
) -> MigrateResult:
    """Apply the pending revisions: all, up to one, or the next `steps`.

    `before` is called when the lock is held and something is going to be applied.

    Creates the database and the schema where they are missing.  On a protected database the plan
    must be free of findings, but for the rules in `allow`, or the user consents.  Raises
    LockHeld, RevisionFailed, RevisionMixed, Protected, and what connecting raises.
    """
    history = read_history(app.migrations)
    wanted = wanted_revisions(history, to)
    current = _current(target, app, narrate)
    applied: list[AppliedNow] = []
    if _pending(history, current, wanted):
        with schema_lock(target, "migrate", timeouts.lock_wait, narrate):
            current = _current(target, app, narrate)
            pending = _pending(history, current, wanted)[:steps]
            if pending:  # else the run that held the lock did it
                with connect(target, "migrate") as connection:
                    permit_revisions(
                        connection, target, app, history, pending, allow, consent, narrate
                    )
                    ensure_schema(connection, target, narrate)
                before()
                with journaled(target, "migrate", app.name) as entry:
                    applied = apply_locked(
                        target, app, history, pending, timeouts, narrate, progress, entry
                    )
                current = _current(target, app, narrate)
    return MigrateResult(
        app=app.name,
        database=target.database,
        schema=target.schema,
        current=", ".join(current) or None,
        applied=tuple(applied),
        pending=tuple(revision.id for revision in history.pending(current)),
    )


def wanted_revisions(history: History, to: str | None) -> set[str]:
    """Return a revision, or the head where none is named, and all that it follows.

    Raises UnknownRevision, and MigrationsInvalid for a history with several heads.
    """
    goal = history.get(to).id if to else history.head
    return history.ancestors([goal]) if goal else set()


def apply_locked(
    target: Target,
    app: App,
    history: History,
    pending: list[Revision],
    timeouts: Timeouts,
    narrate: Narrate,
    progress: Progress,
    entry: Entry,
) -> list[AppliedNow]:
    """Apply revisions; the caller holds the target's lock and has made the schema.

    The journal's entry says which one is being applied, so that a killed run shows it.
    """
    from leadctl.migrate.executor import apply  # loads SQLAlchemy and Alembic

    applied = apply(
        target,
        app,
        history,
        pending,
        timeouts=timeouts,
        narrate=narrate,
        note=lambda revision: entry.note(applying=revision),
        progress=progress,
    )
    entry.note(applying=None, applied=[step.revision for step in applied])
    return applied


def _pending(history: History, current: list[str], wanted: set[str]) -> list[Revision]:
    return [revision for revision in history.pending(current) if revision.id in wanted]


def _current(target: Target, app: App, narrate: Narrate) -> list[str]:
    """Return what the database is at, creating the database where it is missing."""
    try:
        connection = connect(target, "migrate")
    except UnknownDatabase:
        ensure_database(target, narrate)
        connection = connect(target, "migrate")
    with connection:
        refuse_other_apps(connection, target, app)
        return state.current_revisions(connection, target.schema, app.version_table) or []


def refuse_other_apps(connection: Connection, target: Target, app: App) -> None:
    """Refuse a schema that another app was migrated into.  Raises SchemaTaken."""
    others = {
        applied.app
        for applied in state.applied_revisions(connection, target.schema)
        if applied.app != app.name
    }
    if others:
        tables = connection.execute(
            "SELECT string_agg(relname, ', ' ORDER BY relname) FROM pg_class"
            " WHERE relnamespace = to_regnamespace(quote_ident(%s)) AND relkind IN ('r', 'p')",
            (target.schema,),
        ).fetchone()
        raise SchemaTaken(
            f"The schema {target.schema} of {connection.info.dbname} belongs to the app "
            f"{', '.join(sorted(others))}; in the way are: {tables[0] if tables else ''}.",
            hint=f"Give {app.name} a schema of its own, for example: --schema {app.name}",
        )
