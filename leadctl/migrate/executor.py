"""Executing revisions through Alembic, one at a time, each in a transaction of its own."""

import copy
import random
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import psycopg
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import inspect
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from leadctl.apps.metadata import known_metadata, load_metadata, without_effect
from leadctl.apps.registry import App, find_app
from leadctl.errors import (
    ConnectionFailed,
    EnvironmentNotRun,
    LeadctlError,
    MissingExtension,
    OperationFailed,
    RevisionFailed,
    SchemaTaken,
)
from leadctl.journal import state
from leadctl.journal.guard import Consent, permit
from leadctl.journal.lock import schema_lock
from leadctl.migrate.alembic_runner import AlembicRunner, Memo, search_path
from leadctl.migrate.backfill import progress_of_run
from leadctl.migrate.concurrently import IndexBuilds
from leadctl.migrate.env_hooks import tables_left_out
from leadctl.migrate.integrity import refuse_other_apps
from leadctl.migrate.lint import MIXED
from leadctl.migrate.recorder import Recorder
from leadctl.migrate.revision import AppliedNow, Revision
from leadctl.migrate.revisions import History, read_history
from leadctl.postgres.connect import Connection, Timeouts, set_session
from leadctl.postgres.engine import run_engine
from leadctl.postgres.provision import ensure_schema
from leadctl.postgres.target import Target, resolve
from leadctl.postgres.translate import translate
from leadctl.progress import Narrate, Progress
from leadctl.redact import scrub, without_values
from leadctl.settings import load_settings
from leadctl.text import counted, plain

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
_STAYS = "What it did before, outside a transaction or in one that it ended, stays."
_NO_SCHEMA = (
    "Create the schema that version_table_schema names; Alembic only makes the table in it."
)
_SHOWN_NOTICES = {"INFO", "NOTICE", "WARNING"}
_MOST_NOTICES = 20
"""Texts of one revision that are shown: a loop over rows may raise a thousand different ones."""
_LENGTH_OF_NOTICE = 300


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
    allow: Collection[str] = (),
) -> list[AppliedNow]:
    """Apply revisions in order, or undo them (`down`).  The caller holds the target's lock.

    A statement that waits longer for a table's lock than `timeouts` allow ends its revision, which
    is tried again a few times.  `note` is told of each revision before it begins.  Raises
    RevisionFailed; then nothing of the failed revision is there, but what it did outside a
    transaction.  One that ends its transaction itself is refused, but where it, or `allow`, allows
    the rule of lint.
    """
    if app.environment and not down:
        _say_what_is_left_out(app, narrate)
    progress_of_run.set(progress)
    run = _Applying(AlembicRunner(app, history), revisions, narrate, note, allow, down=down)
    with run_engine(target, "migrate").connect() as connection:
        if not down and any(not revision.down for revision in revisions):
            _refuse_tables_in_the_way(connection, app, target)
        recorder = Recorder(connection, app, history, target.schema, timeouts)
        recorder.driver.add_notice_handler(run.notices.hear)
        set_session(recorder.driver, {"client_min_messages": "notice"})
        with IndexBuilds(target, recorder.driver.info.backend_pid, progress):
            while run.is_waiting:
                try:
                    run.go_on(connection, recorder)
                except Exception as error:
                    run.notices.end()
                    _roll_back(connection)
                    stays = recorder.stays(target)
                    if not (recorder.may_resume and run.may_try_again(error)):
                        if run.done and run.current:
                            recorder.record_where_it_stopped()
                        raise run.failed(error, stays=stays) from error
    return run.done


class _Applying:
    """Revisions that are applied in order, or undone, and how far that is."""

    def __init__(
        self,
        runner: AlembicRunner,
        revisions: Sequence[Revision],
        narrate: Narrate,
        note: Callable[[str], None],
        allow: Collection[str],
        *,
        down: bool,
    ) -> None:
        self.done: list[AppliedNow] = []
        self.current: Revision | None = None
        self._runner = runner
        self._waiting = list(revisions)
        self._narrate = narrate
        self._note = note
        self._allow = allow
        self._down = down
        self._attempts = 0
        self._said_passed_over = False
        self.notices = _Notices(narrate)
        self._made: Memo = {}

    @property
    def is_waiting(self) -> bool:
        """Whether some are left."""
        return bool(self._waiting)

    def go_on(self, connection: SqlConnection, recorder: Recorder) -> None:
        """Run what is waiting, in one run of Alembic.  Raises whatever a revision raises."""
        driver = recorder.driver
        recorder.begin()
        path = search_path(driver)
        driver.commit()

        def ready() -> None:
            driver.commit()  # what env.py did before its revisions
            if self._runner.passed_over and not self._said_passed_over:
                self._said_passed_over = True
                self._narrate(f"{self._runner.passed_over}. Its offline half is run instead.")
            self._refuse_other_path(driver, path)
            recorder.take_role()

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
                if MIXED not in {*self._allow, *revision.allowed_rules}:
                    recorder.guard(context, revision)
                self.notices.begin(revision.id)
                yield recorder.watch(step(revision.id))
                self.notices.end()
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
        now = search_path(driver)
        if now == path:
            return
        first = _current_schema(driver)
        driver.execute("SELECT pg_catalog.set_config('search_path', %s, false)", (path,))
        wanted = _current_schema(driver)
        driver.commit()
        if first != wanted:
            raise EnvironmentNotRun(
                f"env.py sets the search path to {now}, and the target is the schema {wanted}.",
                hint=f"Name that schema to leadctl, too: --schema {first or 'NAME'}, or "
                f"LEADCTL_SCHEMA.",
            )

    def may_try_again(self, error: Exception) -> bool:
        """Whether a revision ended because of other sessions; wait for them then."""
        why = _ENDED_BY_OTHERS.get(_sqlstate(error))
        self._attempts += 1
        if not (isinstance(error, DBAPIError) and why and self.current):
            return False
        if self._attempts == _ATTEMPTS:
            return False
        self._narrate(f"{self.current.id}: {why}; trying again.")
        pause = min(_PAUSE_SECONDS * self._attempts, _PAUSE_SECONDS_MAX)
        time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
        return True

    def failed(self, error: Exception, *, stays: bool) -> LeadctlError:
        """Return what is said of an error; `stays` where a part of the revision was committed."""
        if isinstance(error, LeadctlError):
            said = f"{error.message} {_STAYS}"
            return type(error)(said, hint=error.hint) if stays else error
        if isinstance(error, PendingRollbackError) and isinstance(error.__context__, Exception):
            error = error.__context__  # what autocommit_block() could not end after it
        translated = translate(error)
        if isinstance(translated, ConnectionFailed):
            return type(translated)(translated.message, hint=_STAYS) if stays else translated
        reason = f"{type(error).__name__}: {error}" if translated is None else translated.message
        if self.current is None:
            return OperationFailed(
                f"The revisions cannot be run: {reason}",
                hint=_NO_SCHEMA if _sqlstate(error) == "3F000" else "",
            )
        name = self.current.path.name
        how = "was not undone" if self._down else "failed and was not applied"
        how = f"stopped. {_STAYS} Then" if stays else how
        if self._down:
            hint = f"Fix downgrade() of {name}, or the data that violates it."
        elif isinstance(translated, MissingExtension):
            hint = translated.hint
        else:
            hint = (
                f"Fix {name}, or the data that violates it, then run leadctl migrate "
                f"again; it {'begins' if stays else 'resumes'} here."
            )
        return RevisionFailed(f"The revision {self.current.id} {how}: {reason}", hint=hint)


def _sqlstate(error: Exception) -> str:
    return str(getattr(getattr(error, "orig", None), "sqlstate", None))


def _current_schema(driver: Connection) -> str | None:
    (found,) = driver.execute("SELECT pg_catalog.current_schema()").fetchone() or (None,)
    return None if found is None else str(found)


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
    asked = inspect(connection)
    taken = set(asked.get_table_names()) & set(known_metadata(app).tables)
    is_recorded = asked.has_table(app.version_table, schema=app.version_table.schema)
    connection.rollback()
    if is_recorded or not taken:
        return
    taken -= tables_left_out(app, taken)
    if taken:
        raise SchemaTaken(
            f"The schema {target.schema} of {target.database} already has tables that {app.name} "
            f"would create, but no record of its migrations: {', '.join(sorted(taken))}.",
            hint=f"Give {app.name} a schema of its own, for example: --schema {app.name}"
            + (
                "; if its own program made them before any revision: alembic stamp base"
                if app.environment
                else ""
            ),
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
        state.ensure(session, target, adopts=True)
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


class _Notices:
    """Narrates what the server says of its own accord, without what it quotes of rows."""

    def __init__(self, narrate: Narrate) -> None:
        self._narrate = narrate
        self._revision: str | None = None
        self._counts: dict[str, int] = {}

    def begin(self, revision: str) -> None:
        """Listen: a revision begins."""
        self._revision, self._counts = revision, {}

    def hear(self, message: psycopg.errors.Diagnostic) -> None:
        """Narrate a message where it is the first of its text."""
        severity = message.severity_nonlocalized or ""
        if self._revision is None or severity not in _SHOWN_NOTICES:
            return
        text = " ".join(scrub(without_values(message.message_primary or "")).split())
        text = f"{severity}: {plain(text[:_LENGTH_OF_NOTICE])}"
        self._counts[text] = self._counts.get(text, 0) + 1
        if self._counts[text] == 1 and len(self._counts) <= _MOST_NOTICES:
            self._narrate(f"{self._revision}: {text}")

    def end(self) -> None:
        """Say how many there were that were not shown; listen no more."""
        shown = min(len(self._counts), _MOST_NOTICES)
        left = sum(self._counts.values()) - shown
        if self._revision and left:
            self._narrate(f"{self._revision}: and {counted(left, 'message')} like these.")
        self._revision = None


def _goes_down(context: Any) -> bool:
    """Whether the command line says `downgrade`; where a program calls Alembic, each step tells."""
    command = getattr(context.config.cmd_opts, "cmd", None)
    return command is not None and command[0].__name__ == "downgrade"


def _given(context: Any, name: str) -> str | None:
    """Return what `-x NAME=VALUE` says, of Alembic's own command line."""
    given: dict[str, str] = context.get_x_argument(as_dictionary=True)
    return given.get(name)


def _to_stderr(message: str) -> None:
    sys.stderr.write(f"{plain(message)}\n")
