"""The four places that a schema's definition is had from: models, history, record, database."""

from dataclasses import dataclass
from datetime import datetime

from leadctl.apps.registry import App
from leadctl.catalog.definitions import Catalog, read_catalog
from leadctl.journal import state
from leadctl.migrate.revisions import read_history
from leadctl.postgres.connect import Connection
from leadctl.postgres.target import Target


@dataclass(frozen=True)
class Recorded:
    """The schema as it was after its newest revision."""

    catalog: Catalog
    revision: str
    applied_at: datetime
    own: frozenset[str]
    """What the app's own revisions made, as `kind name`."""


def of_models(target: Target, app: App) -> Catalog:
    """Return what an app's models describe; they are created in a scratch schema.

    Privileges are the server's: models do not say who may do what.
    """
    from leadctl.migrate.scratch import scratch  # loads SQLAlchemy

    with scratch(target, "read models", app.schemas) as made:
        made.create_models(app)
        return made.read().without("grant")


def of_history(target: Target, app: App, revision: str | None) -> Catalog:
    """Return what a history makes up to a revision, or nothing; it is run in a scratch schema."""
    from leadctl.migrate.scratch import scratch  # loads SQLAlchemy and Alembic

    if revision is None:
        return Catalog({})
    with scratch(target, "read history", app.schemas) as made:
        made.run(app, read_history(app.migrations), revision)
        return made.read([app.version_table])


def of_database(connection: Connection, target: Target, app: App) -> Catalog:
    """Return what is there; a schema that does not exist has nothing."""
    if not _exists(connection, target.schema):
        return Catalog({})
    return read_catalog(connection, target.schema, [app.version_table], app.schemas)


def recorded(connection: Connection, target: Target, app: App) -> Recorded | None:
    """Return what was recorded after the revision that the database is at, if anything was."""
    found = state.read_fingerprint(connection, app.name, target.schema, app.version_table)
    if found is None:
        return None
    own = frozenset(found.content.get("own", ()))
    return Recorded(Catalog(found.content["objects"]), found.revision, found.applied_at, own)


def _exists(connection: Connection, schema: str) -> bool:
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %s)", (schema,)
    ).fetchone()
    return bool(row and row[0])
