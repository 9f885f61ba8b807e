"""Re-encrypting rows that were read: what is due in them, and what cannot be read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from leadctl.crypto import Key, Keyring, decrypt, encrypt
from leadctl.crypto.cipher import VERSION
from leadctl.errors import DecryptionFailed, LeadctlError, NotEncrypted
from leadctl.operations.keys.kinds import EncryptedTable

Row = Sequence[Any]
"""The columns of the primary key, then the encrypted columns."""


@dataclass(frozen=True)
class Change:
    """A row's key, the values that it was read with, and those that it gets."""

    key: tuple[Any, ...]
    old: tuple[str | None, ...]
    new: tuple[str | None, ...]


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
    ) -> list[Change]:
        """Return what is to be changed in some rows; add to `unreadable` what cannot be read."""
        changes = []
        width = len(table.key)
        for row in rows:
            key, old = tuple(row[:width]), tuple(row[width:])
            new = tuple(
                self._value(table, column, key, value, unreadable)
                for column, value in zip(table.contexts, old, strict=True)
            )
            if new != old:
                changes.append(Change(key, old, new))
        return changes

    def _value(
        self,
        table: EncryptedTable,
        column: str,
        key: tuple[Any, ...],
        value: str | None,
        unreadable: list[UnreadableValue],
    ) -> str | None:
        if value is None or value.startswith(self._done):
            return value
        context = table.contexts[column]
        try:
            return self._encrypt(self._read(value, context), context)
        except LeadctlError as error:
            if not isinstance(error, NotEncrypted):
                shown = ", ".join(map(str, key))
                unreadable.append(UnreadableValue(table.name, column, shown, error.code))
            return value

    def _read(self, value: str, context: str) -> str:
        try:
            return decrypt(value, self._keyring, context)
        except NotEncrypted:
            if not self._plaintext:
                raise
            return value

    def _encrypt(self, text: str, context: str) -> str:
        """Encrypt, and make sure that what will be stored reads as what it was."""
        value = encrypt(text, self._primary, context)
        if decrypt(value, self._keyring, context) != text:
            raise DecryptionFailed("A value does not read back as what was encrypted.")
        return value
