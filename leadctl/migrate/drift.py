"""Drift: what was changed by hand since the last revision was applied."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from leadctl.apps.registry import App
from leadctl.catalog.compare import Difference, compare, without_grants
from leadctl.catalog.definitions import Catalog
from leadctl.errors import OperationFailed
from leadctl.journal import state
from leadctl.migrate import schema_sources
from leadctl.migrate.up import refuse_other_apps
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target


@dataclass(frozen=True)
class Drift:
    """What the database has that no revision says, and the other way round."""

    app: str
    database: str
    schema: str
    revision: str
    """The revision that the database is at."""
    since: datetime | None
    """When that was applied: what was changed by hand was changed later.  None where nothing was
    recorded then, and the history was run in a scratch schema instead."""
    differences: tuple[Difference, ...]
    """"missing" was dropped by hand, "extra" was made by hand."""

    @property
    def ok(self) -> bool:
        """Whether nothing was changed."""
        return not self.differences


@dataclass(frozen=True)
class Compared:
    """A drift, with the two catalogs that were compared."""

    drift: Drift
    should: Catalog
    found: Catalog


def drift(target: Target, app: App, narrate: Callable[[str], None]) -> Drift:
    """Compare the live schema with what was recorded; changes nothing.

    Raises OperationFailed where nothing was applied yet, and what connecting raises.
    """
    with connect(target, "drift", read_only=True) as connection:
        refuse_other_apps(connection, target, app)
        return compared(connection, target, app, narrate).drift


def compared(
    connection: Connection, target: Target, app: App, narrate: Callable[[str], None]
) -> Compared:
    """Compare as `drift` does, and return the catalogs, too."""
    current = state.current_revisions(connection, target.schema, app.version_table)
    if not current:
        raise OperationFailed(
            f"Nothing of {app.name} was applied to {target.database}, schema {target.schema}.",
            hint="Apply its revisions with: leadctl migrate",
        )
    found = schema_sources.of_database(connection, target, app)
    record = schema_sources.recorded(connection, target, app)
    if record is not None:
        should = record.catalog
        differences = compare(should, found)
    elif len(current) == 1:
        narrate(f"Nothing was recorded after {current[0]}; its history is run in a scratch schema.")
        should = schema_sources.of_history(target, app, current[0])
        differences = without_grants(compare(should, found))
    else:
        raise OperationFailed(
            f"The database is at {len(current)} revisions, and nothing was recorded after them.",
            hint="Join the branches of the history, and apply that.",
        )
    result = Drift(
        app.name,
        target.database,
        target.schema,
        ", ".join(current),
        record.applied_at if record else None,
        tuple(differences),
    )
    return Compared(result, should, found)
