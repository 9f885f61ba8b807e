"""Re-encrypting rows that were read: what is due in them, and what cannot be read."""

from collections.abc import Sequence
from dataclasses import dataclass

from leadctl.crypto import Key, Keyring, decrypt, encrypt
from leadctl.crypto.cipher import VERSION
from leadctl.errors import DecryptionFailed, LeadctlError, NotEncrypted
from leadctl.operations.keys.kinds import EncryptedTable

Row = tuple[str | None, ...]
"""The columns of the primary key and xmin as texts, then the encrypted columns."""


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
        columns = list(enumerate(table.contexts, same))
        for row in rows:
            new = tuple([self._value(table, column, row, i, unreadable) for i, column in columns])
            if new != row[same:]:
                changed.append(row[:same] + new)
        return changed

    def _value(
        self,
        table: EncryptedTable,
        column: str,
        row: Row,
        index: int,
        unreadable: list[UnreadableValue],
    ) -> str | None:
        value = row[index]
        if value is None or value.startswith(self._done):
            return value
        context = table.contexts[column]
        try:
            return self._encrypt(self._read(value, context), context)
        except LeadctlError as error:
            if not isinstance(error, NotEncrypted):
                key = ", ".join(map(str, row[: len(table.key)]))
                unreadable.append(UnreadableValue(table.name, column, key, error.code))
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
