"""What a migration would do, before it does it: its plan, its script, and what lint says."""

from collections.abc import Collection, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass

from psycopg import sql

from leadctl.apps.registry import App
from leadctl.errors import ConnectionFailed, UnknownDatabase
from leadctl.journal import records
from leadctl.migrate.alembic_runner import Scripts
from leadctl.migrate.integrity import open_history, read_verified, refuse_missing_extensions
from leadctl.migrate.lint import find_squawk
from leadctl.migrate.plan import LintedRevision, LintResult, MigrationPlan
from leadctl.migrate.planner import Planner, planning_connection
from leadctl.migrate.revisions import read_history
from leadctl.postgres.connect import Timeouts, connect
from leadctl.postgres.target import Target
from leadctl.progress import Narrate

_NOT_ASKED = "--plan-read was given"


def plan(
    target: Target,
    app: App,
    *,
    to: str | None = None,
    steps: int | None = None,
    allow: Collection[str] = (),
    tried: bool = True,
) -> MigrationPlan:
    """Say what `up` with the same arguments would do; changes nothing.

    The statements are tried in a scratch database, unless `tried` is false: then they are read.
    `allow` are rules whose findings do not count.  A database that does not exist is an empty
    one.  Raises UnknownRevision, and what connecting raises.
    """
    history = open_history(target, app)
    history.goal(to)
    connection = None
    with suppress(UnknownDatabase):
        connection = planning_connection(target)
    with connection or nullcontext():
        current = read_verified(connection, target, app, history) if connection else []
        planner = Planner(app, history, connection, target.schema, allow)
        pending = history.pending(current, history.goal(to, current))[:steps]
        if connection:
            refuse_missing_extensions(connection, pending)
        with planner.trying(target, pending) if tried else nullcontext(_NOT_ASKED) as not_tried:
            revisions = tuple(planner.revision(each) for each in pending)
        return MigrationPlan(
            app.name,
            target.database,
            target.schema,
            ", ".join(current) or None,
            not_tried,
            revisions,
        )


@dataclass(frozen=True)
class MigrationScript:
    """The SQL that applies what is pending, for psql."""

    app: str
    database: str
    schema: str
    revisions: tuple[str, ...]
    sql: str


def script(
    target: Target, app: App, *, to: str | None = None, steps: int | None = None, timeouts: Timeouts
) -> MigrationScript:
    """Return the SQL of what `up` with the same arguments would apply; changes nothing.

    Applied by psql, it leaves Alembic's table as `up` does.  Raises RevisionUnplannable where a
    revision's SQL is not available without running it.
    """
    history = open_history(target, app)
    history.goal(to)
    current: list[str] = []
    table = app.version_table.within(target.schema)
    recorded, room = None, None
    with suppress(UnknownDatabase), connect(target, "plan", read_only=True) as connection:
        current = read_verified(connection, target, app, history)
        recorded = records.current_revisions(connection, target.schema, app.version_table)
        room = records.room_for_ids(connection, table)
    pending = history.pending(current, history.goal(to, current))[:steps]
    scripts = Scripts(app, history)
    path = f"SET search_path TO {sql.Identifier(target.schema).as_string()};"
    head = [
        r"\set ON_ERROR_STOP on",
        path,
        f"SET lock_timeout TO '{round(timeouts.lock_timeout * 1000)}ms';",
    ]
    longest = max((len(each.id) for each in pending), default=0)
    if room is not None and room < longest:
        widen = sql.SQL("ALTER TABLE {} ALTER COLUMN version_num TYPE varchar({});")
        head.append(widen.format(table, longest).as_string())
    texts = [
        f"\n-- {each.id}: {each.message}\n{text}"
        for each, text in zip(pending, scripts.texts(pending, path, recorded), strict=True)
    ]
    return MigrationScript(
        app.name,
        target.database,
        target.schema,
        tuple(revision.id for revision in pending),
        "\n".join([*head, *texts]) if pending else "-- Nothing is pending.\n",
    )


def lint(
    target: Target | None,
    app: App,
    names: Sequence[str],
    *,
    everything: bool,
    allow: Collection[str] = (),
    narrate: Narrate,
) -> LintResult:
    """Say what is dangerous in revisions: the named ones, all, or else what is pending.

    Without a database that can be reached it is all of them, and every table that a revision does
    not make itself counts as a big one.  Raises UnknownRevision.
    """
    history = open_history(target, app) if target else read_history(app.versions)
    squawk = find_squawk() is not None
    if not squawk:
        narrate("squawk's rules are left out; install them with: pip install squawk-cli")
    named = {history.get(name).id for name in names}
    chosen = [each for each in history.revisions if everything or each.id in named]
    schema, database = "public", None
    connection = None
    if target:
        try:
            connection = planning_connection(target)
        except ConnectionFailed as error:
            narrate(f"{error.message} Assuming that all tables are large.")
    with connection or nullcontext():
        if connection and target:
            schema, database = target.schema, target.database
            current = records.current_revisions(connection, schema, app.version_table) or []
            chosen = chosen or history.pending(current)
        else:
            chosen = chosen or history.revisions
        planner = Planner(app, history, connection, schema, allow)
        linted = []
        from_the_start = connection is None or bool(everything or named)
        tried = nullcontext() if from_the_start or not target else planner.trying(target, chosen)
        with tried:
            for each in history.revisions:
                if each in chosen:
                    found = planner.revision(each).findings
                    linted.append(LintedRevision(each.id, each.path, found))
                    if connection is None:
                        planner.forget()
                elif from_the_start:
                    planner.learn(each)
    return LintResult(app.name, database, squawk, tuple(linted))
