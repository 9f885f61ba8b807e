"""Column types whose values are encrypted before they leave the process."""

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, MetaData, Text
from sqlalchemy.types import TypeDecorator

from leadctl.crypto import current, decrypt, encrypt


class _NotComparable(TypeDecorator.Comparator[Any]):
    """Only IS NULL has a meaning in SQL: the same value never encrypts to the same text."""

    def operate(self, op: Any, *other: Any, **options: Any) -> Any:
        """Refuse every comparison but that with NULL."""
        if getattr(op, "__name__", "") in {"eq", "ne", "is_", "is_not"} and other == (None,):
            return super().operate(op, *other, **options)
        raise TypeError(f"An encrypted column cannot be compared in SQL ({op.__name__}).")


class _Encrypted(TypeDecorator[Any]):
    """What is stored as AES-256-GCM ciphertext, in a column of type text."""

    impl = Text
    cache_ok = True
    comparator_factory = _NotComparable

    def __init__(self, *, context: str) -> None:
        super().__init__()
        self.context = context

    def process_bind_param(self, value: Any, dialect: Any) -> str | None:  # noqa: ARG002
        """Encrypt with the primary key."""
        if value is None:
            return None
        return encrypt(self.to_text(value), current().primary, self.context)

    def process_result_value(self, value: str | None, dialect: Any) -> Any:  # noqa: ARG002
        """Decrypt with the key whose fingerprint the value carries."""
        return None if value is None else self.from_text(decrypt(value, current(), self.context))

    def to_text(self, value: Any) -> str:
        """Return the text that is encrypted."""
        return str(value)

    def from_text(self, text: str) -> Any:
        """Return the value of a decrypted text."""
        return text


class EncryptedText(_Encrypted):
    """Text that is stored as AES-256-GCM ciphertext.

    `context` is a fixed text that names the column for good, such as "shop.users.access_token":
    it is part of what is authenticated, so a value that was moved from another column does not
    decrypt, and it stays when table or column are renamed.

    Reading raises what `leadctl.crypto.decrypt` raises; ciphertext is never returned as text.
    """

    cache_ok = True


class EncryptedJSON(_Encrypted):
    """Any JSON value that is stored as AES-256-GCM ciphertext, as `EncryptedText` is.

    The database sees text: no part of it can be queried or indexed.
    """

    cache_ok = True

    def to_text(self, value: Any) -> str:
        """Return the value as JSON."""
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def from_text(self, text: str) -> Any:
        """Return the value that JSON says."""
        return json.loads(text)


def encrypted_columns(metadata: MetaData) -> Iterator[tuple[Column[Any], str]]:
    """Yield the encrypted columns of some models, with their context."""
    for table in metadata.tables.values():
        for column in table.columns:
            if isinstance(column.type, _Encrypted):
                yield column, column.type.context
