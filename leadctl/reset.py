"""Reset: drop what an app has in its schema, migrate, seed.  Others in the schema stay."""

from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from psycopg import sql

from leadctl.apps.registry import App
from leadctl.catalog.relations import read_named
from leadctl.crypto import Keyring
from leadctl.errors import DependentObjects, UnknownDatabase
from leadctl.journal import records, state
from leadctl.journal.guard import Consent, permit, protection
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.migrate.integrity import open_history, refuse_other_apps
from leadctl.migrate.recorder import own_objects
from leadctl.migrate.revision import AppliedNow
from leadctl.migrate.up import apply_locked
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, Timeouts, connect, set_timeouts
from leadctl.postgres.provision import connect_or_create, ensure_schema
from leadctl.postgres.queries import written_by_server
from leadctl.postgres.target import Target
from leadctl.progress import Narrate, Progress
from leadctl.seed.seed import SeededTable, check_key, forget_files, seed
from leadctl.text import counted

COUNT_SECONDS = 10.0
"""How long the rows of a table that would be dropped are counted."""
_DROPS = {
    "schema": sql.SQL("DROP SCHEMA IF EXISTS {}"),
    "view": sql.SQL("DROP VIEW IF EXISTS {}"),
    "materialized": sql.SQL("DROP MATERIALIZED VIEW IF EXISTS {}"),
    "enum": sql.SQL("DROP TYPE IF EXISTS {}"),
    "domain": sql.SQL("DROP DOMAIN IF EXISTS {}"),
    "type": sql.SQL("DROP TYPE IF EXISTS {}"),
    "collation": sql.SQL("DROP COLLATION IF EXISTS {}"),
    "sequence": sql.SQL("DROP SEQUENCE IF EXISTS {}"),
    "function": sql.SQL("DROP ROUTINE IF EXISTS {}"),
}


@dataclass(frozen=True)
class TableLoss:
    """A table that would be dropped, with its rows; None if counting took too long."""

    table: str
    rows: int | None


@dataclass(frozen=True)
class ResetPlan:
    """The objects and rows that a reset would drop."""

    app: str
    database: str
    schema: str
    protected: str | None
    """Why the database is protected, where it is."""
    tables: tuple[TableLoss, ...]
    others: tuple[str, ...]
    """Views, enums, functions and the like, as `kind name`."""


@dataclass(frozen=True)
class ResetResult:
    """What a reset did."""

    app: str
    database: str
    schema: str
    dropped: tuple[str, ...]
    applied: tuple[AppliedNow, ...]
    seeded: tuple[SeededTable, ...]


def plan(target: Target, app: App) -> ResetPlan:
    """Say what a reset would drop; changes nothing.  A database that is missing has nothing."""
    try:
        connection = connect(target, "reset", rows=True, statement_timeout=COUNT_SECONDS)
    except UnknownDatabase:
        return ResetPlan(app.name, target.database, target.schema, None, (), ())
    with connection:
        refuse_other_apps(connection, target, app)
        own = own_objects(connection, app, target.schema)
        tables = records.tables_among(own)
        return ResetPlan(
            app=app.name,
            database=target.database,
            schema=target.schema,
            protected=protection(connection, target),
            tables=tuple(
                TableLoss(name, count_rows(connection, name, table.touched_as))
                for name, table in read_named(connection, tables).items()
            ),
            others=tuple(key for key in own if not key.startswith("table ")),
        )


def reset(
    target: Target,
    app: App,
    keyring: Keyring,
    consent: Consent,
    *,
    timeouts: Timeouts,
    narrate: Narrate,
    progress: Progress,
    before: Callable[[], None] = lambda: None,
) -> ResetResult:
    """Drop the app's own objects, apply its whole history, insert its fixtures.

    `before` is called when the user has consented, before anything is dropped.
    The drop is one transaction.  Raises Protected or NotConfirmed before anything is changed,
    DependentObjects where something else needs what would go, and what migrate and seed raise.
    """
    check_key(app, keyring)
    history = open_history(target, app)
    history.goals  # noqa: B018 - raises where the history could not be applied afterwards
    connect_or_create(target, "reset", narrate).close()
    with schema_lock(target, "reset", timeouts.lock_wait, narrate) as session:
        granted = permit(session, target, "reset", consent)
        ensure_schema(session, target, narrate)
        before()
        with journaled(target, "reset", app.name) as entry:
            with connect(target, "reset", rows=True) as connection:
                set_timeouts(connection, timeouts)
                dropped = own_objects(connection, app, target.schema)
                with connection.transaction():
                    permit(connection, target, "reset", granted)  # it may be protected by now
                    _drop(connection, target, app, dropped)
            narrate(f"Dropped {counted(len(dropped), 'object')}.")
            revisions = history.revisions
            applied = apply_locked(
                target, app, history, revisions, timeouts, narrate, progress, entry
            )
            seeded = seed(target, app, keyring, narrate).tables
            entry.note(dropped=len(dropped), inserted=sum(table.inserted for table in seeded))
    return ResetResult(
        app.name, target.database, target.schema, tuple(dropped), tuple(applied), seeded
    )


def _drop(connection: Connection, target: Target, app: App, own: list[str]) -> None:
    """Drop objects in the caller's transaction, without CASCADE: what others need stops it."""
    tables = records.tables_among(own)
    # One statement for all tables: those that refer to each other go together.
    drops = [sql.SQL("DROP TABLE IF EXISTS {}").format(_listed(tables))] if tables else []
    if records.current_revisions(connection, target.schema, app.version_table) is not None:
        versions = app.version_table.within(target.schema)
        drops.append(sql.SQL("DROP TABLE IF EXISTS {}").format(versions))
    drops += [_drop_one(connection, key) for key in own if not key.startswith("table ")]
    _execute_in_any_order(connection, drops)
    if state.is_there(connection):
        records.forget_app(connection, app=app.name, schema=target.schema)
        forget_files(connection, target, app)


def _execute_in_any_order(connection: Connection, drops: list[sql.Composed]) -> None:
    """Execute drops of what may need each other: while one succeeds, the rest is tried again."""
    waiting = drops
    while waiting:
        failed: list[tuple[sql.Composed, DependentObjects]] = []
        for drop in waiting:
            try:
                with connection.transaction():
                    _execute(connection, drop)
            except DependentObjects as error:
                failed.append((drop, error))
        if len(failed) == len(waiting):
            raise failed[0][1]
        waiting = [drop for drop, _ in failed]


def _drop_one(connection: Connection, key: str) -> sql.Composed:
    kind, _, name = key.partition(" ")
    if kind == "view" and _is_materialized(connection, name):
        kind = "materialized"
    return _DROPS[kind].format(_listed([name]))


def _listed(names: list[str]) -> sql.Composed:
    """Compose names as the server quoted them when the catalog was read."""
    return sql.SQL(", ").join(written_by_server(name) for name in names)


def _is_materialized(connection: Connection, name: str) -> bool:
    row = exact.execute(
        connection, "SELECT relkind = 'm' FROM pg_class WHERE oid = to_regclass(%s)", (name,)
    ).fetchone()
    return bool(row and row[0])


def _execute(connection: Connection, statement: sql.Composed) -> None:
    try:
        connection.execute(statement)
    except psycopg.errors.DependentObjectsStillExist as error:
        detail = (error.diag.message_detail or "").replace("\n", "; ")
        raise DependentObjects(
            f"Objects that are not the app's depend on objects that would be dropped: {detail}.",
            hint="Drop or change it first; nothing was changed.",
        ) from None


def count_rows(connection: Connection, table: str, role: str | None) -> int | None:
    """Count the rows of a table, with the rights of a role; None where that takes too long."""
    try:
        query = sql.SQL("SELECT pg_catalog.count(*) FROM {}").format(_listed([table]))
        with exact.as_owner(connection, role):
            ((rows,),) = connection.execute(query)
    except psycopg.errors.QueryCanceled:
        return None
    return int(rows)
