"""Single tables: made again where they are gone, else next to what exists.

What is there is not touched: its rows of then are in a schema of their own, with the lines that
copy them over, to be compared by whoever knows which of them are wanted.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC
from functools import partial

import psycopg
from psycopg import sql

from leadctl.backup.manifest import SCHEMA, DumpedTable
from leadctl.backup.reader import BackupReader
from leadctl.catalog.relations import Relation, read_named
from leadctl.errors import RelationExists, RestoreFailed, SchemaExists, TableNotInBackup
from leadctl.journal.kept_names import make_schema_for_rows
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, Timeouts, connect
from leadctl.postgres.queries import identifier, parts_of, written_by_pg_dump
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told
from leadctl.progress import Narrate
from leadctl.restore.copy_statements import copy_statements, recorded_columns, referenced_first
from leadctl.restore.dropped import RecreatedTables, restore_dropped
from leadctl.restore.dump_archive import (
    TableRows,
    check_counts,
    owner_of_rows,
    pg_restore_output,
    rows_of,
)
from leadctl.restore.foreign_keys import Orphans
from leadctl.restore.properties import IDENTIFIER, text_of
from leadctl.restore.restorable import LeftOutEntry
from leadctl.sql.lexer import split, tokens

_CREATION = re.compile(
    rf"CREATE (?:UNLOGGED )?TABLE (?P<table>{IDENTIFIER}\.{IDENTIFIER}) (?P<definition>\(.*)",
    re.DOTALL,
)


@dataclass(frozen=True)
class CopiedTable:
    """A table of the backup, quoted, and where its rows are now."""

    table: str
    scratch: str | None
    """None where the table was gone, and they are in it again."""
    rows: int


@dataclass(frozen=True)
class TableRestore:
    """Where tables of a backup are now; in a dry run, where they would be."""

    backup: str
    database: str
    dry_run: bool
    schema: str | None
    """The scratch schema; None where all tables were gone."""
    tables: tuple[CopiedTable, ...]
    lines: tuple[str, ...]
    """SQL for what is left to do: it copies what is gone from tables that were there, and drops the
    scratch schema; it validates foreign keys."""
    made: tuple[str, ...] = ()
    """What came back with tables that were gone, as pg_restore lists it."""
    orphans: tuple[Orphans, ...] = ()
    left_out: tuple[LeftOutEntry, ...] = ()
    """What belongs to them and is not back."""
    changed: tuple[LeftOutEntry, ...] = ()
    """Functions, types and extensions that they need, and that the database has otherwise."""

    @property
    def ok(self) -> bool:
        """Whether nothing was left out."""
        return not self.left_out

    def with_recreated(self, back: RecreatedTables) -> "TableRestore":
        """Return this with tables that were gone."""
        tables = (CopiedTable(name, None, rows) for name, rows in back.tables)
        return replace(
            self,
            tables=(*tables, *self.tables),
            lines=(*back.lines, *self.lines),
            made=back.made,
            orphans=back.orphans,
            left_out=back.left_out,
            changed=back.changed,
        )


def restore_by_name(
    target: Target,
    reader: BackupReader,
    names: Sequence[str],
    *,
    app: str,
    owners: bool,
    dry_run: bool,
    waits: Timeouts,
    narrate: Narrate,
) -> TableRestore:
    """Make tables again that are gone; load those that exist into a new schema next to them.

    Raises TableNotInBackup, RelationExists, SchemaExists, MissingRole, LockHeld, RestoreFailed,
    BackupDamaged, InvalidIdentity, and what connecting raises.
    """
    with reader.held():
        reader.check()
        with connect(target, "restore", read_only=True) as connection:
            as_sql = {name: _as_sql(name) for name in names}
            named = read_named(connection, as_sql.values())
            found = {name: named[asked] for name, asked in as_sql.items() if asked in named}
        _require_tables(found)
        live = [as_sql[name] for name in names if name in found]
        gone = [_spellings(name, target.schema) for name in names if name not in found]
        back = RecreatedTables((), (), (), (), (), ())
        if gone:
            back = restore_dropped(
                target,
                reader,
                gone,
                app=app,
                owners=owners,
                dry_run=dry_run,
                waits=waits,
                narrate=narrate,
            )
        existing = TableRestore(reader.backup.id, target.database, dry_run, None, (), ())
        if live:
            existing = _restore_beside(
                target, reader, live, app=app, dry_run=dry_run, narrate=narrate
            )
    return existing.with_recreated(back)


def _require_tables(found: Mapping[str, Relation]) -> None:
    for name, relation in found.items():
        if not relation.is_table:
            raise RelationExists(
                f"{name} is a {relation.label} now, not a table.",
                hint=f"Rename it, then run it again: ALTER {relation.label.upper()} "
                f"{relation.qualified} RENAME TO something_else",
            )


def _restore_beside(
    target: Target,
    reader: BackupReader,
    names: Sequence[str],
    *,
    app: str,
    dry_run: bool,
    narrate: Narrate,
) -> TableRestore:
    """Load tables of a backup into a new schema of the target's database, in one transaction.

    They have their columns and checks, but no keys, indexes and triggers.  A dry run changes
    nothing.  Raises TableNotInBackup, SchemaExists, RestoreFailed, BackupDamaged, InvalidIdentity,
    and what connecting raises.
    """
    schema = f"restored_{reader.manifest.snapshot_at.astimezone(UTC):%Y%m%d_%H%M%S}"
    with connect(target, "restore", like_pg_dump=True) as connection:
        facts = _facts(connection, reader, target.schema, names)
        tables = {table.name: _placed(connection, table, schema) for table in facts}
        _require_free(connection, schema, tables.values())
        copied: dict[str, TableRows] = {}
        if not dry_run:
            narrate("Reading the rows from the backup.")
            copied = _copy_rows(connection, reader, schema, tables)
        recorded = recorded_columns(connection, app, target.schema) if copied else frozenset()
        lines = [
            line
            for name in referenced_first(connection, list(tables))
            if name in copied
            for line in copy_statements(
                connection,
                sql.Identifier(*copied[name].into).as_string(connection),
                tables[name].scratch or name,
                copied[name].columns,
                recorded,
                narrate,
            )
        ]
    return TableRestore(
        backup=reader.backup.id,
        database=target.database,
        dry_run=dry_run,
        schema=schema,
        tables=tuple(tables.values()),
        lines=(*lines, f"DROP SCHEMA {schema} CASCADE;") if lines else (),
    )


def _copy_rows(
    connection: Connection,
    reader: BackupReader,
    schema: str,
    tables: Mapping[str, CopiedTable],
) -> dict[str, TableRows]:
    """Make the scratch schema and its tables, with the rows of the backup."""
    copied: dict[str, TableRows] = {}
    read: dict[str, int] = {}
    with connection.transaction():
        make_schema_for_rows(connection, schema)
        for table, definition in _definitions(reader, tables.values()):
            _create(connection, table, definition)
        for rows in rows_of(reader, list(tables)):
            scratch = _identifier(tables[rows.table])
            owner = owner_of_rows(connection, rows.table)
            read[rows.table] = rows.copy_into(connection, scratch, owner)
            copied[rows.table] = rows
        check_counts(reader, read, tables)
    return copied


def _require_free(connection: Connection, schema: str, tables: Collection[CopiedTable]) -> None:
    """Look at a schema that an earlier restore of the same backup made for other tables.

    Raises SchemaExists where one of these is in it, or the schema is somebody else's.
    """
    own = exact.execute(
        connection,
        "SELECT pg_get_userbyid(nspowner) = current_user FROM pg_namespace WHERE nspname = %s",
        (schema,),
    ).fetchone()
    there = read_named(connection, [table.scratch or table.table for table in tables])
    if own == (False,) or there:
        what = f"the table {', '.join(there)}" if there else f"the schema {schema} of another role"
        raise SchemaExists(
            f"In {connection.info.dbname} there is {what} already.",
            hint=f"Use the rows in it, or remove it: DROP SCHEMA {schema} CASCADE",
        )


def _facts(
    connection: Connection, reader: BackupReader, schema: str, names: Sequence[str]
) -> list[DumpedTable]:
    """Return the tables that are named; those that hold the rows of a partitioned one."""
    in_backup = {table.parts: table for table in reader.manifest.tables}
    found: dict[str, DumpedTable] = {}
    relations = read_named(connection, names, "descendants")
    for name in names:
        leaves = relations[name].leaves if name in relations else ()
        # What is not there any more is named as it was.
        asked = [parts_of(leaf.qualified) for leaf in leaves] or _spellings(name, schema)
        tables = [in_backup[each] for each in asked if each in in_backup]
        if not tables:
            raise TableNotInBackup(
                f"There is no table {name} in the backup {reader.backup.id}.",
                hint=reader.manifest.table_hint(name),
            )
        found |= {table.name: table for table in tables}
    return list(found.values())


def _as_sql(name: str) -> str:
    """Return a name as SQL has it: one that is typed as it is, is quoted."""
    try:
        parts_of(name)
    except ValueError:
        return sql.Identifier(name).as_string(None)
    return name


def _spellings(name: str, schema: str) -> list[tuple[str, ...]]:
    """Return what a name that somebody typed may stand for: as SQL has it, or as it is."""
    with suppress(ValueError):
        parts = parts_of(name)
        return [parts, (schema, *parts), (schema, name)]
    return [(schema, name), tuple(name.split(".", 1))]


def _placed(connection: Connection, table: DumpedTable, schema: str) -> CopiedTable:
    _, bare = parts_of(table.name)
    scratch = sql.Identifier(schema, bare).as_string(connection)
    return CopiedTable(table.name, scratch, table.rows)


def _identifier(table: CopiedTable) -> sql.Identifier:
    return identifier(table.scratch or table.table)


def _create(connection: Connection, table: CopiedTable, definition: str) -> None:
    """Make a table as the backup has it, under its other name."""
    hint = "Restore the backup into another database with --into, and copy what is needed."
    if re.search(r"^\)\s*INHERITS \(", definition, re.MULTILINE):
        raise RestoreFailed(f"{table.table} inherits from another table.", hint=hint)
    try:
        # Binary, so that the server takes no more than one statement.
        connection.execute(_creation(table, definition), binary=True)
    except (
        psycopg.errors.UndefinedObject,
        psycopg.errors.UndefinedFunction,
        psycopg.errors.InvalidSchemaName,
    ) as error:
        raise RestoreFailed(
            f"{table.table} needs what {connection.info.dbname} does not have: {told(error)}.",
            hint=hint,
        ) from None


def _creation(table: CopiedTable, definition: str) -> sql.Composed:
    columns = written_by_pg_dump(definition)
    return sql.SQL("CREATE TABLE {} {}").format(_identifier(table), columns)


def _definitions(
    reader: BackupReader, tables: Collection[CopiedTable]
) -> Iterator[tuple[CopiedTable, str]]:
    """Return what follows the tables' names where the backup makes them."""
    made: dict[tuple[str, ...], list[str]] = {}
    for statement in split(_script(reader, tables)):
        if found := _CREATION.match(_without_comments(statement)):
            made.setdefault(parts_of(found["table"]), []).append(found["definition"])
    for table in tables:
        definitions = made.get(parts_of(table.table), [])
        if len(definitions) != 1:
            raise RestoreFailed(
                f"The backup {reader.backup.id} does not say what {table.table} is."
            )
        yield table, definitions[0]


def _without_comments(statement: str) -> str:
    """Return a statement from its first word on."""
    first = next((token.start for token in tokens(statement)), 0)
    return statement[first:]


def _script(reader: BackupReader, tables: Collection[CopiedTable]) -> str:
    """Return what makes the tables, as pg_restore writes it; and maybe some of like names."""
    names = [parts_of(table.table) for table in tables]
    program = reader.backup.programs().path("pg_restore")
    wanted = [f"--schema={schema}" for schema, _ in names] + [
        f"--table={bare}" for _, bare in names
    ]
    options = ("--no-owner", "--no-privileges", "--section=pre-data", "--file=-")
    unpack = partial(reader.unpack, SCHEMA)
    return text_of(pg_restore_output(program, [*options, *wanted], unpack))
