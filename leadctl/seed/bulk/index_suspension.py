"""Dropping indexes and constraints while tables are loaded: building them once is quicker.

All of it is one transaction, with the rows: whatever ends the run early, kill -9 and a power cut
included, the server itself rolls back to the tables as they were.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from leadctl.catalog.definitions import Catalog, compare, read_catalog
from leadctl.catalog.relations import Relation
from leadctl.errors import SeedFailed
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import identifier, queries_of, written_by_server
from leadctl.progress import Narrate

_QUERIES = queries_of(__file__, "bulk.sql")
_SHARE_THERE = 10
"""A table that has more than one row for so many new ones keeps its indexes."""


@dataclass(frozen=True)
class Definition:
    """An index or constraint, as it can be made again; `kind` is f, p, u, x (constraints) or i."""

    table_name: str
    name: str
    kind: str
    definition: str


class IndexSuspension:
    """The indexes and constraints of some tables, dropped within the caller's transaction."""

    def __init__(
        self,
        connection: Connection,
        schema: str,
        tables: Collection[Relation],
        narrate: Narrate,
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._narrate = narrate
        self._before: Catalog | None = None
        self._definitions: dict[str, list[Definition]] = {}
        """By table, as SQL names it."""
        self._foreign_keys: list[Definition] = []
        self._dropped: dict[str, list[Definition]] = {}
        self.tables = {relation.name: relation for relation in tables}
        if tables:
            self._begin(sorted(self.tables))

    def _begin(self, tables: Sequence[str]) -> None:
        names = sql.SQL(", ").join(self.tables[name].identifier for name in tables)
        self._connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names))
        self._before = read_catalog(self._connection, self._schema)
        parameters = {"schema": self._quoted(self._schema), "tables": list(tables)}
        for name in ("constraints", "indexes"):
            for item in _QUERIES.rows(self._connection, name, Definition, **parameters):
                self._definitions.setdefault(item.table_name, []).append(item)
        self._foreign_keys = [
            item
            for items in self._definitions.values()
            for item in items
            if item.kind == "f" and self._drop(item)
        ]

    def drop(self, table: str) -> bool:
        """Drop what can be made again of a table; say whether it was emptied of old space, too."""
        if table not in self.tables:
            return False
        self._dropped[table] = [
            item
            for item in self._definitions.get(self._quoted(table), ())
            if item.kind != "f" and self._drop(item)
        ]
        relation = self.tables[table]
        return not has_rows(self._connection, relation, 0) and self._truncate(relation)

    def restore(self, table: str) -> None:
        """Make again what `drop` dropped of a table."""
        items = self._dropped.pop(table, [])
        if items:
            self._narrate(f"{table}: building {len(items)} index{'es' * (len(items) > 1)}")
        for item in items:
            self._make(item)

    def finish(self) -> None:
        """Make the foreign keys again, and make sure that everything is as it was.

        Raises SeedFailed where it is not, which rolls back.
        """
        if self._before is None:
            return
        if self._foreign_keys:
            self._narrate(f"Checking {len(self._foreign_keys)} foreign keys")
        for item in self._foreign_keys:
            self._make(item)
        differences = compare(self._before, read_catalog(self._connection, self._schema))
        if differences:
            raise SeedFailed(
                f"After loading, {differences[0].object} would differ from before. "
                "Nothing was changed.",
                hint="Please report this, with the table's definition.",
            )

    def _drop(self, item: Definition) -> bool:
        what = (
            sql.SQL("DROP INDEX {name}")
            if item.kind == "i"
            else sql.SQL("ALTER TABLE {table} DROP CONSTRAINT {name}")
        )
        try:
            with self._connection.transaction():
                self._connection.execute(_statement(what, item))
        except psycopg.errors.DependentObjectsStillExist:
            return False  # a view that groups by the key, say
        return True

    def _make(self, item: Definition) -> None:
        if item.kind == "i":
            self._connection.execute(written_by_server(item.definition))
        else:
            what = sql.SQL("ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
            self._connection.execute(_statement(what, item))

    def _truncate(self, table: Relation) -> bool:
        """Empty an empty table: a run that was killed leaves space behind."""
        try:
            with self._connection.transaction():
                self._connection.execute(sql.SQL("TRUNCATE {}").format(table.identifier))
        except psycopg.errors.FeatureNotSupported:
            return False  # a table that is not loaded refers to it
        return True

    def _quoted(self, name: str) -> str:
        return sql.Identifier(name).as_string(self._connection)


def suspendable(
    connection: Connection, relations: Mapping[str, Relation], counts: Mapping[str, int]
) -> list[str]:
    """Return the tables whose indexes are better built after loading.

    Not those with triggers of their own, which may look for rows, and not those that have so many
    rows already that their indexes cost more to build than to keep.
    """
    return [
        name
        for name, rows in counts.items()
        if (table := relations[name]).kind == "r"
        and table.owned
        and not table.is_partition
        and not any(each.on_insert and each.enabled != "D" for each in table.triggers)
        and not has_rows(connection, table, rows // _SHARE_THERE)
    ]


def has_rows(connection: Connection, table: Relation, more_than: int) -> bool:
    """Whether a table has more rows than so many; reads no more than that."""
    query = sql.SQL(
        "SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>) {}"
        " FROM (SELECT FROM {} LIMIT {}) AS first"
    ).format(sql.Literal(more_than), table.identifier, sql.Literal(more_than + 1))
    with exact.as_owner(connection, table.touched_as):
        row = connection.execute(query).fetchone()
    return bool(row and row[0])


def _statement(what: sql.SQL, item: Definition) -> sql.Composed:
    # The server wrote definition and table name itself, quoted.
    return what.format(
        table=identifier(item.table_name),
        name=sql.Identifier(item.name),
        definition=written_by_server(item.definition),
    )
