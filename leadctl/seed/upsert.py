"""Bringing the rows of seed files into the database: inserted, or changed where they differ."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

import psycopg
import sqlalchemy.exc
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.types.datetime import DateLoader, TimestampLoader, TimestamptzLoader
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Enum,
    FromClause,
    Index,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    cast,
    literal,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.types import TypeDecorator

from leadctl.catalog import relations
from leadctl.errors import SeedFailed
from leadctl.models.values import encrypted_columns
from leadctl.postgres import exact
from leadctl.postgres.engine import driver_connection
from leadctl.postgres.translate import translate
from leadctl.seed.files import SeedRow

_REFERENCE = "@"


@dataclass
class Counts:
    """What became of the rows of one table."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0


def _lenient(loader: type[Loader]) -> type[Loader]:
    """Return a loader that leaves as text what Python has no value for: infinity, BC."""

    class Lenient(loader):  # type: ignore[valid-type, misc]
        def load(self, data: Buffer) -> Any:
            try:
                return super().load(data)
            except psycopg.DataError:
                return bytes(data).decode()

    return Lenient


_LOADERS = {
    "date": _lenient(DateLoader),
    "timestamp": _lenient(TimestampLoader),
    "timestamptz": _lenient(TimestamptzLoader),
}


class ModelRows:
    """Rows of the models' tables: how their values are compared, and as whom they are touched."""

    def __init__(self, connection: Connection) -> None:
        self._driver = driver_connection(connection)
        for kind, loader in _LOADERS.items():
            self._driver.adapters.register_loader(kind, loader)
        self._relations: dict[str, relations.Relation | None] = {}

    def equal(self, column: Column[Any], value: Any) -> ColumnElement[bool]:
        """Compare a column with a value, by the type's own operator."""
        if value is None:
            return column.is_(None)
        relation = self._relation(column.table)
        found = relation.column(column.name) if relation else None
        schema = found.operators if found else "pg_catalog"
        return column.bool_op(f"OPERATOR({schema}.=)")(value)

    def touched(self, table: FromClause) -> AbstractContextManager[None]:
        """Read and write rows of a table as its owner, where this role is a superuser."""
        relation = self._relation(table)
        return exact.as_owner(self._driver, relation.touched_as if relation else None)

    def _relation(self, table: FromClause) -> relations.Relation | None:
        assert isinstance(table, Table)
        if table.fullname not in self._relations:
            identifier = sql.Identifier(*filter(None, (table.schema, table.name)))
            name = identifier.as_string(self._driver)
            found = relations.read_named(self._driver, [name], "columns")
            self._relations[table.fullname] = found.get(name)
        return self._relations[table.fullname]


@dataclass
class Upsert:
    """The rows of several files, brought in together: they may refer to each other."""

    connection: Connection
    metadata: MetaData
    rows: ModelRows
    counts: dict[str, Counts] = field(default_factory=dict)
    _named: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    """The columns of the rows that have names, by table and name."""

    _elsewhere: dict[tuple[str, str], SeedRow] = field(default_factory=dict)
    """Named rows that are in the database already."""

    def bring_in(self, rows: Sequence[SeedRow], there: Sequence[SeedRow] = ()) -> None:
        """Insert or update rows, those first that others refer to; `there` are rows of before.

        A foreign key column may hold `@name`, a named row of the table that it refers to, or a
        mapping of columns to values by which that row is found.  Raises SeedFailed.
        """
        self._elsewhere |= {(row.table, row.name): row for row in there if row.name is not None}
        by_table: dict[str, list[SeedRow]] = {}
        for row in rows:
            by_table.setdefault(row.table, []).append(row)
        for name in self._order(by_table):
            waiting = by_table[name]
            for row in sorted(waiting, key=self._refers_to_itself):
                self._bring_in(row)
        advance_sequences(self.connection, [self.metadata.tables[name] for name in by_table])

    def _order(self, tables: Mapping[str, Sequence[SeedRow]]) -> list[str]:
        graph = {
            name: {
                key.column.table.fullname
                for key in self._table(name, rows[0].file).foreign_keys
                if key.column.table.fullname in tables and key.column.table.fullname != name
            }
            for name, rows in tables.items()
        }
        try:
            return list(TopologicalSorter(graph).static_order())
        except CycleError:
            return list(tables)  # as the files have them: a reference that comes too early says so

    def _refers_to_itself(self, row: SeedRow) -> bool:
        table = self.metadata.tables[row.table]
        return any(
            row.values.get(key.parent.name) is not None
            for key in table.foreign_keys
            if key.column.table is table
        )

    def _bring_in(self, row: SeedRow) -> None:
        table = self._table(row.table, row.file)
        values = {name: self._value(table, row, name, row.values[name]) for name in row.values}
        key = natural_key(table, values)
        if key is None:
            raise SeedFailed(
                f"{row} has no key to find it by: it has {', '.join(values) or 'nothing'}.",
                hint="Give all columns of a unique constraint, or of the primary key.",
            )
        try:
            outcome, found = self._upsert(table, values, key)
        except sqlalchemy.exc.DBAPIError as error:
            if isinstance(error.orig, psycopg.errors.UndefinedTable):
                raise  # of the models, so what is at fault is not the file
            known = translate(error)
            raise SeedFailed(
                f"{row} cannot be inserted: {known.message if known else error.orig}",
                hint="Correct the file.",
            ) from None
        except (sqlalchemy.exc.StatementError, sqlalchemy.exc.CompileError) as error:
            reason = getattr(error, "orig", None) or error
            raise SeedFailed(
                f"{row} cannot be inserted: {reason}",
                hint="Correct the file.",
            ) from None
        counts = self.counts.setdefault(row.table, Counts())
        setattr(counts, outcome, getattr(counts, outcome) + 1)
        if row.name is not None:
            self._named[row.table, row.name] = found

    def _upsert(
        self, table: Table, values: Mapping[str, Any], key: Sequence[str]
    ) -> tuple[str, Mapping[str, Any]]:
        others = [name for name in values if name not in key]
        statement = insert(table).values(values)
        if others:
            changed = [
                _as_text(table.columns[name]).is_distinct_from(_as_text(statement.excluded[name]))
                for name in others
                if table.columns[name] not in self._encrypted
            ]
            secret = [name for name in others if table.columns[name] in self._encrypted]
            statement = statement.on_conflict_do_update(
                index_elements=list(key),
                set_={name: statement.excluded[name] for name in others},
                # The same text never encrypts to the same value, so it cannot be compared.
                where=None if secret else or_(*changed),
            )
        else:
            statement = statement.on_conflict_do_nothing(index_elements=list(key))
        # A row version that this statement inserted was never locked by another.
        inserted: ColumnElement[bool] = literal_column("xmax OPERATOR(pg_catalog.=) 0")
        plain = [column for column in table.columns if column not in self._encrypted]
        with self.rows.touched(table):
            row = (
                self.connection.execute(
                    statement.returning(inserted.label("leadctl_inserted"), *plain)
                )
                .mappings()
                .first()
            )
        if row is not None:
            found = {str(name): row[name] for name in row}
            return ("inserted" if row["leadctl_inserted"] else "updated"), found
        return "unchanged", self._find(table, values, key) or {}

    def _find(
        self, table: Table, values: Mapping[str, Any], key: Sequence[str]
    ) -> Mapping[str, Any] | None:
        plain = [column for column in table.columns if column not in self._encrypted]
        where = and_(*(self.rows.equal(table.columns[name], values[name]) for name in key))
        with self.rows.touched(table):
            found = self.connection.execute(select(*plain).where(where)).mappings().first()
        return None if found is None else {str(name): found[name] for name in found}

    def _find_named(self, table_name: str, name: str) -> Mapping[str, Any] | None:
        """Return a named row: one that was brought in now, or one of before."""
        key = (table_name, name)
        if key not in self._named and key in self._elsewhere:
            row = self._elsewhere[key]
            table = self._table(row.table, row.file)
            values = {each: self._value(table, row, each, row.values[each]) for each in row.values}
            found = self._find(table, values, natural_key(table, values) or ())
            if found is not None:
                self._named[key] = found
        return self._named.get(key)

    @property
    def _encrypted(self) -> set[Column[Any]]:
        return {column for column, _ in encrypted_columns(self.metadata)}

    def _value(self, table: Table, row: SeedRow, name: str, value: Any) -> Any:
        column = table.columns.get(name)
        if column is None:
            raise SeedFailed(
                f"{row}: {row.table} has no column {name}.",
                hint=f"Available: {', '.join(table.columns.keys())}.",
            )
        referred = next((key.column for key in column.foreign_keys), None)
        if referred is not None and isinstance(value, Mapping):
            return self._found_by(row, referred, value)
        if referred is not None and isinstance(value, str) and value.startswith(_REFERENCE):
            named = self._find_named(referred.table.fullname, value.removeprefix(_REFERENCE))
            if named is None:
                raise SeedFailed(
                    f"{row}: {name} refers to {value}, and no row of "
                    f"{referred.table.fullname} of this name was inserted before.",
                    hint="Name that row with _name, or correct the reference.",
                )
            return named[referred.name]
        return _typed(column, value)

    def _found_by(self, row: SeedRow, referred: Column[Any], key: Mapping[str, Any]) -> Any:
        table = referred.table
        unknown = [name for name in key if name not in table.columns]
        if unknown:
            raise SeedFailed(
                f"{row.file}: {table.name} has no column {unknown[0]}.", hint="Correct it."
            )
        where = and_(
            *(
                self.rows.equal(table.columns[name], _typed(table.columns[name], key[name]))
                for name in key
            )
        )
        with self.rows.touched(table):
            found = self.connection.execute(select(referred).where(where).limit(2)).fetchall()
        if len(found) != 1:
            raise SeedFailed(
                f"{row} refers to {table.name} with {dict(key)}, of "
                f"which there {'is none' if not found else 'are several'}.",
                hint="Correct the reference.",
            )
        return found[0][0]

    def _table(self, name: str, file: str) -> Table:
        table = self.metadata.tables.get(name)
        if table is None:
            raise SeedFailed(
                f"{file} has rows for {name}, a table that the models do not have.",
                hint=f"Available: {', '.join(sorted(self.metadata.tables))}.",
            )
        return table


def natural_key(table: Table, given: Mapping[str, Any]) -> list[str] | None:
    """Return the columns that tell a row of these values from others.

    That is a unique constraint or index over columns that are all given, the shortest first; else
    the primary key.
    """
    unique = [
        [column.name for column in each.columns]
        for each in table.constraints
        if isinstance(each, UniqueConstraint) and not each.deferrable
    ]
    unique += [_columns(index) for index in table.indexes if _is_plain(index)]
    keys = [*sorted(unique, key=lambda key: (len(key), key)), table.primary_key.columns.keys()]
    usable = (key for key in keys if key and all(given.get(name) is not None for name in key))
    return next(usable, None)


def _is_plain(index: Index) -> bool:
    where = index.dialect_kwargs.get("postgresql_where")
    return bool(index.unique and where is None and len(_columns(index)) == len(index.expressions))


def _columns(index: Index) -> list[str]:
    return [each.name for each in index.expressions if isinstance(each, Column)]


def _as_text(column: ColumnElement[Any]) -> ColumnElement[str]:
    """Return a value as text: what two of those are equal by is the server's own operator."""
    return cast(column, Text())


def _typed(column: Column[Any], value: Any) -> Any:
    """Return a value for a column; a text is read by the server, as it reads a literal.

    A type that wraps another has its own way with texts.
    """
    plain = isinstance(column.type, String) and not isinstance(column.type, Enum)
    if not isinstance(value, str) or plain or isinstance(column.type, TypeDecorator):
        return value
    return cast(literal(value, Text()), column.type)


def advance_sequences(connection: Connection, tables: Iterable[Table]) -> None:
    """Let the generated keys of tables go on behind the largest that exists."""
    driver = driver_connection(connection)
    named = {_identifier(table).as_string(driver): table for table in tables}
    for name, relation in relations.read_named(driver, named, "sequences").items():
        relations.advance_sequences(driver, relation, drawn_sequences(named[name]))


def drawn_sequences(table: Table, schema: str | None = None) -> dict[str, sql.Identifier]:
    """Return the sequences from which the app draws a column's numbers itself, by column."""
    return {
        column.name: _identifier(column.default, schema)
        for column in table.columns
        if isinstance(column.default, sqlalchemy.Sequence)
    }


def _identifier(item: Table | sqlalchemy.Sequence, schema: str | None = None) -> sql.Identifier:
    return sql.Identifier(*filter(None, (item.schema or schema, item.name)))
