"""What a tried statement did to each relation, by the catalog, its locks and what was said.

Rewrites are tables that lie in another file, scans those that the server counted or told of (its
DEBUG1 messages, which are never translated), losses what the catalog no longer has.  A trigger of
our own on every table tells which rows a statement would change, also where there are none.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import psycopg

from leadctl.migrate.lost_values import Retyped
from leadctl.migrate.trial_database import QUERIES, SAID
from leadctl.postgres.connect import Connection
from leadctl.sql.assignments import overwritings
from leadctl.sql.lexer import as_name, words_of
from leadctl.sql.lock_modes import LOCKS, Lock

_QUERY = re.compile(r"\s*(?:SELECT|WITH|VALUES)\b", re.IGNORECASE)
_LOCKS_ALL_IT_CHANGES = re.compile(
    r"\s*(?:ALTER\s+TABLE(?!\s+ALL\b)|CREATE\s+(?:TABLE|(?:UNIQUE\s+)?INDEX)|INSERT|UPDATE|DELETE|COMMENT)\b"
    r"(?!.*\b(?:SET\s+SCHEMA|RENAME)\b)",
    re.IGNORECASE | re.DOTALL,
)
"""Behind it no relation is other than before that it does not hold; its type may be renamed."""
_QUOTED = re.compile(r'"([^"]*)"')


@dataclass(frozen=True)
class RelationEffect:
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
    updates: bool = False
    """Whether rows of it may get other values."""
    retyped: tuple[Retyped, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    """The columns that it has in the target, by their names now: what they are called there."""
    by_key: str | None = None
    """The columns of its own that a foreign key takes along."""
    part_of: str | None = None


@dataclass(frozen=True)
class TrialRelation:
    """A relation of the scratch database, as it is at some moment."""

    oid: int
    schema: str
    name: str
    kind: str
    of_table: int
    file: int | None
    scans: int
    part_of: int | None
    columns: Mapping[str, tuple[str, str, bool]]
    """Each column's name and type, and whether that is an enum, by its number."""


@dataclass
class ServerMessages:
    """What the server says while a statement runs."""

    listens: bool = False
    changed: set[tuple[int, str]] = field(default_factory=set)
    rewritten: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """Forget what was said before."""
        self.changed, self.rewritten, self.read, self.keys = set(), set(), set(), set()

    def hear(self, message: psycopg.errors.Diagnostic) -> None:
        """Take note of a message."""
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


class Observer:
    """Looks at a scratch database before and after statements; knows what the target has of it."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self.relations = self.read()
        """As they were when nothing was tried yet."""
        self._now = self.relations
        self._scans: Mapping[int, int] = {}
        self._live = {each.oid: self._name(each) for each in self.relations.values()}
        self._columns = {
            each.oid: {number: name for number, (name, *_) in each.columns.items()}
            for each in self.relations.values()
        }

    @property
    def live(self) -> list[str]:
        """The names of the target's relations that were copied, but for indexes."""
        kinds = "rpvmfS"
        return [self._live[each.oid] for each in self.relations.values() if each.kind in kinds]

    def read(self, among: Sequence[int] | None = None) -> dict[int, TrialRelation]:
        """Return the relations as they are now, all or some."""
        rows = QUERIES.rows(
            self._connection,
            "relations",
            TrialRelation,
            among=None if among is None else list(among),
        )
        return {each.oid: each for each in rows}

    def begin(self) -> None:
        """Note how often each table was read before a statement, in the transaction of both."""
        self._scans = dict(QUERIES.rows(self._connection, "scans"))

    def look_again(self) -> dict[int, TrialRelation]:
        """Read everything, behind a statement that was not watched."""
        self._now = self.read()
        return self._now

    @property
    def now(self) -> Mapping[int, TrialRelation]:
        """The relations as they were when they were last looked at."""
        return self._now

    def touched(self, statement: str, told: ServerMessages) -> list[RelationEffect]:
        """Return what a statement did to relations, within the transaction that still holds it."""
        held = {
            oid: max(LOCKS[mode] for mode in modes)
            for oid, modes in QUERIES.rows(self._connection, "locks")
        }
        before = self._now
        if _LOCKS_ALL_IT_CHANGES.match(statement):
            seen = self.read(list(held))
            after = {oid: each for oid, each in before.items() if oid not in held} | seen
        else:
            after = self.read()
        found = list(self._touched(statement, before, after, held, told))
        self._now = after
        return found

    def _touched(
        self,
        statement: str,
        before: Mapping[int, TrialRelation],
        after: Mapping[int, TrialRelation],
        held: Mapping[int, Lock],
        told: ServerMessages,
    ) -> Iterator[RelationEffect]:
        changed: dict[int, set[str]] = {}
        for oid, act in told.changed:
            changed.setdefault(oid, set()).add(act)
        keys = sorted(told.keys)
        rows = QUERIES.rows(self._connection, "validated", names=keys) if keys else []
        checked = {oid for row in rows for oid in row}
        found: dict[int, RelationEffect] = {}
        for oid, old in before.items():
            if oid not in held and oid not in changed and after.get(oid) is old:
                continue
            new, lock = after.get(oid), held.get(oid, Lock.NONE)
            acts = changed.get(oid, set())
            drops = self._drops(old, new, acts)
            if old.kind in "iI":
                table = before.get(old.of_table)
                if lock is Lock.ACCESS_EXCLUSIVE and table and held.get(table.oid, 0) < lock:
                    # Whoever reads the table looks at each of its indexes first.
                    known = found.get(table.oid) or self.of(table, before)
                    known = replace(known, lock=held.get(table.oid, Lock.NONE))
                    found[table.oid] = replace(known, blocks_reads=True)
                continue
            if not lock and not drops:
                continue
            in_new_file = new is not None and old.kind in "rm" and new.file != old.file
            read = new is not None and new.scans > self._scans.get(oid, 0)
            emptied = "TRUNCATE" in acts
            found[oid] = replace(
                self.of(old, before),
                lock=lock,
                blocks_reads=oid in found and found[oid].blocks_reads,
                rewrites=not emptied and (in_new_file or old.name in told.rewritten),
                scans=not emptied and (read or old.name in told.read or oid in checked),
                drops=drops,
                updates="UPDATE" in acts,
                retyped=tuple(self._retyped(old, new)) if new else (),
            )
        self._attributes(before, found)
        self._inherited_deletes(before, found, changed)
        self._by_keys(statement, before, found, changed)
        self._count_on(statement, before, found, inserts=bool(changed))
        yield from (each for each in found.values() if each.kind != "c")

    def _count_on(
        self,
        statement: str,
        relations: Mapping[int, TrialRelation],
        found: dict[int, RelationEffect],
        *,
        inserts: bool,
    ) -> None:
        """Let sequences be locked as they are for a row's next number: no row was there."""
        counts = re.search(r"\b(?:next|set)val\b", statement, re.IGNORECASE) is not None
        runs = inserts or any(each.rewrites for each in found.values()) or _QUERY.match(statement)
        named = words_of(statement) if counts and runs else set()
        if not named and not inserts:
            return
        for oid, each in relations.items():
            if each.kind == "S":
                touched = found.get(oid) or self.of(each, relations)
                if each.name in named or (inserts and touched.lock):
                    found[oid] = replace(touched, lock=max(touched.lock, Lock.ROW_EXCLUSIVE))

    def of(self, relation: TrialRelation, relations: Mapping[int, TrialRelation]) -> RelationEffect:
        """Return a relation to which nothing was done yet."""
        parent = relations.get(relation.part_of or 0)
        return RelationEffect(
            self._name(relation),
            self._live.get(relation.oid),
            relation.kind,
            Lock.NONE,
            columns={
                relation.columns[number][0]: live
                for number, live in self._columns.get(relation.oid, {}).items()
                if number in relation.columns
            },
            part_of=self._name(parent) if parent else None,
        )

    def _drops(
        self, old: TrialRelation, new: TrialRelation | None, acts: Collection[str]
    ) -> tuple[str, ...]:
        if new is None:
            return ("table",) if old.kind in "rpmf" else ()
        names = self._columns.get(old.oid, {})  # what the plan itself added has nothing to lose
        gone = (old.columns.keys() - new.columns.keys()) & names.keys()
        columns = tuple(f"column {names[number]}" for number in sorted(gone, key=int))
        return (("rows",) if {"DELETE", "TRUNCATE"}.intersection(acts) else ()) + columns

    def _retyped(self, old: TrialRelation, new: TrialRelation) -> Iterator[Retyped]:
        names = self._columns.get(old.oid, {})
        for number in old.columns.keys() & new.columns.keys() & names.keys():
            _, kind, is_enum = new.columns[number]
            if kind != old.columns[number][1]:
                yield Retyped(names[number], kind, is_enum)

    def _attributes(
        self, relations: Mapping[int, TrialRelation], found: dict[int, RelationEffect]
    ) -> None:
        """Add the columns that lose a part of their values with an attribute of their type."""
        types = [oid for oid, each in found.items() if each.kind == "c" and each.drops]
        for kind in types:
            for oid, column in QUERIES.rows(self._connection, "users_of_type", type=kind):
                if oid in relations:
                    touched = found.get(oid) or self.of(relations[oid], relations)
                    lost = f"values of column {column}"
                    found[oid] = replace(touched, drops=(*touched.drops, lost))

    def _inherited_deletes(
        self,
        relations: Mapping[int, TrialRelation],
        found: dict[int, RelationEffect],
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
        statement: str,
        relations: Mapping[int, TrialRelation],
        found: dict[int, RelationEffect],
        changed: Mapping[int, set[str]],
    ) -> None:
        """Add what foreign keys do to other tables when rows go or keys change, row by row."""
        assigned = {each.column for one in overwritings(statement) for each in one.assignments}
        waiting: list[tuple[int, str, set[str]]] = [
            (oid, act, assigned) for oid, acts in changed.items() for act in acts
        ]
        keys = QUERIES.rows(self._connection, "keys") if waiting else []
        known: set[tuple[int, int, str]] = set()
        while waiting:
            referred, act, written = waiting.pop()
            for parent, child, by_delete, by_update, own, others in keys:
                does = {"DELETE": by_delete, "UPDATE": by_update}.get(act, "a")
                is_known = (parent, child, act) in known or child not in relations
                untouched = act == "UPDATE" and bool(written) and written.isdisjoint(others)
                if parent != referred or does not in "cnd" or is_known or untouched:
                    continue
                known.add((parent, child, act))
                touched = found.get(child) or self.of(relations[child], relations)
                drops = tuple(f"values of column {each}" for each in own)
                if does == "c":
                    drops = ("rows",) if act == "DELETE" else ()
                found[child] = replace(
                    touched,
                    lock=max(touched.lock, Lock.ROW_EXCLUSIVE),
                    drops=tuple(dict.fromkeys((*touched.drops, *drops))),
                    by_key=", ".join(own),
                )
                waiting.append((child, "DELETE" if drops == ("rows",) else "UPDATE", set(own)))

    def _name(self, relation: TrialRelation) -> str:
        path = () if relation.schema == self._schema else (relation.schema,)
        return as_name(*path, relation.name)
