"""Tables that are gone, made again from a backup as they were: rows, keys, triggers, grants.

The archive says what belongs to a table: its entries name what they need.  What went with the
table by CASCADE (views, foreign keys of others, types) comes back, too, where it is not there.
All is one transaction.  It is tried without rows first, so that what the database lacks, or has
under the same names, is found before rows are loaded.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import psycopg
from psycopg import sql

from leadctl.backup.contents import SATELLITES, ArchiveEntry
from leadctl.backup.manifest import ARCHIVE, SCHEMA, Distributed
from leadctl.backup.reader import BackupReader
from leadctl.catalog.citus import distribution, has_citus
from leadctl.errors import (
    InsufficientPrivilege,
    MissingRole,
    RelationExists,
    RestoreFailed,
    TableNotInBackup,
)
from leadctl.journal import state
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journal_done
from leadctl.postgres.connect import Connection, Timeouts, connect, set_session
from leadctl.postgres.queries import identifier, parts_of, queries_of, written_by_server
from leadctl.postgres.target import Target
from leadctl.postgres.translate import needs_privileges, refusal, told, translate
from leadctl.progress import Narrate
from leadctl.restore.cascade_losses import CascadeLosses
from leadctl.restore.dump_archive import check_counts, owner_of_rows, rows_of
from leadctl.restore.entries import (
    ArchiveSql,
    EntrySelection,
    Name,
    Script,
    find_table,
    name_in,
)
from leadctl.restore.foreign_keys import ForeignKeys, Orphans
from leadctl.restore.properties import IDENTIFIER
from leadctl.restore.restorable import LeftOutEntry

_QUERIES = queries_of(__file__, "restore.sql")
NOT_THE_OWNER = "Connect as the database's owner, or add --no-owner. Nothing was changed."
_IS_THERE = (
    psycopg.errors.DuplicateObject,
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateFunction,
    psycopg.errors.DuplicateSchema,
)
_OF_ROWS = ("22", "23", "P0")
"""Classes of SQLSTATEs: of what is wrong with a row, and of functions that its table calls."""
_BEFORE_ROWS = frozenset(
    {"TABLE", "FOREIGN TABLE", "SEQUENCE", "SEQUENCE OWNED BY", "DEFAULT", "TABLE ATTACH"}
)
_COPY = "leadctl_as_it_was"
_COMPARED = re.compile(
    rf"CREATE (?:FUNCTION|PROCEDURE|AGGREGATE|DOMAIN|TYPE|COLLATION) "
    rf"(?P<name>{IDENTIFIER}\.{IDENTIFIER})(?=\(| AS | \(provider = )"
)
"""Not base types, nor operators."""
_CREATES_ROUTINE = re.compile(r"\ACREATE (?=FUNCTION |PROCEDURE |AGGREGATE )")
_MULTIRANGE = re.compile(rf"(?<=multirange_type_name = ){IDENTIFIER}\.{IDENTIFIER}")
ROUTINES = frozenset({"FUNCTION", "PROCEDURE", "AGGREGATE"})
_LAST = frozenset({"TRIGGER", "POLICY", "ROW SECURITY", "PUBLICATION TABLE"})


@dataclass(frozen=True)
class RecreatedTables:
    """Tables that are back, and what came with them."""

    tables: tuple[tuple[str, int], ...]
    """Those that hold rows, as SQL has their names, and how many."""
    made: tuple[str, ...]
    """What was made, as pg_restore lists it, besides comments and grants."""
    orphans: tuple[Orphans, ...]
    left_out: tuple[LeftOutEntry, ...]
    changed: tuple[LeftOutEntry, ...]
    """Functions, types and extensions that they need, and that the database has otherwise."""
    lines: tuple[str, ...]
    """SQL for what is left to do."""


def restore_dropped(
    target: Target,
    reader: BackupReader,
    names: Sequence[Sequence[Name]],
    *,
    app: str,
    owners: bool,
    dry_run: bool,
    waits: Timeouts,
    narrate: Narrate,
) -> RecreatedTables:
    """Make tables again that are gone; each is named by what it may be called.

    Foreign keys that rows of now do not fit stay NOT VALID, and the rows are kept in a table of
    their own.  A dry run tries everything but the rows, and rolls back.  Raises TableNotInBackup,
    RelationExists, MissingRole, LockHeld, RestoreFailed, and what connecting raises.
    """
    with (
        schema_lock(target, "restore", waits.lock_wait, narrate),
        connect(target, "restore", like_pg_dump=True) as connection,
    ):
        as_pg_restore(connection, waits.lock_timeout)
        archive = ArchiveSql(reader, SCHEMA, connection, owners=owners)
        selection = EntrySelection(archive, _find(archive, reader, names))
        reader.manifest.require_rows(set(selection.names.values()).__contains__)
        refuse_what_is_there(connection, selection)
        with connection.transaction(force_rollback=True):
            tried = Making(connection, reader, selection, owners)
            tried.make_tables()
            tried.make_parts()
            tried.finish()
            if dry_run:
                tried.cascade_losses.finish(target.schema, narrate, rows=False)
        if dry_run:
            return tried.result(_rows_in_backup(reader, selection), None)
        made = Making(connection, reader, selection, owners)
        keys = ForeignKeys(connection, archive, made.foreign_keys(), selection.names.values())
        with connection.transaction():
            parts = "Making keys, indexes and other objects of the tables."
            rows = made.make_all(target.schema, keys, waits.lock_wait, narrate, parts=parts)
        narrate("The tables are back. Validating foreign keys.")
        return made.settle(target, app, keys, rows, narrate)


def as_pg_restore(connection: Connection, lock_timeout: float) -> None:
    """Set a session as pg_restore does before it runs the SQL of an archive."""
    settings = {
        "search_path": "",
        "lock_timeout": f"{round(lock_timeout * 1000)}ms",
        "check_function_bodies": "off",
        "standard_conforming_strings": "on",
        "xmloption": "content",
    }
    set_session(connection, settings)


def _find(
    archive: ArchiveSql, reader: BackupReader, names: Sequence[Sequence[Name]]
) -> list[ArchiveEntry]:
    found = [(find_table(archive, spellings), spellings) for spellings in names]
    for entry, spellings in found:
        if entry is None:
            raise TableNotInBackup(
                f"There is no table {'.'.join(spellings[0])} in the backup {reader.backup.id}.",
                hint=reader.manifest.table_hint(spellings[0][-1]),
            )
    return [entry for entry, _ in found if entry is not None]


def refuse_what_is_there(connection: Connection, selection: EntrySelection) -> None:
    """Refuse where a table has its name taken, or lacks one that it is a part of."""
    for name in selection.names.values():
        quoted = sql.Identifier(*name).as_string(connection)
        if _QUERIES.value(connection, "relation_exists", name=quoted):
            raise RelationExists(
                f"{quoted} would be restored with the named tables, but an object of that name "
                f"exists.",
                hint=f"Rename it, e.g.: ALTER TABLE {quoted} RENAME TO something_else; then run "
                "it again.",
            )
    missing = selection.missing_relations()
    for entry, script in selection.archive.scripts(missing).items():
        quoted = sql.Identifier(*(name_in(script) or ())).as_string(connection)
        if not _QUERIES.value(connection, "relation_exists", name=quoted):
            raise RestoreFailed(
                f"{entry.label} is needed by the named tables, and is missing as well.",
                hint=f"Add: --table {quoted}",
            )


def routines(
    connection: Connection, entries: Iterable[tuple[str, ...]]
) -> dict[tuple[str, ...], int]:
    """Return the routines in the schemas of entries, by the schema and name that an archive has."""
    schemas = sorted({schema for schema, _ in entries})
    found = _QUERIES.rows(connection, "routines", schemas=schemas)
    return {(schema, tag): oid for schema, tag, oid in found}


def _rows_in_backup(reader: BackupReader, selection: EntrySelection) -> dict[str, int]:
    """Return the tables of a selection that hold rows in the backup, and how many."""
    wanted = set(selection.names.values())
    return {table.name: table.rows for table in reader.manifest.tables if table.parts in wanted}


@dataclass
class Making:
    """Makes the entries of a selection, in one transaction, which is the caller's."""

    _connection: Connection
    _reader: BackupReader
    _selection: EntrySelection
    _owners: bool
    replaced: Collection[ArchiveEntry] = ()
    """Existing routines that are replaced."""

    def __post_init__(self) -> None:
        self._loaded = False
        self._made: list[ArchiveEntry] = []
        self._not_made: set[str] = set()
        """The ids of entries that were there already, or failed."""
        self._left_out: list[LeftOutEntry] = []
        self._changed: list[LeftOutEntry] = []
        self.cascade_losses = CascadeLosses(self._connection, self._reader, self._selection)

    def make_all(
        self, schema: str, keys: ForeignKeys, lock_wait: float, narrate: Narrate, *, parts: str
    ) -> dict[str, int]:
        """Make the selection with its rows, in order; return how many rows each table has.

        `lock_wait` are seconds for the locks of foreign keys; `parts` is said when rows are loaded.
        """
        self.make_tables()
        narrate("Loading the rows.")
        rows = self.load(schema)
        narrate(parts)
        self.make_parts(keys)
        self.cascade_losses.finish(schema, narrate, rows=True)
        keys.add(lock_wait, narrate)
        self.finish()
        return rows

    def settle(
        self,
        target: Target,
        app: str,
        keys: ForeignKeys,
        rows: Mapping[str, int],
        narrate: Narrate,
    ) -> RecreatedTables:
        """Do what follows the commit: validate, analyze, and write the journal, if there is one."""
        keys.validate()
        names = [sql.Identifier(*name).as_string() for name in self._selection.names.values()]
        for name in _QUERIES.column(self._connection, "without_foreign", names=names):
            self._connection.execute(sql.SQL("ANALYZE {}").format(identifier(name)))
        result = self.result(rows, keys)
        tables = [name for name, _ in result.tables]
        facts = {"backup": self._reader.backup.id, "tables": tables, "made_again": len(tables)}
        try:
            if state.is_there(self._connection):
                with connect(target, "restore") as session:
                    journal_done(session, target, "restore", app, **facts)
        except (psycopg.errors.InsufficientPrivilege, InsufficientPrivilege) as error:
            narrate(f"WARNING: this is not in the journal: {translate(error) or error}.")
        return result

    def make_tables(self) -> None:
        """Make the tables, and what their columns need."""
        self._make_phase(_Phase.BEFORE_ROWS)
        for entry in self._selection.called:
            self._compare(entry, self._selection.scripts[entry])

    def load(self, schema: str) -> dict[str, int]:
        """Load the rows, and set the sequences; return how many rows each table has.

        Functions that are called meanwhile see the schema, as they do when the app inserts.
        """
        path = sql.Identifier(schema).as_string(self._connection)
        set_session(self._connection, {"search_path": path})
        expected = _rows_in_backup(self._reader, self._selection)
        own, read = set(self._selection.names.values()), dict[str, int]()
        for rows in rows_of(self._reader, list(expected)):
            into = sql.Identifier(*rows.into) if rows.into in own else identifier(rows.table)
            owner = owner_of_rows(self._connection, into.as_string(self._connection))
            try:
                read[rows.table] = rows.copy_into(self._connection, into, owner)
            except psycopg.Error as error:
                if not (error.sqlstate or "").startswith(_OF_ROWS):
                    raise
                other = ", ".join(each.entry for each in self._changed)
                why = f"The database has another definition of {other}. " if other else ""
                raise RestoreFailed(
                    f"The rows of {rows.table} are rejected: {told(error)}.",
                    hint=f"{why}Nothing was changed. Restore the backup into another database with "
                    "--into.",
                ) from None
        check_counts(self._reader, read, expected)
        set_session(self._connection, {"search_path": ""})
        made = {entry.parts for entry in self._made if entry.kind == "SEQUENCE"}
        values = ArchiveSql(self._reader, ARCHIVE, self._connection, owners=self._owners)
        chosen = [e for e in values.entries if e.kind == "SEQUENCE SET" and e.parts in made]
        for script in values.scripts(chosen).values():
            values.run(script)
        self._loaded = True
        return read

    def make_parts(self, keys: ForeignKeys | None = None) -> None:
        """Make keys, indexes, and what went with the tables, such as views."""
        made, cut = set(self._of(_Phase.KEYS)), set(self._selection.cut)
        for entry in self._selection.archive.entries:
            if entry in made:
                self._make(entry)
            if entry in cut:  # what follows may need its columns
                self.cascade_losses.add(entry)
        for entry in self._of(_Phase.ATTACHING):
            if keys:
                keys.move_orphans_of(*self._selection.attached(entry))
            self._make(entry)
        self._make_phase(_Phase.ATTACHED)

    def foreign_keys(self) -> list[tuple[ArchiveEntry, Script]]:
        """Return the foreign keys of the tables, and of others to them."""
        scripts = self._selection.scripts
        return [(entry, scripts[entry]) for entry in self._of(_Phase.FOREIGN_KEYS)]

    def finish(self) -> None:
        """Make triggers and policies; set grants and comments."""
        self._make_phase(_Phase.TRIGGERS)
        self._undo_row_security()
        if self._owners:
            self._undo_defaults()
        self._make_phase(_Phase.SATELLITES)
        if self._loaded:
            self._refresh()

    def result(self, rows: Mapping[str, int], keys: ForeignKeys | None) -> RecreatedTables:
        """Return what was made."""
        made = (entry.label for entry in self._made if entry.kind not in SATELLITES)
        return RecreatedTables(
            tables=tuple(rows.items()),
            made=(*made, *self.cascade_losses.made),
            orphans=tuple(keys.orphans) if keys else (),
            left_out=(
                *self._left_out,
                *self.cascade_losses.left_out,
                *(keys.left_out if keys else ()),
            ),
            changed=tuple(self._changed),
            lines=(
                *self.cascade_losses.lines,
                *(keys.lines if keys else ()),
                *self._distributing(),
            ),
        )

    def _distributing(self) -> list[str]:
        """Return what distributes again what a Citus cluster distributed table by table."""
        made = set(self._selection.names.values())
        parts = self._reader.manifest.distribution or ()
        wanted = [part for part in parts if parts_of(part.name) in made]
        if not (wanted and has_citus(self._connection)):
            return []
        now = {part.name for part in distribution(self._connection, Distributed) or ()}
        return [_distributes(part) for part in wanted if part.name not in now]

    def _of(self, phase: "_Phase") -> list[ArchiveEntry]:
        return [e for e in self._selection.entries if _phase(self._selection, e) is phase]

    def _make_phase(self, phase: "_Phase") -> None:
        for entry in self._of(phase):
            self._make(entry)

    def _make(self, entry: ArchiveEntry) -> None:
        script = self._selection.scripts[entry]
        if not script or self._is_of_another(entry) or self._is_installed(entry):
            return
        if entry.kind == "SCHEMA" and not script[0].startswith("CREATE SCHEMA "):
            self._not_made.add(entry.id)  # public: a table does not set its owner
            return
        if self._selection.is_part(entry):
            self._make_part(entry, script)
            return
        if entry in self.replaced:
            script = tuple(_CREATES_ROUTINE.sub("CREATE OR REPLACE ", each) for each in script)
        try:
            with self._connection.transaction():
                self._selection.archive.run(script)
        except _IS_THERE:
            self._not_made.add(entry.id)
            self._compare(entry, script)
        except psycopg.Error as error:
            reason = refusal(error)
            if entry in self.replaced:
                reason = f"{reason}, and others need the existing one"
            self._not_made.add(entry.id)
            # What it needs may be there, and not ours to make: then the table says so.
            if not self._selection.may_be_missing(entry):
                self._left_out.append(LeftOutEntry(entry.label, reason))
        else:
            self._made.append(entry)

    def _is_installed(self, entry: ArchiveEntry) -> bool:
        """Whether an entry makes an installed extension; note where that has another version."""
        here = None
        if entry.kind == "EXTENSION":
            here = _QUERIES.value(self._connection, "extension_version", name=entry.name)
        if here is None:
            return False
        self._not_made.add(entry.id)
        for had in self._reader.manifest.extensions:
            if had.name == entry.name and had.version != here:
                reason = f"its version here is {here} (backup: {had.version})"
                self._changed.append(LeftOutEntry(entry.label, reason))
        return True

    def _compare(self, entry: ArchiveEntry, script: Script) -> None:
        """Note where the database has another definition than the backup, by the server's word."""
        found = next((f for each in script if (f := _COMPARED.match(each))), None)
        if found is None:
            return
        rest = found.string[found.end() :]
        if rest.startswith(" AS RANGE"):
            rest = _MULTIRANGE.sub(f"pg_temp.{_COPY}_multirange", rest)
        copy = f"{found[0].removesuffix(found['name'])}pg_temp.{_COPY}{rest}"
        here = routines(self._connection, [entry.parts]) if entry.kind in ROUTINES else {}
        asked = {"kind": entry.kind, "schema": entry.schema, "tag": entry.name, "copy": _COPY}
        routine = here.get(entry.parts)
        try:
            with self._connection.transaction(force_rollback=True):
                self._selection.archive.run((copy,))
                same = _QUERIES.value(self._connection, "same_definition", routine=routine, **asked)
            if same:
                return
            there = "another definition of it" if same is False else "no such one"
            reason = f"the database has {there}"
        except psycopg.Error as error:
            reason = f"it cannot be compared with the one in the database: {refusal(error)}"
        self._changed.append(LeftOutEntry(entry.label, reason))

    def _is_of_another(self, entry: ArchiveEntry) -> bool:
        """Whether an entry says something of one that was not made here.

        What an index or a rule calls may have been there.
        """
        if entry.kind in {"INDEX", "RULE"}:
            return bool(entry.needs & self._not_made & self._selection.relations)
        says = entry.kind in SATELLITES or entry.kind == "SEQUENCE OWNED BY"
        return says and bool(entry.needs & self._not_made)

    def _make_part(self, entry: ArchiveEntry, script: Script) -> None:
        cannot = f"{entry.label} cannot be made"
        try:
            with needs_privileges(cannot, NOT_THE_OWNER):
                self._selection.archive.run(script)
        except _IS_THERE as error:
            raise RelationExists(
                f"{cannot}: {told(error)}.",
                hint="Rename the object of that name, then run it again. Nothing was changed.",
            ) from None
        except psycopg.Error as error:
            message = refusal(error)
            if isinstance(error, psycopg.errors.UndefinedObject) and message.startswith("role "):
                raise MissingRole(
                    f"{entry.label} cannot be made: {message}.",
                    hint="Make the role, or restore with --no-owner. Nothing was changed.",
                ) from None
            raise RestoreFailed(
                f"{entry.label} cannot be made: {message}.",
                hint="Nothing was changed. Restore the backup into another database with --into.",
            ) from None
        self._made.append(entry)

    def _undo_row_security(self) -> None:
        """Undo what an event trigger did to new tables, which would hide their rows from others."""
        secured = {entry.parts for entry in self._made if entry.kind == "ROW SECURITY"}
        made = (each for each in self._made if each.kind == "TABLE" and each.parts not in secured)
        names = [sql.Identifier(*entry.parts).as_string(self._connection) for entry in made]
        for name in _QUERIES.column(self._connection, "row_secured", names=names):
            disable = sql.SQL("ALTER TABLE {} DISABLE ROW LEVEL SECURITY")
            self._connection.execute(disable.format(identifier(name)))

    def _undo_defaults(self) -> None:
        """Undo what default privileges did: grants come back as they were, and no others."""
        names = [name_in(self._selection.scripts[entry]) for entry in self._made]
        made = [entry.parts for entry in self._made if entry.kind in ROUTINES]
        here = routines(self._connection, made)
        changed = _QUERIES.rows(
            self._connection,
            "granted_by_default",
            names=[sql.Identifier(*name).as_string(self._connection) for name in names if name],
            kinds=[entry.kind for entry in self._made],
            schemas=[entry.schema for entry in self._made],
            tags=[entry.name for entry in self._made],
            routines=[here[parts] for parts in made if parts in here],
        )
        for name, role, usual in changed:
            whom = sql.Identifier(role) if role else sql.SQL("PUBLIC")
            undo = sql.SQL("REVOKE ALL ON {} FROM {} CASCADE").format(written_by_server(name), whom)
            if usual:
                usual, of = written_by_server(usual), written_by_server(name)
                undo = sql.SQL("GRANT {} ON {} TO {}").format(usual, of, whom)
            self._connection.execute(undo)

    def _refresh(self) -> None:
        """Refresh the materialized views that were made and had rows."""
        filled = {parts_of(view) for view in self._reader.manifest.materialized_views}
        for entry in self._made:
            name = name_in(self._selection.scripts[entry])
            if entry.kind != "MATERIALIZED VIEW" or name not in filled:
                continue
            try:
                with self._connection.transaction():
                    refresh = sql.SQL("REFRESH MATERIALIZED VIEW {}")
                    self._connection.execute(refresh.format(sql.Identifier(*name)))
            except psycopg.Error as error:
                reason = f"not refreshed: {refusal(error)}"
                self._left_out.append(LeftOutEntry(entry.label, reason))


class _Phase(Enum):
    """When an entry is made."""

    BEFORE_ROWS = 1
    KEYS = 2
    ATTACHING = 3
    """To a partitioned table that exists, which its keys and rows must fit."""
    ATTACHED = 4
    FOREIGN_KEYS = 5
    TRIGGERS = 6
    """And what else would act on rows that foreign keys move, or is of no use to them."""
    SATELLITES = 7


def _phase(selection: EntrySelection, entry: ArchiveEntry) -> _Phase:
    if entry.kind in SATELLITES:
        return _Phase.SATELLITES
    if entry.kind == "FK CONSTRAINT":
        return _Phase.FOREIGN_KEYS
    if selection.is_attached_to_live(entry):
        return _Phase.ATTACHING if entry.kind == "TABLE ATTACH" else _Phase.ATTACHED
    if selection.is_needed(entry) or (entry.kind in _BEFORE_ROWS and selection.is_part(entry)):
        return _Phase.BEFORE_ROWS
    if entry.kind in _LAST or (entry.kind == "RULE" and selection.is_part(entry)):
        return _Phase.TRIGGERS
    return _Phase.KEYS


def _distributes(part: Distributed) -> str:
    """Return what distributes a table that has its rows already, or says that leadctl does not."""
    name = sql.Literal(part.name).as_string()
    if part.kind == "reference":
        return f"SELECT create_reference_table({name});"
    if part.kind == "local":
        return f"SELECT citus_add_local_table_to_metadata({name});"
    if part.kind == "table":
        shards = f", shard_count => {part.shards:d}" if part.column else ""
        column = sql.Literal(part.column).as_string()
        return f"SELECT create_distributed_table({name}, {column}{shards});"
    return f"-- Distribute {' '.join(part.name.split())} as it was: by {part.kind}."
