"""Executing revisions through Alembic, one at a time, each in a transaction of its own."""

import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import inspect
from sqlalchemy.exc import DBAPIError

from leadctl.apps.metadata import environment_options, load_metadata, not_honoured
from leadctl.apps.registry import App, builtin_migrations, find_app, to_stderr
from leadctl.errors import ConnectionFailed, LeadctlError, RevisionFailed, SchemaTaken
from leadctl.journal import state
from leadctl.journal.guard import Consent, permit
from leadctl.journal.lock import schema_lock
from leadctl.migrate.backfill import progress_of_run
from leadctl.migrate.live_tables import QUERIES
from leadctl.migrate.recorder import Recorder
from leadctl.migrate.revisions import History, Revision, read_history
from leadctl.migrate.status import AppliedNow, refuse_other_apps
from leadctl.postgres.connect import Connection, Timeouts, connect
from leadctl.postgres.engine import run_engine
from leadctl.postgres.provision import ensure_schema
from leadctl.postgres.target import Target, resolve
from leadctl.postgres.translate import translate
from leadctl.progress import Narrate, Progress
from leadctl.settings import load_settings

_APP_OPTION = "leadctl_app"
"""The option of alembic.ini that names the app; without it, the settings do."""
_DOWNGRADE = "alembic downgrade"
"""On a protected database: alembic -x confirm=DATABASE downgrade …"""
_ATTEMPTS = 10
_PAUSE_SECONDS = 1.0
_PAUSE_SECONDS_MAX = 5.0
_LOCK_NOT_AVAILABLE = "55P03"
_POLL_SECONDS = 1.0


def apply(
    target: Target,
    app: App,
    history: History,
    revisions: list[Revision],
    *,
    timeouts: Timeouts,
    narrate: Narrate,
    note: Callable[[str], None],
    progress: Progress,
    down: bool = False,
) -> list[AppliedNow]:
    """Apply revisions in order, or undo them (`down`).  The caller holds the target's lock.

    A statement that waits longer for a table's lock than `timeouts` allow ends its revision, which
    is tried again a few times.  `note` is told of each revision before it begins.  Raises
    RevisionFailed; then nothing of the failed revision is there, but what it did outside a
    transaction.
    """
    if app.environment and not down:
        _say_what_is_left_out(app, narrate)
    progress_of_run.set(progress)
    runner = AlembicRunner(history, app.version_table)
    done: list[AppliedNow] = []
    with run_engine(target, "migrate").connect() as connection:
        if not down and any(not revision.down for revision in revisions):
            _refuse_tables_in_the_way(connection, app, target)
        recorder = Recorder(connection, app, history, target.schema, timeouts)
        with IndexBuilds(target, recorder.driver.info.backend_pid, progress):
            for revision in revisions:
                narrate(f"{'Undoing' if down else 'Applying'} {revision.id}: {revision.message}")
                note(revision.id)
                recorder.is_last = revision is revisions[-1]
                started = time.perf_counter()
                try:
                    _run(runner, recorder, connection, revision, narrate, down=down)
                except Exception as error:
                    _roll_back(connection)
                    if done:
                        recorder.record_where_it_stopped()
                    raise _failed(revision, error, down=down) from error
                elapsed = round((time.perf_counter() - started) * 1000)
                done.append(AppliedNow(revision.id, revision.message, elapsed))
    return done


def _run(
    runner: "AlembicRunner",
    recorder: Recorder,
    connection: SqlConnection,
    revision: Revision,
    narrate: Narrate,
    *,
    down: bool,
) -> None:
    """Run a revision, again where a table was locked by others."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            recorder.begin()
            runner.run(
                revision.id,
                down=down,
                connection=connection,
                transaction_per_migration=True,
                on_version_apply=recorder.on_version_apply,
            )
            return
        except DBAPIError as error:
            sqlstate = getattr(error.orig, "sqlstate", None)
            if sqlstate != _LOCK_NOT_AVAILABLE or attempt == _ATTEMPTS:
                raise
        _roll_back(connection)
        narrate(f"{revision.id}: a table is locked by others; trying again.")
        pause = min(_PAUSE_SECONDS * attempt, _PAUSE_SECONDS_MAX)
        time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311


class AlembicRunner:
    """Runs single revisions of a history: on a connection, or offline for their SQL."""

    def __init__(self, history: History, version_table: str) -> None:
        self._version_table = version_table
        self._config = Config()
        self._config.set_main_option(
            "script_location", str(builtin_migrations()).replace("%", "%%")
        )
        self._script = ScriptDirectory(
            str(builtin_migrations()),
            version_locations=[str(history.folder)],
            messaging_opts={"quiet": True},  # standard output is for results
        )

    def run(
        self,
        revision: str,
        *,
        down: bool = False,
        prepare: Callable[[Any], None] = lambda _context: None,
        offline: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Run a revision's `upgrade()`, or its `downgrade()` whatever else follows what it follows.

        `prepare` is called with Alembic's context first; `options` are those of its `configure`,
        `offline` those that let it print the SQL instead.  Raises whatever the revision raises.
        """

        def steps(heads: Any, context: Any) -> Iterable[Any]:
            prepare(context)
            if down:
                found = self._script.get_revision(revision)
                assert found is not None
                return [MigrationStep.downgrade_from_script(self._script.revision_map, found)]
            # As Alembic's own commands do.
            return self._script._upgrade_revs(revision, heads)  # noqa: SLF001

        context = EnvironmentContext(self._config, self._script, fn=steps, **(offline or {}))
        with context as environment:
            environment.configure(version_table=self._version_table, **options)
            with environment.begin_transaction(), to_stderr():
                environment.run_migrations()


def _say_what_is_left_out(app: App, narrate: Narrate) -> None:
    assert app.environment is not None
    given = environment_options(app.environment, app.root)
    left_out = not_honoured(given)
    narrate(
        f"{app.environment}: leadctl takes the metadata and version_table from it, and connects "
        f"itself.{' Left out: ' + ', '.join(left_out) + '.' if left_out else ''}"
    )


def _roll_back(connection: SqlConnection) -> None:
    try:
        connection.rollback()
    except DBAPIError:
        connection.invalidate()  # the server is gone, and with it the transaction


def _failed(revision: Revision, error: Exception, *, down: bool) -> LeadctlError:
    if isinstance(error, LeadctlError):
        return error
    translated = translate(error)
    if isinstance(translated, ConnectionFailed):
        return translated
    reason = f"{type(error).__name__}: {error}" if translated is None else translated.message
    name, what = revision.path.name, f"The revision {revision.id}"
    if down:
        hint = f"Fix downgrade() of {name}, or the data that violates it."
        return RevisionFailed(f"{what} was not undone: {reason}", hint=hint)
    return RevisionFailed(
        f"{what} failed and was not applied: {reason}",
        hint=f"Fix {name}, or the data that violates it, then run leadctl migrate "
        "again; it resumes here.",
    )


def _refuse_tables_in_the_way(connection: SqlConnection, app: App, target: Target) -> None:
    """Refuse a first migrate into a schema that already has tables of the app's names."""
    names = set(inspect(connection).get_table_names())
    connection.rollback()
    taken = sorted(names & set(load_metadata(app).tables))
    if taken and app.version_table not in names:
        raise SchemaTaken(
            f"The schema {target.schema} of {target.database} has tables of the names that "
            f"{app.name} needs, and no record of its migrations: {', '.join(taken)}.",
            hint=f"Give {app.name} a schema of its own, for example: --schema {app.name}",
        )


def run_alembic(context: Any) -> None:
    """Run what the `alembic` command asked for, with the same lock, timeouts and records.

    leadctl's env.py calls it; `context` is the module `alembic.context`.  Raises what
    `leadctl migrate` raises for the target, the lock and the schema.
    """
    settings = load_settings({"app": context.config.get_main_option(_APP_OPTION)})
    app = find_app(settings)
    target = resolve(settings, app=app.name, narrate=_to_stderr)
    metadata = load_metadata(app)
    if context.is_offline_mode():
        context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
        with context.begin_transaction():
            context.run_migrations()
        return
    with schema_lock(target, "alembic", settings.lock_wait, _to_stderr) as session:
        consent = Consent(yes=True, confirm=_given(context, "confirm"))
        if _goes_down(context):
            permit(session, target, _DOWNGRADE, consent)
        refuse_other_apps(session, target, app)
        ensure_schema(session, target, _to_stderr)
        state.ensure(session, target)
        with run_engine(target, "alembic").connect() as connection:
            timeouts = Timeouts(
                settings.lock_wait, settings.lock_timeout, settings.statement_timeout
            )
            history = read_history(app.migrations)
            recorder = Recorder(connection, app, history, target.schema, timeouts)
            recorder.begin()

            def on_version_apply(**applied: Any) -> None:
                if applied["step"].is_migration and not applied["step"].is_upgrade:
                    permit(recorder.driver, target, _DOWNGRADE, consent)
                recorder.on_version_apply(**applied)

            context.configure(
                connection=connection,
                target_metadata=metadata,
                transaction_per_migration=True,
                on_version_apply=on_version_apply,
                compare_server_default=True,
            )
            with context.begin_transaction():
                context.run_migrations()


def _goes_down(context: Any) -> bool:
    """Whether the command line says `downgrade`; where a program calls Alembic, each step tells."""
    command = getattr(context.config.cmd_opts, "cmd", None)
    return command is not None and command[0].__name__ == "downgrade"


def _given(context: Any, name: str) -> str | None:
    """Return what `-x NAME=VALUE` says, of Alembic's own command line."""
    given: dict[str, str] = context.get_x_argument(as_dictionary=True)
    return given.get(name)


def _to_stderr(message: str) -> None:
    sys.stderr.write(f"{message}\n")


class IndexBuilds:
    """While it is entered, reports what a session's index builds have done, every second."""

    def __init__(self, target: Target, session: int, progress: Progress) -> None:
        self._target = target
        self._session = session
        self._progress = progress
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        if self._end.wait(_POLL_SECONDS):
            return  # most runs are over by then, and need no second session
        try:
            with connect(self._target, "progress", statement_timeout=_POLL_SECONDS) as connection:
                self._report(connection)
                while not self._end.wait(_POLL_SECONDS):
                    self._report(connection)
        except LeadctlError:
            return  # no connection is left for it; the build itself goes on

    def _report(self, connection: Connection) -> None:
        row = QUERIES.one(connection, "index_build", session=self._session)
        if row:
            self._progress(*row)
