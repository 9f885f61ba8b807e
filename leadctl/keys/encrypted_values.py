"""Telling encrypted values apart in SQL, without decrypting: by their form and fingerprint.

Nothing here knows the models: health checks use it, and load no SQLAlchemy.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from psycopg import sql

from leadctl.crypto import Keyring
from leadctl.crypto.cipher import NODE_FORM, VERSION
from leadctl.postgres.connect import Connection

PLAINTEXT, LEGACY, MALFORMED = "plaintext", "legacy", "malformed"
"""What a value may be beside one under a key, which is told by the key's fingerprint."""

# Together they say what cipher.FORM does, over whose counts PostgreSQL takes many times as long:
# where the dots are, that there are no more, which letters there are, and those of a fingerprint.
_PLACES = f"{VERSION}.{'_' * 16}.{'_' * 16}.{'_' * 22}%"
_MORE_DOTS = "%.%.%.%.%"
_OTHER_LETTERS = "[^A-Za-z0-9_.-]"
_FINGERPRINT = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True, eq=False)
class EncryptedTable:
    """A table with encrypted columns: their contexts, and its primary key with types."""

    schema: str
    name: str
    contexts: Mapping[str, str]
    """Column → context."""
    key: Mapping[str, str] = field(default_factory=dict)
    """Column of the primary key → type."""

    @property
    def identifier(self) -> sql.Identifier:
        """The table's qualified name."""
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True)
class ColumnKeys:
    """The values of one encrypted column, by what they are.

    `under` counts them by their key's fingerprint; `unknown` is how many of those are under keys
    that the keyring lacks.
    """

    table: str
    column: str
    under: dict[str, int]
    unknown: int
    legacy: int
    malformed: int
    plaintext: int

    @property
    def bad(self) -> int:
        """How many values are not readable ciphertext."""
        return self.unknown + self.malformed + self.plaintext


def count_values(
    connection: Connection,
    table: EncryptedTable,
    keyring: Keyring,
    *,
    percent: float | None = None,
) -> list[ColumnKeys]:
    """Count a table's values by column and kind, in one pass, without decrypting.

    `percent` reads only that share of the table's pages.
    """
    found: dict[str, Counter[str]] = {name: Counter() for name in table.contexts}
    for name, kind, number in connection.execute(_counting(table, percent)):
        found[name][kind] = number
    return [_column(table.name, name, kinds, keyring) for name, kinds in found.items()]


def _column(table: str, name: str, kinds: Counter[str], keyring: Keyring) -> ColumnKeys:
    under = {kind: number for kind, number in kinds.items() if _FINGERPRINT.fullmatch(kind)}
    return ColumnKeys(
        table=table,
        column=name,
        under=under,
        unknown=sum(number for kind, number in under.items() if kind not in keyring),
        legacy=kinds[LEGACY],
        malformed=kinds.total() - sum(under.values()) - kinds[LEGACY] - kinds[PLAINTEXT],
        plaintext=kinds[PLAINTEXT],
    )


def sample(percent: float | None) -> sql.Composed:
    """Compose what stands behind a table to read only a share of its pages; None is all."""
    if percent is None:
        return sql.Composed([])
    return sql.SQL("TABLESAMPLE SYSTEM ({})").format(percent)


def _counting(table: EncryptedTable, percent: float | None) -> sql.Composed:
    values = sql.SQL(", ").join(
        sql.SQL("({}, {})").format(column, _kind(sql.Identifier("t", column)))
        for column in table.contexts
    )
    return sql.SQL(
        "SELECT v.name, v.kind, count(*) FROM {table} AS t {sample}"
        " CROSS JOIN LATERAL (VALUES {values}) AS v (name, kind)"
        " WHERE v.kind IS NOT NULL GROUP BY 1, 2"
    ).format(table=table.identifier, sample=sample(percent), values=values)


def _kind(column: sql.Identifier) -> sql.Composed:
    """Compose what a value is: what should be a fingerprint, or one of the others, or NULL."""
    return sql.SQL(
        "CASE WHEN {c} IS NULL THEN NULL"
        " WHEN {c} LIKE {places} AND {c} NOT LIKE {dots} AND {c} !~ {letters}"
        " THEN substr({c}, {start}, 16)"
        " WHEN {c} LIKE {version} THEN {malformed} WHEN {c} ~ {node} THEN {legacy}"
        " ELSE {plaintext} END"
    ).format(
        c=column,
        places=_PLACES,
        dots=_MORE_DOTS,
        letters=_OTHER_LETTERS,
        start=len(VERSION) + 2,
        version=f"{VERSION}.%",
        malformed=MALFORMED,
        node=NODE_FORM,
        legacy=LEGACY,
        plaintext=PLAINTEXT,
    )
