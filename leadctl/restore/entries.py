"""What of an archive belongs to single tables, and the SQL that makes it, entry by entry.

pg_restore makes what it is told to in a session of its own.  Where that must be one transaction
with rows, foreign keys and what is there already, its SQL is run here instead.
"""

import re
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property, partial

from leadctl.backup.contents import ENCODING, SATELLITES, ArchiveEntry
from leadctl.backup.reader import BackupReader
from leadctl.postgres.client import feeding
from leadctl.postgres.connect import Connection, set_session
from leadctl.postgres.queries import parts_of
from leadctl.restore.dump_archive import use_list
from leadctl.restore.properties import IDENTIFIER, NO_OWNERS
from leadctl.sql.lexer import split, tokens

_ENTRY = re.compile(r"^-- TOC entry (\d+) \(class \d+ OID \d+\)$", re.MULTILINE)
_SETTING = re.compile(r"SET (default_tablespace|default_table_access_method) ")
"""What pg_restore sets before an entry where the one before it had another value."""
_COLUMN_VERSION = re.compile(
    rf"ALTER (?:FOREIGN )?TABLE (?:ONLY )?{IDENTIFIER}\.{IDENTIFIER} "
    rf"ALTER COLUMN {IDENTIFIER} SET \(pg_attver=\d+\)"
)
"""What an older pg_dump takes for an option, and is a newer server's own; Citus refuses it."""
_NO_STATEMENT = ("\\restrict", "\\unrestrict")
_PARTS = frozenset(
    {"CHECK CONSTRAINT", "CONSTRAINT", "DEFAULT", "INDEX", "INDEX ATTACH", "ROW SECURITY",
     "SEQUENCE", "SEQUENCE OWNED BY", "STATISTICS", "TABLE", "TABLE ATTACH", "TRIGGER"}
)  # fmt: skip
"""What is a part of a table that it needs."""
_RELATIONS = frozenset({"TABLE", "FOREIGN TABLE", "VIEW", "MATERIALIZED VIEW"})
_NEVER_NEEDED = _RELATIONS | {"CONSTRAINT", "FK CONSTRAINT", "DATABASE", "PUBLICATION", "INDEX"}
"""What a table may need, and is not made for its sake: it has rows or owners of its own."""
_CREATION = re.compile(
    rf"CREATE (?:UNLOGGED |FOREIGN |MATERIALIZED )?(?:TABLE|VIEW|SEQUENCE) "
    rf"(?P<name>{IDENTIFIER}\.{IDENTIFIER})"
)
_SEQUENCE = re.compile(rf"^\s+SEQUENCE NAME (?P<name>{IDENTIFIER}\.{IDENTIFIER})$", re.MULTILINE)
"""That of an identity column."""
_OF_TABLE = re.compile(
    rf"CREATE (?:POLICY {IDENTIFIER} ON|RULE {IDENTIFIER} AS\s+ON \w+ TO) "
    rf"(?P<name>{IDENTIFIER}\.{IDENTIFIER})"
)
_ATTACHING = re.compile(
    rf"ALTER TABLE (?:ONLY )?(?P<table>{IDENTIFIER}\.{IDENTIFIER}) "
    rf"ATTACH PARTITION (?P<partition>{IDENTIFIER}\.{IDENTIFIER})"
)
_INHERITS = re.compile(
    rf"^\)\s*INHERITS \((?P<parents>{IDENTIFIER}\.{IDENTIFIER}(?:, {IDENTIFIER}\.{IDENTIFIER})*)\)",
    re.MULTILINE,
)
_PARENT = re.compile(rf"{IDENTIFIER}\.{IDENTIFIER}")
_NOT_CUT_OFF = frozenset(
    {"TABLE", "TABLE ATTACH", "TABLE DATA", "SEQUENCE", "SEQUENCE OWNED BY", "SEQUENCE SET",
     "DEFAULT", "STATISTICS DATA"}
)  # fmt: skip
"""What needs a table and does not go with one of its columns."""

_ROUTINES = frozenset({"FUNCTION", "PROCEDURE", "AGGREGATE"})
_CALL = re.compile(r'(\w+)"?\s*\(')

Name = tuple[str, ...]
"""Schema and name, without quotes."""
Script = tuple[str, ...]
"""The statements that make an entry."""


class ArchiveSql:
    """The entries of one archive of a backup, and the SQL that makes them.

    `stem` is the archive's file.  The connection takes the encoding of the archive's names.
    """

    def __init__(
        self, reader: BackupReader, stem: str, connection: Connection, *, owners: bool
    ) -> None:
        self._write = partial(reader.unpack, stem)
        self._program = reader.backup.programs().path("pg_restore")
        self._connection = connection
        self._options = () if owners else NO_OWNERS
        self.entries = reader.contents_of(stem).entries

    def scripts(self, entries: Collection[ArchiveEntry]) -> Mapping[ArchiveEntry, Script]:
        """Return the statements of entries; none for those that the options leave out.

        Raises BackupDamaged and InvalidIdentity.
        """
        if not entries:
            return {}
        by_id = {entry.id: entry for entry in entries}
        found: dict[ArchiveEntry, list[str]] = {entry: [] for entry in entries}
        current: ArchiveEntry | None = None
        settings: dict[str, str] = {}
        for statement in split(self._text(list(by_id))):
            start = next((token.start for token in tokens(statement)), 0)
            text = statement[start:]
            headers = _ENTRY.findall(statement[:start])
            if headers:
                current = by_id[headers[-1]]
                found[current] += settings.values()
            if setting := _SETTING.match(text):
                settings[setting[1]] = text
            if current is not None and not (
                text.startswith(_NO_STATEMENT) or _COLUMN_VERSION.match(text)
            ):
                found[current].append(text)
        return {entry: tuple(script) for entry, script in found.items()}

    def run(self, script: Script) -> None:
        """Run the statements of an entry.  Raises what psycopg does."""
        for statement in script:
            # Binary, so that the server takes no more than one statement at once.
            text = statement.encode(self._connection.info.encoding, "surrogateescape")
            self._connection.execute(text, binary=True)

    def _text(self, ids: Sequence[str]) -> str:
        with use_list(ids) as (listed, keep), tempfile.TemporaryFile() as output:
            arguments = ["--file=-", "--verbose", *listed, *self._options]
            with feeding(self._program, arguments, "the backup", output, keep) as sink:
                self._write(sink)
            output.seek(0)
            written = output.read()
        if encoding := ENCODING.search(written):
            set_session(self._connection, {"client_encoding": encoding[1].decode()})
        return written.decode(self._connection.info.encoding, "surrogateescape")


def find_table(archive: ArchiveSql, names: Iterable[Name]) -> ArchiveEntry | None:
    """Return the entry of the table that has one of the names, the first that there is."""
    tables = {entry.parts: entry for entry in archive.entries if entry.kind == "TABLE"}
    return next((tables[name] for name in names if name in tables), None)


def name_in(script: Script) -> Name | None:
    """Return the schema and name of the relation that a script makes."""
    made = (_CREATION.match(statement) or _SEQUENCE.search(statement) for statement in script)
    return next((parts_of(found["name"]) for found in made if found), None)


def _parents(script: Script) -> set[Name | None]:
    """Return the tables that the one that a script makes inherits from."""
    found = filter(None, map(_INHERITS.search, script))
    return {parts_of(parent) for each in found for parent in _PARENT.findall(each["parents"])}


class EntrySelection:
    """The entries of an archive that restore tables, with parts and dependencies."""

    def __init__(
        self,
        archive: ArchiveSql,
        tables: Sequence[ArchiveEntry],
        also: Iterable[ArchiveEntry] | None = None,
    ) -> None:
        """`also` are more entries to make, such as functions that no table needs.

        Where they are given, nothing went with the tables by CASCADE.
        """
        self.archive = archive
        self._by_id = {entry.id: entry for entry in archive.entries}
        self.tables = self._with_children(tables)
        self._ids = {table.id for table in self.tables}
        needing = self._needing()
        known = {*self.tables, *needing}
        asked = {entry for entry in also or () if entry not in known}
        needed = {*self._needed({*known, *asked}), *asked} - known
        self._asked = {entry.id for entry in asked}
        said = [
            e for e in archive.entries if e.kind in SATELLITES and e.needs & {n.id for n in needed}
        ]
        self._needed_ids = {entry.id for entry in needed}
        chosen = {*known, *needed, *said}
        self.entries = [entry for entry in archive.entries if entry in chosen]
        gone = {*self._ids, *(entry.id for entry in needing)}
        self.cut = self._cut(gone) if also is None else []
        """Tables, foreign tables and types that stay, and may have lost a part with the tables."""
        self.called = self._called({*known, *needed})
        """Functions that no entry names as needed, but the text of one that is: as it seems."""
        self.of_cut = self._needing_cut(chosen)
        """What needs those, and may have gone with such a part."""
        self.scripts = archive.scripts(
            list(dict.fromkeys([*self.entries, *self.cut, *self.of_cut, *self.called]))
        )
        self.names = {table: name_in(self.scripts[table]) or () for table in self.tables}

    @cached_property
    def relations(self) -> set[str]:
        """The ids of the tables and views among the entries."""
        return {entry.id for entry in self.entries if entry.kind in _RELATIONS}

    def is_part(self, entry: ArchiveEntry) -> bool:
        """Whether an entry is a part of the tables, without which they are not whole."""
        if entry.kind in {"POLICY", "RULE"}:
            found = next((f for s in self.scripts[entry] if (f := _OF_TABLE.match(s))), None)
            return found is not None and parts_of(found["name"]) in self.names.values()
        if entry.kind == "SEQUENCE OWNED BY" or entry.kind in SATELLITES:
            return any(self.is_part(self._by_id[n]) for n in entry.needs if n in self._by_id)
        return entry.id in self._ids or (entry.kind in _PARTS and bool(entry.needs & self._ids))

    def is_needed(self, entry: ArchiveEntry) -> bool:
        """Whether the tables need it, and it may be there already."""
        return entry.id in self._needed_ids

    def may_be_missing(self, entry: ArchiveEntry) -> bool:
        """Whether nobody asked for it but the tables, which fail themselves where they lack it."""
        return self.is_needed(entry) and entry.id not in self._asked

    def is_attached_to_live(self, entry: ArchiveEntry) -> bool:
        """Whether an entry makes a table or an index a partition of one that exists."""
        tables = {need for need in entry.needs if self._kind(need) == "TABLE"}
        return entry.kind in {"TABLE ATTACH", "INDEX ATTACH"} and not tables <= self._ids

    def attached(self, entry: ArchiveEntry) -> tuple[str, str]:
        """Return the partition that an entry attaches, and its table, as SQL has them."""
        (found,) = filter(None, map(_ATTACHING.match, self.scripts[entry]))
        return found["partition"], found["table"]

    def missing_relations(self) -> list[ArchiveEntry]:
        """Return the tables and views that the tables need and are not among them."""
        needs = {need for table in self.tables for need in table.needs} - self._ids
        return [e for e in self.archive.entries if e.id in needs and e.kind in _RELATIONS]

    def _with_children(self, tables: Sequence[ArchiveEntry]) -> list[ArchiveEntry]:
        """Return tables with their partitions and what inherits from them."""
        found = {table.id: table for table in tables}
        attached = [entry.needs for entry in self.archive.entries if entry.kind == "TABLE ATTACH"]
        reached = set(found)
        for entry in self.archive.entries:
            if entry.kind in {"TABLE", "FOREIGN TABLE"} and entry.needs & reached:
                reached.add(entry.id)
        scripts = self.archive.scripts([self._by_id[number] for number in reached])
        names = {name_in(scripts[table]) for table in tables}
        for entry in self.archive.entries:
            if entry.id not in reached or entry.id in found:
                continue
            is_partition = any(
                entry.id in each and each & found.keys() - {entry.id} for each in attached
            )
            if is_partition or _parents(scripts[entry]) & names:
                found[entry.id] = entry
                names.add(name_in(scripts[entry]))
        return [entry for entry in self.archive.entries if entry.id in found]

    def _cut(self, gone: set[str]) -> list[ArchiveEntry]:
        """Return what stays where something goes that it needs: by a column of its type, say."""
        kinds = {"TABLE", "FOREIGN TABLE", "TYPE"}
        return [
            entry
            for entry in self.archive.entries
            if entry.kind in kinds and entry.id not in self._ids and entry.needs & gone
        ]

    def _needing_cut(self, chosen: Collection[ArchiveEntry]) -> list[ArchiveEntry]:
        reached = {entry.id for entry in self.cut}
        found = []
        for entry in self.archive.entries:
            if entry.kind not in _NOT_CUT_OFF and entry.needs & reached and entry not in chosen:
                reached.add(entry.id)
                found.append(entry)
        return found

    def _needing(self) -> list[ArchiveEntry]:
        """Return what needs the tables, and what needs that; other tables stop the search."""
        found: dict[str, ArchiveEntry] = {table.id: table for table in self.tables}
        more = True
        while more:
            more = False
            for entry in self.archive.entries:
                if entry.id in found or not entry.needs & found.keys() or entry.kind == "TABLE":
                    continue
                found[entry.id] = entry
                more = True
                if entry.kind == "RULE" and entry.name.endswith(" _RETURN"):
                    # A view that needs a key: it is made without its query first.
                    found |= {n: self._by_id[n] for n in entry.needs if self._kind(n) == "VIEW"}
        return [entry for entry in found.values() if entry.id not in self._ids]

    def _needed(self, entries: Iterable[ArchiveEntry]) -> list[ArchiveEntry]:
        """Return types, functions and the like that entries need, and what these need."""
        found: dict[str, ArchiveEntry] = {}
        waiting = [entry for entry in entries if entry.kind not in {"FK CONSTRAINT", *SATELLITES}]
        while waiting:
            for need in waiting.pop().needs:
                entry = self._by_id.get(need)
                if entry and need not in found and entry.kind not in _NEVER_NEEDED:
                    found[need] = entry
                    waiting.append(entry)
        return list(found.values())

    def _called(self, chosen: Collection[ArchiveEntry]) -> list[ArchiveEntry]:
        routines: dict[str, list[ArchiveEntry]] = {}
        for entry in self.archive.entries:
            if entry.kind in _ROUTINES:
                routines.setdefault(entry.name.partition("(")[0], []).append(entry)
        found: dict[ArchiveEntry, None] = {}
        waiting = [entry for entry in chosen if entry.kind in _ROUTINES]
        while waiting:
            for name in _CALL.findall(waiting.pop().definition):
                new = [e for e in routines.get(name, ()) if e not in chosen and e not in found]
                found |= dict.fromkeys(new)
                waiting += new
        return list(found)

    def _kind(self, number: str) -> str | None:
        entry = self._by_id.get(number)
        return entry.kind if entry else None
