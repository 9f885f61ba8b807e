"""The journal: what ran on a database, when, by whom, and how it ended."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg.types.json import Jsonb

from leadctl.journal import state
from leadctl.postgres.connect import Connection, connect, whoami
from leadctl.postgres.queries import queries_of
from leadctl.postgres.target import Target
from leadctl.postgres.translate import translate
from leadctl.redact import scrub

_QUERIES = queries_of(__file__, "state.sql")
_WAIT_FOR_NO_STANDBY = (
    "SELECT pg_catalog.set_config('synchronous_commit', 'local', false)"
    " WHERE pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.<>) 'off'"
)
"""What is only noted must not hold a run up for ever that has a time of its own."""
of_fleet: ContextVar[Mapping[str, str] | None] = ContextVar("of_fleet", default=None)
"""The fleet whose run this is a part of: its `name`, and the id of its `run`."""


class JournaledRun(NamedTuple):
    """One run as the journal has it.

    `outcome` is done, partly, failed, interrupted, terminated, running or killed: a run without an
    end whose session is gone.
    """

    id: int
    command: str
    app: str | None
    schema: str | None
    run_by: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str
    summary: Mapping[str, Any]


class Entry:
    """The entry of the run that goes on."""

    def __init__(self, session: Connection, run: int) -> None:
        self._session = session
        self._run = run
        self.outcome = "done"
        """How the run ends where no error ends it: "partly" or "failed" if it fell short."""

    def note(self, **facts: Any) -> None:
        """Add facts to the summary, at once: a killed run shows them, too.  None takes one away."""
        self._execute("run_note", facts=Jsonb(facts))

    def commit_with(self, connection: Connection, **facts: Any) -> None:
        """Add facts as the last statement of another session's transaction: they stand if it does.

        A run that is killed after its commit is told by them from one that is killed before.
        """
        _QUERIES.run(connection, "run_note", id=self._run, facts=Jsonb(facts))

    def end(self, outcome: str) -> None:
        """Write how the run ended."""
        self._execute("run_end", outcome=outcome)

    def _execute(self, name: str, **parameters: Any) -> None:
        # Where the server is gone the run shows as killed, and its own error says why.
        with suppress(psycopg.OperationalError):
            _QUERIES.run(self._session, name, id=self._run, **parameters)


@contextmanager
def journaled(target: Target, command: str, app: str, *, adopts: bool = False) -> Iterator[Entry]:
    """Journal a run: its beginning at once, its end and summary afterwards.

    What `adopts` a database is as `state.ensure` has it.

    The session stays open in between: a run whose session is gone without an end was killed.
    Raises what `state.ensure` raises where the journal cannot be kept.
    """
    with connect(target, command) as session:
        session.execute(_WAIT_FOR_NO_STANDBY)
        state.ensure(session, target, adopts=adopts)
        run = _QUERIES.value(session, "run_begin", **beginning(target, command, app))
        entry, outcome = Entry(session, run), "terminated"
        try:
            yield entry
            outcome = entry.outcome
        except KeyboardInterrupt:
            outcome = "interrupted"
            raise
        except Exception as error:
            outcome = "failed"
            known = translate(error)
            code, message = (known.code, known.message) if known else ("error", str(error))
            entry.note(error=code, message=scrub(message))
            raise
        finally:
            entry.end(outcome)


def journal_done(session: Connection, target: Target, command: str, app: str, **facts: Any) -> None:
    """Journal a run that is over, at once.  Raises as `journaled` does."""
    state.ensure(session, target)
    with session.transaction():
        run = _QUERIES.value(session, "run_begin", **beginning(target, command, app))
        _QUERIES.run(session, "run_note", id=run, facts=Jsonb(facts))
        _QUERIES.run(session, "run_end", id=run, outcome="done")


def beginning(target: Target, command: str, app: str) -> dict[str, Any]:
    """Return what the block `run_begin` is told of a run."""
    fleet = of_fleet.get()
    run = {"command": command, "app": app, "schema": target.schema}
    return {**run, "who": whoami(), "summary": Jsonb({"fleet": dict(fleet)}) if fleet else None}


def _read_journal(connection: Connection, limit: int) -> list[JournaledRun]:
    """Return the newest runs; none where leadctl never wrote here."""
    if not state.is_there(connection):
        return []
    return _QUERIES.rows(connection, "runs", JournaledRun, limit=limit)


def last_attempt(connection: Connection, app: str, schema: str) -> str | None:
    """Return the revision that the newest run was applying when it failed or was killed."""
    if not state.is_there(connection):
        return None
    found: str | None = _QUERIES.value(connection, "last_attempt", app=app, schema=schema)
    return found


class RunHistory(NamedTuple):
    """The newest runs of a database, newest first."""

    database: str
    runs: tuple[JournaledRun, ...]


def history(target: Target, limit: int) -> RunHistory:
    """Read the journal; changes nothing.  Raises what connecting raises."""
    with connect(target, "history", read_only=True) as connection:
        return RunHistory(target.database, tuple(_read_journal(connection, limit)))
