"""The check of encrypted columns: every value is ciphertext that a key of the ring reads."""

from collections.abc import Iterator

from psycopg import sql

from leadctl.crypto import Keyring, decrypt
from leadctl.crypto.cipher import VERSION
from leadctl.errors import LeadctlError
from leadctl.health.check import CheckResult, CheckStatus
from leadctl.health.facts import Facts
from leadctl.keys.encrypted_values import ColumnKeys, EncryptedTable, count_values, sample

_SAMPLE_BYTES = 1024 * 1024
"""A larger table is looked at in part: a probe is to be quick at any size.

Some thousand rows: what is wrong with one value in a thousand shows; `keys status` counts all.
"""


def encryption(facts: Facts) -> CheckResult:
    """Keys are there, the primary one reads a sample, no plaintext, no unknown key."""
    sizes = _tables(facts)
    if not sizes:
        return CheckResult(
            "encryption", CheckStatus.SKIPPED, message="no encrypted columns are recorded here"
        )
    keyring = facts.keyring()
    columns = [
        column
        for table, size in sizes.items()
        for column in count_values(facts.connection, table, keyring, percent=_percent(size))
    ]
    values = sum(sum(c.under.values()) + c.legacy + c.malformed + c.plaintext for c in columns)
    if not keyring.keys:
        return _without_keys(values)
    problems = [*_bad(columns), *_unreadable_samples(facts, sizes, keyring)]
    if problems:
        return CheckResult(
            "encryption",
            CheckStatus.CRITICAL,
            len(problems),
            "bad",
            "; ".join(problems),
            "See: leadctl keys status",
        )
    legacy = sum(column.legacy for column in columns)
    if legacy:
        return CheckResult(
            "encryption",
            CheckStatus.WARNING,
            legacy,
            "legacy",
            f"{legacy:,} values of the Node helper",
            "Re-encrypt them with: leadctl keys rotate",
        )
    partly = " of a sample" if any(map(_percent, sizes.values())) else ""
    seen = f"{values:,} values{partly} under known keys"
    return CheckResult("encryption", CheckStatus.OK, 0, "bad", seen)


def _without_keys(values: int) -> CheckResult:
    if not values:
        return CheckResult(
            "encryption", CheckStatus.SKIPPED, message="no keys are set, and nothing is encrypted"
        )
    return CheckResult(
        "encryption",
        CheckStatus.WARNING,
        values,
        "values",
        f"{values:,} values are encrypted, and no key is set here to read them",
        "Set ENCRYPTION_KEY where the values must be read.",
    )


def _tables(facts: Facts) -> dict[EncryptedTable, int]:
    """Return the recorded tables with encrypted columns that are there, with their bytes."""
    contexts: dict[str, dict[str, str]] = {}
    for name, context in (facts.fingerprint or {}).get("encrypted", {}).items():
        table, _, column = name.rpartition(".")
        contexts.setdefault(table, {})[column] = context
    found = {}
    for name, columns in contexts.items():
        table = EncryptedTable(facts.target.schema, name, columns)
        regclass = table.identifier.as_string(facts.connection)
        row = facts.connection.execute(
            "SELECT pg_relation_size(to_regclass(%s))", (regclass,)
        ).fetchone()
        if row and row[0] is not None:
            found[table] = int(row[0])
    return found


def _percent(size: int) -> float | None:
    return None if size <= _SAMPLE_BYTES else 100 * _SAMPLE_BYTES / size


def _bad(columns: list[ColumnKeys]) -> Iterator[str]:
    for column in columns:
        for number, what in (
            (column.plaintext, "of plaintext"),
            (column.unknown, "under unknown keys"),
            (column.malformed, "malformed"),
        ):
            if number:
                yield f"{column.table}.{column.column}: {number:,} values {what}"


def _unreadable_samples(
    facts: Facts, sizes: dict[EncryptedTable, int], keyring: Keyring
) -> Iterator[str]:
    """Decrypt one value of each column that the primary key encrypted."""
    begins = f"{VERSION}.{keyring.primary.fingerprint}.%"
    for table, size in sizes.items():
        for column, context in table.contexts.items():
            query = sql.SQL("SELECT {c} FROM {t} {sample} WHERE {c} LIKE %s LIMIT 1").format(
                c=sql.Identifier(column), t=table.identifier, sample=sample(_percent(size))
            )
            row = facts.connection.execute(query, (begins,)).fetchone()
            try:
                if row:
                    decrypt(row[0], keyring, context)
            except LeadctlError as error:
                yield f"{table.name}.{column}: {error.code}"
