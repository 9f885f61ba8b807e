"""The batches of a rotation: rows that are due are read, re-encrypted and replaced."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from leadctl.crypto import Key, Keyring, decrypt
from leadctl.crypto.cipher import VERSION, encrypt_and_verify
from leadctl.errors import LeadctlError, NotEncrypted
from leadctl.keys.encrypted_values import EncryptedTable
from leadctl.postgres.connect import Connection, set_session
from leadctl.postgres.names import written_by_server

Row = tuple[str | None, ...]
"""The columns of the primary key and xmin as texts, then the encrypted columns."""
_BATCH = 5000
"""Rows."""
_LOCK_TIMEOUT = "200ms"
"""Below deadlock_timeout, which is a second: in a deadlock it is we who give way."""


@dataclass(frozen=True)
class UnreadableValue:
    """A value that no key reads: which row it is in, and why; never the value itself."""

    table: str
    column: str
    key: str
    reason: str


class Recrypt:
    """Re-encrypts values under the primary key of a keyring."""

    def __init__(self, keyring: Keyring, *, plaintext: bool) -> None:
        self._keyring = keyring
        self._primary: Key = keyring.primary
        self._done = f"{VERSION}.{self._primary.fingerprint}."
        self._plaintext = plaintext

    def rows(
        self, table: EncryptedTable, rows: Sequence[Row], unreadable: list[UnreadableValue]
    ) -> list[Row]:
        """Return the rows to be changed, with new values; add to `unreadable` what has none."""
        changed = []
        same = len(table.key) + 1
        columns = [(i, *column) for i, column in enumerate(table.contexts.items(), same)]
        for row in rows:
            new = []
            for i, column, context in columns:
                value = row[i]
                if value is not None and not value.startswith(self._done):
                    try:
                        value = self._value(value, context)
                    except LeadctlError as error:
                        key = ", ".join(map(str, row[: same - 1]))
                        unreadable.append(UnreadableValue(table.name, column, key, error.code))
                new.append(value)
            if (*new,) != row[same:]:
                changed.append((*row[:same], *new))
        return changed

    def _value(self, value: str, context: str) -> str:
        try:
            text = decrypt(value, self._keyring, context)
        except NotEncrypted:
            if not self._plaintext:
                return value
            text = value
        return encrypt_and_verify(text, self._primary, context)


# Commits that a crash of the server takes back leave values under their old key, for the next run;
# the journal's entry, which comes after them, is waited for, and they with it.
_SESSION = {"lock_timeout": _LOCK_TIMEOUT, "synchronous_commit": "off"}


class DueRows:
    """The rows of one table that have a value under another key than the primary one."""

    def __init__(self, connection: Connection, table: EncryptedTable, primary: str) -> None:
        self._connection = connection
        self._table = table
        self._keys = [sql.Identifier("t", column) for column in table.key]
        self._version = sql.Identifier("t", "xmin")
        self._columns = [sql.Identifier(column) for column in table.contexts]
        self._due = sql.SQL(" OR ").join(
            sql.SQL("{} NOT LIKE {}").format(column, f"{VERSION}.{primary}.%")
            for column in self._columns
        )
        set_session(connection, _SESSION)

    def count(self) -> int:
        """Return how many rows are due; plaintext and unreadable values count, too."""
        counting = sql.SQL("SELECT count(*) FROM {} WHERE {}")
        query = counting.format(self._table.identifier, self._due)
        row = self._connection.execute(query).fetchone()
        return int(row[0]) if row else 0

    def read(self, after: Row | None) -> list[Row]:
        """Return the next rows that are due, in the order of the primary key."""
        comma = sql.SQL(", ")
        beyond: sql.Composable = sql.SQL("true")
        if after is not None:
            values = [
                sql.SQL("{}::{}").format(value, written_by_server(kind))
                for value, kind in zip(after, self._table.key.values(), strict=False)
            ]
            beyond = sql.SQL("({}) > ({})").format(comma.join(self._keys), comma.join(values))
        read = [sql.SQL("{}::text").format(name) for name in (*self._keys, self._version)]
        query = sql.SQL("SELECT {} FROM {} AS t WHERE ({}) AND {} ORDER BY {} LIMIT {}").format(
            comma.join([*read, *self._columns]),
            self._table.identifier,
            self._due,
            beyond,
            comma.join(self._keys),
            _BATCH,
        )
        return self._connection.execute(query).fetchall()

    def replace(self, changes: Sequence[Row]) -> int:
        """Write new values where the rows are as they were read; return how many it were.

        Where a row is locked by others the batch is split: what is free is written, the rest is
        left for the next pass.
        """
        if not changes:
            return 0
        try:
            arrays = [_array(column) for column in zip(*changes, strict=True)]
            return self._connection.execute(self._update(), arrays).rowcount
        except psycopg.errors.LockNotAvailable:
            if len(changes) == 1:
                return 0
            middle = len(changes) // 2
            return self.replace(changes[:middle]) + self.replace(changes[middle:])

    def _update(self) -> sql.Composed:
        """Compose the compare-and-set of a batch: arrays in, one statement, one transaction.

        A row that anybody has written since has another xmin, whatever its values are:
        https://www.postgresql.org/docs/current/ddl-system-columns.html
        """
        types = [*map(sql.SQL, self._table.key.values()), sql.SQL("xid")]
        types += [sql.SQL("text")] * len(self._columns)
        names = [*self._keys, self._version, *self._columns]
        given = [sql.Identifier("v", f"v{i}") for i in range(len(names))]
        same = len(self._keys) + 1
        equal = [sql.SQL("{} = {}").format(*pair) for pair in zip(names, given, strict=True)]
        comma = sql.SQL(", ")
        return sql.SQL("UPDATE {} AS t SET {} FROM unnest({}) AS v ({}) WHERE {}").format(
            self._table.identifier,
            comma.join(equal[same:]),
            comma.join(sql.SQL("%s::{}[]").format(each) for each in types),
            comma.join(sql.Identifier(f"v{i}") for i in range(len(names))),
            sql.SQL(" AND ").join(equal[:same]),
        )


def _array(values: Iterable[str | None]) -> str:
    """Write an array as PostgreSQL reads one.

    psycopg's own way takes longer than encrypting the values:
    https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO
    """
    items = ["NULL" if value is None else _quoted(value) for value in values]
    return "{" + ",".join(items) + "}"


def _quoted(value: str) -> str:
    if '"' in value or "\\" in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'
