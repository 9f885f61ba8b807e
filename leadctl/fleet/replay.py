"""Applying known scripts to a schema: what `migrate` does, in as few round trips as psql needs.

Lock, guard, records, journal and fingerprint are those of `leadctl migrate`.  A revision, its
record and the journal's row are one transaction, sent as one text.  Whatever goes wrong is rolled
back, and the target is left to `leadctl migrate` itself, which tries again, waits for locks and
says what is wrong.
"""

import time
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.types.json import Jsonb

from leadctl.apps.registry import App
from leadctl.catalog.citus import has_citus
from leadctl.catalog.definitions import read_names
from leadctl.fleet.scripts import RevisionScript
from leadctl.fleet.standings import QUERIES, Standing, standings_on
from leadctl.journal import records, state
from leadctl.journal.guard import Consent, protection
from leadctl.journal.lock import lock_key
from leadctl.journal.runs import beginning
from leadctl.migrate.recorder import record_fingerprint, recorded_facts
from leadctl.migrate.revision import AppliedNow
from leadctl.postgres.connect import OWN_PATH, Connection, Timeouts, connect, set_session
from leadctl.postgres.queries import queries_of, version_of, written_by_user
from leadctl.postgres.target import Target

_STATE = queries_of(state.__file__, "state.sql")
_RUN = "pg_catalog.currval(pg_catalog.pg_get_serial_sequence('leadctl.run', 'id'))"
"""The journal's row of this run: the last that this session has made."""
_SINCE_BEGIN = (
    "pg_catalog.round((EXTRACT(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-)"
    " pg_catalog.transaction_timestamp())) OPERATOR(pg_catalog.*) 1000)::pg_catalog.int4"
)

_PATH = "pg_catalog.set_config('search_path', pg_catalog.current_setting('leadctl.app_path'), {})"
_PATH_OF_SESSION = f"SELECT {_PATH.format('false')}"
"""Looks along the app's path also outside a transaction."""


@dataclass(frozen=True)
class Alike:
    """What became of a schema: the same becomes of one that was the same."""

    fingerprint: str
    """What is recorded that it looks like, as JSON."""
    made: Mapping[str, Sequence[str]]
    """What each revision made, as `kind name`."""


class NotReplayed(Exception):
    """A schema is not as it was seen, or a statement failed: nothing is left half done."""


class Replayer:
    """A session that applies scripts to one schema after another of a database."""

    def __init__(self, target: Target, app: App, timeouts: Timeouts) -> None:
        """Connect.  Raises what connecting raises, and what `state.ensure` raises."""
        self._app = app
        self._timeouts = timeouts
        self._protected: dict[str | None, str | None] = {}
        """By what the database says of itself: why it is protected."""
        self._connection = connect(target, "migrate", rows=True)
        try:
            self._beyond = self._prepare(target)
        except BaseException:
            self._connection.close()
            raise
        self._asked = state.asked_once(self._connection)
        self._asked.__enter__()
        self.uses = 0

    def close(self) -> None:
        """Let the session go."""
        self._asked.__exit__(None, None, None)
        self._connection.close()

    @property
    def serves(self) -> bool:
        """Whether the session still can be used."""
        return not self._connection.closed and not self._connection.broken

    def _prepare(self, target: Target) -> str:
        """Make the session that of a migration; return what its path has behind the schema."""
        connection = self._connection
        state.ensure(connection, target, adopts=True)
        ((path,),) = connection.execute("SELECT pg_catalog.current_setting('leadctl.app_path')")
        self._one_by_one = has_citus(connection)
        self._same = not QUERIES.value(connection, "event_triggers")
        settings = {"lock_timeout": "0", "statement_timeout": "0", "search_path": OWN_PATH}
        set_session(connection, settings)
        return str(path).removeprefix(sql.Identifier(target.schema).as_string(connection))

    def run(
        self,
        target: Target,
        standing: Standing,
        scripts: Sequence[RevisionScript],
        consent: Consent,
        alike: dict[Hashable, Alike],
    ) -> list[AppliedNow]:
        """Apply scripts to a schema that stands as it was seen.

        `alike` is what is known of schemas that became the same from the same, and is added to.
        Raises NotReplayed: then the caller runs `migrate` on the target.
        """
        self.uses += 1
        lock = lock_key(target.schema)
        exists, identity = self._claim(target, lock)
        try:
            named = consent.names_fleet or consent.confirm == target.database
            if not named and self._protection(target, identity) is not None:
                raise NotReplayed  # whether the plan has findings, each target says for itself
            return self._apply(target, standing, scripts, alike, lock, exists=exists)
        except psycopg.Error as error:
            self._release(lock)
            raise NotReplayed from error
        except BaseException:
            self._release(lock)
            raise

    def _protection(self, target: Target, identity: str | None) -> str | None:
        """Say why the database is protected, which is asked again when it says something else."""
        if identity not in self._protected:
            self._protected[identity] = protection(self._connection, target)
        return self._protected[identity]

    def _claim(self, target: Target, lock: tuple[int, int]) -> tuple[bool, str | None]:
        """Take the lock on the schema, and look along its path.

        Return whether it is there, and the database's identity.  Raises NotReplayed where the lock
        is held, or an index was left half built.
        """
        quoted = sql.Identifier(target.schema).as_string(self._connection)
        path = f"{quoted}{self._beyond}"
        values = {"schema": quoted, "path": path, "lock_class": lock[0], "lock_key": lock[1]}
        query = QUERIES.statement("claim", version_of(self._connection))
        try:
            row = self._connection.execute(query, values).fetchone()
        except psycopg.Error as error:
            raise NotReplayed from error
        locked, exists, invalid, identity, *_ = row or (False, False, False, None)
        if locked and not invalid:
            return bool(exists), identity
        if locked:
            self._release(lock)
        raise NotReplayed

    def _release(self, lock: tuple[int, int]) -> None:
        """Let the lock go, and what is not committed."""
        connection = self._connection
        try:
            if connection.info.transaction_status != TransactionStatus.IDLE:
                connection.execute("ROLLBACK")
            connection.execute(_releasing(lock))
        except psycopg.Error:
            with suppress(psycopg.Error):
                psycopg.Connection.close(connection)  # with it the lock goes

    def _apply(
        self,
        target: Target,
        standing: Standing,
        scripts: Sequence[RevisionScript],
        alike: dict[Hashable, Alike],
        lock: tuple[int, int],
        *,
        exists: bool,
    ) -> list[AppliedNow]:
        connection, schema = self._connection, target.schema
        found = standings_on(connection, [schema], self._app) if exists else [Standing(())]
        if found != [standing]:
            raise NotReplayed
        before: frozenset[str] = self._names(schema) if exists else frozenset()
        if before and not standing.has_table:
            raise NotReplayed  # there are tables, and no record of who made them
        known = self._fingerprint(schema) if exists else None
        seen = known[1] if known else None
        start = (standing.current, before, seen, tuple(each.revision.id for each in scripts))
        same = self._same and all(each.makes_the_same for each in scripts)
        like = alike.get(start) if same else None
        going = _Going(self, target, standing, scripts, like, before, lock)
        try:
            applied = going.go()
        except psycopg.Error:
            self._end_failed(going)
            raise
        if same and like is None and (now := self._fingerprint(schema)):
            alike.setdefault(start, Alike(now[0], going.made))
        return applied

    def _fingerprint(self, schema: str) -> tuple[str, str] | None:
        """Return what a schema is recorded to look like, as JSON and in short."""
        row = QUERIES.one(self._connection, "fingerprint", schema=schema, app=self._app.name)
        return (str(row[0]), str(row[1])) if row else None

    def _end_failed(self, going: "_Going") -> None:
        """Let the journal say that the run ended, where it says that it began."""
        connection = self._connection
        with suppress(psycopg.Error):
            if connection.info.transaction_status != TransactionStatus.IDLE:
                connection.execute("ROLLBACK")
            if going.began:
                own_path = f"SET search_path = {OWN_PATH}"
                self.send([own_path, self.text("run_end", outcome="failed", id=None)])

    def send(self, statements: Sequence[str]) -> None:
        """Send statements as one text; to Citus one by one, which passes a statement's text on."""
        cursor = psycopg.ClientCursor(self._connection)
        for text in statements if self._one_by_one else ["\n;\n".join(statements)]:
            cursor.execute(text)

    def _names(self, schema: str) -> frozenset[str]:
        app = self._app
        return frozenset(read_names(self._connection, schema, [app.version_table], app.schemas))

    def text(self, name: str, /, duration: str = "", **values: Any) -> str:
        """Return a block of the journal's with its values, as a part of a text."""
        parts = {"id": _RUN} if "id" in values else {}
        if duration:
            parts["duration_ms"] = duration
        statement = _STATE.statement(name, version_of(self._connection), **parts)
        cursor = psycopg.ClientCursor(self._connection)
        kept = {key: value for key, value in values.items() if key not in parts}
        return cursor.mogrify(statement, kept)


@dataclass
class _Going:
    """One schema's revisions, on their way."""

    _replayer: Replayer
    _target: Target
    _standing: Standing
    _scripts: Sequence[RevisionScript]
    _alike: Alike | None
    _names: frozenset[str]
    _lock: tuple[int, int]

    def __post_init__(self) -> None:
        self._connection: Connection = self._replayer._connection  # noqa: SLF001 - a part of it
        self._app: App = self._replayer._app  # noqa: SLF001
        self._timeouts: Timeouts = self._replayer._timeouts  # noqa: SLF001
        self._current = set(self._standing.current)
        self._has_table = self._standing.has_table
        self.made: dict[str, Sequence[str]] = {}
        self.began = False
        """Whether the journal's row is committed."""
        self._key = {"app": self._app.name, "schema": self._target.schema}

    def go(self) -> list[AppliedNow]:
        """Apply each script; what fails is rolled back.  Raises psycopg.Error."""
        applied = []
        for script, following in zip(self._scripts, [*self._scripts[1:], None], strict=True):
            started = time.perf_counter()
            opening = [] if self.began else self._opening(script)
            if script.transactional:
                self._transaction([*opening, *self._along_path(script)], script, following)
            else:
                if opening:
                    self._replayer.send(["BEGIN", *opening, "COMMIT", _PATH_OF_SESSION])
                    self.began = True
                for statement in script.statements:
                    self._connection.execute(written_by_user(statement))
                taken = round((time.perf_counter() - started) * 1000)
                self._transaction([], script, following, duration=str(taken))
            elapsed = round((time.perf_counter() - started) * 1000)
            applied.append(AppliedNow(script.revision.id, script.revision.message, elapsed))
        return applied

    def _opening(self, first: RevisionScript) -> list[str]:
        """Begin the journal's row, and make what the first revision needs."""
        beginning_ = beginning(self._target, "migrate", self._app.name)
        known = beginning_.pop("summary")
        summary = {**(known.obj if known else {}), "applying": first.revision.id}
        schema = sql.Identifier(self._target.schema)
        return [
            self._replayer.text("run_begin", **beginning_, summary=Jsonb(summary)),
            sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema).as_string(self._connection),
        ]

    def _along_path(self, script: RevisionScript) -> list[str]:
        """Return the script's statements, with the path and the timeouts of a migration."""
        calls = [
            f"pg_catalog.set_config('{name}', '{value}', true)"
            for name, value in self._timeouts.settings.items()
        ]
        return [f"SELECT {', '.join((_PATH.format('true'), *calls))}", *script.statements]

    def _transaction(
        self,
        statements: list[str],
        script: RevisionScript,
        following: RevisionScript | None,
        *,
        duration: str = _SINCE_BEGIN,
    ) -> None:
        """Run statements and record the revision, in one transaction, which is one text."""
        text, own_path = self._replayer.text, f"SET LOCAL search_path = {OWN_PATH}"
        made, is_last = self._made(script), following is None
        record = {
            "revision": script.revision.id, "checksum": script.revision.checksum,
            "sql": script.recorded, "made": list(made or ()),
        }  # fmt: skip
        recording = [own_path, *self._version(script)]
        who = beginning(self._target, "migrate", self._app.name)["who"]
        recording.append(
            text("record_migration", duration=duration, **self._key, who=who, **record)
        )
        if made is not None:
            self.made[script.revision.id] = made
        ending = [*self._ending(following), "COMMIT"]
        if following is None:
            ending.append(_releasing(self._lock))
        elif not following.transactional:
            ending.append(_PATH_OF_SESSION)
        send = self._replayer.send
        if is_last and self._alike is not None:
            send(["BEGIN", *statements, *recording, self._copied(), *ending])
        elif made is not None and not is_last:
            send(["BEGIN", *statements, *recording, *ending])
        else:  # what it made, or looks like now, must be read before it is recorded
            send(["BEGIN", *statements, *recording])
            self._read(script, is_last=is_last)
            send(ending)
        self.began = True
        self._has_table = True

    def _made(self, script: RevisionScript) -> Sequence[str] | None:
        """Return what a revision makes that stands for itself; None where it must be looked for."""
        if self._alike is not None:
            return self._alike.made[script.revision.id]
        return None if script.transactional else ()

    def _read(self, script: RevisionScript, *, is_last: bool) -> None:
        """Record what the revision made, and what the schema looks like where it is the last."""
        name = script.revision.id
        now = self._replayer._names(self._target.schema)  # noqa: SLF001
        self.made[name] = sorted(now - self._names)
        self._names = now
        self._connection.execute(
            "UPDATE leadctl.migration SET made = %s WHERE app OPERATOR(pg_catalog.=) %s"
            " AND schema OPERATOR(pg_catalog.=) %s AND revision OPERATOR(pg_catalog.=) %s",
            (self.made[name], *self._key.values(), name),
        )
        if is_last:
            at, facts = sorted(self._current), recorded_facts(self._app)
            record_fingerprint(self._connection, self._app, self._target.schema, at, facts)

    def _copied(self) -> str:
        """Record what the schema looks like, as of another that became the same."""
        assert self._alike is not None
        last = sorted(self._current)[-1]  # of several heads, as `record_fingerprint` leaves it
        values = {**self._key, "revision": last, "fingerprint": self._alike.fingerprint}
        return self._replayer.text("record_fingerprint", **values)

    def _ending(self, following: RevisionScript | None) -> list[str]:
        """Let the journal say which revision is next, or that the run has ended."""
        note = self._replayer.text
        if following is not None:
            return [note("run_note", facts=Jsonb({"applying": following.revision.id}), id=None)]
        done = [script.revision.id for script in self._scripts]
        facts = Jsonb({"applying": None, "applied": done})
        return [note("run_note", facts=facts, id=None), note("run_end", outcome="done", id=None)]

    def _version(self, script: RevisionScript) -> list[str]:
        """Let Alembic's table say that the revision is applied, as Alembic does."""
        table = self._app.version_table.within(self._target.schema)
        revision, connection = script.revision, self._connection
        gone = self._current & set(revision.down)
        self._current = (self._current - gone) | {revision.id}
        statements = []
        if not self._has_table:
            room = max(records.ROOM_FOR_IDS, *(len(each.revision.id) for each in self._scripts))
            made = sql.SQL(
                "CREATE TABLE {} (version_num varchar({}) NOT NULL, CONSTRAINT {} PRIMARY KEY"
                " (version_num))"
            ).format(table, sql.Literal(room), sql.Identifier(f"{self._app.version_table}_pkc"))
            statements.append(made)
        for each in sorted(gone):
            statements.append(
                sql.SQL("DELETE FROM {} WHERE version_num OPERATOR(pg_catalog.=) {}").format(
                    table, sql.Literal(each)
                )
            )
        statements.append(
            sql.SQL("INSERT INTO {} (version_num) VALUES ({})").format(
                table, sql.Literal(revision.id)
            )
        )
        return [statement.as_string(connection) for statement in statements]


def _releasing(lock: tuple[int, int]) -> str:
    """Return what lets the lock on a schema go, and looks along the server's own path again."""
    return (
        f"SELECT pg_catalog.pg_advisory_unlock({lock[0]:d}, {lock[1]:d}),"
        f" pg_catalog.set_config('search_path', '{OWN_PATH}', false)"
    )
