"""The plan of pending revisions, and the tables that it touches, as they are now.

Size, rows, who holds a lock, what is lost; and what the text of a statement does not say: whether
a change of type rewrites, for example.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from leadctl.catalog.relations import Relation, read_numbered, read_table
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import beside
from leadctl.sql.lexer import Reader, parts_of_name
from leadctl.sql.lock_modes import CatalogFacts, Lock


@dataclass(frozen=True)
class Loss:
    """What a statement would lose of a table."""

    what: str
    """ "table", "rows", "column NAME" or "columns NAME, NAME"."""
    rows: int | None
    """How many rows lose it; None where that is not known: any number."""
    exact: bool


@dataclass(frozen=True)
class LintFinding:
    """Something dangerous in a revision."""

    rule: str
    message: str
    hint: str
    statement: int | None = None
    """Which statement of the revision, counted from 1; None for the revision as a whole."""
    allowed: str | None = None
    """The reason why it is allowed, where it is."""


@dataclass(frozen=True)
class TableEffect:
    """What a statement does to one table that exists or will."""

    table: str
    lock: str
    """The lock that it takes, in PostgreSQL's words."""
    blocks: str
    """What others cannot do meanwhile: "reads and writes", "writes" or nothing."""
    rewrites: bool
    scans: bool
    duration: str
    """How long it takes: "instant", or as long as a "scan" or a "rewrite" of `bytes` takes."""
    is_new: bool
    """Whether the plan itself makes the table: nobody waits for it."""
    bytes: int | None
    rows: int | None
    """As the statistics know it."""
    waits_for: tuple[str, ...]
    """Who holds a lock now that it would have to wait for."""
    loss: Loss | None


@dataclass(frozen=True)
class PlannedStatement:
    """One statement of a revision, and what it does to each table."""

    sql: str
    transactional: bool
    unplannable: str | None
    """Why it is not known what it does."""
    effects: tuple[TableEffect, ...]


@dataclass(frozen=True)
class PlannedRevision:
    """One pending revision."""

    revision: str
    message: str
    reversible: bool
    cannot_be_planned: str | None
    """Why its statements are not known."""
    statements: tuple[PlannedStatement, ...]
    findings: tuple[LintFinding, ...]

    @property
    def blocking(self) -> tuple[LintFinding, ...]:
        """What was found and is not allowed."""
        return tuple(finding for finding in self.findings if finding.allowed is None)


@dataclass(frozen=True)
class MigrationPlan:
    """What `migrate` would do."""

    app: str
    database: str
    schema: str
    current: str | None
    revisions: tuple[PlannedRevision, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found, or what was found is allowed."""
        return not any(revision.blocking for revision in self.revisions)


@dataclass(frozen=True)
class LintedRevision:
    """A revision and what was found in it."""

    revision: str
    path: Path
    findings: tuple[LintFinding, ...]


@dataclass(frozen=True)
class LintResult:
    """What lint found."""

    app: str
    database: str | None
    """Whose tables were asked for their sizes; None where there was none to ask."""
    squawk: bool
    """Whether squawk's rules were looked at, too."""
    revisions: tuple[LintedRevision, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found but what is allowed."""
        return all(
            finding.allowed is not None
            for revision in self.revisions
            for finding in revision.findings
        )


QUERIES = beside(__file__, "live_tables.sql")
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
        if relation is None or not relation.size.pages:
            return None if relation is None else 0
        if relation.size.rows is not None:
            return relation.size.rows
        if table not in self._guesses:  # it was never analysed: the planner guesses from its size
            query = sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {}").format(self._name(table))
            row = self._try(table, query)
            self._guesses[table] = int(row[0][0]["Plan"]["Plan Rows"]) if row else None
        return self._guesses[table]

    def holders(self, table: str) -> list[Holder]:
        """Return who else holds a lock on a table now, the longest transaction first."""
        return [
            Holder(pid, Lock[mode.replace(" ", "_")], who, state, seconds)
            for pid, mode, who, state, seconds in QUERIES.rows(
                self._connection, "holders", table=self._quoted(table)
            )
        ]

    def loss(self, table: str, drops: Sequence[str]) -> Loss | None:
        """Return how many rows lose "table", "rows" or "column NAME" each; None if none does.

        A table that is not found, or whose rows a policy hides, may have any number.
        """
        columns = [each.removeprefix("column ") for each in drops if each.startswith("column ")]
        whole = next((each for each in drops if each in {"table", "rows"}), None)
        names = [] if whole else columns
        what = whole or f"column{'s' if len(names) > 1 else ''} {', '.join(names)}"
        size = self.bytes(table)
        if size is None:
            return Loss(what, None, exact=False)
        if size <= _COUNT_BELOW_BYTES:
            row = self._try(table, self._count(table, names))
            if row is not None:
                return Loss(what, int(row[0]), exact=True) if row[0] else None
        return Loss(what, self._estimate(table, names), exact=False)

    def _count(self, table: str, columns: Sequence[str]) -> sql.Composed:
        is_there = (sql.SQL("{} IS NOT NULL").format(sql.Identifier(name)) for name in columns)
        where = sql.SQL(" OR ").join(is_there) if columns else sql.SQL("TRUE")
        return sql.SQL("SELECT pg_catalog.count(*) FROM {} WHERE {}").format(
            self._name(table), where
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

    def _try(self, table: str, query: sql.Composed) -> tuple[Any, ...] | None:
        relation = self._relation(table)
        role = relation.touched_as if relation else None
        try:
            with self._connection.transaction(), exact.as_owner(self._connection, role):
                self._connection.execute("SET LOCAL lock_timeout = '1s'")
                # Rows that a policy hides are rows: better an error than a smaller number.
                self._connection.execute("SET LOCAL row_security = off")
                return self._connection.execute(query).fetchone()
        except psycopg.Error:  # locked, or not ours to read: it must do without
            return None

    def _relation(self, table: str) -> Relation | None:
        if table not in self._relations:
            schema, name = self._place(table)
            self._relations[table] = read_table(self._connection, schema, name, "sizes")
        return self._relations[table]

    def _place(self, name: str) -> tuple[str, str]:
        *schema, own = parts_of_name(name) or ("",)
        return (schema[-1] if schema else self._schema), own

    def _name(self, name: str) -> sql.Identifier:
        return sql.Identifier(*self._place(name))

    def _quoted(self, name: str) -> str:
        return self._name(name).as_string(self._connection)

    def _is_volatile(self, function: str) -> bool:
        name = function.rpartition(".")[2]
        return bool(QUERIES.value(self._connection, "is_volatile", name=name))

    def _type_change_rewrites(self, table: str, column: str, kind: str) -> bool:
        relation = self._relation(table)
        found = relation.column(column) if relation else None
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


def _same_on_disk(current: str, new: str) -> bool:
    """Whether PostgreSQL changes between two types without writing the rows anew.

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
