"""The tables that a plan touches, as they are now: size, rows, holders of locks, losses.

Also what the text of a statement does not say: whether a change of type rewrites, for example.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from leadctl.catalog.facets import Column
from leadctl.catalog.relations import Relation, read_named, read_numbered, read_table
from leadctl.migrate.plan import Loss
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import queries_of, written_by_user
from leadctl.sql.lexer import Reader, schema_and_name
from leadctl.sql.lock_modes import LOCKS, CatalogFacts, Lock

QUERIES = queries_of(__file__, "live_tables.sql")
_COUNT_BELOW_BYTES = 256 * 1024 * 1024
"""A table up to this size is counted; of a bigger one the statistics say how many rows it has."""


@dataclass(frozen=True)
class Holder:
    """A session that holds a lock on a table."""

    pid: int
    lock: Lock
    who: str
    state: str
    seconds: float | None
    """How long its transaction has been open."""


class LiveTables:
    """Looks tables up in the live catalog; each is read once."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self._relations: dict[str, Relation | None] = {}
        self._guesses: dict[str, int | None] = {}

    @property
    def facts(self) -> CatalogFacts:
        """What the text of a statement does not say, looked up when it is needed."""
        return CatalogFacts(
            self._is_volatile,
            self._type_change_rewrites,
            self._has_not_null_check,
            self._table_of_index,
            self._referencing,
        )

    def exists(self, table: str) -> bool:
        """Whether there is such a table."""
        return self._relation(table) is not None

    def bytes(self, table: str) -> int | None:
        """Return a table's size, with its indexes; None for one that does not exist."""
        relation = self._relation(table)
        return relation.size.total_bytes if relation else None

    def rows(self, table: str) -> int | None:
        """Return a table's rows, by the statistics or the planner's guess; None if not known."""
        relation = self._relation(table)
        if relation is None or relation.size.partly:
            return None
        if not relation.size.heap_bytes:
            return 0
        if relation.size.rows is not None:
            return relation.size.rows
        if table not in self._guesses:  # it was never analysed: the planner guesses from its size
            query = sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {}").format(self.name(table))
            row = self._try(table, query)
            self._guesses[table] = int(row[0][0]["Plan"]["Plan Rows"]) if row else None
        return self._guesses[table]

    def has_policies(self, table: str) -> bool:
        """Whether a table has policies of row security."""
        return bool(QUERIES.value(self._connection, "has_policies", table=self._quoted(table)))

    def holders(self, table: str) -> list[Holder]:
        """Return who else holds a lock on a table now, the longest transaction first."""
        return [
            Holder(pid, LOCKS[mode], who, state, seconds)
            for pid, mode, who, state, seconds in QUERIES.rows(
                self._connection, "holders", table=self._quoted(table)
            )
        ]

    def loss(self, table: str, drops: Sequence[str]) -> Loss | None:
        """Return how many rows lose "table", "rows" or "column NAME" each; None if none does.

        A table that is not found, or whose rows a policy hides, may have any number.
        """
        all_of_it = next((each for each in drops if each in {"table", "rows"}), None)
        names = [] if all_of_it else [each.rpartition("column ")[2] for each in drops]
        what = all_of_it or ", ".join(drops)
        size = self.bytes(table)
        if size is None:
            return Loss(what, None, exact=False)
        if size <= _COUNT_BELOW_BYTES:
            row = self._try(table, self._count(table, names))
            if row is not None:
                return Loss(what, int(row[0]), exact=True) if row[0] else None
        return Loss(what, self._estimate(table, names), exact=False)

    def prepare(self, tables: Sequence[str]) -> None:
        """Read tables together that will be asked for one by one."""
        names = {self._quoted(table): table for table in tables}
        found = read_named(self._connection, names, "sizes")
        self._relations |= {name: found.get(quoted) for quoted, name in names.items()}

    def rows_where(self, table: str, delete: str) -> Loss | None:
        """Return the rows that a DELETE with a condition takes; None if there is none now."""
        unknown = Loss("rows", None, exact=False)
        condition = _behind_from(delete)
        if condition is None:
            return unknown
        count = sql.SQL("SELECT pg_catalog.count(*) FROM {}").format(written_by_user(condition))
        row = self.count(table, count)
        if row is None:
            return unknown
        return Loss("rows", int(row[0]), exact=True) if row[0] else None

    def _count(self, table: str, columns: Sequence[str]) -> sql.Composed:
        is_there = (sql.SQL("{} IS NOT NULL").format(sql.Identifier(name)) for name in columns)
        where = sql.SQL(" OR ").join(is_there) if columns else sql.SQL("TRUE")
        return sql.SQL("SELECT pg_catalog.count(*) FROM {} WHERE {}").format(
            self.name(table), where
        )

    def _estimate(self, table: str, columns: Sequence[str]) -> int | None:
        relation = self._relation(table)
        rows = self.rows(table) if relation and not relation.row_security else None
        if not rows or not columns:
            return rows or None
        shares = [
            QUERIES.value(self._connection, "null_share", table=self._quoted(table), column=name)
            for name in columns
        ]
        return round(rows * (1 - min(share or 0 for share in shares)))

    def count(
        self, table: str, query: sql.Composed, zone: str | None = None
    ) -> tuple[Any, ...] | None:
        """Count something in a table's rows, with times of a `zone`; None where that cannot be."""
        size = self.bytes(table)
        if size is None or size > _COUNT_BELOW_BYTES:
            return None
        return self._try(table, query, zone)

    def type_of(self, table: str, column: str) -> str | None:
        """Return a column's type, as the server writes it; None for what is not there."""
        found = self.column(table, column)
        return found.type if found else None

    def column(self, table: str, column: str) -> Column | None:
        """Return a column; None for what is not there."""
        relation = self._relation(table)
        return relation.column(column) if relation else None

    def name(self, name: str) -> sql.Identifier:
        """Return the identifier of a relation, with its schema."""
        return sql.Identifier(*schema_and_name(name, self._schema))

    def _try(
        self, table: str, query: sql.Composed, zone: str | None = None
    ) -> tuple[Any, ...] | None:
        relation = self._relation(table)
        role = relation.touched_as if relation else None
        try:
            with self._connection.transaction(), exact.as_owner(self._connection, role):
                # What is asked is a revision's own SQL, which may call what writes.
                self._connection.execute("SET LOCAL transaction_read_only = on")
                self._connection.execute("SET LOCAL lock_timeout = '1s'")
                # Rows that a policy hides are rows: better an error than a smaller number.
                self._connection.execute("SET LOCAL row_security = off")
                if zone is not None:
                    set_zone = "SELECT pg_catalog.set_config('TimeZone', %s, true)"
                    self._connection.execute(set_zone, (zone,))
                return self._connection.execute(query).fetchone()
        except psycopg.Error:  # locked, or not ours to read: it must do without
            return None

    def _relation(self, table: str) -> Relation | None:
        if table not in self._relations:
            schema, name = schema_and_name(table, self._schema)
            self._relations[table] = read_table(self._connection, schema, name, "sizes")
        return self._relations[table]

    def _quoted(self, name: str) -> str:
        return self.name(name).as_string(self._connection)

    def _is_volatile(self, function: str) -> bool:
        name = function.rpartition(".")[2]
        return bool(QUERIES.value(self._connection, "is_volatile", name=name))

    def _type_change_rewrites(self, table: str, column: str, kind: str) -> bool:
        found = self.column(table, column)
        return found is None or not _same_on_disk(found.type, kind)

    def _has_not_null_check(self, table: str, column: str) -> bool:
        relation = self._relation(table)
        quoted = sql.Identifier(column).as_string(self._connection)
        wanted = {f"CHECK ({name} IS NOT NULL)" for name in (column, quoted)}
        return relation is not None and any(
            each.kind == "c" and each.validated and relation.definition(each) in wanted
            for each in relation.constraints
        )

    def _table_of_index(self, index: str) -> str | None:
        table = QUERIES.value(self._connection, "table_of_index", name=self._quoted(index))
        return None if table is None else str(table)

    def _referencing(self, table: str) -> list[str]:
        relation = self._relation(table)
        keys = relation.references if relation else ()
        parents = {key.parent for key in keys if key.parent != key.child}
        found = read_numbered(self._connection, parents, "descendants")
        return [
            name
            for each in found.values()
            for name in (each.name, *(b.name for b in each.descendants if b.is_partition))
        ]


def _behind_from(delete: str) -> str | None:
    """Return what a query of the rows that a DELETE takes has behind FROM; None where it joins."""
    reader = Reader(delete)
    if not reader.accept("DELETE", "FROM"):
        return None
    start = reader.peek().start
    if not reader.skip_to("WHERE", "USING", "RETURNING") or reader.has("RETURNING"):
        return None
    behind = reader.has("CURRENT", "OF")
    joined = not Reader(delete[start:]).skip_to("WHERE") or Reader(delete[start:]).has("USING")
    return None if behind or joined else delete[start:]


def _same_on_disk(current: str, new: str) -> bool:
    """Whether PostgreSQL changes between two types without writing the rows again.

    True for a varchar that gets longer or loses its limit, and for text and varchar without one;
    https://www.postgresql.org/docs/current/sql-altertable.html, "Notes".
    """
    before, after = _type(current), _type(new)
    if before == after:
        return True
    characters = {"text", "varchar"}
    if before[0] in characters and after[0] in characters:
        return after[1] is None or (before[1] is not None and before[1] <= after[1])
    if before[0] == after[0] in {"numeric", "varbit"}:
        wider = after[1] is None or (before[1] is not None and before[1] <= after[1])
        return wider and (after[1] is None or before[2] == after[2])
    return False


def _type(text: str) -> tuple[str, int | None, int | None]:
    """Return a type's plain name, its length or precision, and its scale."""
    reader = Reader(text)
    name = reader.name()
    if name == "character" and reader.accept("VARYING"):
        name = "varchar"
    name = {"decimal": "numeric"}.get(name, name)
    limits = reader.parenthesised()
    parts = limits.text.split(",") if limits else []
    numbers = [int(part) if part.strip().isdigit() else None for part in parts]
    first, second, *_ = [*numbers, None, None]
    return name, first, second


_NAME = r'(?:"(?:[^"]|"")+"|[\w$]+)'
_CHECK = re.compile(
    rf"\bADD\s+CONSTRAINT\s+(?P<name>{_NAME})\s+CHECK\s*\(+\s*(?P<column>{_NAME})\s+IS\s+NOT\s+NULL"
    r"\s*\)+(?P<later>\s*NOT\s+VALID)?(?=\s*(?:,|;|$))",
    re.IGNORECASE,
)
_VALIDATED = re.compile(rf"\bVALIDATE\s+CONSTRAINT\s+(?P<name>{_NAME})", re.IGNORECASE)
_DROPPED = re.compile(rf"\bDROP\s+CONSTRAINT\s+(?:IF\s+EXISTS\s+)?(?P<name>{_NAME})", re.IGNORECASE)


class ProvenNotNull:
    """The columns that earlier statements of the plan prove to have no NULL, by a valid CHECK.

    The catalog has no such CHECK yet, or none any more: SET NOT NULL reads nothing all the same.
    """

    def __init__(self) -> None:
        self._checks: dict[tuple[str, str], str] = {}
        """The column of each CHECK, by its table and name."""
        self._valid: set[tuple[str, str]] = set()

    def has(self, table: str, column: str) -> bool:
        """Whether a CHECK proves that a column has no NULL."""
        return any(self._checks[check] == column for check in self._valid if check[0] == table)

    def read(self, statement: str) -> None:
        """Take note of the CHECKs that a statement adds, validates and drops."""
        reader = Reader(statement)
        table = reader.altered_table()
        if table is None:
            return

        def named(text: str) -> tuple[str, str]:
            return table, Reader(text).name()

        for found in _CHECK.finditer(statement):
            self._checks[named(found["name"])] = Reader(found["column"]).name()
            if not found["later"]:
                self._valid.add(named(found["name"]))
        self._valid |= self._checks.keys() & {
            named(found["name"]) for found in _VALIDATED.finditer(statement)
        }
        self._valid -= {named(found["name"]) for found in _DROPPED.finditer(statement)}
