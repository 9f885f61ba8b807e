"""The plan of what is pending: its statements, what each locks and does, what is wrong with it."""

from collections.abc import Collection
from dataclasses import dataclass

from psycopg import sql

from leadctl.apps.registry import App
from leadctl.errors import UnknownDatabase
from leadctl.journal import state
from leadctl.migrate.planned import Plan
from leadctl.migrate.planner import Planner
from leadctl.migrate.revisions import History, Revision, read_history
from leadctl.migrate.script import Scripts
from leadctl.migrate.up import refuse_other_apps, wanted_revisions
from leadctl.postgres.connect import Timeouts, connect
from leadctl.postgres.target import Target

LOOK_SECONDS = 5.0
"""How long a look at the catalog, or a count of what is lost, may take."""


def plan(
    target: Target,
    app: App,
    *,
    to: str | None = None,
    steps: int | None = None,
    allow: Collection[str] = (),
) -> Plan:
    """Say what `up` with the same arguments would do; changes nothing.

    `allow` are rules whose findings do not count.  A database that does not exist is an empty
    one.  Raises UnknownRevision, and what connecting raises.
    """
    history = read_history(app.migrations)
    wanted = wanted_revisions(history, to)

    def planned(planner: Planner, current: list[str]) -> Plan:
        pending = [revision for revision in history.pending(current) if revision.id in wanted]
        return _plan(target, app, planner, current, pending[:steps])

    try:
        connection = connect(target, "plan", read_only=True, statement_timeout=LOOK_SECONDS)
    except UnknownDatabase:
        return planned(Planner(app, history, None, target.schema, allow), [])
    with connection:
        refuse_other_apps(connection, target, app)
        current = state.current_revisions(connection, target.schema, app.version_table) or []
        return planned(Planner(app, history, connection, target.schema, allow), current)


def _plan(
    target: Target, app: App, planner: Planner, current: list[str], pending: list[Revision]
) -> Plan:
    return Plan(
        app.name,
        target.database,
        target.schema,
        ", ".join(current) or None,
        tuple(planner.revision(revision) for revision in pending),
    )


@dataclass(frozen=True)
class Script:
    """The SQL that applies what is pending, for psql."""

    app: str
    database: str
    schema: str
    revisions: tuple[str, ...]
    sql: str


def script(
    target: Target, app: App, *, to: str | None = None, steps: int | None = None, timeouts: Timeouts
) -> Script:
    """Return the SQL of what `up` with the same arguments would apply; changes nothing.

    Applied by psql, it leaves Alembic's table as `up` does.  Raises RevisionUnplannable where a
    revision's SQL cannot be had without running it.
    """
    history = read_history(app.migrations)
    pending = _pending(target, app, history, wanted_revisions(history, to))[:steps]
    scripts = Scripts(history, app.version_table)
    head = [
        r"\set ON_ERROR_STOP on",
        f"SET search_path TO {sql.Identifier(target.schema).as_string()};",
        f"SET lock_timeout TO '{round(timeouts.lock_timeout * 1000)}ms';",
    ]
    texts = [
        f"\n-- {revision.id}: {revision.message}\n{scripts.text(revision)}" for revision in pending
    ]
    return Script(
        app.name,
        target.database,
        target.schema,
        tuple(revision.id for revision in pending),
        "\n".join([*head, *texts]) if pending else "-- Nothing is pending.\n",
    )


def _pending(target: Target, app: App, history: History, wanted: set[str]) -> list[Revision]:
    try:
        with connect(target, "plan", read_only=True) as connection:
            refuse_other_apps(connection, target, app)
            current = state.current_revisions(connection, target.schema, app.version_table) or []
    except UnknownDatabase:
        current = []
    return [revision for revision in history.pending(current) if revision.id in wanted]
