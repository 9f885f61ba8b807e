"""Foreign keys of tables that come back, where rows may refer to what is gone.

They are added NOT VALID, which locks the tables for a moment, and validated afterwards, which
blocks no writer.  Where rows refer to nothing the key stays NOT VALID, and the rows are copied to
a table of their own, so that somebody can decide what becomes of them.
https://www.postgresql.org/docs/current/sql-altertable.html
"""

import re
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import InitVar, dataclass
from datetime import UTC, datetime
from itertools import count

import psycopg
from psycopg import sql

from leadctl.backup.contents import ArchiveEntry
from leadctl.catalog.relations import read_named
from leadctl.errors import RestoreFailed
from leadctl.journal.kept_names import make_schema_for_rows
from leadctl.postgres import LONGEST_NAME, exact
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import (
    identifier,
    parts_of,
    queries_of,
    written_by_pg_dump,
    written_by_server,
)
from leadctl.postgres.translate import told
from leadctl.progress import Narrate
from leadctl.restore.entries import ArchiveSql, Script
from leadctl.restore.properties import IDENTIFIER
from leadctl.restore.restorable import LeftOutEntry

_QUERIES = queries_of(__file__, "restore.sql")
_ADDITION = re.compile(
    rf"ALTER TABLE (?:ONLY )?(?P<table>{IDENTIFIER}\.{IDENTIFIER})\s+"
    rf"ADD CONSTRAINT (?P<name>{IDENTIFIER}) (?P<definition>FOREIGN KEY .*)",
    re.DOTALL,
)
_UNCHECKED = re.compile(r"\bNOT (?:VALID|ENFORCED)$")
_VALIDATE = sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}")
_REPLACE = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}, ADD CONSTRAINT {} {}")
_PAUSE_SECONDS = 0.5
_LOCKED = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)


@dataclass(frozen=True)
class Orphans:
    """Rows whose referenced row is missing, and the table that they were copied or moved to."""

    table: str
    constraint: str
    rows: int
    kept_in: str
    moved: bool
    """Whether they are in that table only: a key that cannot be NOT VALID wants them out."""


@dataclass(frozen=True)
class _Key:
    """A foreign key as the archive adds it."""

    entry: ArchiveEntry
    statement: str
    table: str
    name: str
    definition: str

    @property
    def checked(self) -> bool:
        """Whether it was valid when it was backed up."""
        return not _UNCHECKED.search(self.definition)


@dataclass
class ForeignKeys:
    """The foreign keys of tables that come back, in both directions."""

    _connection: Connection
    _archive: ArchiveSql
    scripts: InitVar[Iterable[tuple[ArchiveEntry, Script]]]
    _own: Collection[tuple[str, ...]]
    """The tables that come back, by schema and name: rows may be moved out of them."""

    def __post_init__(self, scripts: Iterable[tuple[ArchiveEntry, Script]]) -> None:
        self._keys = [_key(entry, script) for entry, script in scripts]
        self._waiting: list[_Key] = []
        self.left_out: list[LeftOutEntry] = []
        self.orphans: list[Orphans] = []
        self.lines: list[str] = []
        """What is left to do, as SQL."""
        self._kept = _KeptRows(self._connection)

    def add(self, seconds: float, narrate: Narrate) -> None:
        """Add them in the caller's transaction; tables that are locked are tried so long.

        What cannot be added is left out, with the statement that adds it.
        """
        deadline = time.monotonic() + seconds
        told = False
        while time.monotonic() < deadline:
            before = (list(self.left_out), list(self.orphans), list(self.lines))
            try:
                # All or none: what waits for one table's lock holds no other's.
                with self._connection.transaction():
                    self._add_all()
                return
            except _LOCKED:
                self.left_out, self.orphans, self.lines = before
                self._waiting.clear()
            if not told:
                narrate("A table that foreign keys need is locked by others; trying again.")
                told = True
            time.sleep(_PAUSE_SECONDS)
        self._add_all(locked="is locked by another session")

    def _add_all(self, locked: str | None = None) -> None:
        """Add each; `locked` is why one is left out whose tables are, else that is raised."""
        for key in self._keys:
            if not self._exists(key.table):
                continue  # it comes back with that one
            try:
                with self._connection.transaction():
                    self._add(key)
            except _LOCKED:
                if locked is None:
                    raise
                self._leave_out(key, f"a table {locked}")

    def validate(self) -> None:
        """Validate them, each in a transaction of its own; keep the rows that refer to nothing."""
        for key in self._waiting:
            try:
                valid = self._is_valid(key)
            except (psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege) as error:
                locked = isinstance(error, psycopg.errors.LockNotAvailable)
                why = "the table is locked" if locked else told(error)
                self.left_out.append(LeftOutEntry(key.entry.label, f"not validated: {why}"))
                valid = False
            if not valid:
                table, name = identifier(key.table), identifier(key.name)
                line = _VALIDATE.format(table, name)
                if self._has_period(key):  # which VALIDATE does not check
                    line = _REPLACE.format(table, name, name, written_by_pg_dump(key.definition))
                self.lines.append(f"{line.as_string(self._connection)};")
        self._waiting.clear()

    def _is_valid(self, key: _Key) -> bool:
        """Validate a key, or keep the rows that refer to nothing; return whether it is valid."""
        # PostgreSQL 18 calls a key with PERIOD valid without looking at the rows.
        if self._has_period(key) and self._keep(key, moved=False):
            return False
        validation = _VALIDATE.format(identifier(key.table), identifier(key.name))
        try:
            # It calls operators of the columns' types with the rights of whoever runs it.
            with exact.as_owner(self._connection, _owner_of(self._connection, key.table)):
                self._connection.execute(validation)
        except psycopg.errors.ForeignKeyViolation:
            self._keep(key, moved=False)
            return False
        return True

    def move_orphans_of(self, partition: str, parent: str) -> None:
        """Move rows out of a table that the foreign keys of a parent would refuse."""
        for oid, name in _QUERIES.rows(self._connection, "foreign_keys_of", table=parent):
            self._keep_by(oid, partition, name, moved=True)

    def _exists(self, table: str) -> bool:
        return bool(_QUERIES.value(self._connection, "relation_exists", name=table))

    def _add(self, key: _Key) -> None:
        try:
            with self._connection.transaction():
                if key.checked:
                    self._archive.run((f"{key.statement} NOT VALID",))
                    self._waiting.append(key)
                else:
                    self._archive.run((key.statement,))
        except psycopg.errors.DuplicateObject:
            return
        except (psycopg.errors.WrongObjectType, psycopg.errors.FeatureNotSupported):
            self._add_checked(key)  # of a partitioned table, which before 18 has no NOT VALID
        except _LOCKED:
            raise
        except psycopg.Error as error:
            self._leave_out(key, told(error))

    def _add_checked(self, key: _Key) -> None:
        try:
            with self._connection.transaction():
                self._archive.run((key.statement,))
        except psycopg.errors.ForeignKeyViolation as error:
            own = parts_of(key.table) in self._own
            self._keep(key, moved=own)
            if own:
                self._archive.run((key.statement,))
            else:
                self._leave_out(key, told(error))

    def _leave_out(self, key: _Key, reason: str) -> None:
        self.left_out.append(LeftOutEntry(key.entry.label, reason))
        self.lines.append(f"{key.statement};")

    def _has_period(self, key: _Key) -> bool:
        name = "".join(parts_of(key.name))
        found = _QUERIES.value(self._connection, "has_period", table=key.table, name=name)
        return bool(found)

    def _keep(self, key: _Key, *, moved: bool) -> int:
        """Copy or move the rows that refer to nothing to a table of their own; say how many."""
        table, name = key.table, "".join(parts_of(key.name))
        oid = _QUERIES.value(self._connection, "foreign_key", table=table, name=name)
        if oid is not None:
            return self._keep_by(oid, table, name, moved=moved)
        with self._kept.like(table) as empty:
            self._archive.run((f"ALTER TABLE {empty} ADD CONSTRAINT {key.name} {key.definition}",))
            oid = _QUERIES.value(self._connection, "foreign_key", table=empty, name=name)
            return self._keep_by(oid, table, name, moved=moved)

    def _keep_by(self, oid: int, table: str, name: str, *, moved: bool) -> int:
        """Keep the rows of `table` that a foreign key, which may be a parent's, refuses."""
        ((rows_of, condition, plain),) = _QUERIES.rows(
            self._connection, "orphans", oid=oid, table=table
        )
        role = _owner_of(self._connection, table)
        try:
            with self._connection.transaction():
                return self._kept_as(role, name, table, rows_of, condition, moved=moved)
        except psycopg.errors.InsufficientPrivilege:
            if role is None or not plain:
                raise
        # The owner may not read what the key refers to; the operators are the server's own.
        with self._connection.transaction():
            return self._kept_as(None, name, table, rows_of, condition, moved=moved)

    def _kept_as(
        self, role: str | None, name: str, table: str, rows_of: str, condition: str, *, moved: bool
    ) -> int:
        kept_in, rows = "", 0
        with self._connection.transaction() as transaction:
            kept_in, rows = self._kept.keep(name, table, rows_of, condition, moved=moved, role=role)
            if not rows:
                raise psycopg.Rollback(transaction)
        if rows:
            self.orphans.append(Orphans(table, name, rows, kept_in, moved))
        return rows


def _owner_of(connection: Connection, table: str) -> str | None:
    """Return the role that the rows of a table are touched as; None for this one."""
    found = read_named(connection, [table])
    return found[table].touched_as if table in found else None


class _KeptRows:
    """The tables that rows are kept in: in a schema of their own, where this role may make one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._schema = f"orphans_{datetime.now(UTC):%Y%m%d_%H%M%S}"

    def keep(
        self,
        name: str,
        table: str,
        rows_of: str,
        condition: str,
        *,
        moved: bool,
        role: str | None,
    ) -> tuple[str, int]:
        """Copy or move rows of a table into a new one; return its quoted name, and how many.

        `rows_of` is the table as FROM has it, `condition` says which rows `r`.  It is done as
        `role`, the table's owner, whose the new table is, too; with None as this one.
        """
        new = self._new(name, table)
        rows = written_by_server(rows_of)
        self._connection.execute(
            sql.SQL("CREATE TABLE {} AS SELECT r.* FROM {} AS r WITH NO DATA").format(new, rows)
        )
        if role is not None:
            owner, schema = sql.Identifier(role), sql.Identifier(self._schema)
            self._connection.execute(
                sql.SQL(
                    "GRANT USAGE ON SCHEMA {schema} TO {owner}; ALTER TABLE {new} OWNER TO {owner}"
                ).format(schema=schema, owner=owner, new=new)
            )
        where = written_by_server(condition)
        with exact.as_owner(self._connection, role):
            copied = self._connection.execute(
                sql.SQL("INSERT INTO {} SELECT r.* FROM {} AS r WHERE {}").format(new, rows, where)
            )
            if moved:
                gone = sql.SQL("DELETE FROM {} AS r WHERE {}").format(rows, where)
                self._connection.execute(gone)
        return new.as_string(self._connection), copied.rowcount

    @contextmanager
    def like(self, table: str) -> Iterator[str]:
        """Make an empty table like another one, for as long as the block."""
        new = self._new("empty", table)
        self._connection.execute(
            sql.SQL("CREATE TABLE {} (LIKE {})").format(new, identifier(table))
        )
        yield new.as_string(self._connection)
        self._connection.execute(sql.SQL("DROP TABLE {}").format(new))

    def _new(self, name: str, table: str) -> sql.Identifier:
        """Return a name that no relation has; where no schema may be made, in the table's own."""
        schema, prefix = self._schema, ""
        try:
            make_schema_for_rows(self._connection, schema)
        except psycopg.errors.InsufficientPrivilege:
            schema, prefix = parts_of(table)[0], f"{self._schema}_"
        for number in count(1):
            suffix = f"_{number}" if number > 1 else ""
            room = LONGEST_NAME - len(prefix) - len(suffix)
            bare = prefix + name.encode()[:room].decode(errors="ignore") + suffix
            new = sql.Identifier(schema, bare)
            quoted = new.as_string(self._connection)
            if not _QUERIES.value(self._connection, "relation_exists", name=quoted):
                return new
        raise AssertionError


def _key(entry: ArchiveEntry, script: Script) -> _Key:
    for statement in script:
        if found := _ADDITION.fullmatch(statement):
            return _Key(entry, statement, found["table"], found["name"], found["definition"])
    raise RestoreFailed(f"The backup does not say what {entry.label} is.")
