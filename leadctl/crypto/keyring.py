"""The keyring: the key that encrypts, all that decrypt, and where they come from.

Variables, a file that only its owner may read and a command have keys in the same form:
`label:hex` or just the digits, separated by commas or lines, `#` begins a comment.
`legacy/label:hex` is a key that the older Node helper used.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from leadctl.errors import InvalidKey, KeyCommandFailed, MissingKey, UnknownKey
from leadctl.files import read_private, trusted
from leadctl.redact import remember
from leadctl.settings import Settings, load_settings
from leadctl.shell import printed_secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_FINGERPRINT_DIGITS = 16
_EMBEDDED_KEY = Path(".leadctl") / "encryption.key"
_LEGACY = "legacy/"
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


def keyring_of(settings: Settings, *, run_command: bool = True) -> Keyring:
    """Read the keyring of the settings; the first key found encrypts.

    Without `run_command` the keys that ENCRYPTION_KEY_COMMAND would print are left out.

    The order is ENCRYPTION_KEYS, ENCRYPTION_KEY, ENCRYPTION_KEY_FILE, ENCRYPTION_KEY_COMMAND; the
    embedded server's own key serves where none of them is set.  Raises InvalidKey and
    KeyCommandFailed, which never show a key.
    """
    found = [
        key
        for text, unnamed in _texts(settings, run_command=run_command)
        for key in parse_keys(text, unnamed)
    ]
    keys = {(key.fingerprint, key.legacy): key for key in reversed(found)}
    return Keyring(list(reversed(keys.values())))


def parse_keys(text: str, unnamed: str) -> list[Key]:
    """Read keys in their common form; a key without a label is called `unnamed`."""
    without_comments = re.sub(r"#.*", "", text)
    entries = [entry.strip() for entry in re.split(r"[,\n]", without_comments)]
    return [_parse(entry, unnamed) for entry in entries if entry]


def _texts(settings: Settings, *, run_command: bool) -> Iterator[tuple[str, str]]:
    """Return each text that has keys, and what a key in it is called that has no label."""
    command = settings.encryption_key_command
    file = settings.encryption_key_file
    if settings.encryption_keys:
        yield settings.encryption_keys.reveal(), "ENCRYPTION_KEYS"
    if settings.encryption_key:
        yield settings.encryption_key.reveal(), "ENCRYPTION_KEY"
    if file:
        yield _file(file), file.name
    if command and run_command:
        name, prints = "ENCRYPTION_KEY_COMMAND", "keys, one a line"
        folder = settings.project
        printed = printed_secret(command, folder, KeyCommandFailed, name=name, prints=prints)
        yield printed.reveal(), name
    nothing_set = not (settings.encryption_keys or settings.encryption_key or file or command)
    embedded = settings.project / _EMBEDDED_KEY
    if nothing_set and settings.embedded and embedded.exists():
        trusted(embedded.parent)
        yield _file(embedded), "embedded"


def _file(path: Path) -> str:
    hint = "ENCRYPTION_KEY_FILE names a file of keys, one a line."
    return read_private(path, InvalidKey, name="key file", hint=hint)


def _parse(entry: str, unnamed: str) -> Key:
    legacy = entry.startswith(_LEGACY)
    label, colon, digits = entry.removeprefix(_LEGACY).partition(":")
    if not colon:
        label, digits = unnamed, label
    return Key.from_hex(label.strip() or unnamed, digits, legacy=legacy)


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
