"""Encrypted values in SQL: told apart without decrypting, and replaced batch by batch.

Nothing here knows the models: health checks use it, and load no SQLAlchemy.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import psycopg
from psycopg import sql

from leadctl.catalog.facets import Column
from leadctl.catalog.relations import Relation
from leadctl.crypto import NODE_FORM, VERSION, Key, Keyring, decrypt, encrypt_and_verify
from leadctl.errors import LeadctlError, NotEncrypted
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, set_session
from leadctl.postgres.queries import written_by_server

PLAINTEXT, LEGACY, MALFORMED = "plaintext", "legacy", "malformed"
"""What a value may be next to one under a key, which is told by the key's fingerprint."""
_FOREIGN = {
    # First, since any of its letters may be the two hyphens that Rails puts between parts.
    "Fernet": r"^(b')?gAAAAA[A-Za-z0-9_-]{80,}=*'?$",
    "Rails": r'^\s*\{\s*"p"\s*:\s*"[^"]*"\s*,\s*"h"\s*:\s*\{'
    # Two hyphens are letters of base64 for URLs, too: then it is the lengths that tell.
    r"|^[A-Za-z0-9+/]{8,}=*--[A-Za-z0-9+/]{8,}=*(--[A-Za-z0-9+/]{8,}=*)?$"
    r"|^[A-Za-z0-9_-]{8,}=*--([0-9a-f]{40}|[0-9a-f]{64}|[A-Za-z0-9_-]{16}--[A-Za-z0-9_-]{22}(==)?)$",
    "Laravel": r"^eyJpdiI6[A-Za-z0-9+/]+=*$",
    "JSON of ciphertext": r'^\s*\{(?=.*"(iv|nonce)"\s*:)'
    r'(?=.*"(at|tag|authTag|auth_tag|mac|ct|data|content|value|payload|cipher_?[tT]ext|encrypted'
    r'(_?[dD]ata)?)"\s*:)',
    "JWT": r"^eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*(\.[A-Za-z0-9_-]*){0,2}$",
    "PASETO": r"^v[1-4]\.(local|public)\.[A-Za-z0-9_-]{16,}",
    "PEM or PGP": r"^\s*-----BEGIN [A-Z0-9 ]+-----",
    "PGP": r"^(hQ[EIM]|jA0E|ww0E|wcB|wcF|wV4D|hF4D)[A-Za-z0-9+/]{20,}=*"
    r"|^(c30d04|c1c0|85[0-9a-f]{4}03)[0-9a-f]{40,}$",
    "binary": r"^\\x([0-9a-fA-F]{2}){12,}$",
    "argon2": r"^(argon2)?\$argon2(id|i|d)\$",
    "bcrypt": r"^(bcrypt(_sha256)?\$)?\$2[abxy]?\$[0-9]{2}\$[./A-Za-z0-9]{53}$",
    "scrypt": r"^(\$scrypt\$|scrypt:|scrypt\$|\$7\$)",
    "crypt": r"^\$([156HPSy]|gy|apr1|bcrypt-sha256|pbkdf2[a-z0-9-]*|sha1|sha256|sha512)\$",
    "PBKDF2": r"^pbkdf2[_:][a-z0-9]+[$:]",
    "SCRAM": r"^SCRAM-SHA-(1|256)\$[0-9]+:",
    "LDAP": r"^\{(SSHA|SHA|CRYPT|PBKDF2)[0-9A-Z-]*\}",
    "Spring": r"^\{[A-Za-z][A-Za-z0-9@_.-]*\}[^\s{}\"]{16,}$",
    "Django": r"^(md5|sha1)\$[A-Za-z0-9]*\$([0-9a-f]{32}|[0-9a-f]{40})$",
    "Phoenix": r"^(SFMyNTY|SFMzODQ|SFM1MTI|QTEyOEdDTQ|QTE5MkdDTQ|QTI1NkdDTQ)\.[A-Za-z0-9_-]+\.",
    "Vault": r"^vault:v[0-9]+:",
    "Ansible Vault": r"^\$ANSIBLE_VAULT;",
    "SOPS": r"^ENC\[AES256_GCM,",
    "age": r"^age-encryption\.org/v1",
    "OpenSSL": r"^U2FsdGVkX1[A-Za-z0-9+/]{10,}=*",
    "AWS": r"^(AQICAH|AYAD|AgV4|Ci[A-D])[A-Za-z0-9+/]{50,}=*$",
    "Google": r"^CiQA[A-Za-z0-9+/]{40,}=*$",
    "ASP.NET": r"^CfDJ8[A-Za-z0-9_-]{50,}$",
    "Identity": r"^AQAAAA(EAACcQ|IAAYag)[A-Za-z0-9+/]{60,}=*$",
    "DPAPI": r"^AQAAANCMnd8B[A-Za-z0-9+/]{20,}=*$",
    "Nextcloud": r"^[0-9a-f]{2,}\|[0-9a-f]{32}\|[0-9a-f]{64,128}(\|[0-9])?$",
    "Magento": r"^[0-9]:[0-9]:[A-Za-z0-9+/]{24,}=*$",
    "Bitwarden": r"^[0-9]\.[A-Za-z0-9+/]{22}==\|[A-Za-z0-9+/]+=*(\|[A-Za-z0-9+/]+=*)?$",
    "Kubernetes": r"^k8s:enc:[a-z0-9]+:v[0-9]+:",
    "Cloak": r"^AQpBRVMu[A-Za-z0-9+/]{30,}=*$",
    "ENC": r"^ENC(\([A-Za-z0-9+/]{20,}=*\)|\[[A-Z0-9]+,[A-Za-z0-9+/]{20,}=*\])$",
    "Halite": r"^MUI[EF]A[A-Za-z0-9_-]{40,}=*(<ENC>)?$",
    # A nonce of 12 or 16 bytes, then the ciphertext, or it and a tag of 16 bytes in any order.
    "hexadecimal parts": r"^([0-9a-f]{24}|[0-9a-f]{32}|[0-9A-F]{24}|[0-9A-F]{32})"
    r"([:.]([0-9a-fA-F]{2}){16,}|[:.][0-9a-fA-F]{32}[:.]([0-9a-fA-F]{2})+"
    r"|[:.]([0-9a-fA-F]{2})+[:.][0-9a-fA-F]{32})$",
    "base64 parts": r"^([A-Za-z0-9+/]{16}|[A-Za-z0-9+/]{22}==)"
    r"([:.][A-Za-z0-9+/]{22}==[:.][A-Za-z0-9+/]+=*|[:.][A-Za-z0-9+/]+=*[:.][A-Za-z0-9+/]{22}==)$"
    r"|^[A-Za-z0-9+/]{22}==[:.][A-Za-z0-9+/]{22,}=*$",
    "Prisma": r"^v[0-9]+\.aes[a-z0-9]+\.[0-9a-f]{8}\.[A-Za-z0-9_-]+",
    "Defuse": r"^def50[0-9a-f]{80,}$",
    "CipherSweet": r"^(brng|nacl|fips|boring):[A-Za-z0-9+/_-]{16,}",
    "a key's version": r"^(enc|encrypted|secretbox|aes[a-z0-9-]*|v[0-9]+):[A-Za-z0-9+/_=:-]{24,}$",
}
"""What the ciphertexts and hashes of other tools look like, for PostgreSQL and for Python."""

_AROUND = " \t\r\n"
"""What may stand around these: most programs that write base64 end it with a line."""


@cache
def _foreign_forms() -> list[re.Pattern[str]]:
    return [re.compile(form, re.DOTALL) for form in _FOREIGN.values()]


# Together they say what crypto.FORM does, over whose counts PostgreSQL takes many times as long:
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
    key: tuple[Column, ...] = ()
    """The columns of the primary key, where it is needed."""
    touched_as: str | None = None
    """The role to read and write rows as; None for this one."""

    @property
    def identifier(self) -> sql.Identifier:
        """The table's qualified name."""
        return sql.Identifier(self.schema, self.name)


def encrypted_table(relation: Relation, contexts: Mapping[str, str]) -> EncryptedTable:
    """Return a relation that has encrypted columns, with its key."""
    columns = {column.name: column for column in relation.columns}
    return EncryptedTable(
        relation.schema,
        relation.name,
        contexts,
        tuple(columns[name] for name in relation.primary_key),
        relation.touched_as,
    )


class ColumnKeys(NamedTuple):
    """The values of one encrypted column, by what they are.

    `under` counts them by their key's fingerprint; `unknown` is how many of those are under keys
    that the keyring lacks.  `foreign` counts, by tool, what looks like another tool's ciphertext or
    hash; what looks like nothing known is `plaintext`.
    """

    table: str
    column: str
    under: dict[str, int]
    unknown: int
    legacy: int
    malformed: int
    foreign: dict[str, int]
    plaintext: int

    @property
    def bad(self) -> int:
        """How many values are not readable ciphertext."""
        return self.unknown + self.malformed + sum(self.foreign.values()) + self.plaintext

    @property
    def values(self) -> int:
        """How many values there are."""
        return sum(self.under.values()) - self.unknown + self.legacy + self.bad


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
    with exact.as_owner(connection, table.touched_as):
        for name, kind, number in connection.execute(_counting(table, percent)):
            found[name][kind] = number
    return [_column(table.name, name, kinds, keyring) for name, kinds in found.items()]


def _column(table: str, name: str, kinds: Counter[str], keyring: Keyring) -> ColumnKeys:
    under = {kind: number for kind, number in kinds.items() if _FINGERPRINT.fullmatch(kind)}
    foreign = {tool: kinds[tool] for tool in _FOREIGN if kinds[tool]}
    others = kinds[LEGACY] + kinds[PLAINTEXT] + sum(foreign.values())
    return ColumnKeys(
        table=table,
        column=name,
        under=under,
        unknown=sum(number for kind, number in under.items() if kind not in keyring),
        legacy=kinds[LEGACY],
        malformed=kinds.total() - sum(under.values()) - others,
        foreign=foreign,
        plaintext=kinds[PLAINTEXT],
    )


def sample(percent: float | None) -> sql.Composed:
    """Compose what stands behind a table to read only a share of its pages; None is all."""
    if percent is None:
        return sql.Composed([])
    return sql.SQL("TABLESAMPLE pg_catalog.system ({})").format(percent)


def _counting(table: EncryptedTable, percent: float | None) -> sql.Composed:
    """Compose the count of each kind of value.

    Of arrays, since the server prepares the expressions of VALUES again for each row: for these
    that takes five times as long as they do.
    """
    comma = sql.SQL(", ")
    return sql.SQL(
        "SELECT v.name, v.kind, pg_catalog.count(*) FROM (SELECT"
        " pg_catalog.unnest(ARRAY[{names}]), pg_catalog.unnest(ARRAY[{kinds}])"
        " FROM {table} AS t {sample}) AS v (name, kind) WHERE v.kind IS NOT NULL GROUP BY 1, 2"
    ).format(
        names=comma.join(map(sql.Literal, table.contexts)),
        kinds=comma.join(_kind(sql.Identifier("t", column)) for column in table.contexts),
        table=table.identifier,
        sample=sample(percent),
    )


def _kind(column: sql.Identifier) -> sql.Composed:
    """Compose what a value is: what should be a fingerprint, or one of the others, or NULL."""
    return sql.SQL(
        "CASE WHEN {c} IS NULL THEN NULL"
        " WHEN {c} OPERATOR(pg_catalog.~~) {places} AND {c} OPERATOR(pg_catalog.!~~) {dots}"
        " AND {c} OPERATOR(pg_catalog.!~) {letters} THEN pg_catalog.substr({c}, {start}, 16)"
        " WHEN {c} OPERATOR(pg_catalog.~~) {version} THEN {malformed}"
        " WHEN {c} OPERATOR(pg_catalog.~) {node} THEN {legacy}"
        " {foreign} ELSE {plaintext} END"
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
        foreign=sql.SQL(" ").join(
            sql.SQL("WHEN pg_catalog.btrim({}, {}) OPERATOR(pg_catalog.~) {} THEN {}").format(
                column, _AROUND, form, tool
            )
            for tool, form in _FOREIGN.items()
        ),
        plaintext=PLAINTEXT,
    )


Row = tuple[str | None, ...]
"""The columns of the primary key and xmin as texts, then the encrypted columns."""
_BATCH = 5000
"""Rows."""
_LOCK_TIMEOUT = "200ms"
"""Below deadlock_timeout, which is a second: in a deadlock it is we who yield."""


class UnreadableValue(NamedTuple):
    """A value that no key reads: which row it is in, and why; never the value itself."""

    table: str
    column: str
    key: str
    reason: str


class Recrypt:
    """Re-encrypts values under the primary key of a keyring.

    `plaintext` encrypts what is no ciphertext, too, `foreign` what looks like another tool's.
    """

    def __init__(self, keyring: Keyring, *, plaintext: bool, foreign: bool = False) -> None:
        self._keyring = keyring
        self._primary: Key = keyring.primary
        self._done = f"{VERSION}.{self._primary.fingerprint}."
        self._plaintext, self._foreign = plaintext, foreign

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
            bare = value.strip(_AROUND)
            is_foreign = any(form.match(bare) for form in _foreign_forms())
            if not (self._foreign if is_foreign else self._plaintext):
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
        self._keys = [sql.Identifier("t", column.name) for column in table.key]
        self._version = sql.Identifier("t", "xmin")
        self._columns = [sql.Identifier(column) for column in table.contexts]
        self._due = sql.SQL(" OR ").join(
            sql.SQL("{} OPERATOR(pg_catalog.!~~) {}").format(column, f"{VERSION}.{primary}.%")
            for column in self._columns
        )
        set_session(connection, _SESSION)

    def count(self) -> int:
        """Return how many rows are due; plaintext and unreadable values count, too."""
        counting = sql.SQL("SELECT pg_catalog.count(*) FROM {} WHERE {}")
        query = counting.format(self._table.identifier, self._due)
        with exact.as_owner(self._connection, self._table.touched_as):
            row = self._connection.execute(query).fetchone()
        return int(row[0]) if row else 0

    def read(self, after: Row | None) -> list[Row]:
        """Return the next rows that are due, in the order of the primary key."""
        comma = sql.SQL(", ")
        beyond: sql.Composable = sql.SQL("true")
        if after is not None:
            beyond = self._beyond(after)
        read = [
            sql.SQL("{}::pg_catalog.text").format(name) for name in (*self._keys, self._version)
        ]
        query = sql.SQL("SELECT {} FROM {} AS t WHERE ({}) AND {} ORDER BY {} LIMIT {}").format(
            comma.join([*read, *self._columns]),
            self._table.identifier,
            self._due,
            beyond,
            comma.join(self._keys),
            _BATCH,
        )
        with exact.as_owner(self._connection, self._table.touched_as):
            return self._connection.execute(query).fetchall()

    def _beyond(self, after: Row) -> sql.Composable:
        """Compose that a row follows another in the order of the primary key."""
        key = self._table.key
        values = [
            sql.SQL("{}::{}").format(value, written_by_server(column.type))
            for value, column in zip(after, key, strict=False)
        ]
        if len({column.operators for column in key}) == 1:
            comma = sql.SQL(", ")
            return sql.SQL("({}) {} ({})").format(
                comma.join(self._keys), key[0].compared(">"), comma.join(values)
            )
        compared = [
            [
                sql.SQL("{} {} {}").format(name, column.compared(symbol), value)
                for name, column, value in zip(self._keys, key, values, strict=True)
            ]
            for symbol in ("=", ">")
        ]
        same, later = compared
        parts = [
            sql.SQL(" AND ").join([*same[:number], later[number]]) for number in range(len(later))
        ]
        return sql.SQL("(({}))").format(sql.SQL(") OR (").join(parts))

    def replace(self, changes: Sequence[Row]) -> int:
        """Write new values where the rows are as they were read; return how many it were.

        Where a row is locked by others the batch is split: what is free is written, the rest is
        left for the next pass.
        """
        if not changes:
            return 0
        try:
            arrays = [_array(column) for column in zip(*changes, strict=True)]
            with exact.as_owner(self._connection, self._table.touched_as):
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
        types = [written_by_server(column.type) for column in self._table.key]
        types += [sql.SQL("pg_catalog.xid"), *[sql.SQL("pg_catalog.text")] * len(self._columns)]
        equal = [column.compared("=") for column in self._table.key]
        equal += [sql.SQL("OPERATOR(pg_catalog.=)"), *[sql.SQL("=")] * len(self._columns)]
        names = [*self._keys, self._version, *self._columns]
        given = [sql.Identifier("v", f"v{i}") for i in range(len(names))]
        same = len(self._keys) + 1
        pairs = [
            sql.SQL("{} {} {}").format(name, operator, value)
            for name, operator, value in zip(names, equal, given, strict=True)
        ]
        comma = sql.SQL(", ")
        return sql.SQL("UPDATE {} AS t SET {} FROM ROWS FROM ({}) AS v ({}) WHERE {}").format(
            self._table.identifier,
            comma.join(pairs[same:]),
            comma.join(sql.SQL("pg_catalog.unnest(%s::{}[])").format(each) for each in types),
            comma.join(sql.Identifier(f"v{i}") for i in range(len(names))),
            sql.SQL(" AND ").join(pairs[:same]),
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
