"""What columns and tables are for, guessed from their names, for people to confirm."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import DateTime, MetaData, String, Table

from leadctl.models.encrypted import encrypted_columns

_SECRET = re.compile(
    r"(^|_)(access|refresh|auth|bearer|id)_?token$|(^|_)(token|secret|password|passphrase|"
    r"api_?key|private_?key|client_secret|webhook_secret|credentials?|iban|ssn|tax_id|"
    r"card_number|totp)$"
)
_NO_SECRET = re.compile(r"hash|digest|fingerprint|_id$|count|expir")
_TRANSIENT = re.compile(
    r"(^|_)(logs?|events?|sessions?|audits?|histor(y|ies)|notifications?|deliver(y|ies)|"
    r"tokens?|jobs?|metrics?|attempts?|messages?|runs?|webhook_events?)$"
)
_AGE = ("created_at", "inserted_at", "occurred_at", "logged_at", "created", "timestamp", "ts")
_OLD = "90d"


@dataclass(frozen=True)
class EncryptedGuess:
    """A column that may hold secrets."""

    column: str
    """`table.column`."""
    why: str


@dataclass(frozen=True)
class RetentionGuess:
    """A table whose old rows may go."""

    table: str
    age_column: str
    older_than: str
    why: str


def snake_case(name: str) -> str:
    """Return a name in snake_case: `facebookId`, `FacebookID` and `facebook_id` are one."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"\W+|_{2,}", "_", name).strip("_").lower()


_CIPHERTEXT_MIN = 128
"""Characters: a shorter column holds no ciphertext."""


def is_secret_name(column: str) -> bool:
    """Whether a column's name says that it holds a secret."""
    name = snake_case(column)
    return bool(_SECRET.search(name) and not _NO_SECRET.search(name))


def secret_columns(metadata: MetaData) -> Iterator[EncryptedGuess]:
    """Yield the plain columns of text whose names say that they hold a secret."""
    encrypted = {column for column, _ in encrypted_columns(metadata)}
    for table in metadata.tables.values():
        for column in table.columns:
            if column in encrypted or not isinstance(column.type, String):
                continue
            is_long = column.type.length is None or column.type.length >= _CIPHERTEXT_MIN
            if is_long and is_secret_name(column.name):
                yield EncryptedGuess(f"{table.name}.{column.name}", "its name")


def old_rows(tables: Sequence[Table]) -> Iterator[RetentionGuess]:
    """Yield the tables whose names and columns say that their rows grow old."""
    for table in tables:
        if not _TRANSIENT.search(snake_case(table.name)):
            continue
        times = {
            snake_case(column.name): column.name
            for column in table.columns
            if isinstance(column.type, DateTime)
        }
        age = next((times[name] for name in _AGE if name in times), None)
        if age:
            yield RetentionGuess(table.name, age, _OLD, "a guess from the names")
