"""Pending statements tried on the server, one after the other, and what the server did at each.

Locks are those of pg_locks, rewrites the tables that lie in another file, scans those that the
server counted or told of (its DEBUG1 messages, which are never translated), losses what the catalog
no longer has.  A trigger of our own on every table tells which rows a statement would change, also
where there are none.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import psycopg
from psycopg.errors import ActiveSqlTransaction

from leadctl.db import temporary_target
from leadctl.errors import LeadctlError
from leadctl.migrate.live_tables import LiveTables
from leadctl.migrate.script import Statement
from leadctl.migrate.trial_database import (
    QUERIES,
    SAID,
    NotTried,
    copy,
    reach,
    trial_database,
    words_of,
)
from leadctl.postgres.connect import Connection
from leadctl.postgres.target import Target
from leadctl.sql.effects import effects
from leadctl.sql.lexer import Reader, as_name, place_of_name
from leadctl.sql.lock_modes import LOCKS, Effect, Lock
from leadctl.sql.reach import (
    BRANCHES,
    DEFINES_CODE,
    DESTROYS,
    OPAQUE,
    WRITES,
    outside,
    reaches_out,
)

_TELL_AGAIN = """
DO $$
DECLARE t pg_catalog.regclass;
BEGIN
    FOR t IN SELECT tgrelid FROM pg_catalog.pg_trigger
             WHERE tgname OPERATOR(pg_catalog.=) 'leadctl_trial' LOOP
        EXECUTE 'ALTER TABLE ' || t || ' ENABLE ALWAYS TRIGGER leadctl_trial';
    END LOOP;
END $$"""
_LEFT_ALONE = (("SET", "ROLE"), ("SET", "SESSION", "AUTHORIZATION"), ("SET", "LOCAL", "ROLE"),
    ("RESET", "ROLE"), ("RESET", "SESSION"), ("COMMIT",), ("BEGIN",), ("START",), ("END",),
    ("SAVEPOINT",), ("RELEASE",))  # fmt: skip
"""Who runs it, and where a transaction ends, is the trial's own affair."""
_UNDOES = (("ROLLBACK",), ("ABORT",))
_FOR_WANT_OF_ROWS = {"21", "22", "23", "P0"}
"""Classes of errors that may be owed to the rows that are not there: a missing parent, a check."""
_ON_ROWS = {"INSERT": 4, "DELETE": 8, "UPDATE": 16}
"""The bit of pg_trigger.tgtype for each."""
_QUOTED = re.compile(r'"([^"]*)"')


@dataclass(frozen=True)
class Touched:
    """What a statement does to one relation."""

    name: str
    """As `Reader.name` writes it; without its schema where that is the target's."""
    live: str | None
    """Its name in the target now; None for what the plan makes."""
    kind: str
    lock: Lock
    blocks_reads: bool = False
    """Whether an index of it is held so that not even its readers can be planned."""
    rewrites: bool = False
    scans: bool = False
    drops: tuple[str, ...] = ()
    by_key: str | None = None
    """The relation whose rows take its own along, by a foreign key."""
    part_of: str | None = None


@dataclass(frozen=True)
class Seen:
    """What a statement did when it was tried."""

    touched: tuple[Touched, ...]
    unknown: str | None = None
    """Why it may do more than was seen."""


@dataclass(frozen=True)
class Unseen:
    """Why a statement was not tried to its end."""

    reason: str
    may_be_read: bool
    """Whether its text may tell what it does all the same."""


@dataclass(frozen=True)
class _Relation:
    oid: int
    schema: str
    name: str
    kind: str
    of_table: int
    file: int | None
    scans: int
    part_of: int | None
    columns: Mapping[str, str]


@dataclass
class _Told:
    """What the server said while a statement ran."""

    listens: bool = False
    changed: set[tuple[int, str]] = field(default_factory=set)
    rewritten: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)

    def hear(self, message: psycopg.errors.Diagnostic) -> None:
        text = message.message_primary or ""
        if not self.listens:
            return
        if message.sqlstate == SAID:
            oid, _, act = text.partition(" ")
            self.changed.add((int(oid), act))
        elif names := _QUOTED.findall(text):
            if text.startswith("rewriting table"):
                self.rewritten.add(names[0])
            elif text.startswith("verifying table"):
                self.read.add(names[0])
            elif text.startswith("validating foreign key"):
                self.keys.add(names[0])


class Trial:
    """A session of a scratch database, in which statements are tried in their order."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self._code = self._read_code()
        self._told = _Told()
        connection.add_notice_handler(self._told.hear)
        self._relations = self._read()
        self._live = {each.oid: self._name(each) for each in self._relations.values()}
        self._columns = {each.oid: dict(each.columns) for each in self._relations.values()}

    @property
    def live(self) -> list[str]:
        """The names of the target's relations that were copied, but for indexes."""
        kinds = "rpvmfS"
        return [self._live[each.oid] for each in self._relations.values() if each.kind in kinds]

    def run(self, statement: Statement) -> Seen | Unseen:
        """Try a statement; return what it did, or why that is not known."""
        reader = Reader(statement.sql)
        if any(reader.accept(*words) for words in _LEFT_ALONE):
            return Seen(())
        if any(reader.accept(*words) for words in _UNDOES):
            return Unseen("it undoes what was done before it", may_be_read=False)
        reason = outside(statement.sql)
        called = {} if DEFINES_CODE.match(statement.sql) else self._called(statement.sql)
        if reason is None and any(reaches_out(code) for code in called.values()):
            reason = "a function that it calls may reach out of the database"
        if reason:
            return Unseen(reason, may_be_read=True)
        try:
            touched = self._within(statement.sql)
        except ActiveSqlTransaction:
            self._connection.execute("ROLLBACK")
            try:
                touched = self._beyond(statement.sql)
            except psycopg.Error as error:
                return _refused(error)
        except psycopg.Error as error:
            self._connection.execute("ROLLBACK")
            return _refused(error)
        if DEFINES_CODE.match(statement.sql):
            self._code = self._read_code()
        if reader.has("DISABLE", "TRIGGER"):
            self._connection.execute(_TELL_AGAIN)
        return Seen(tuple(touched), self._unknown(statement.sql, called))

    def _within(self, statement: str) -> list[Touched]:
        """Run a statement in a transaction of its own."""
        self._connection.execute("BEGIN")
        before = self._read()
        with self._listening() as told:
            self._connection.execute(_for_session(statement).encode())
        after = self._read()
        held = {
            oid: max(LOCKS[mode] for mode in modes)
            for oid, modes in QUERIES.rows(self._connection, "locks")
        }
        touched = list(self._touched(statement, before, after, held, told))
        self._connection.execute("COMMIT")
        self._relations = after
        return touched

    @contextmanager
    def _listening(self) -> Iterator[_Told]:
        told = self._told
        told.changed, told.rewritten, told.read, told.keys = set(), set(), set(), set()
        self._connection.execute("SET client_min_messages = debug1")
        told.listens = True
        try:
            yield told
        finally:
            told.listens = False

    def _beyond(self, statement: str) -> list[Touched]:
        """Run what cannot be in a transaction: its locks are those that the manual says."""
        before = self._read()
        facts = LiveTables(self._connection, self._schema).facts
        said = {
            oid: effect
            for effect in effects(statement, facts)
            if (oid := self._oid(effect.table, before)) is not None
        }
        for each in before.values():
            if each.part_of in said and not Reader(statement).accept("ALTER"):
                said[each.oid] = said[each.part_of]
        self._connection.execute(statement.encode())
        after = self._read()
        self._relations = after
        for oid, new in after.items():
            old = before.get(oid)
            if old and old.kind in "rm" and old.file != new.file:
                said[oid] = Effect(old.name, Lock.ACCESS_EXCLUSIVE, rewrites=True)
        return [
            replace(
                self._of(before[oid], before),
                lock=effect.lock,
                rewrites=effect.rewrites,
                scans=effect.scans,
            )
            for oid, effect in said.items()
        ]

    def _oid(self, name: str, relations: Mapping[int, _Relation]) -> int | None:
        place = place_of_name(name, self._schema)
        found = (each.oid for each in relations.values() if (each.schema, each.name) == place)
        return next(found, None)

    def _touched(
        self,
        statement: str,
        before: Mapping[int, _Relation],
        after: Mapping[int, _Relation],
        held: Mapping[int, Lock],
        told: _Told,
    ) -> Iterator[Touched]:
        changed: dict[int, set[str]] = {}
        for oid, act in told.changed:
            changed.setdefault(oid, set()).add(act)
        rows = (
            QUERIES.rows(self._connection, "validated", names=sorted(told.keys))
            if told.keys
            else ()
        )
        checked = {oid for row in rows for oid in row}
        found: dict[int, Touched] = {}
        for oid, old in before.items():
            new, lock = after.get(oid), held.get(oid, Lock.NONE)
            acts = changed.get(oid, set())
            drops = self._drops(old, new, acts)
            if old.kind in "iI":
                table = before.get(old.of_table)
                if lock is Lock.ACCESS_EXCLUSIVE and table and held.get(table.oid, 0) < lock:
                    # Whoever reads the table looks at each of its indexes first.
                    known = found.get(table.oid) or self._of(table, before)
                    known = replace(known, lock=held.get(table.oid, Lock.NONE))
                    found[table.oid] = replace(known, blocks_reads=True)
                continue
            if not lock and not drops:
                continue
            in_new_file = new is not None and old.kind in "rm" and new.file != old.file
            read = new is not None and new.scans > old.scans
            found[oid] = replace(
                self._of(old, before),
                lock=lock,
                blocks_reads=oid in found and found[oid].blocks_reads,
                rewrites="TRUNCATE" not in acts and (in_new_file or old.name in told.rewritten),
                scans="TRUNCATE" not in acts and (read or old.name in told.read or oid in checked),
                drops=drops,
            )
        self._attributes(before, found)
        self._inherited_deletes(before, found, changed)
        self._by_keys(before, found, changed)
        if changed or any(each.rewrites for each in found.values()):
            self._count_on(statement, before, found)
        yield from (each for each in found.values() if each.kind != "c")

    def _count_on(
        self, statement: str, relations: Mapping[int, _Relation], found: dict[int, Touched]
    ) -> None:
        """Let sequences be locked as they are for a row's next number: no row was there."""
        named = words_of(statement) if "nextval" in statement.lower() else set()
        for oid, each in relations.items():
            touched = found.get(oid) or self._of(each, relations)
            if each.kind == "S" and (touched.lock or each.name in named):
                found[oid] = replace(touched, lock=max(touched.lock, Lock.ROW_EXCLUSIVE))

    def _of(self, relation: _Relation, relations: Mapping[int, _Relation]) -> Touched:
        whole = relations.get(relation.part_of or 0)
        return Touched(
            self._name(relation),
            self._live.get(relation.oid),
            relation.kind,
            Lock.NONE,
            part_of=self._name(whole) if whole else None,
        )

    def _drops(
        self, old: _Relation, new: _Relation | None, acts: Collection[str]
    ) -> tuple[str, ...]:
        if new is None:
            return ("table",) if old.kind in "rpmf" else ()
        gone = old.columns.keys() - new.columns.keys()
        names = self._columns.get(old.oid, {})
        columns = tuple(
            f"column {names.get(n, old.columns[n])}" for n in sorted(gone, key=int) if n in names
        )  # what the plan itself added has nothing to lose
        return (("rows",) if {"DELETE", "TRUNCATE"}.intersection(acts) else ()) + columns

    def _attributes(self, relations: Mapping[int, _Relation], found: dict[int, Touched]) -> None:
        """Add the columns that lose a part of their values with an attribute of their type."""
        types = [oid for oid, each in found.items() if each.kind == "c" and each.drops]
        for kind in types:
            for oid, column in QUERIES.rows(self._connection, "users_of_type", type=kind):
                if oid in relations:
                    touched = found.get(oid) or self._of(relations[oid], relations)
                    lost = f"values of column {column}"
                    found[oid] = replace(touched, drops=(*touched.drops, lost))

    def _inherited_deletes(
        self,
        relations: Mapping[int, _Relation],
        found: dict[int, Touched],
        changed: dict[int, set[str]],
    ) -> None:
        """Take what was locked below a table for what its rows are deleted from, too."""
        if not any("DELETE" in acts for acts in changed.values()):
            return
        parents = dict(QUERIES.rows(self._connection, "inherits"))
        for oid, touched in list(found.items()):
            above = parents.get(oid)
            while above is not None and "DELETE" not in changed.get(above, ()):
                above = parents.get(above)
            writes = touched.lock >= Lock.ROW_EXCLUSIVE
            if above is not None and writes and relations[oid].kind in "rpf":
                found[oid] = replace(touched, drops=("rows",))
                changed.setdefault(oid, set()).add("DELETE")

    def _by_keys(
        self,
        relations: Mapping[int, _Relation],
        found: dict[int, Touched],
        changed: Mapping[int, set[str]],
    ) -> None:
        """Add what foreign keys do to other tables when rows go: no row was there to show it."""
        waiting = [oid for oid, acts in changed.items() if "DELETE" in acts]
        keys = QUERIES.rows(self._connection, "keys") if waiting else []
        known = set(waiting)
        while waiting:
            referred = waiting.pop()
            for parent, child, act, columns in keys:
                if parent != referred or child not in relations:
                    continue
                touched = found.get(child) or self._of(relations[child], relations)
                drops = (
                    ("rows",)
                    if act == "c"
                    else tuple(f"values of column {each}" for each in columns)
                )
                found[child] = replace(
                    touched,
                    lock=max(touched.lock, Lock.ROW_EXCLUSIVE),
                    drops=tuple(dict.fromkeys((*touched.drops, *drops))),
                    by_key=", ".join(columns),
                )
                if act == "c" and child not in known:
                    known.add(child)
                    waiting.append(child)

    def _unknown(self, statement: str, called: Mapping[str, str]) -> str | None:
        """Return why a statement may do more on a database with rows, or other rows."""
        first = Reader(statement).peek().word
        if first == "DO" and BRANCHES.search(statement):
            return "what the block does depends on rows, or is put together when it runs"
        for name, code in called.items():
            if WRITES.search(code) and (first not in OPAQUE or BRANCHES.search(code)):
                return f"what {name}() does depends on rows"
            if first in OPAQUE and Reader(statement).has("FROM") and WRITES.search(code):
                return f"how often {name}() is called depends on rows"
        changed = self._told.changed
        for oid, at, name, code in (
            QUERIES.rows(self._connection, "row_triggers") if changed else ()
        ):
            acts = {act for each, act in changed if each == oid}
            if DESTROYS.search(code) and any(at & _ON_ROWS.get(act, 0) for act in acts):
                return f"for each row a trigger runs {name}(), which may take rows along"
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

    def _read(self) -> dict[int, _Relation]:
        rows = QUERIES.rows(self._connection, "relations", _Relation)
        return {each.oid: each for each in rows}

    def _name(self, relation: _Relation) -> str:
        place = () if relation.schema == self._schema else (relation.schema,)
        return as_name(*place, relation.name)


@contextmanager
def trial(target: Target, source: Connection, statements: Sequence[str]) -> Iterator[Trial]:
    """Make a trial of what statements can reach; `source` is a connection to the target.

    It is on a server of leadctl's own, of the same version, where the role may make no database.
    Raises NotTried, and what psycopg raises.
    """
    reached = reach(source, statements)
    if not reached.plain:
        raise NotTried("")  # nothing that exists is reached
    with ExitStack() as stack:
        try:
            scratch = stack.enter_context(trial_database(target, source))
        except NotTried as error:
            extensions = [name for name, _, _ in reached.extensions]
            major = source.info.server_version // 10000
            try:
                own = stack.enter_context(temporary_target(extensions, major, lambda _: None))
            except LeadctlError as missing:
                raise NotTried(f"{error}, and {missing.message}") from None
            scratch = replace(own, schema=target.schema)
        yield Trial(stack.enter_context(copy(source, scratch, reached)), target.schema)


def _refused(error: psycopg.Error) -> Unseen:
    reason = f"the server refuses it when it is tried: {error.diag.message_primary or error}"
    return Unseen(reason, may_be_read=(error.sqlstate or "")[:2] in _FOR_WANT_OF_ROWS)


def _for_session(statement: str) -> str:
    """Let what a statement sets for its transaction hold for those that follow, too."""
    reader = Reader(statement)
    local = reader.peek(1)
    if reader.accept("SET", "LOCAL"):
        return statement[: local.start] + statement[local.end :]
    return statement
