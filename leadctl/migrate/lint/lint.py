"""Lint of revisions, with the live tables' sizes where there is a database."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from leadctl.apps.registry import App
from leadctl.errors import ConnectionFailed
from leadctl.journal import state
from leadctl.migrate.lint.findings import Finding
from leadctl.migrate.lint.squawk import find_squawk
from leadctl.migrate.plan import LOOK_SECONDS
from leadctl.migrate.planner import Planner
from leadctl.migrate.revisions import History, Revision, read_history
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target


@dataclass(frozen=True)
class LintedRevision:
    """A revision and what was found in it."""

    revision: str
    path: Path
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class LintResult:
    """What lint found."""

    app: str
    database: str | None
    """Whose tables were asked for their sizes; None where there was none to ask."""
    squawk: bool
    """Whether squawk's rules were looked at, too."""
    revisions: tuple[LintedRevision, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found but what is allowed."""
        return all(
            finding.allowed is not None
            for revision in self.revisions
            for finding in revision.findings
        )


def lint(
    target: Target | None,
    app: App,
    names: Sequence[str],
    *,
    everything: bool,
    allow: Collection[str] = (),
    narrate: Callable[[str], None],
) -> LintResult:
    """Say what is dangerous in revisions: the named ones, all, or else what is pending.

    Without a database that can be reached it is all of them, and every table that a revision does
    not make itself is taken for a big one.  Raises UnknownRevision.
    """
    history = read_history(app.migrations)
    squawk = find_squawk() is not None
    if not squawk:
        narrate("squawk's rules are left out; install them with: pip install 'leadctl[lint]'")
    connection = _connect(target, narrate) if target else None
    if connection is None:
        chosen = _chosen(history, names) or history.revisions
        return LintResult(
            app.name, None, squawk, _lint(app, history, chosen, None, "public", allow)
        )
    assert target is not None
    with connection:
        chosen = history.revisions if everything else _chosen(history, names)
        if not chosen:
            chosen = history.pending(
                state.current_revisions(connection, target.schema, app.version_table) or []
            )
        found = _lint(app, history, chosen, connection, target.schema, allow)
        return LintResult(app.name, target.database, squawk, found)


def _connect(target: Target, narrate: Callable[[str], None]) -> Connection | None:
    try:
        return connect(target, "lint", read_only=True, statement_timeout=LOOK_SECONDS)
    except ConnectionFailed as error:
        narrate(f"{error.message} Every table is taken for a big one.")
        return None


def _chosen(history: History, names: Sequence[str]) -> list[Revision]:
    wanted = {history.get(name).id for name in names}
    return [revision for revision in history.revisions if revision.id in wanted]


def _lint(
    app: App,
    history: History,
    revisions: Sequence[Revision],
    connection: Connection | None,
    schema: str,
    allow: Collection[str],
) -> tuple[LintedRevision, ...]:
    planner = Planner(app, history, connection, schema, allow)
    found = []
    for revision in revisions:
        found.append(
            LintedRevision(revision.id, revision.path, planner.revision(revision).findings)
        )
        if connection is None:
            planner.forget()
    return tuple(found)
