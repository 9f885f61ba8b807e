"""What tables that stayed lost with one that was dropped: columns of its row type, and the like.

DROP TABLE … CASCADE takes from other tables the columns, defaults and checks that need the table,
from composite types their attributes, and with a column its indexes and views.  The archive says
how those were: each is made again, empty and temporary, and the server says what that one has, the
one of now lacks, and could not be without the tables that came back.  Columns come back as the last
ones, with the values of the backup in the rows that it has by their primary key.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from leadctl.backup.contents import SATELLITES, ArchiveEntry
from leadctl.backup.reader import BackupReader
from leadctl.catalog.relations import Relation, read_named, read_numbered
from leadctl.errors import RestoreFailed
from leadctl.postgres.connect import Connection, set_session
from leadctl.postgres.queries import parts_of, queries_of, written_by_server
from leadctl.postgres.translate import refusal
from leadctl.progress import Narrate
from leadctl.restore.entries import EntrySelection
from leadctl.restore.properties import IDENTIFIER
from leadctl.restore.restorable import LeftOutEntry
from leadctl.restore.tables import StagedTable, stage, triggers_resting
from leadctl.text import counted

_QUERIES = queries_of(__file__, "restore.sql")
_CREATION = re.compile(
    rf"CREATE (?:UNLOGGED )?(?P<kind>TABLE|FOREIGN TABLE|TYPE) (?P<name>{IDENTIFIER}\.{IDENTIFIER})"
    r"(?P<definition> (?:AS )?\(.*)",
    re.DOTALL,
)
_COPY = "pg_temp.leadctl_as_it_was"
_IS_THERE = (
    psycopg.errors.DuplicateObject,
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateFunction,
    psycopg.errors.InvalidTableDefinition,
)
"""The last is that of a second primary key."""
_LACKS = (
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedObject,
    psycopg.errors.UndefinedTable,
)
_NOT_NULL = sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL")
_VALIDATE = sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}")
_ALTER = {
    "TABLE": sql.SQL("ALTER TABLE"),
    "FOREIGN TABLE": sql.SQL("ALTER FOREIGN TABLE"),
    "TYPE": sql.SQL("ALTER TYPE"),
}


@dataclass(frozen=True)
class _Lost:
    """A part of a relation that went with a table: a column, a default, a check, an attribute."""

    what: str
    name: str
    action: str
    """What ALTER TABLE or ALTER TYPE does to bring it back, as the server writes it."""
    required: bool
    """Whether a column is NOT NULL, or a check was valid."""


@dataclass(frozen=True)
class _Loss:
    """A relation that lost something."""

    kind: str
    """As ALTER has it."""
    name: tuple[str, ...]
    lost: tuple[_Lost, ...]

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(*self.name)

    def label(self, lost: _Lost) -> str:
        """What a part is called, as pg_restore would list it."""
        return f"{lost.what} {'.'.join(self.name)}.{lost.name}"


@dataclass
class CascadeLosses:
    """Brings back what other tables lost, in the transaction that makes the tables again."""

    connection: Connection
    reader: BackupReader
    selection: EntrySelection
    made: list[str] = field(default_factory=list)
    """What came back, as pg_restore would list it."""
    left_out: list[LeftOutEntry] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    """SQL for what is left to do."""
    _cut: list[_Loss] = field(default_factory=list)
    _filled: dict[tuple[str, ...], set[str]] = field(default_factory=dict)
    """The columns that are back, by the table that they were added to."""

    def add(self, entry: ArchiveEntry) -> None:
        """Add the lost columns of a table, or attributes of a type, without values."""
        if cut := self._added(entry):
            self._cut.append(cut)

    def finish(self, schema: str, narrate: Narrate, *, rows: bool) -> None:
        """Bring back values, defaults, checks and indexes.  Functions see the schema meanwhile.

        What cannot be is left out, and said.  Without `rows` there are no values, and what they
        must keep is not looked at.
        """
        if rows and self._filled:
            with _seeing(self.connection, schema):
                self._fill(narrate)
        for each in self._cut:
            self._finish(each, rows=rows)
        if self._filled:
            self._make_dependents()

    def _added(self, entry: ArchiveEntry) -> _Loss | None:
        script = self.selection.scripts[entry]
        found = next((f for each in script if (f := _CREATION.match(each))), None)
        back = [_quoted(*name) for name in self.selection.names.values()]
        if found is None or not self._exists(found["name"]):
            return None
        try:
            with self.connection.transaction(force_rollback=True):
                copy = f"CREATE {found['kind']} {_COPY}{found['definition']}"
                self.selection.archive.run((copy,))
                lost = tuple(
                    _QUERIES.rows(
                        self.connection, "lost", _Lost, copy=_COPY, live=found["name"], back=back
                    )
                )
        except psycopg.Error as error:
            reason = f"what it lost with the table is not known: {refusal(error)}"
            self.left_out.append(LeftOutEntry(entry.label, reason))
            return None
        cut = _Loss(found["kind"], parts_of(found["name"]), lost)
        for part in lost:
            if part.what not in {"COLUMN", "ATTRIBUTE"} or not self._alter(cut, part):
                continue
            if part.what == "COLUMN" and found["kind"] == "TABLE":
                self._filled.setdefault(cut.name, set()).add(part.name)
            elif part.what == "ATTRIBUTE":
                reason = (
                    "it was restored, but its values in tables were not; copy them from the "
                    "backup: "
                    f"leadctl restore {self.reader.backup.id} --into NAME"
                )
                self.left_out.append(LeftOutEntry(cut.label(part), reason))
        return cut if lost else None

    def _exists(self, name: str) -> bool:
        return bool(_QUERIES.value(self.connection, "relation_exists", name=name))

    def _alter(self, cut: _Loss, part: _Lost) -> bool:
        statement = sql.SQL("{} {} {}").format(
            _ALTER[cut.kind], cut.identifier, written_by_server(part.action)
        )
        if not self._run(statement, cut.label(part)):
            return False
        self.made.append(cut.label(part))
        return True

    def _run(self, statement: sql.Composed, label: str) -> bool:
        """Run a statement; where it fails, it is left to do, and said."""
        try:
            with self.connection.transaction():
                self.connection.execute(statement)
        except psycopg.Error as error:
            self.left_out.append(LeftOutEntry(label, refusal(error)))
            self.lines.append(f"{statement.as_string(self.connection)};")
            return False
        return True

    def _fill(self, narrate: Narrate) -> None:
        """Give the columns that are back the values of the backup."""
        in_backup = {table.parts: table.name for table in self.reader.manifest.tables if table.rows}
        wanted: dict[str, Relation] = {}
        columns: dict[str, set[str]] = {}
        for relation, names in self._relations():
            manifest_name = in_backup.get((relation.schema, relation.name))
            if manifest_name is None:
                continue
            if relation.primary_key:
                wanted[manifest_name] = relation
                columns.setdefault(manifest_name, set()).update(names)
                continue
            reason = (
                "its values were not restored, because the table has no primary key; copy them: "
                f"leadctl restore {self.reader.backup.id} --into NAME"
            )
            self.left_out += [
                LeftOutEntry(f"COLUMN {relation.schema}.{relation.name}.{name}", reason)
                for name in sorted(names)
            ]
        if not wanted:
            return
        try:
            with self.connection.transaction():
                filled = self._filled_from_backup(wanted, columns)
        except (RestoreFailed, psycopg.Error) as error:
            message = refusal(error) if isinstance(error, psycopg.Error) else f"{error}"
            reason = f"its values were not restored: {message}"
            self.left_out += [
                LeftOutEntry(f"COLUMN {'.'.join(parts_of(table))}.{name}", reason)
                for table, names in columns.items()
                for name in sorted(names)
            ]
            return
        for line in filled:
            narrate(line)

    def _filled_from_backup(
        self, wanted: Mapping[str, Relation], columns: Mapping[str, set[str]]
    ) -> list[str]:
        """Update the rows of tables; return what to say of each."""
        filled = []
        staged = stage(self.connection, self.reader, wanted, lacking=True)
        with triggers_resting(self.connection, staged):
            for table in staged:
                parts = {table.relation.oid, *(leaf.oid for leaf in table.relation.leaves)}
                names = {
                    name
                    for manifest_name, found in columns.items()
                    if wanted[manifest_name].oid in parts
                    for name in found
                }
                rows = self._update(table, sorted(names & set(table.columns)))
                what = "column" if len(names) == 1 else "columns"
                filled.append(
                    f"{table.name} has its {what} {', '.join(sorted(names))} again, as the last, "
                    f"with the values of the backup in {counted(rows, 'row')}."
                )
        return filled

    def _relations(self) -> Iterator[tuple[Relation, set[str]]]:
        """Return the tables that hold rows of those with columns that are back, and the columns."""
        for name, columns in self._filled.items():
            quoted = _quoted(*name)
            parent = read_named(self.connection, [quoted], "descendants")[quoted]
            oids = {parent.oid, *(each.oid for each in parent.descendants)}
            found = read_numbered(self.connection, oids, "indexes", "triggers", "columns")
            yield from ((each, columns) for each in found.values() if each.kind == "r")

    def _update(self, table: StagedTable, columns: Sequence[str]) -> int:
        if not columns:
            return 0
        known = {column.name: column for column in table.relation.columns}
        changing = [name for name in columns if known[name].written]
        if not changing:
            return 0
        only = sql.SQL("ONLY ") if table.relation.kind == "r" else sql.SQL("")
        update = sql.SQL("UPDATE {}{} AS present SET {} FROM {} AS s WHERE {}").format(
            only,
            table.relation.identifier,
            sql.SQL(", ").join(
                sql.SQL("{0} = s.{0}").format(sql.Identifier(name)) for name in changing
            ),
            table.staging,
            sql.SQL(" AND ").join(
                sql.SQL("present.{0} {1} s.{0}").format(
                    sql.Identifier(name), known[name].compared("=")
                )
                for name in table.relation.primary_key
            ),
        )
        with table.as_owner(self.connection):
            return self.connection.execute(update).rowcount

    def _finish(self, cut: _Loss, *, rows: bool) -> None:
        """Set what a column with values must keep, defaults and checks."""
        for part in cut.lost:
            if part.what == "COLUMN" and part.required and rows and cut.label(part) in self.made:
                not_null = _NOT_NULL.format(cut.identifier, sql.Identifier(part.name))
                self._run(not_null, cut.label(part))
            elif part.what in {"COLUMN", "ATTRIBUTE"} or not self._alter(cut, part):
                continue
            elif part.required and rows:
                validate = _VALIDATE.format(cut.identifier, sql.Identifier(part.name))
                self._run(validate, cut.label(part))

    def _make_dependents(self) -> None:
        """Make what needs the columns that are back: indexes, views, comments."""
        kept = set[str]()
        for entry in self.selection.of_cut:
            is_said = entry.kind in SATELLITES
            known = bool(entry.needs & kept) or (is_said and self._is_of_column(entry))
            if (known or not is_said) and self._make(entry, known=known):
                kept.add(entry.id)
                self.made += [] if is_said else [entry.label]

    def _make(self, entry: ArchiveEntry, *, known: bool) -> bool:
        """Make an entry that is not there, and undo it if it needs none of the columns.

        `known` is whether it needs them; else the server says so.
        """
        before, wanted = self._dependents(), known
        try:
            with self.connection.transaction() as transaction:
                self.selection.archive.run(self.selection.scripts[entry])
                wanted = known or self._dependents() > before
                if not wanted:
                    raise psycopg.Rollback(transaction)
        except psycopg.Error as error:
            reason = refusal(error)
            gone_before = isinstance(error, _LACKS) and not known
            if isinstance(error, _IS_THERE) or gone_before:
                return False
            self.left_out.append(LeftOutEntry(entry.label, reason))
            self.lines += [f"{each};" for each in self.selection.scripts[entry] if " " in each]
            return False
        return wanted

    def _dependents(self) -> int:
        """Return how many objects need the columns that are back."""
        tables = {_quoted(*name): sorted(found) for name, found in self._filled.items()}
        return sum(
            _QUERIES.value(self.connection, "dependents", table=table, columns=columns)
            for table, columns in tables.items()
        )

    def _is_of_column(self, entry: ArchiveEntry) -> bool:
        return any(
            (entry.schema, entry.name) == (name[0], f"COLUMN {table}.{of_table}")
            for name, columns in self._filled.items()
            for column in columns
            for table in {name[-1], _quoted(name[-1])}  # comments have it quoted, grants do not
            for of_table in {column, _quoted(column)}
        )


def _quoted(*name: str) -> str:
    return sql.Identifier(*name).as_string()


@contextmanager
def _seeing(connection: Connection, schema: str) -> Iterator[None]:
    """Let functions that are called see the schema, as they do when the app writes."""
    set_session(connection, {"search_path": sql.Identifier(schema).as_string(connection)})
    yield
    set_session(connection, {"search_path": ""})
