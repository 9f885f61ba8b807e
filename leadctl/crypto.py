"""The cipher of encrypted columns: AES-256-GCM, as a versioned text value.

    lc1.<fingerprint of the key>.<nonce>.<ciphertext and tag>

Nonce (12 bytes, random) and ciphertext with its 16-byte tag are base64url without padding.  The
associated data is the column's context in UTF-8, so that a value fails that was moved from
another column.  docs/encryption.md has a test vector for other languages.

The keyring has the key that encrypts and all that decrypt.  Variables, a file that only its owner
may read and a command have keys in the same form: `label:hex` or just the digits, separated by
commas or lines, `#` begins a comment.  `legacy/label:hex` is a key that the older Node helper used.
"""

import hashlib
import os
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from leadctl.child_processes import printed_secret
from leadctl.errors import (
    DecryptionFailed,
    InvalidKey,
    KeyCommandFailed,
    MissingKey,
    NotEncrypted,
    UnknownKey,
)
from leadctl.files import read_private, trusted
from leadctl.redact import remember
from leadctl.settings import Settings, load_settings

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
                hint=f"Add that key to ENCRYPTION_KEYS. Available: {known}.",
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


VERSION = "lc1"
FORM = rf"^{VERSION}\.([0-9a-f]{{16}})\.([A-Za-z0-9_-]{{16}})\.([A-Za-z0-9_-]{{22,}})$"
"""A regular expression for a value of this format, in Python and in PostgreSQL."""
NODE_FORM = r"^([0-9a-f]{24}|[0-9a-f]{32}):([0-9a-f]{32}):((?:[0-9a-f]{2})*)$"
"""One of the older Node helper: iv, tag and ciphertext in hexadecimal digits."""

_NONCE_BYTES = 12
_NONCE_DIGITS = 16
"""Of base64: no bits are left over, so nonce and ciphertext are written and read in one go."""
_NONCE_AT = len(f"{VERSION}.{'_' * 16}.")
_TO_URLSAFE = bytes.maketrans(b"+/", b"-_")
_FROM_URLSAFE = bytes.maketrans(b"-_", b"+/")
_ENDS = {2: "AQgw", 3: "AEIMQUYcgkosw048"}
"""The last digit of base64, by how many digits there are beyond fours: its unused bits are 0."""
_VALUE = re.compile(FORM[:-1] + r"\Z", re.ASCII)
_NODE_VALUE = re.compile(NODE_FORM[:-1] + r"\Z", re.ASCII)


def seal(key: Key, nonce: bytes, data: bytes, associated: bytes) -> bytes:
    """Return ciphertext and 16-byte tag.  A nonce is used once per key."""
    return key.cipher.encrypt(nonce, data, associated)


def unseal(key: Key, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
    """Return the data of `seal`; raise ValueError where anything differs."""
    try:
        return key.cipher.decrypt(nonce, sealed, associated)
    except _invalid_tag():
        raise ValueError("the tag does not match") from None


def encrypt(text: str, key: Key, context: str) -> str:
    """Encrypt a text for one column; two calls never give the same value."""
    nonce = os.urandom(_NONCE_BYTES)
    return _value(key, nonce + seal(key, nonce, text.encode(), context.encode()))


def encrypt_and_verify(text: str, key: Key, context: str) -> str:
    """Encrypt, and make sure that the value reads as what it was.

    For values that replace the only other form of their text.  Its key and its form are known and
    not looked for again.  Raises DecryptionFailed.
    """
    value = encrypt(text, key, context)
    try:
        same = _read(value, key, context.encode()) == text.encode()
    except ValueError:
        same = False
    if not same:
        raise DecryptionFailed("A value was encrypted, but decrypts to something else.")
    return value


def decrypt(value: str, keyring: Keyring, context: str) -> str:
    """Decrypt a value of one column, also one of the Node helper under a legacy key.

    Raises NotEncrypted for what is no such value, UnknownKey (or MissingKey) where its key is not
    there, and DecryptionFailed for one that was changed, cut short or moved.
    """
    parts = _VALUE.match(value)
    if parts is not None:
        key = keyring.find(parts[1])
        try:
            return _read(value, key, context.encode()).decode()
        except ValueError:  # base64, length, tag or UTF-8
            raise _failed(context, key.label) from None
    if node := _NODE_VALUE.match(value):
        return _decrypt_node(node, keyring, context)
    if value.startswith(f"{VERSION}."):
        raise _failed(context, "whose fingerprint it has")
    raise NotEncrypted(
        f"The column {context} holds a value that is not encrypted, or not by leadctl.",
        hint="Count such values with: leadctl keys status",
    )


def _value(key: Key, data: bytes) -> str:
    """Write nonce, ciphertext and tag."""
    digits = b2a_base64(data, newline=False).translate(_TO_URLSAFE).rstrip(b"=").decode()
    return f"{VERSION}.{key.fingerprint}.{digits[:_NONCE_DIGITS]}.{digits[_NONCE_DIGITS:]}"


def _read(value: str, key: Key, associated: bytes) -> bytes:
    """Return what a value of this form holds; raise ValueError where anything differs."""
    digits = value[_NONCE_AT : _NONCE_AT + _NONCE_DIGITS] + value[_NONCE_AT + _NONCE_DIGITS + 1 :]
    if digits[-1] not in _ENDS.get(len(digits) % 4, digits):
        raise ValueError("the same bytes are written in another way")
    data = a2b_base64(digits.encode().translate(_FROM_URLSAFE) + b"==")
    return unseal(key, data[:_NONCE_BYTES], data[_NONCE_BYTES:], associated)


def _decrypt_node(parts: re.Match[str], keyring: Keyring, context: str) -> str:
    """Decrypt what the Node helper wrote: it binds a value to nothing, so each key is tried."""
    if not keyring.legacy:
        raise UnknownKey(
            f"The column {context} holds a value of the older Node helper, and no key for such "
            f"values is set.",
            hint="Add its key to ENCRYPTION_KEYS as legacy/LABEL:HEX.",
        )
    nonce, tag, ciphertext = (bytes.fromhex(part) for part in parts.groups())
    for key in keyring.legacy:
        try:
            return unseal(key, nonce, ciphertext + tag, b"").decode()
        except ValueError:
            continue
    raise _failed(context, " or ".join(key.label for key in keyring.legacy))


def _failed(context: str, key: str) -> DecryptionFailed:
    return DecryptionFailed(
        f"A value of {context} cannot be decrypted with the key {key}: it was changed, "
        "cut short, or moved here from another column.",
        hint="Restore the value from a backup.",
    )


def _invalid_tag() -> type[Exception]:
    from cryptography.exceptions import InvalidTag  # 15 ms that only decrypting needs

    return InvalidTag
