"""Down: undoing revisions, with what data goes said first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from leadctl.apps.registry import App
from leadctl.errors import Irreversible, OperationFailed
from leadctl.journal import state
from leadctl.journal.guard import Consent, permit, protection
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.migrate.executor import undo
from leadctl.migrate.live_tables import Loss
from leadctl.migrate.plan import LOOK_SECONDS
from leadctl.migrate.planned import PlannedRevision
from leadctl.migrate.planner import Planner
from leadctl.migrate.reversible import is_reversible
from leadctl.migrate.revisions import History, Revision, read_history
from leadctl.migrate.up import AppliedNow, refuse_other_apps
from leadctl.postgres.connect import Connection, Timeouts, connect
from leadctl.postgres.target import Target
from leadctl.progress import Progress

BASE = "base"
"""The name of the beginning: nothing is applied."""


@dataclass(frozen=True)
class TableLoss:
    """What of a table goes."""

    revision: str
    table: str
    loss: Loss


@dataclass(frozen=True)
class DownPlan:
    """What going down would undo."""

    app: str
    database: str
    schema: str
    protected: str | None
    """Why the database is protected, where it is."""
    revisions: tuple[str, ...]
    """In the order of undoing."""
    losses: tuple[TableLoss, ...]
    unknown: tuple[str, ...]
    """Revisions of which it cannot be told what they lose."""


@dataclass(frozen=True)
class DownResult:
    """What was undone."""

    app: str
    database: str
    schema: str
    current: str | None
    undone: tuple[AppliedNow, ...]


def plan(target: Target, app: App, to: str | None, steps: int) -> DownPlan:
    """Say what `down` with the same arguments would undo; changes nothing.

    Raises Irreversible, UnknownRevision, and OperationFailed where nothing is applied.
    """
    history = read_history(app.migrations)
    with connect(target, "down", read_only=True, statement_timeout=LOOK_SECONDS) as connection:
        refuse_other_apps(connection, target, app)
        chosen = _chosen(connection, target, app, history, to, steps)
        planner = Planner(app, history, connection, target.schema)
        planned = [planner.revision(revision, down=True) for revision in chosen]
        return DownPlan(
            app.name,
            target.database,
            target.schema,
            protection(connection, target),
            tuple(revision.id for revision in chosen),
            tuple(loss for each in planned for loss in _losses(each)),
            tuple(each.revision for each in planned if each.cannot_be_planned),
        )


def down(
    target: Target,
    app: App,
    to: str | None,
    steps: int,
    *,
    consent: Consent,
    timeouts: Timeouts,
    narrate: Callable[[str], None],
    progress: Progress,
) -> DownResult:
    """Undo the last `steps` revisions, or all behind `to`, each in a transaction of its own.

    Raises Protected or NotConfirmed before anything is changed, Irreversible, LockHeld and
    RevisionFailed; then what was undone before stays undone.
    """
    history = read_history(app.migrations)
    with schema_lock(target, "down", timeouts.lock_wait, narrate):
        with connect(target, "down") as connection:
            refuse_other_apps(connection, target, app)
            chosen = _chosen(connection, target, app, history, to, steps)
            if chosen:
                permit(connection, target, "migrate down", consent)
        undone: list[AppliedNow] = []
        if chosen:
            with journaled(target, "down", app.name) as entry:
                undone = undo(
                    target,
                    app,
                    history,
                    chosen,
                    timeouts=timeouts,
                    narrate=narrate,
                    note=lambda revision: entry.note(undoing=revision),
                    progress=progress,
                )
                entry.note(undoing=None, undone=[each.revision for each in undone])
        with connect(target, "down") as connection:
            current = state.current_revisions(connection, target.schema, app.version_table) or []
    return DownResult(
        app.name, target.database, target.schema, ", ".join(current) or None, tuple(undone)
    )


def _chosen(
    connection: Connection,
    target: Target,
    app: App,
    history: History,
    to: str | None,
    steps: int,
) -> list[Revision]:
    """Return the revisions to undo, the newest first."""
    current = state.current_revisions(connection, target.schema, app.version_table) or []
    if not current:
        raise OperationFailed(
            f"Nothing of {app.name} is applied to {target.database}, schema {target.schema}.",
            hint="See: leadctl migrate status",
        )
    applied = history.ancestors(current)
    newest_first = [each for each in reversed(history.revisions) if each.id in applied]
    if to is None:
        chosen = newest_first[:steps]
    else:
        kept = set() if to == BASE else history.ancestors([history.get(to).id])
        if not kept <= applied:
            raise OperationFailed(
                f"{history.get(to).id} is not applied, so there is no way down to it.",
                hint=f"Apply it with: leadctl migrate up {to}",
            )
        chosen = [each for each in newest_first if each.id not in kept]
    for revision in chosen:
        if not is_reversible(revision.path):
            raise Irreversible(
                f"{revision.id} has no way back: its downgrade() does nothing. "
                "Nothing was changed.",
                hint="Restore a backup, or write a revision that makes good what it did.",
            )
    return chosen


def _losses(planned: PlannedRevision) -> Sequence[TableLoss]:
    return [
        TableLoss(planned.revision, effect.table, effect.loss)
        for statement in planned.statements
        for effect in statement.effects
        if effect.loss
    ]
