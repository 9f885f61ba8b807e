"""Down: undoing revisions, with what data goes said first, and rehearsing that."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from leadctl.apps.registry import App
from leadctl.catalog.definitions import Catalog, Difference, compare
from leadctl.errors import Irreversible, LeadctlError, OperationFailed, RevisionUnplannable
from leadctl.journal.guard import Consent, permit, protection
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.migrate.alembic_runner import Scripts
from leadctl.migrate.executor import apply
from leadctl.migrate.integrity import open_history, read_complete, read_current
from leadctl.migrate.plan import Loss
from leadctl.migrate.planner import Planner, planning_connection
from leadctl.migrate.revision import AppliedNow, Revision, in_chains
from leadctl.migrate.revisions import BASE, History
from leadctl.migrate.scratch_models import ModelScratch, in_scratch
from leadctl.postgres.connect import Connection, Timeouts, connect
from leadctl.postgres.target import Target
from leadctl.progress import Narrate, Progress
from leadctl.sql.effects import created_by, effects
from leadctl.text import place


@dataclass(frozen=True)
class RevisionLoss:
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
    messages: tuple[str, ...]
    """What each of them does."""
    losses: tuple[RevisionLoss, ...]
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


class Verdict(Enum):
    """What comes of undoing a revision."""

    REVERSIBLE = "reversible"
    """Down and up again leaves the schema as it was, and no rows go."""
    LOSSY = "lossy"
    """The schema comes back, the rows do not, or it cannot be told."""
    IRREVERSIBLE = "irreversible"
    """There is no way back, it fails, or it leads elsewhere."""


@dataclass(frozen=True)
class RehearsedRevision:
    """How a revision's way back did."""

    revision: str
    verdict: Verdict
    loses: tuple[str, ...]
    """What of the rows goes."""
    reason: str | None
    """Why it is irreversible."""
    differences: tuple[Difference, ...]
    """What is not as it was after the way back."""


@dataclass(frozen=True)
class DownRehearsal:
    """How each way back did, the newest first."""

    app: str
    database: str
    schema: str
    revisions: tuple[RehearsedRevision, ...]

    @property
    def ok(self) -> bool:
        """Whether all can be undone."""
        return all(each.verdict is not Verdict.IRREVERSIBLE for each in self.revisions)


def plan(target: Target, app: App, to: str | None, steps: int) -> DownPlan:
    """Say what `down` with the same arguments would undo; changes nothing.

    Raises Irreversible, UnknownRevision, and OperationFailed where nothing is applied.
    """
    history = open_history(target, app)
    with planning_connection(target) as connection:
        chosen = _chosen(connection, target, app, history, to, steps)
        planner = Planner(app, history, connection, target.schema)
        planned = [planner.revision(revision, down=True) for revision in chosen]
        return DownPlan(
            app.name,
            target.database,
            target.schema,
            protection(connection, target),
            tuple(revision.id for revision in chosen),
            tuple(revision.message for revision in chosen),
            tuple(
                RevisionLoss(each.revision, effect.table, effect.loss)
                for each in planned
                for statement in each.statements
                for effect in statement.effects
                if effect.loss
            ),
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
    narrate: Narrate,
    progress: Progress,
) -> DownResult:
    """Undo the last `steps` revisions, or all behind `to`, each in a transaction of its own.

    A chain of files counts as one.

    Raises Protected or NotConfirmed before anything is changed, Irreversible, LockHeld and
    RevisionFailed; then what was undone before stays undone.
    """
    history = open_history(target, app)
    undone: list[AppliedNow] = []
    with schema_lock(target, "down", timeouts.lock_wait, narrate) as session:
        chosen = _chosen(session, target, app, history, to, steps)
        if chosen:
            permit(session, target, "migrate down", consent)
            with journaled(target, "down", app.name) as entry:
                undone = apply(
                    target,
                    app,
                    history,
                    chosen,
                    timeouts=timeouts,
                    narrate=narrate,
                    note=lambda revision: entry.note(undoing=revision),
                    progress=progress,
                    down=True,
                )
                entry.note(undoing=None, undone=[each.revision for each in undone])
        current = read_current(session, target, app)
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
    current, _ = read_complete(connection, target, app, history)
    if not current:
        raise OperationFailed(
            f"Nothing of {app.name} is applied to {place(target)}.",
            hint="See: leadctl migrate status",
        )
    applied = history.ancestors(current)
    named = None if to is None or to == BASE or "@" in to else history.get(to).id
    if named and named not in applied:
        raise OperationFailed(
            f"{named} is not applied: cannot downgrade to it.",
            hint=f"Apply it with: leadctl migrate up {to}",
        )
    chosen = _newest_first(history, applied, to, steps)
    for revision in chosen:
        if not revision.is_reversible:
            raise Irreversible(
                f"{revision.id} is irreversible: its downgrade() does nothing. "
                "Nothing was changed.",
                hint="Restore a backup, or write a revision that reverses it.",
            )
    return chosen


def _newest_first(
    history: History, applied: set[str], to: str | None, steps: int
) -> list[Revision]:
    """Return the last `steps` of the applied revisions, or all behind `to`.

    A chain of files is one step, as much of it as is applied.
    """
    going = history.behind(to or BASE, applied)
    behind = [each for each in history.revisions if each.id in going]
    chains = in_chains(behind, lambda each: each.message)[None if to else -steps :]
    return [each for chain in reversed(chains) for each in reversed(chain)]


def rehearse(
    target: Target, app: App, to: str | None, steps: int, narrate: Narrate
) -> DownRehearsal:
    """Run the last `steps` revisions, or all behind `to`, up, down and up in a scratch schema.

    Nothing is changed, and no rows are there: what a revision does to rows is read off its
    statements.  Where some are applied, those are meant, else the end of the folder's history.
    """
    history = open_history(target, app)
    with connect(target, "rehearse", read_only=True) as connection:
        current, _ = read_complete(connection, target, app, history)
    rehearsed = []
    for revision in _newest_first(history, history.ancestors(current or history.heads), to, steps):
        narrate(f"Rehearsing {revision.id}: {revision.message}")
        rehearsed.append(_rehearse(target, app, history, revision))
    return DownRehearsal(app.name, target.database, target.schema, tuple(rehearsed))


def _rehearse(target: Target, app: App, history: History, revision: Revision) -> RehearsedRevision:
    if not revision.is_reversible:
        return _irreversible(revision, "its downgrade() does nothing")

    def there_and_back(made: ModelScratch) -> tuple[Catalog, ...]:
        def run(goal: str | Sequence[str], *, down: bool = False) -> Catalog:
            made.run(app, history, goal, down=down)
            return made.read([app.version_table])

        first = run(revision.down) if revision.down else made.read()
        return first, run(revision.id), run(revision.id, down=True), run(revision.id)

    try:
        first, up, down, again = in_scratch(target, "rehearse", app.schemas, there_and_back)
    except LeadctlError as error:
        return _irreversible(revision, error.message)
    left = (*compare(first, down), *compare(up, again))
    if left:
        return _irreversible(revision, "its downgrade() leads to another schema than before", left)
    loses = _dropped(app, history, revision)
    return RehearsedRevision(
        revision.id, Verdict.LOSSY if loses else Verdict.REVERSIBLE, loses, None, ()
    )


def _irreversible(
    revision: Revision, reason: str, left: tuple[Difference, ...] = ()
) -> RehearsedRevision:
    return RehearsedRevision(revision.id, Verdict.IRREVERSIBLE, (), reason, left)


def _dropped(app: App, history: History, revision: Revision) -> tuple[str, ...]:
    """Return what way there and way back drop, in words."""
    scripts = Scripts(app, history)
    lost: list[str] = []
    made: set[str] = set()
    for down in (False, True):
        try:
            statements = scripts.statements(revision, down=down)
        except RevisionUnplannable:
            return (*lost, "what it loses is known only by running it")
        for statement in statements:
            for effect in effects(statement.sql):
                if effect.drops and (down or effect.table not in made):
                    for what in effect.drops:
                        of = "" if what == "table" else " of"
                        lost.append(f"the {what}{of} {effect.table}")
            new = created_by(statement.sql)
            if new and not down:
                made.add(new[0])
    return tuple(dict.fromkeys(lost))
