"""Filling rows from a revision: in batches that commit, that can be stopped and go on.

Each batch is a transaction of its own, so a revision fills first: what else it does comes behind,
in one transaction, and a run that was stopped does that when the rows are filled.
"""

import re
import time
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from typing import Any

from psycopg import sql

from leadctl.catalog.relations import read_named
from leadctl.errors import NoPrimaryKey
from leadctl.journal import state
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import queries_of, written_by_server, written_by_user
from leadctl.progress import Progress

_QUERIES = queries_of(__file__, "backfill.sql")
_BIND = re.compile(r"(?<![:\w\\]):(?=\w+(?!:))")
"""What SQLAlchemy's text() takes for a parameter."""
_BATCH = 1000
_BATCH_SECONDS = 0.5
"""What a batch should take; the number of rows follows it."""
_LARGEST = 20_000
_IN_BATCHES = "/* in batches, by leadctl.fill */"
"""Marks the one statement that a script for psql has instead."""

progress_of_run: ContextVar[Progress | None] = ContextVar("progress_of_run", default=None)
"""Who is told how far it is; set by whoever runs revisions."""


def fill(op: Any, table: str, assignment: str, where: str, *, load: float = 0.5) -> int:
    """Set `assignment` in the rows where `where` holds, in batches; return how many it were.

    `op` is Alembic's; the texts are SQL, and `where` must no longer hold for a row that is done.
    `load` is the share of the time that it works; the rest it leaves to others.  A run that was
    stopped goes on where it was.  Raises NoPrimaryKey, and what the server raises.
    """
    context = op.get_context()
    with context.autocommit_block():
        if context.as_sql:
            statement = f"UPDATE {table} SET {assignment} WHERE {where} {_IN_BATCHES}"  # noqa: S608
            op.execute(escape(statement))
            return 0
        connection: Connection = context.connection.connection.driver_connection
        return _Fill(connection, table, assignment, where).run(load)


def escape(statement: str) -> str:
    """Return a statement as SQLAlchemy's text() takes it: its colons are no parameters."""
    return _BIND.sub(r"\\:", statement.replace("\\:", "\\\\:"))


def is_batched(statement: str) -> bool:
    """Whether a statement stands for a fill."""
    return statement.rstrip().endswith(_IN_BATCHES)


class _Fill:
    def __init__(self, connection: Connection, table: str, assignment: str, where: str) -> None:
        self._connection = connection
        self._table = table
        self._work = f"{table}: {assignment} where {where}"
        relation = read_named(connection, [table], "columns", "indexes", "sizes").get(table)
        columns = [] if relation is None else map(relation.column, relation.primary_key)
        self._key = [
            (sql.Identifier(column.name).as_string(connection), column.type)
            for column in columns
            if column is not None
        ]
        if relation is None or not self._key:
            raise NoPrimaryKey(
                f"{table} has no primary key, so its rows cannot be filled in batches.",
                hint="Add a primary key, or write the UPDATE yourself.",
            )
        self._estimate = relation.size.known_rows or 0
        self._batch_query = self._compose(assignment, where)
        self._keeps_checkpoints = state.is_there(connection)
        if self._keeps_checkpoints and not _QUERIES.value(connection, "is_there"):
            state.make_table(connection, _QUERIES, "create")

    def run(self, load: float) -> int:
        total = self._estimate
        after, rows = self._checkpoint("checkpoint") or (None, 0)
        size, tell = _BATCH, progress_of_run.get()
        while True:
            started = time.monotonic()
            with self._connection.transaction():
                last, changed, looked_at = self._batch(after, size)
                rows += changed
                if last is not None:
                    after = last
                    self._checkpoint("keep", after_key=list(after), rows=rows)
            elapsed = time.monotonic() - started
            if tell is not None:
                tell(rows, max(total, rows), "rows")
            if looked_at < size:
                break
            size = _next_size(size, elapsed)
            time.sleep(elapsed * (1 - load) / load)
        self._checkpoint("forget")
        return int(rows)

    def _checkpoint(self, block: str, **values: Any) -> tuple[Any, ...] | None:
        if not self._keeps_checkpoints:
            return None
        cursor = _QUERIES.run(self._connection, block, work=self._work, **values)
        return cursor.fetchone() if cursor.description else None

    def _compose(self, assignment: str, where: str) -> sql.Composed:
        """Compose one batch: the next rows by key, changed, and the last key of them."""
        names = [name for name, _ in self._key]
        due = [f"leadctl_key_{number}" for number in range(len(names))]  # no column of the table
        return sql.SQL(
            "WITH due ({due}) AS (SELECT {key} FROM {table} WHERE ({where})"
            " AND (%s OR ({key}) > ({beyond})) ORDER BY {key} LIMIT %s),"
            " done AS (UPDATE {table} AS t SET {assignment} FROM due WHERE {same} RETURNING 1)"
            " SELECT (SELECT ARRAY[{text}] FROM due ORDER BY {backwards} LIMIT 1),"
            " (SELECT count(*) FROM done), (SELECT count(*) FROM due)"
        ).format(
            table=written_by_user(self._table.replace("%", "%%")),
            # These are a revision's own texts, as the statements of any other revision are.
            where=written_by_user(where.replace("%", "%%")),
            assignment=written_by_user(assignment.replace("%", "%%")),
            key=_listed(names),
            beyond=_listed(f"%s::{kind}" for _, kind in self._key),
            due=_listed(due),
            same=sql.SQL(" AND ").join(
                written_by_server(f"t.{name} = due.{own}")
                for name, own in zip(names, due, strict=True)
            ),
            text=_listed(f"{own}::text" for own in due),
            backwards=_listed(f"{own} DESC" for own in due),
        )

    def _batch(
        self, after: Sequence[str] | None, size: int
    ) -> tuple[Sequence[str] | None, int, int]:
        keys: Sequence[str | None] = after or [None] * len(self._key)
        row = self._connection.execute(self._batch_query, (after is None, *keys, size)).fetchone()
        assert row is not None
        return row[0], row[1], row[2]


def _listed(texts: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(written_by_server(text) for text in texts)


def _next_size(size: int, elapsed: float) -> int:
    """Return how many rows the next batch has, so that it takes about as long as it should."""
    wanted = round(size * _BATCH_SECONDS / max(elapsed, 0.001))
    return max(100, min(wanted, size * 2, _LARGEST))
