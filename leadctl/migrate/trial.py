"""Pending statements tried on the server, one after the other, and what the server did at each.

Locks are those of pg_locks, rewrites the tables that lie in another file, scans those that the
server counted or told of (its DEBUG1 messages, which are never translated), losses what the catalog
no longer has.  A trigger of our own on every table tells which rows a statement would change, also
where there are none.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import psycopg
from psycopg.errors import ActiveSqlTransaction

from leadctl.db import temporary_target
from leadctl.errors import LeadctlError
from leadctl.migrate.alembic_runner import RevisionStatement
from leadctl.migrate.live_tables import LiveTables
from leadctl.migrate.observation import Observer, RelationEffect, ServerMessages, TrialRelation
from leadctl.migrate.trial_database import (
    QUERIES,
    NotTried,
    copy,
    reach,
    trial_database,
)
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import version_of
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told
from leadctl.sql.effects import effects
from leadctl.sql.lexer import Reader, schema_and_name
from leadctl.sql.lock_modes import Lock, StatementEffect
from leadctl.sql.reach import (
    BRANCHES,
    DEFINES_CODE,
    DESTROYS,
    OPAQUE,
    WRITES,
    outside,
    reaches_out,
)

_LEFT_ALONE = (("SET", "ROLE"), ("SET", "SESSION", "AUTHORIZATION"), ("SET", "LOCAL", "ROLE"),
    ("RESET", "ROLE"), ("RESET", "SESSION"), ("COMMIT",), ("BEGIN",), ("START",), ("END",),
    ("SAVEPOINT",), ("RELEASE",))  # fmt: skip
"""Who runs it, and where a transaction ends, is the trial's own affair."""
_UNDOES = (("ROLLBACK",), ("ABORT",))
_FOR_WANT_OF_ROWS = {"21", "22", "23", "P0"}
"""Classes of errors that may be owed to the rows that are not there: a missing parent, a check."""
_ON_ROWS = {"INSERT": 4, "DELETE": 8, "UPDATE": 16}
"""The bit of pg_trigger.tgtype for each."""
_INSTEAD = 64
"""The bit of a trigger that runs instead of what was to be done."""


@dataclass(frozen=True)
class Observed:
    """What a statement did when it was tried."""

    touched: tuple[RelationEffect, ...]
    unknown: str | None = None
    """Why it may do more than was seen."""


@dataclass(frozen=True)
class Unobserved:
    """Why a statement was not tried to its end."""

    reason: str
    may_be_read: bool
    """Whether its text may tell what it does all the same."""


class Trial:
    """A session of a scratch database, in which statements are tried in their order."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self._code = self._read_code()
        self._told = ServerMessages()
        connection.add_notice_handler(self._told.hear)
        self._observer = Observer(connection, schema)

    @property
    def live(self) -> list[str]:
        """The names of the target's relations that were copied, but for indexes."""
        return self._observer.live

    def run(self, statement: RevisionStatement) -> Observed | Unobserved:
        """Try a statement; return what it did, or why that is not known."""
        reader = Reader(statement.sql)
        if any(reader.accept(*words) for words in _LEFT_ALONE):
            return Observed(())
        if any(reader.accept(*words) for words in _UNDOES):
            return Unobserved("it undoes what was done before it", may_be_read=False)
        reason = outside(statement.sql)
        called = {} if DEFINES_CODE.match(statement.sql) else self._called(statement.sql)
        if reason is None and any(reaches_out(code) for code in called.values()):
            reason = "a function that it calls may reach out of the database"
        if reason:
            return Unobserved(reason, may_be_read=True)
        try:
            touched = self._within(statement.sql)
        except ActiveSqlTransaction:
            self._connection.execute("ROLLBACK")
            try:
                touched = self._beyond(statement.sql)
            except psycopg.Error as error:
                self._observer.look_again()
                return _refused(error)
        except psycopg.Error as error:
            self._connection.execute("ROLLBACK")
            self._observer.look_again()
            return _refused(error)
        if DEFINES_CODE.match(statement.sql):
            self._code = self._read_code()
        if reader.has("DISABLE", "TRIGGER"):
            self._connection.execute(QUERIES.statement("tell_again", version_of(self._connection)))
        return Observed(tuple(touched), self._unknown(statement.sql, called, touched))

    def _within(self, statement: str) -> list[RelationEffect]:
        """Run a statement in a transaction of its own."""
        self._connection.execute("BEGIN")
        self._observer.begin()
        with self._listening() as told:
            self._connection.execute(_for_session(statement).encode())
        touched = self._observer.touched(statement, told)
        self._connection.execute("COMMIT")
        return touched

    @contextmanager
    def _listening(self) -> Iterator[ServerMessages]:
        told = self._told
        told.begin()
        self._connection.execute("SET client_min_messages = debug1")
        told.listens = True
        try:
            yield told
        finally:
            told.listens = False

    def _beyond(self, statement: str) -> list[RelationEffect]:
        """Run what cannot be in a transaction: its locks are those that the manual says."""
        before = self._observer.now
        facts = LiveTables(self._connection, self._schema).facts
        said = {
            oid: effect
            for effect in effects(statement, facts)
            if (oid := self._oid(effect.table, before)) is not None
        }
        for each in before.values():
            if each.part_of in said and not Reader(statement).accept("ALTER"):
                said[each.oid] = said[each.part_of]
        if not said and Reader(statement).peek().word in {"VACUUM", "ANALYZE", "ANALYSE"}:
            for each in before.values():
                if each.kind in "rpm":
                    said[each.oid] = StatementEffect(each.name, Lock.SHARE_UPDATE_EXCLUSIVE)
        self._connection.execute(statement.encode())
        after = self._observer.look_again()
        unread: set[int] = set()
        """Tables of which an index is held so that their readers wait, too."""
        for oid, old in before.items():
            new = after.get(oid)
            in_new_file = new is None or new.file != old.file
            if in_new_file and new and old.kind in "rm":
                said[oid] = StatementEffect(old.name, Lock.ACCESS_EXCLUSIVE, rewrites=True)
            elif in_new_file and old.kind in "iI" and Reader(statement).accept("REINDEX"):
                lock = Lock.SHARE if new else Lock.SHARE_UPDATE_EXCLUSIVE
                said.setdefault(old.of_table, StatementEffect(old.name, lock, scans=True))
                unread |= {old.of_table} if new else set()
        return [
            replace(
                self._observer.of(before[oid], before),
                lock=effect.lock,
                rewrites=effect.rewrites,
                scans=effect.scans,
                blocks_reads=oid in unread,
            )
            for oid, effect in said.items()
        ]

    def _oid(self, name: str, relations: Mapping[int, TrialRelation]) -> int | None:
        wanted = schema_and_name(name, self._schema)
        found = (each.oid for each in relations.values() if (each.schema, each.name) == wanted)
        return next(found, None)

    def _unknown(
        self, statement: str, called: Mapping[str, str], touched: Sequence[RelationEffect]
    ) -> str | None:
        """Return why a statement may do more on a database with rows, or other rows."""
        first = Reader(statement).peek().word
        if first == "DO" and BRANCHES.search(statement):
            return "what the block does depends on rows, or is built while it runs"
        for name, code in called.items():
            if WRITES.search(code) and (first not in OPAQUE or BRANCHES.search(code)):
                return f"what {name}() does depends on rows"
            if first in OPAQUE and Reader(statement).has("FROM") and WRITES.search(code):
                return f"how often {name}() is called depends on rows"
        changed = self._told.changed
        writes_view = any(e.kind == "v" and e.lock is Lock.ROW_EXCLUSIVE for e in touched)
        for oid, at, name, code in (
            QUERIES.rows(self._connection, "row_triggers") if changed or writes_view else ()
        ):
            if writes_view and at & _INSTEAD:
                return f"for each row of a view a trigger runs {name}() instead"
            acts = {act for each, act in changed if each == oid}
            if DESTROYS.search(code) and any(at & _ON_ROWS.get(act, 0) for act in acts):
                return f"for each row a trigger runs {name}(), which may change other rows, too"
        return None

    def _called(self, statement: str) -> dict[str, str]:
        """Return the code of the app's functions that a statement calls, and of theirs in turn."""
        found: dict[str, str] = {}
        waiting = [statement]
        while waiting:
            words = set(re.findall(r"[^\W\d][\w$]*", waiting.pop()))
            for name in words & self._code.keys() - found.keys():
                found[name] = self._code[name]
                waiting.append(self._code[name])
        return found

    def _read_code(self) -> dict[str, str]:
        """Read the functions that there are now: the plan may have made some."""
        return dict(QUERIES.rows(self._connection, "code"))


@contextmanager
def trial(target: Target, source: Connection, statements: Sequence[str]) -> Iterator[Trial]:
    """Make a trial of what statements can reach; `source` is a connection to the target.

    It is on a server of leadctl's own, of the same version, where the role may make no database.
    Raises NotTried, and what psycopg raises.
    """
    reached = reach(source, statements)
    if not reached.plain:
        raise NotTried("")  # nothing that exists is reached
    with (
        empty_database(target, source, [name for name, _, _ in reached.extensions]) as scratch,
        copy(source, scratch, reached) as connection,
    ):
        yield Trial(connection, target.schema)


@contextmanager
def empty_database(
    target: Target, source: Connection, extensions: Collection[str]
) -> Iterator[Target]:
    """Yield an empty database beside the target's, or on a server of leadctl's own like it.

    That one has what is needed for some extensions, and the same version.  Raises NotTried.
    """
    with ExitStack() as stack:
        try:
            scratch = stack.enter_context(trial_database(target, source))
        except NotTried as error:
            major = version_of(source) // 10000
            try:
                own = stack.enter_context(temporary_target(extensions, major, lambda _: None))
            except LeadctlError as missing:
                raise NotTried(f"{error}, and {missing.message}") from None
            scratch = replace(own, schema=target.schema)
        yield scratch


def _refused(error: psycopg.Error) -> Unobserved:
    reason = f"the server refuses it when it is tried: {told(error)}"
    return Unobserved(reason, may_be_read=(error.sqlstate or "")[:2] in _FOR_WANT_OF_ROWS)


def _for_session(statement: str) -> str:
    """Let what a statement sets for its transaction hold for those that follow, too."""
    reader = Reader(statement)
    local = reader.peek(1)
    if reader.accept("SET", "LOCAL"):
        return statement[: local.start] + statement[local.end :]
    return statement
