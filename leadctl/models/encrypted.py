"""Column types whose values are encrypted before they leave the process."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, MetaData, Text
from sqlalchemy.types import TypeDecorator

from leadctl.crypto import current, decrypt, encrypt


class EncryptedText(TypeDecorator[str]):
    """Text that is stored as AES-256-GCM ciphertext.

    `context` is a fixed text that names the column for good, such as "shop.users.access_token":
    it is part of what is authenticated, so a value that was moved from another column does not
    decrypt, and it stays when table or column are renamed.

    Reading raises what `leadctl.crypto.decrypt` raises; ciphertext is never returned as text.
    """

    impl = Text
    cache_ok = True

    def __init__(self, *, context: str) -> None:
        super().__init__()
        self.context = context

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:  # noqa: ARG002
        """Encrypt with the primary key."""
        return None if value is None else encrypt(value, current().primary, self.context)

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:  # noqa: ARG002
        """Decrypt with the key whose fingerprint the value carries."""
        return None if value is None else decrypt(value, current(), self.context)

    class comparator_factory(Text.Comparator[str]):  # noqa: N801 - the name is SQLAlchemy's
        """Only IS NULL has a meaning in SQL: the same text never encrypts to the same value."""

        def operate(self, op: Any, *other: Any, **options: Any) -> Any:
            """Refuse every comparison but that with NULL."""
            if getattr(op, "__name__", "") in {"eq", "ne", "is_", "is_not"} and other == (None,):
                return super().operate(op, *other, **options)
            raise TypeError(f"An encrypted column cannot be compared in SQL ({op.__name__}).")


def encrypted_columns(metadata: MetaData) -> Iterator[tuple[Column[Any], EncryptedText]]:
    """Yield the encrypted columns of some models, with their type."""
    for table in metadata.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, EncryptedText):
                yield column, column.type
