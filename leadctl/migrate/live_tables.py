"""The tables that a plan touches, as they are now: size, rows, who holds a lock, what is lost."""

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import beside
from leadctl.sql.locks import Lock

_QUERIES = beside(__file__, "live_tables.sql")
_COUNT_BELOW_BYTES = 256 * 1024 * 1024
"""A table up to this size is counted; of a bigger one the statistics say how many rows it has."""


@dataclass(frozen=True)
class TableState:
    """A table as it is now."""

    bytes: int
    """With its indexes."""
    rows: int | None
    """As the statistics know it, or the planner guesses it; None where nobody may look."""


@dataclass(frozen=True)
class Holder:
    """A session that holds a lock on a table."""

    pid: int
    lock: Lock
    who: str
    state: str
    seconds: float | None
    """How long its transaction has been open."""


@dataclass(frozen=True)
class Loss:
    """What a statement would lose of a table."""

    what: str
    """ "table", "rows" or "column NAME"."""
    rows: int | None
    """How many rows lose it; None where the statement's condition decides."""
    exact: bool


class Tables:
    """Looks tables up in the live catalog; each is asked for once."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self._states: dict[str, TableState | None] = {}

    def state(self, table: str) -> TableState | None:
        """Return a table's state; None for one that does not exist."""
        if table not in self._states:
            row = self._row("size", table)
            whole = self._row("partitions", table)
            found = whole if whole and whole[0] is not None else row
            self._states[table] = None
            if row and found:
                rows = self._planner_rows(table) if found[1] is None else found[1]
                self._states[table] = TableState(found[0], rows)
        return self._states[table]

    def holders(self, table: str) -> list[Holder]:
        """Return who else holds a lock on a table now, the longest transaction first."""
        rows = self._connection.execute(
            _QUERIES.get("holders", self._connection.info.server_version),
            {"table": self._quoted(table)},
        )
        return [
            Holder(pid, Lock[mode.replace(" ", "_")], who, state, seconds)
            for pid, mode, who, state, seconds in rows
        ]

    def loss(self, table: str, what: str) -> Loss:
        """Return how many rows lose "table", "rows" or "column NAME"."""
        state = self.state(table)
        column = what.removeprefix("column ") if what.startswith("column ") else None
        if state is None:
            return Loss(what, 0, exact=True)
        if state.bytes <= _COUNT_BELOW_BYTES:
            counted = self._count(table, column)
            if counted is not None:
                return Loss(what, counted, exact=True)
        if state.rows is None or column is None:
            return Loss(what, state.rows, exact=False)
        row = self._row("null_share", table, column=column)
        return Loss(what, round(state.rows * (1 - (row[0] if row else 0))), exact=False)

    def _planner_rows(self, table: str) -> int | None:
        """Return the planner's guess, from the size, of a table that was never analysed."""
        query = sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {}").format(
            sql.Identifier(*self._parts(table))
        )
        row = self._try(query)
        return int(row[0][0]["Plan"]["Plan Rows"]) if row else None

    def _count(self, table: str, column: str | None) -> int | None:
        counted = sql.SQL("count(*)") if column is None else sql.SQL("count({})")
        query = sql.SQL("SELECT {} FROM {}").format(
            counted.format(*([sql.Identifier(column)] if column else [])),
            sql.Identifier(*self._parts(table)),
        )
        row = self._try(query)
        return int(row[0]) if row else None

    def _try(self, query: sql.Composed) -> tuple[Any, ...] | None:
        try:
            with self._connection.transaction():
                self._connection.execute("SET LOCAL lock_timeout = '1s'")
                return self._connection.execute(query).fetchone()
        except psycopg.Error:  # locked, or not ours to read: it must do without
            return None

    def _row(self, name: str, table: str, **parameters: object) -> tuple[int, int | None] | None:
        return self._connection.execute(
            _QUERIES.get(name, self._connection.info.server_version),
            {"table": self._quoted(table), **parameters},
        ).fetchone()

    def _quoted(self, table: str) -> str:
        return sql.Identifier(*self._parts(table)).as_string(self._connection)

    def _parts(self, table: str) -> list[str]:
        return table.split(".") if "." in table else [self._schema, table]
