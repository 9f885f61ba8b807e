"""Making a new key."""

import secrets
from dataclasses import dataclass

from leadctl.crypto.keyring import KEY_BYTES, Key


@dataclass(frozen=True)
class NewKey:
    """A key that was made just now; it is kept nowhere."""

    key: str
    """64 hexadecimal digits."""
    fingerprint: str


def generate() -> NewKey:
    """Make a random key."""
    digits = secrets.token_hex(KEY_BYTES)
    return NewKey(digits, Key.from_hex("new", digits).fingerprint)
