"""Re-encrypting rows that were read: what is due in them, and what cannot be read."""

from collections.abc import Sequence
from dataclasses import dataclass

from leadctl.crypto import Key, Keyring, decrypt
from leadctl.crypto.cipher import VERSION, encrypt_and_verify
from leadctl.errors import LeadctlError, NotEncrypted
from leadctl.keys.kinds import EncryptedTable

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
