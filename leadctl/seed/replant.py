"""Replanting: empty the tables of an app, then seed them."""

import psycopg
from psycopg import sql

from leadctl.apps.registry import App
from leadctl.catalog.relations import Relation, read_named
from leadctl.crypto import Keyring
from leadctl.errors import DependentObjects
from leadctl.journal import records
from leadctl.journal.guard import Consent, permit
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.migrate.integrity import refuse_other_apps
from leadctl.migrate.recorder import own_objects
from leadctl.postgres.connect import Connection, Timeouts, set_timeouts
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told
from leadctl.progress import Narrate
from leadctl.seed.seed import SeedResult, check_key, forget_files, seed
from leadctl.text import counted

VERB = "seed --replant"
"""What the guard, the lock and the journal call it."""


def replant(
    target: Target,
    app: App,
    keyring: Keyring,
    consent: Consent,
    *,
    timeouts: Timeouts,
    narrate: Narrate,
) -> SeedResult:
    """Empty the app's tables and seed them, in one transaction; their sequences begin again.

    Rows that revisions inserted go, too.  Raises Protected, NotConfirmed and NoIdentity before
    anything is changed, DependentObjects where rows of others would have to go, and what `seed`
    raises: then all rows are as they were.
    """
    check_key(app, keyring)

    def empty(connection: Connection) -> None:
        permit(connection, target, VERB, granted)  # it may be protected by now
        set_timeouts(connection, timeouts)
        tables = _own_tables(connection, app, target.schema)
        _truncate(connection, tables)
        forget_files(connection, target, app)
        narrate(f"Emptied {counted(len(tables), 'table')}.")

    with schema_lock(target, VERB, timeouts.lock_wait, narrate) as session:
        refuse_other_apps(session, target, app)
        granted = permit(session, target, VERB, consent)
        with journaled(target, VERB, app.name) as entry:
            result = seed(target, app, keyring, narrate, before=empty)
            entry.note(inserted=result.inserted)
    return result


def _own_tables(connection: Connection, app: App, schema: str) -> list[Relation]:
    """Return the tables that hold the app's rows."""
    names = records.tables_among(own_objects(connection, app, schema))
    found = read_named(connection, names, "descendants").values()
    return [relation for relation in found if relation.is_table]


def _truncate(connection: Connection, tables: list[Relation]) -> None:
    """Empty tables without CASCADE: what others have that refers to them stops it."""
    for table in tables:
        foreign = [each.name for each in table.descendants if each.kind == "f"]
        if table.kind == "p" and foreign:
            raise DependentObjects(
                f"Rows of {table.name} are on another server, in the foreign table {foreign[0]}. "
                "Nothing was changed.",
                hint=f"Detach it first: ALTER TABLE {table.qualified} DETACH PARTITION …",
            )
    if not tables:
        return
    # What inherits from a table without being its partition may be somebody else's.
    names = [
        sql.SQL("{}" if table.kind == "p" else "ONLY {}").format(table.identifier)
        for table in tables
    ]
    try:
        connection.execute(
            sql.SQL("TRUNCATE {} RESTART IDENTITY").format(sql.SQL(", ").join(names))
        )
    except psycopg.errors.FeatureNotSupported as error:
        raise DependentObjects(
            f"A table that is not the app's refers to rows that would go: "
            f"{told(error, detail=True)} Nothing was changed.",
            hint="Empty that table or drop its foreign key first.",
        ) from None
