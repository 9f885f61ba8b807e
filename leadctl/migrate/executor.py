"""Applying revisions through Alembic, one at a time, each in a transaction of its own."""

import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from alembic.runtime.environment import EnvironmentContext
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import MetaData, inspect
from sqlalchemy.exc import DBAPIError

from leadctl.apps import alembic_environment
from leadctl.apps.output import to_stderr
from leadctl.apps.registry import App, load_metadata
from leadctl.errors import ConnectionFailed, LeadctlError, RevisionFailed, SchemaTaken
from leadctl.journal import state
from leadctl.migrate.backfill import progress_of_run
from leadctl.migrate.index_builds import IndexBuilds
from leadctl.migrate.recorder import Execution
from leadctl.migrate.revisions import History, Revision
from leadctl.migrate.script import downgrade_step, script_directory
from leadctl.migrate.up import AppliedNow
from leadctl.postgres.connect import Timeouts
from leadctl.postgres.engine import run_engine
from leadctl.postgres.target import Target
from leadctl.postgres.translate import translate
from leadctl.progress import Narrate, Progress

_ATTEMPTS = 10
_PAUSE_SECONDS = 1.0
_PAUSE_SECONDS_MAX = 5.0
_LOCK_NOT_AVAILABLE = "55P03"


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
) -> list[AppliedNow]:
    """Apply revisions in order.  The caller holds the target's lock.

    A statement that waits longer for a table's lock than `timeouts` allow ends its
    revision, which is tried again a few times.  `note` is told of each revision before it begins.
    Raises RevisionFailed; then nothing of the failed revision is there, but what it did outside a
    transaction.
    """
    metadata = load_metadata(app)
    if app.environment:
        _say_what_is_left_out(app, narrate)

    def check(connection: SqlConnection) -> None:
        if any(not revision.down for revision in revisions):
            _refuse_tables_in_the_way(connection, metadata, app, target)

    work = _Work(target, app, history, timeouts, narrate, note, progress)
    return work.run(revisions, check, down=False)


def undo(
    target: Target,
    app: App,
    history: History,
    revisions: list[Revision],
    *,
    timeouts: Timeouts,
    narrate: Narrate,
    note: Callable[[str], None],
    progress: Progress,
) -> list[AppliedNow]:
    """Undo revisions, the newest first.  The caller holds the target's lock.

    As `apply` does, in all but the direction.
    """
    work = _Work(target, app, history, timeouts, narrate, note, progress)
    return work.run(revisions, lambda _: None, down=True)


@dataclass(frozen=True)
class _Work:
    """Runs revisions up or down, and reports."""

    target: Target
    app: App
    history: History
    timeouts: Timeouts
    narrate: Narrate
    note: Callable[[str], None]
    progress: Progress

    def run(
        self, revisions: list[Revision], check: Callable[[SqlConnection], None], *, down: bool
    ) -> list[AppliedNow]:
        done: list[AppliedNow] = []
        progress_of_run.set(self.progress)
        with run_engine(self.target, "migrate").connect() as connection:
            check(connection)
            execution = Execution(
                connection, self.app, self.history, self.target.schema, self.timeouts
            )
            runner = _Runner(
                connection, self.history, execution, self.app.version_table, self.narrate
            )
            with IndexBuilds(self.target, execution.session, self.progress):
                for revision in revisions:
                    verb = "Undoing" if down else "Applying"
                    self.narrate(f"{verb} {revision.id}: {revision.message}")
                    self.note(revision.id)
                    started = time.perf_counter()
                    try:
                        runner.run(revision, last=revision is revisions[-1], down=down)
                    except Exception as error:
                        _roll_back(connection)
                        if done:
                            self._record_where_it_stopped(connection, execution)
                        raise _failed(revision, error, down=down) from error
                    elapsed = round((time.perf_counter() - started) * 1000)
                    done.append(AppliedNow(revision.id, revision.message, elapsed))
        return done

    def _record_where_it_stopped(self, connection: SqlConnection, execution: Execution) -> None:
        """Record the fingerprint of where it is: the run's last revision did not come to it."""
        with suppress(DBAPIError, psycopg.Error):
            driver = execution.driver
            current = state.current_revisions(driver, self.target.schema, self.app.version_table)
            execution.record_fingerprint(current or [])
            connection.connection.commit()


class _Runner:
    """Runs single revisions on a connection through Alembic."""

    def __init__(
        self,
        connection: SqlConnection,
        history: History,
        execution: Execution,
        version_table: str,
        narrate: Narrate,
    ) -> None:
        self._connection = connection
        self._version_table = version_table
        self._config, self._script = script_directory(history)
        self._execution = execution
        self._narrate = narrate

    def run(self, revision: Revision, *, last: bool, down: bool) -> None:
        """Run a revision up or down, again where a table was locked by others."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._execution.begin(last=last)
                self._once(revision, down=down)
                return
            except DBAPIError as error:
                state = getattr(error.orig, "sqlstate", None)
                if state != _LOCK_NOT_AVAILABLE or attempt == _ATTEMPTS:
                    raise
                _roll_back(self._connection)
                self._narrate(f"{revision.id}: a table is locked by others; trying again.")
                pause = min(_PAUSE_SECONDS * attempt, _PAUSE_SECONDS_MAX)
                time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311

    def _once(self, revision: Revision, *, down: bool) -> None:
        def steps(heads: Any, _context: Any) -> Iterable[Any]:
            if down:
                return [downgrade_step(self._script, revision.id)]
            # As Alembic's own commands do.
            return self._script._upgrade_revs(revision.id, heads)  # noqa: SLF001

        with EnvironmentContext(self._config, self._script, fn=steps) as environment:
            environment.configure(
                connection=self._connection,
                transaction_per_migration=True,
                on_version_apply=self._execution.on_version_apply,
                version_table=self._version_table,
            )
            with environment.begin_transaction(), to_stderr():
                environment.run_migrations()


def _say_what_is_left_out(app: App, narrate: Narrate) -> None:
    assert app.environment is not None
    given = alembic_environment.options(app.environment, app.root)
    left_out = alembic_environment.not_honoured(given)
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
    if down:
        return RevisionFailed(
            f"The revision {revision.id} was not undone: {reason}",
            hint=f"Mend downgrade() of {revision.path.name} or the data it stumbles over.",
        )
    return RevisionFailed(
        f"The revision {revision.id} failed and was not applied: {reason}",
        hint=f"Mend {revision.path.name} or the data it stumbles over, then run leadctl migrate "
        "again: it goes on from there.",
    )


def _refuse_tables_in_the_way(
    connection: SqlConnection, metadata: MetaData, app: App, target: Target
) -> None:
    """Refuse a first migrate into a schema that already has tables of the app's names."""
    names = set(inspect(connection).get_table_names())
    connection.rollback()
    taken = sorted(names & set(metadata.tables))
    if taken and app.version_table not in names:
        raise SchemaTaken(
            f"The schema {target.schema} of {target.database} has tables of the names that "
            f"{app.name} needs, and no record of its migrations: {', '.join(taken)}.",
            hint=f"Give {app.name} a schema of its own, for example: --schema {app.name}",
        )
