"""Whether pending revisions may be applied: what is wrong with them, and what was consented to."""

from collections.abc import Callable, Collection, Sequence

from leadctl.apps.registry import App
from leadctl.errors import RevisionMixed
from leadctl.journal.guard import Consent, decide, protection
from leadctl.migrate.revisions import History, Revision
from leadctl.postgres.connect import Connection
from leadctl.postgres.target import Target

_AUTOCOMMIT = "autocommit_block"


def permit_revisions(
    connection: Connection,
    target: Target,
    app: App,
    history: History,
    pending: Sequence[Revision],
    allow: Collection[str],
    consent: Consent,
    narrate: Callable[[str], None],
) -> None:
    """Return where the revisions may be applied; changes nothing.

    Raises RevisionMixed for one that could stop half done, and Protected where the database is
    protected, the plan has findings, and its name was not given.
    """
    protected = protection(connection, target)
    if protected is None and not any(_may_be_mixed(revision) for revision in pending):
        return
    from leadctl.migrate.lint.rules import MIXED
    from leadctl.migrate.planner import Planner  # loads Alembic

    planner = Planner(app, history, connection, target.schema, allow)
    planned = [planner.revision(revision) for revision in pending]
    found = [(revision, finding) for revision in planned for finding in revision.blocking]
    for revision, finding in found:
        if finding.rule == MIXED:
            raise RevisionMixed(
                f"The revision {revision.revision} was not applied: {finding.message}",
                hint=f"{finding.hint} Where it may be: --allow {MIXED}",
            )
    if protected is None or not found:
        return
    for revision, finding in found:
        narrate(f"{revision.revision}: {finding.rule}: {finding.message}")
    narrate("See it whole with: leadctl migrate --plan. One rule is allowed by --allow RULE.")
    reason = f"{protected}, and the plan has findings"
    decide(connection.info.dbname, reason, "migrate", consent)


def _may_be_mixed(revision: Revision) -> bool:
    """Whether a revision leaves its transaction; only such a one must be looked at closely."""
    return _AUTOCOMMIT in revision.path.read_text(encoding="utf-8")
