"""Applying what is pending.

Nothing to do is found out without SQLAlchemy and Alembic: the folder is read as text, the
database with psycopg.  Only then is the lock taken and the machinery loaded.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

from leadctl.apps.registry import App
from leadctl.errors import RevisionMixed
from leadctl.journal.lock import schema_lock
from leadctl.migrate.integrity import (
    open_history,
    read_current,
    read_verified,
    refuse_missing_extensions,
)
from leadctl.migrate.revision import AppliedNow, Revision
from leadctl.migrate.revisions import History
from leadctl.postgres.connect import Connection, Timeouts
from leadctl.postgres.provision import connect_or_create, ensure_schema
from leadctl.postgres.target import Target
from leadctl.progress import Narrate, Progress

if TYPE_CHECKING:
    from leadctl.journal.guard import Consent
    from leadctl.journal.runs import Entry


class MigrateResult(NamedTuple):
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
    consent: "Consent",
    timeouts: Timeouts,
    narrate: Narrate,
    progress: Progress,
    before: Callable[[], None] = lambda: None,
) -> MigrateResult:
    """Apply the pending revisions: all, up to one, or the next `steps`.

    `before` is called when the lock is held and something is going to be applied.

    Creates the database and the schema where they are missing.  On a protected database the plan
    must be free of findings, but for the rules in `allow`, or the user consents.  Raises
    LockHeld, RevisionEdited, RevisionMissing, RevisionFailed, RevisionMixed, Protected, and what
    connecting raises.
    """
    history = open_history(target, app)
    history.goal(to)  # before a database is made
    with connect_or_create(target, "migrate", narrate) as connection:
        current = read_verified(connection, target, app, history)
    goal = history.goal(to, current)  # which may be relative
    applied: list[AppliedNow] = []
    if history.pending(current, goal):
        from leadctl.journal.runs import journaled

        with schema_lock(target, "migrate", timeouts.lock_wait, narrate) as session:
            current = read_verified(session, target, app, history)
            pending = history.pending(current, goal)[:steps]
            if pending:  # else the run that held the lock did it
                refuse_missing_extensions(session, pending)
                _permit(session, target, app, history, pending, allow, consent, narrate)
                ensure_schema(session, target, narrate)
                before()
                with journaled(target, "migrate", app.name, adopts=True) as entry:
                    applied = apply_locked(
                        target, app, history, pending, timeouts, narrate, progress, entry, allow
                    )
                current = read_current(session, target, app)
    return MigrateResult(
        app=app.name,
        database=target.database,
        schema=target.schema,
        current=", ".join(current) or None,
        applied=tuple(applied),
        pending=tuple(revision.id for revision in history.pending(current)),
    )


def apply_locked(
    target: Target,
    app: App,
    history: History,
    pending: list[Revision],
    timeouts: Timeouts,
    narrate: Narrate,
    progress: Progress,
    entry: "Entry",
    allow: Collection[str] = (),
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
        allow=allow,
    )
    entry.note(applying=None, applied=[step.revision for step in applied])
    return applied


def _permit(
    connection: Connection,
    target: Target,
    app: App,
    history: History,
    pending: Sequence[Revision],
    allow: Collection[str],
    consent: "Consent",
    narrate: Narrate,
) -> None:
    """Return where the revisions may be applied; changes nothing.

    Raises RevisionMixed for one that could stop half done, and Protected where the database is
    protected, the plan has findings, and its name was not given.
    """
    from leadctl.journal.guard import decide, protection

    protected = protection(connection, target)
    if protected is None and not any(revision.leaves_transaction for revision in pending):
        return
    from leadctl.migrate.lint import MIXED
    from leadctl.migrate.planner import Planner, planning_connection  # loads Alembic

    with planning_connection(target) as looks:
        planner = Planner(app, history, looks, target.schema, allow)
        # Without protection, only how a revision commits is asked for, which needs no trial.
        with planner.trying(target, pending) if protected else nullcontext():
            planned = [planner.revision(revision) for revision in pending]
    found = [(revision.revision, each) for revision in planned for each in revision.blocking]
    for revision, finding in found:
        if finding.rule == MIXED:
            raise RevisionMixed(
                f"The revision {revision} was not applied: {finding.message}",
                hint=f"{finding.hint} If this is intended: --allow {MIXED}",
            )
    if protected is None or not found:
        return
    for revision, finding in found:
        narrate(f"{revision}: {finding.rule}: {finding.message}")
    narrate("See the whole plan: leadctl migrate --plan. Allow one rule with: --allow RULE")
    reason = f"{protected}, and the plan has findings"
    decide(connection.info.dbname, reason, "migrate", consent)
