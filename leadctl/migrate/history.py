"""What was applied to a schema: when, by whom, how long it took, in that order."""

from dataclasses import dataclass

from leadctl.apps.registry import App
from leadctl.journal import state
from leadctl.journal.state import AppliedRevision
from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target


@dataclass(frozen=True)
class MigrationHistory:
    """The recorded revisions of an app in a schema."""

    app: str
    database: str
    schema: str
    revisions: tuple[AppliedRevision, ...]


def history(target: Target, app: App) -> MigrationHistory:
    """Read what was recorded; changes nothing.  Raises what connecting raises."""
    with connect(target, "history", read_only=True) as connection:
        recorded = state.applied_revisions(connection, target.schema)
    return MigrationHistory(
        app=app.name,
        database=target.database,
        schema=target.schema,
        revisions=tuple(revision for revision in recorded if revision.app == app.name),
    )
