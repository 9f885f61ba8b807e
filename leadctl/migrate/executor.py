"""Executing revisions through Alembic, one at a time, each in a transaction of its own."""

import copy
import random
import sys
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from types import TracebackType
from typing import Any, Self

import psycopg
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import inspect
from sqlalchemy.exc import DBAPIError

from leadctl.apps.loading import to_stderr
from leadctl.apps.metadata import known_metadata, load_metadata, without_effect
from leadctl.apps.registry import App, builtin_migrations, find_app
from leadctl.errors import (
    ConnectionFailed,
    EnvironmentNotRun,
    LeadctlError,
    OperationFailed,
    RevisionFailed,
    SchemaTaken,
)
from leadctl.journal import state
from leadctl.journal.guard import Consent, permit
from leadctl.journal.lock import schema_lock
from leadctl.migrate.backfill import progress_of_run
from leadctl.migrate.live_tables import QUERIES
from leadctl.migrate.recorder import Recorder
from leadctl.migrate.revisions import History, Revision, read_history
from leadctl.migrate.status import AppliedNow, refuse_other_apps
from leadctl.postgres.connect import Connection, Timeouts, connect
from leadctl.postgres.engine import driver_connection, run_engine
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
_ENDED_BY_OTHERS = {
    "55P03": "a table is locked by others",
    "40P01": "it and another session waited for each other",
    "40001": "another session changed what it read",
}
"""By the SQLSTATE: what ends a revision that may well be done the next time."""
_POLL_SECONDS = 1.0

Memo = dict[str, Any]
"""What SQLAlchemy remembers of a run: the types that it made, so that it makes none twice."""


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
    run = _Applying(AlembicRunner(app, history), revisions, narrate, note, down=down)
    with run_engine(target, "migrate").connect() as connection:
        if not down and any(not revision.down for revision in revisions):
            _refuse_tables_in_the_way(connection, app, target)
        recorder = Recorder(connection, app, history, target.schema, timeouts)
        with IndexBuilds(target, recorder.driver.info.backend_pid, progress):
            while run.is_waiting:
                try:
                    run.go_on(connection, recorder)
                except Exception as error:
                    _roll_back(connection)
                    if not run.may_try_again(error):
                        if run.done and run.current:
                            recorder.record_where_it_stopped()
                        raise run.failed(error) from error
    return run.done


class _Applying:
    """Revisions that are applied in order, or undone, and how far that is."""

    def __init__(
        self,
        runner: "AlembicRunner",
        revisions: Sequence[Revision],
        narrate: Narrate,
        note: Callable[[str], None],
        *,
        down: bool,
    ) -> None:
        self.done: list[AppliedNow] = []
        self.current: Revision | None = None
        self._runner = runner
        self._waiting = list(revisions)
        self._narrate = narrate
        self._note = note
        self._down = down
        self._attempts = 0
        self._made: Memo = {}

    @property
    def is_waiting(self) -> bool:
        """Whether some are left."""
        return bool(self._waiting)

    def go_on(self, connection: SqlConnection, recorder: Recorder) -> None:
        """Run what is waiting, in one run of Alembic.  Raises whatever a revision raises."""
        driver = recorder.driver
        recorder.begin()
        path = _search_path(driver)
        driver.commit()

        def ready() -> None:
            driver.commit()  # what env.py did before its revisions
            self._refuse_other_path(driver, path)

        def steps(context: Any, step: Callable[[str], Any]) -> Iterator[Any]:
            while self._waiting:
                revision = self._waiting[0]
                if revision is not self.current:
                    self._announce(revision)
                    recorder.start()
                else:
                    recorder.resume()
                context.impl.memo.update(copy.deepcopy(self._made))
                recorder.is_last = len(self._waiting) == 1
                started = time.perf_counter()
                recorder.begin()
                yield step(revision.id)
                elapsed = round((time.perf_counter() - started) * 1000)
                self.done.append(AppliedNow(revision.id, revision.message, elapsed))
                self._made = copy.deepcopy(dict(context.impl.memo))
                self._waiting.pop(0)
                self.current = None

        ours = {"on_version_apply": recorder.on_version_apply, "transaction_per_migration": True}
        self._runner.run(steps, ours, connection=connection, down=self._down, ready=ready)
        if self._waiting:
            raise EnvironmentNotRun(
                f"env.py ended before {self._waiting[0].id} was "
                f"{'undone' if self._down else 'applied'}, and said nothing.",
                hint="It must call context.run_migrations().",
            )

    def _announce(self, revision: Revision) -> None:
        verb = "Undoing" if self._down else "Applying"
        self._narrate(f"{verb} {revision.id}: {revision.message}")
        self._note(revision.id)
        self.current = revision
        self._attempts = 0

    def _refuse_other_path(self, driver: Connection, path: str) -> None:
        """Refuse an env.py that goes into another schema than the target's."""
        now = _search_path(driver)
        if now == path:
            return
        first = _current_schema(driver)
        driver.execute("SELECT pg_catalog.set_config('search_path', %s, false)", (path,))
        wanted = _current_schema(driver)
        driver.commit()
        if first != wanted:
            raise EnvironmentNotRun(
                f"env.py sets the search path to {now}, and the target is the schema {wanted}.",
                hint=f"Say so to leadctl, too: --schema {first or 'NAME'}, or LEADCTL_SCHEMA.",
            )

    def may_try_again(self, error: Exception) -> bool:
        """Whether a revision ended because of other sessions; wait for them then."""
        sqlstate = getattr(getattr(error, "orig", None), "sqlstate", None)
        why = _ENDED_BY_OTHERS.get(str(sqlstate))
        self._attempts += 1
        if not (isinstance(error, DBAPIError) and why and self.current):
            return False
        if self._attempts == _ATTEMPTS:
            return False
        self._narrate(f"{self.current.id}: {why}; trying again.")
        pause = min(_PAUSE_SECONDS * self._attempts, _PAUSE_SECONDS_MAX)
        time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
        return True

    def failed(self, error: Exception) -> LeadctlError:
        """Return what is said of an error."""
        if isinstance(error, LeadctlError):
            return error
        translated = translate(error)
        if isinstance(translated, ConnectionFailed):
            return translated
        reason = f"{type(error).__name__}: {error}" if translated is None else translated.message
        if self.current is None:
            return OperationFailed(f"The revisions cannot be run: {reason}")
        name, what = self.current.path.name, f"The revision {self.current.id}"
        if self._down:
            hint = f"Fix downgrade() of {name}, or the data that violates it."
            return RevisionFailed(f"{what} was not undone: {reason}", hint=hint)
        return RevisionFailed(
            f"{what} failed and was not applied: {reason}",
            hint=f"Fix {name}, or the data that violates it, then run leadctl migrate "
            "again; it resumes here.",
        )


def _search_path(driver: Connection) -> str:
    asked = driver.execute("SELECT pg_catalog.current_setting('search_path')")
    (found,) = asked.fetchone() or ("",)
    return str(found)


def _current_schema(driver: Connection) -> str | None:
    (found,) = driver.execute("SELECT pg_catalog.current_schema()").fetchone() or (None,)
    return None if found is None else str(found)


class AlembicRunner:
    """Runs revisions of an app's history: on a connection, or offline for their SQL.

    What it takes is one Alembic run: what the revisions made in it is known to those that follow,
    as with `alembic upgrade`.
    """

    def __init__(self, app: App, history: History) -> None:
        self._app = app
        self._history = history
        self._printed: Memo = {}

    def run(
        self,
        steps: Callable[[Any, Callable[[str], Any]], Iterable[Any]],
        ours: Mapping[str, Any],
        *,
        connection: SqlConnection | None = None,
        down: bool = False,
        fenced: bool = False,
        offline: Mapping[str, Any] | None = None,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Run what `steps` yields; it is handed Alembic's context, and what makes a step.

        Within the app's env.py, where it has one, else alone.  `ours` are options of Alembic's
        `configure`, `offline` those that let it print the SQL instead.  Raises whatever a revision
        raises, and EnvironmentNotRun.
        """
        options = {"transaction_per_migration": True, **ours}

        def fn(_heads: Any, context: Any) -> Iterable[Any]:
            return steps(context, lambda name: self._step(context.script, name, down=down))

        if self._app.environment is not None:
            if self._app.models is not None:
                options.setdefault("target_metadata", known_metadata(self._app))
            self._app.alembic_environment.run(
                fn, options, connection=connection, fenced=fenced, offline=offline, ready=ready
            )
            return
        if connection is not None:
            options["connection"] = connection
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            config = Config()
            location = str(builtin_migrations()).replace("%", "%%")
            config.set_main_option("script_location", location)
            script = ScriptDirectory(
                str(builtin_migrations()),
                version_locations=[str(each) for each in self._app.versions.folders],
                messaging_opts={"quiet": True},  # standard output is for results
            )
        with EnvironmentContext(config, script, fn=fn, **(offline or {})) as environment:
            environment.configure(
                version_table=str(self._app.version_table),
                **options,
            )
            with environment.begin_transaction(), to_stderr():
                environment.run_migrations()

    def try_out(
        self, connection: SqlConnection, goal: Collection[str], *, down: bool = False
    ) -> None:
        """Run a history up to some revisions, or undo one, in the connection's own transaction.

        Nothing of Alembic's records outside of the connection's schema is touched.
        """
        driver = driver_connection(connection)
        path = _search_path(driver)

        def ready() -> None:
            driver.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (path,))

        def steps(context: Any, step: Callable[[str], Any]) -> Iterator[Any]:
            context.autocommit_block = nullcontext  # everything is the one transaction
            if down:
                return iter([step(each) for each in goal])
            heads = context.get_current_heads()
            return (step(each.id) for each in self._history.pending(heads, goal))

        ours = {"version_table_schema": None}
        self.run(steps, ours, connection=connection, down=down, fenced=True, ready=ready)

    def print_sql(self, revision: Revision, buffer: Any, *, down: bool = False) -> None:
        """Have Alembic print the SQL of a revision; what those before made is known to it."""
        start = revision.id if down else revision.down or None

        def steps(context: Any, step: Callable[[str], Any]) -> Iterator[Any]:
            context.impl.memo.update(self._printed)
            yield step(revision.id)
            self._printed = {} if down else dict(context.impl.memo)

        ours = {
            "dialect_opts": {"paramstyle": "named"},  # a percent sign is not doubled
            "dialect_name": "postgresql",
            "literal_binds": True,
            "output_buffer": buffer,
        }
        self.run(steps, ours, down=down, offline={"as_sql": True, "starting_rev": start})

    @staticmethod
    def _step(script: ScriptDirectory, name: str, *, down: bool) -> Any:
        """Return Alembic's step of a revision, whatever else follows what it follows."""
        make = MigrationStep.downgrade_from_script if down else MigrationStep.upgrade_from_script
        return make(script.revision_map, script.get_revision(name))


def _say_what_is_left_out(app: App, narrate: Narrate) -> None:
    left_out = without_effect(app.alembic_environment.facts.options)
    narrate(
        f"{app.environment}: it is run on leadctl's connection."
        f"{' Left out: ' + ', '.join(left_out) + '.' if left_out else ''}"
    )


def _roll_back(connection: SqlConnection) -> None:
    try:
        connection.rollback()
    except DBAPIError:
        connection.invalidate()  # the server is gone, and with it the transaction


def _refuse_tables_in_the_way(connection: SqlConnection, app: App, target: Target) -> None:
    """Refuse a first migrate into a schema that already has tables of the app's names."""
    names = set(inspect(connection).get_table_names())
    connection.rollback()
    taken = sorted(names & set(known_metadata(app).tables))
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
    # In a list, since Alembic puts a naming convention upon names that revisions give in full.
    metadata = [load_metadata(app)]
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
            history = read_history(app.versions)
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
        except (LeadctlError, psycopg.Error):
            return  # no connection is left for it; the build itself goes on

    def _report(self, connection: Connection) -> None:
        row = QUERIES.one(connection, "index_build", session=self._session)
        if row:
            self._progress(*row)
