"""Executing one revision: what is recorded of it, and what CONCURRENTLY needs.

The same code runs under `leadctl migrate` and under plain Alembic with leadctl's env.py.
"""

import re
import time
from collections.abc import Mapping
from typing import Any

from psycopg import sql
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Enum, event

from leadctl.apps.fixtures import Fixture, key_as_json
from leadctl.apps.registry import App, load_metadata, load_object
from leadctl.db import state
from leadctl.db.catalog import read_catalog
from leadctl.db.connect import Connection
from leadctl.db.state import VERSION_TABLE
from leadctl.operations.migrate.revisions import History

OWN_KINDS = ("table ", "view ", "enum ", "domain ", "type ", "sequence ", "function ")
"""What stands for itself in a schema; indexes, constraints, triggers go with their table."""
_POLL_SECONDS = 0.2
_CONCURRENTLY = re.compile(r"\bCONCURRENTLY\b", re.IGNORECASE)
_CREATE_INDEX = re.compile(
    r"\s*CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:IF\s+NOT\s+EXISTS\s+)?"
    r'(?P<name>"(?:[^"]|"")+"|[\w$]+)',
    re.IGNORECASE,
)


class Execution:
    """Watches the statements of revisions on a connection, and records each applied revision.

    The record (checksum, SQL, duration, fingerprint) is written in the revision's transaction.
    """

    def __init__(
        self,
        connection: SqlConnection,
        app: App,
        history: History,
        schema: str,
        lock_timeout: float,
    ) -> None:
        self._connection = connection
        self._app = app
        self._history = history
        self._schema = schema
        self._lock_timeout = lock_timeout
        self._statements: list[str] = []
        self._started = time.perf_counter()
        self._recorded = recorded_facts(app)
        self._objects: Mapping[str, Any] | None = None
        self._own: set[str] = set()
        event.listen(connection, "before_cursor_execute", self._before)
        event.listen(connection, "after_cursor_execute", self._after)

    def begin(self) -> None:
        """Forget what was executed until now: a revision begins."""
        set_lock_timeout(self._driver, self._lock_timeout)
        if self._objects is None:
            self._objects = read_catalog(self._driver, self._schema).objects
            self._own = set(own_objects(self._driver, self._app, self._schema))
        self._statements.clear()
        self._started = time.perf_counter()

    def on_version_apply(self, ctx: Any, step: Any, heads: Any, run_args: Any) -> None:  # noqa: ARG002
        """Record a revision; Alembic calls this after each, within its transaction."""
        driver = self._driver
        place = {"app": self._app.name, "schema": self._schema}
        if step.is_upgrade:
            revision = self._history.get(step.up_revision_id)
            state.record_migration(
                driver,
                **place,
                revision=revision.id,
                checksum=revision.checksum,
                sql=";\n".join(self._statements),
                duration_ms=round((time.perf_counter() - self._started) * 1000),
            )
        else:
            state.forget_migration(driver, **place, revision=step.up_revision_id)
        content = {**self._fingerprint(driver), **self._recorded}
        for revision_id in step.destination_revision_ids:
            state.record_fingerprint(driver, **place, revision=revision_id, content=content)
        self.begin()

    def _fingerprint(self, driver: Connection) -> dict[str, Any]:
        """Return what the schema consists of now, and what of it the app's revisions made.

        What they made is what came since the last look; other inhabitants of the schema were
        there before, or come between runs.
        """
        before = self._objects or {}
        self._objects = read_catalog(driver, self._schema).objects
        made = {key for key in self._objects if key.startswith(OWN_KINDS)} - before.keys()
        self._own = (self._own | made) & self._objects.keys()
        return {"objects": self._objects, "own": sorted(self._own)}

    @property
    def _driver(self) -> Connection:
        connection: Connection | None = self._connection.connection.driver_connection
        assert connection is not None
        return connection

    def _before(
        self, _conn: Any, _cursor: Any, statement: str, _parameters: Any, _context: Any, _many: bool
    ) -> None:
        if VERSION_TABLE not in statement:
            self._statements.append(statement.strip())
        if _CONCURRENTLY.search(statement):
            # It waits for older transactions without blocking anybody: no timeout is due, and one
            # would leave an invalid index behind.
            self._driver.execute("SET lock_timeout = 0")
            created = _CREATE_INDEX.match(statement)
            if created:
                _drop_invalid_index(self._driver, created["name"])

    def _after(
        self, _conn: Any, _cursor: Any, statement: str, _parameters: Any, _context: Any, _many: bool
    ) -> None:
        if _CONCURRENTLY.search(statement):
            set_lock_timeout(self._driver, self._lock_timeout)


def own_objects(connection: Connection, app: App, schema: str) -> list[str]:
    """Return what an app has in a schema: what its revisions made, as it was recorded.

    Where nothing was recorded, by an older history or another tool, it is what the models name.
    """
    recorded = state.fingerprint(connection, app.name, schema)
    if recorded is not None and "own" in recorded:
        return list(recorded["own"])
    if not state.current_revisions(connection, schema):
        return []
    metadata = load_metadata(app)
    enums = {
        column.type.name
        for table in metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, Enum) and column.type.name
    }
    named = [f"table {table.name}" for table in metadata.tables.values()]
    named += [f"enum {name}" for name in enums]
    existing = read_catalog(connection, schema).objects
    return sorted(key for key in named if key in existing)


def set_lock_timeout(connection: Connection, seconds: float) -> None:
    """Bound how long each statement of the session waits for a lock on a table."""
    connection.execute(
        "SELECT set_config('lock_timeout', %s, false)", (f"{round(seconds * 1000)}ms",)
    )


def recorded_facts(app: App) -> Mapping[str, Any]:
    """Return what the fingerprint has beside the schema's objects, read from the app's code.

    `encrypted` is the context of each encrypted column, `fixtures` what finds each fixture's row.
    """
    from leadctl.models.encrypted import encrypted_columns

    metadata = load_metadata(app)
    fixtures = load_object(app, app.seed, "seed") if app.seed else ()
    return {
        "encrypted": {
            f"{column.table.name}.{column.name}": context
            for column, context in encrypted_columns(metadata)
        },
        "fixtures": [
            key_as_json(fixture)
            for fixture in (() if callable(fixtures) else fixtures)
            if isinstance(fixture, Fixture)
        ],
    }


def _drop_invalid_index(connection: Connection, name: str) -> None:
    """Remove what an interrupted CREATE INDEX CONCURRENTLY left: an index that nothing uses.

    One that is being built now, by a run that was killed or by somebody else, is waited for.
    """
    while (found := _invalid_index(connection, name)) is not None:
        index, being_built = found
        if being_built:
            time.sleep(_POLL_SECONDS)
        else:
            connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(index))


def _invalid_index(connection: Connection, name: str) -> tuple[sql.SQL, bool] | None:
    row = connection.execute(
        "SELECT x.indexrelid::regclass::text, EXISTS (SELECT FROM pg_stat_progress_create_index p"
        "                                             WHERE p.index_relid = x.indexrelid)"
        " FROM pg_index x WHERE x.indexrelid = to_regclass(%s) AND NOT x.indisvalid",
        (name,),
    ).fetchone()
    return None if row is None else (sql.SQL(row[0]), row[1])
