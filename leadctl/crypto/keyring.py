"""The keyring: the key that encrypts, and all that decrypt."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from leadctl.errors import InvalidKey, MissingKey, UnknownKey
from leadctl.redact import remember
from leadctl.settings import Settings, load_settings

KEY_BYTES = 32
_FINGERPRINT_DIGITS = 16
_EMBEDDED_KEY = Path(".leadctl") / "encryption.key"
_HINT = (
    'Make one with: python -c "import secrets; print(secrets.token_hex(32))", and set it as '
    "ENCRYPTION_KEY."
)


@dataclass(frozen=True, repr=False)
class Key:
    """One AES-256 key; the label is for people, the fingerprint is what values carry."""

    label: str
    secret: bytes

    @classmethod
    def from_hex(cls, label: str, digits: str) -> "Key":
        """Read a key of 64 hexadecimal digits.  Raises InvalidKey, which never shows the key."""
        remember(digits.strip())
        try:
            secret = bytes.fromhex(digits.strip())
        except ValueError:
            secret = b""
        if len(secret) != KEY_BYTES:
            raise InvalidKey(
                f"The encryption key {label} is not {KEY_BYTES * 2} hexadecimal digits.", hint=_HINT
            )
        return cls(label, secret)

    @cached_property
    def fingerprint(self) -> str:
        """The first 16 hexadecimal digits of SHA-256 over `leadctl key` and the key."""
        return hashlib.sha256(b"leadctl key" + self.secret).hexdigest()[:_FINGERPRINT_DIGITS]

    def __repr__(self) -> str:
        return f"Key({self.label!r}, {self.fingerprint})"


class Keyring:
    """Several keys: the first encrypts, each decrypts what carries its fingerprint."""

    def __init__(self, keys: list[Key]) -> None:
        self.keys = keys
        self._by_fingerprint = {key.fingerprint: key for key in reversed(keys)}

    @property
    def primary(self) -> Key:
        """The key that encrypts.  Raises MissingKey where there is none."""
        if not self.keys:
            raise MissingKey(
                "An encrypted column is used, and no encryption key is set.", hint=_HINT
            )
        return self.keys[0]

    def find(self, fingerprint: str) -> Key:
        """Return the key with this fingerprint.  Raises UnknownKey."""
        if not self.keys:
            raise MissingKey(
                "An encrypted value is read, and no encryption key is set.", hint=_HINT
            )
        try:
            return self._by_fingerprint[fingerprint]
        except KeyError:
            known = ", ".join(f"{key.label} ({key.fingerprint})" for key in self.keys)
            raise UnknownKey(
                f"A value was encrypted with the key {fingerprint}, which is not in the keyring.",
                hint=f"Add that key to ENCRYPTION_KEYS. There are: {known}.",
            ) from None


def from_settings(settings: Settings) -> Keyring:
    """Read the keyring: ENCRYPTION_KEYS, then ENCRYPTION_KEY, then the embedded server's own.

    Raises InvalidKey.
    """
    keys: list[Key] = []
    if settings.encryption_keys:
        for part in filter(None, settings.encryption_keys.reveal().split(",")):
            label, colon, digits = part.strip().partition(":")
            keys.append(Key.from_hex(label if colon else "unnamed", digits if colon else label))
    if settings.encryption_key:
        keys.append(Key.from_hex("ENCRYPTION_KEY", settings.encryption_key.reveal()))
    embedded = settings.project / _EMBEDDED_KEY
    if not keys and settings.embedded and embedded.exists():
        keys.append(Key.from_hex("embedded", embedded.read_text()))
    return Keyring(keys)


_current: ContextVar[Keyring | None] = ContextVar("leadctl_keyring", default=None)
_of_process: list[Keyring] = []


def current() -> Keyring:
    """Return the keyring that encrypted columns use: the one of `using`, else the process's own.

    The process's own is read from its settings when it is first needed, and kept.
    """
    chosen = _current.get()
    if chosen is not None:
        return chosen
    if not _of_process:
        _of_process.append(from_settings(load_settings()))
    return _of_process[0]


@contextmanager
def using(keyring: Keyring) -> Iterator[Keyring]:
    """Let encrypted columns use this keyring within the block."""
    token = _current.set(keyring)
    try:
        yield keyring
    finally:
        _current.reset(token)
