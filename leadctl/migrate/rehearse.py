"""Rehearsing a way down: up, down and up again in a scratch schema."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from leadctl.apps.registry import App
from leadctl.catalog.compare import Difference, compare
from leadctl.catalog.definitions import Catalog
from leadctl.errors import LeadctlError, RevisionUnplannable
from leadctl.journal import state
from leadctl.migrate.down import BASE
from leadctl.migrate.reversible import is_reversible
from leadctl.migrate.revisions import History, Revision, read_history
from leadctl.migrate.scratch import scratch
from leadctl.migrate.script import Scripts
from leadctl.migrate.up import refuse_other_apps
from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target
from leadctl.sql.effects import effects, made_by
from leadctl.sql.locks import CatalogFacts


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
class Rehearsal:
    """How each way back did, the newest first."""

    app: str
    database: str
    schema: str
    revisions: tuple[RehearsedRevision, ...]

    @property
    def ok(self) -> bool:
        """Whether all can be undone."""
        return all(each.verdict is not Verdict.IRREVERSIBLE for each in self.revisions)


def rehearse(
    target: Target, app: App, to: str | None, steps: int, narrate: Callable[[str], None]
) -> Rehearsal:
    """Run the last `steps` revisions, or all behind `to`, up, down and up in a scratch schema.

    Nothing is changed, and no rows are there: what a revision does to rows is read off its
    statements.  Where some are applied, those are meant, else the end of the folder's history.
    """
    history = read_history(app.migrations)
    with connect(target, "rehearse", read_only=True) as connection:
        refuse_other_apps(connection, target, app)
        current = state.current_revisions(connection, target.schema, app.version_table)
    applied = history.ancestors(current) if current else {each.id for each in history.revisions}
    newest_first = [each for each in reversed(history.revisions) if each.id in applied]
    if to is None:
        chosen = newest_first[:steps]
    else:
        kept = set() if to == BASE else history.ancestors([history.get(to).id])
        chosen = [each for each in newest_first if each.id not in kept]
    rehearsed = []
    for revision in chosen:
        narrate(f"Rehearsing {revision.id}: {revision.message}")
        rehearsed.append(_rehearse(target, app, history, revision))
    return Rehearsal(app.name, target.database, target.schema, tuple(rehearsed))


def _rehearse(target: Target, app: App, history: History, revision: Revision) -> RehearsedRevision:
    if not is_reversible(revision.path):
        return _irreversible(revision, "its downgrade() does nothing")
    if len(revision.down) > 1:
        return _rehearse_join(app, history, revision)
    try:
        with scratch(target, "rehearse", app.schemas) as made:

            def run(goal: str, *, down: bool = False) -> Catalog:
                made.run(app, history, goal, down=down)
                return made.read([app.version_table])

            first = run(revision.down[0]) if revision.down else made.read()
            up = run(revision.id)
            down = run(revision.id, down=True)
            again = run(revision.id)
    except LeadctlError as error:
        return _irreversible(revision, error.message)
    left = (*compare(first, down), *compare(up, again))
    if left:
        return _irreversible(revision, "the way back leads elsewhere", left)
    loses = _losses(app, history, revision)
    return RehearsedRevision(
        revision.id, Verdict.LOSSY if loses else Verdict.REVERSIBLE, loses, None, ()
    )


def _rehearse_join(app: App, history: History, revision: Revision) -> RehearsedRevision:
    """Judge a revision that joins two branches: nothing is to be undone where it does nothing."""
    scripts = Scripts(history, app.version_table)
    if any(scripts.statements(revision, down=down) for down in (False, True)):
        return _irreversible(revision, "it joins two branches, and does something beside that")
    return RehearsedRevision(revision.id, Verdict.REVERSIBLE, (), None, ())


def _irreversible(
    revision: Revision, reason: str, left: tuple[Difference, ...] = ()
) -> RehearsedRevision:
    return RehearsedRevision(revision.id, Verdict.IRREVERSIBLE, (), reason, left)


def _losses(app: App, history: History, revision: Revision) -> tuple[str, ...]:
    """Return what way there and way back drop, in words."""
    scripts = Scripts(history, app.version_table)
    lost: list[str] = []
    made: set[str] = set()
    for down in (False, True):
        try:
            statements = scripts.statements(revision, down=down)
        except RevisionUnplannable:
            return (*lost, "what it loses cannot be told without running it")
        for statement in statements:
            for effect in effects(statement.sql, CatalogFacts()):
                if effect.drops and (down or effect.table not in made):
                    what = effect.drops.partition(", ")[0]
                    whole = what == "table"
                    lost.append(f"the {what}{'' if whole else ' of'} {effect.table}")
            new = made_by(statement.sql)
            if new and not down:
                made.add(new[0])
    return tuple(dict.fromkeys(lost))
