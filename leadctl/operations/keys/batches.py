"""Reading the rows of a table that are due, and replacing their values."""

from collections.abc import Sequence

import psycopg
from psycopg import sql

from leadctl.crypto.cipher import VERSION
from leadctl.db.connect import Connection
from leadctl.operations.keys.kinds import EncryptedTable
from leadctl.operations.keys.recrypt import Change, Row

_BATCH = 5000
"""Rows."""
_LOCK_TIMEOUT = "200ms"
"""Below deadlock_timeout, which is a second: in a deadlock it is we who give way."""


class Batches:
    """The rows of one table that have a value under another key than the primary one."""

    def __init__(self, connection: Connection, table: EncryptedTable, primary: str) -> None:
        self._connection = connection
        self._table = table
        self._key = sql.SQL(", ").join(sql.Identifier(column) for column in table.key)
        self._columns = [sql.Identifier(column) for column in table.contexts]
        self._due = sql.SQL(" OR ").join(
            sql.SQL("{} NOT LIKE {}").format(column, f"{VERSION}.{primary}.%")
            for column in self._columns
        )
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (_LOCK_TIMEOUT,))

    def count(self) -> int:
        """Return how many rows are due; plaintext and unreadable values count, too."""
        counting = sql.SQL("SELECT count(*) FROM {} WHERE {}")
        query = counting.format(self._table.identifier, self._due)
        row = self._connection.execute(query).fetchone()
        return int(row[0]) if row else 0

    def read(self, after: Row | None) -> list[Row]:
        """Return the next rows that are due, in the order of the primary key."""
        beyond: sql.Composable = sql.SQL("true")
        if after is not None:
            types = self._table.key.values()
            values = sql.SQL(", ").join(
                sql.SQL("{}::{}").format(str(value), sql.SQL(kind))
                for value, kind in zip(after, types, strict=False)
            )
            beyond = sql.SQL("({}) > ({})").format(self._key, values)
        query = sql.SQL("SELECT {}, {} FROM {} WHERE ({}) AND {} ORDER BY {} LIMIT {}").format(
            self._key,
            sql.SQL(", ").join(self._columns),
            self._table.identifier,
            self._due,
            beyond,
            self._key,
            _BATCH,
        )
        return self._connection.execute(query).fetchall()

    def replace(self, changes: Sequence[Change]) -> int:
        """Write new values where the old ones are still there; return how many rows it were.

        Where a row is locked by others the batch is split: what is free is written, the rest is
        left for the next pass.
        """
        if not changes:
            return 0
        try:
            return self._connection.execute(self._update(), self._arrays(changes)).rowcount
        except psycopg.errors.LockNotAvailable:
            if len(changes) == 1:
                return 0
            middle = len(changes) // 2
            return self.replace(changes[:middle]) + self.replace(changes[middle:])

    def _update(self) -> sql.Composed:
        """Compose the compare-and-set of a batch: arrays in, one statement, one transaction."""
        keys = list(self._table.key.items())
        width = len(self._columns)
        # Binary: as text, writing the arrays takes longer than encrypting their values.
        arrays = [sql.SQL("%b::{}[]").format(sql.SQL(kind)) for _, kind in keys]
        arrays += [sql.SQL("%b::text[]").format()] * (2 * width)
        names = [sql.Identifier(f"k{i}") for i in range(len(keys))]
        names += [sql.Identifier(f"o{i}") for i in range(width)]
        names += [sql.Identifier(f"n{i}") for i in range(width)]
        sets = [
            sql.SQL("{} = v.{}").format(column, sql.Identifier(f"n{i}"))
            for i, column in enumerate(self._columns)
        ]
        same = [
            sql.SQL("t.{} = v.{}").format(sql.Identifier(column), sql.Identifier(f"k{i}"))
            for i, (column, _) in enumerate(keys)
        ]
        same += [
            sql.SQL("t.{} IS NOT DISTINCT FROM v.{}").format(column, sql.Identifier(f"o{i}"))
            for i, column in enumerate(self._columns)
        ]
        comma = sql.SQL(", ")
        return sql.SQL("UPDATE {} AS t SET {} FROM unnest({}) AS v ({}) WHERE {}").format(
            self._table.identifier,
            comma.join(sets),
            comma.join(arrays),
            comma.join(names),
            sql.SQL(" AND ").join(same),
        )

    def _arrays(self, changes: Sequence[Change]) -> list[list[str | None]]:
        columns: list[list[str | None]] = []
        for index in range(len(self._table.key)):
            columns.append([str(change.key[index]) for change in changes])
        for index in range(len(self._columns)):
            columns.append([change.old[index] for change in changes])
        for index in range(len(self._columns)):
            columns.append([change.new[index] for change in changes])
        return columns
