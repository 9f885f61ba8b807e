"""The keyring: the key that encrypts, and all that decrypt."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from leadctl.errors import InvalidKey, MissingKey, UnknownKey
from leadctl.redact import remember

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_FINGERPRINT_DIGITS = 16
_HINT = "Make one with: leadctl keys generate (it goes into ENCRYPTION_KEY)."


@dataclass(frozen=True, repr=False)
class Key:
    """One AES-256 key; the label is for people, the fingerprint is what values carry.

    A legacy key only reads values of the older Node helper, which carry no fingerprint.
    """

    label: str
    secret: bytes
    legacy: bool = False

    @classmethod
    def from_hex(cls, label: str, digits: str, *, legacy: bool = False) -> "Key":
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
        return cls(label, secret, legacy)

    @cached_property
    def fingerprint(self) -> str:
        """The first 16 hexadecimal digits of SHA-256 over `leadctl key` and the key."""
        return hashlib.sha256(b"leadctl key" + self.secret).hexdigest()[:_FINGERPRINT_DIGITS]

    @cached_property
    def cipher(self) -> "AESGCM":
        """The key, ready for use: setting it up takes longer than encrypting a short text."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self.secret)

    def __reduce__(self) -> tuple[type["Key"], tuple[str, bytes, bool]]:
        return Key, (self.label, self.secret, self.legacy)  # what it has made ready stays here

    def __repr__(self) -> str:
        return f"Key({self.label!r}, {self.fingerprint})"


class Keyring:
    """Several keys: the first encrypts, each decrypts what carries its fingerprint."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self.keys = [key for key in keys if not key.legacy]
        self.legacy = [key for key in keys if key.legacy]
        self._by_fingerprint = {key.fingerprint: key for key in reversed(self.keys)}

    def __contains__(self, fingerprint: str) -> bool:
        return fingerprint in self._by_fingerprint

    @property
    def primary(self) -> Key:
        """The key that encrypts.  Raises MissingKey where there is none."""
        self._require("An encrypted column is used")
        return self.keys[0]

    def find(self, fingerprint: str) -> Key:
        """Return the key with this fingerprint.  Raises UnknownKey, MissingKey for no keys."""
        self._require("An encrypted value is read")
        try:
            return self._by_fingerprint[fingerprint]
        except KeyError:
            known = ", ".join(f"{key.label} ({key.fingerprint})" for key in self.keys)
            raise UnknownKey(
                f"A value was encrypted with the key {fingerprint}, which is not in the keyring.",
                hint=f"Add that key to ENCRYPTION_KEYS. There are: {known}.",
            ) from None

    def _require(self, why: str) -> None:
        if not self.keys:
            raise MissingKey(f"{why}, and no encryption key is set.", hint=_HINT)


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
        from leadctl.crypto.sources import keyring_of
        from leadctl.settings import load_settings

        _of_process.append(keyring_of(load_settings()))
    return _of_process[0]


@contextmanager
def using(keyring: Keyring) -> Iterator[Keyring]:
    """Let encrypted columns use this keyring within the block."""
    token = _current.set(keyring)
    try:
        yield keyring
    finally:
        _current.reset(token)
