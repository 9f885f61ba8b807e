"""Check whether models, migrations and database agree."""

from collections.abc import Callable
from dataclasses import dataclass

from leadctl.apps.registry import App
from leadctl.catalog.compare import Difference, compare
from leadctl.catalog.definitions import Catalog
from leadctl.journal import state
from leadctl.migrate import schema_sources
from leadctl.migrate.desired_schema import goal
from leadctl.migrate.drift import compared
from leadctl.migrate.revisions import History, read_history
from leadctl.migrate.up import refuse_other_apps
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target


@dataclass(frozen=True)
class Check:
    """Where models, migrations and database differ."""

    app: str
    database: str
    schema: str
    current: str | None
    pending: tuple[str, ...]
    models: tuple[Difference, ...]
    """From what the migrations make to what the models say: what `new` would write."""
    drift: tuple[Difference, ...]
    """From what was recorded to what is there: what was changed by hand."""

    @property
    def ok(self) -> bool:
        """Whether all three agree."""
        return not (self.pending or self.models or self.drift)


def check(target: Target, app: App, narrate: Callable[[str], None]) -> Check:
    """Compare models, migrations and database; changes nothing.

    Raises what connecting raises, and RevisionFailed where a history cannot be run in a scratch
    schema, which is needed while revisions are pending.
    """
    history = read_history(app.migrations)
    with connect(target, "check", read_only=True) as connection:
        refuse_other_apps(connection, target, app)
        current = state.current_revisions(connection, target.schema, app.version_table) or []
        pending = history.pending(current)
        drift = compared(connection, target, app, narrate) if current else None
        made = migrated(connection, target, app, history)
        record = schema_sources.recorded(connection, target, app)
    own = record.own if record and not pending else ()
    wanted = goal(app, schema_sources.of_models(target, app), made, own)
    return Check(
        app.name,
        target.database,
        target.schema,
        ", ".join(current) or None,
        tuple(revision.id for revision in pending),
        tuple(compare(made, wanted)),
        drift.drift.differences if drift else (),
    )


def migrated(connection: Connection, target: Target, app: App, history: History) -> Catalog:
    """Return what the whole history makes: as recorded where it is applied, else by running it."""
    current = state.current_revisions(connection, target.schema, app.version_table) or []
    record = None if history.pending(current) else schema_sources.recorded(connection, target, app)
    return record.catalog if record else schema_sources.of_history(target, app, history.head)
