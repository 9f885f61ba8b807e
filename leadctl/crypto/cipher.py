"""The cipher of encrypted columns: AES-256-GCM, as a versioned text value.

    lc1.<fingerprint of the key>.<nonce>.<ciphertext and tag>

Nonce (12 bytes, random) and ciphertext with its 16-byte tag are base64url without padding.  The
associated data is the column's context in UTF-8, so that a value fails that was moved from
another column.  docs/encryption.md has a test vector for other languages.
"""

import os
import re
from binascii import a2b_base64, b2a_base64

from leadctl.crypto.keyring import Key, Keyring
from leadctl.errors import DecryptionFailed, NotEncrypted, UnknownKey

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
        raise ValueError("the tag does not fit") from None


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
        raise DecryptionFailed("A value does not read back as what was encrypted.")
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
    data = a2b_base64(digits.encode().translate(_FROM_URLSAFE) + b"==")
    return unseal(key, data[:_NONCE_BYTES], data[_NONCE_BYTES:], associated)


def _decrypt_node(parts: re.Match[str], keyring: Keyring, context: str) -> str:
    """Decrypt what the Node helper wrote: it binds a value to nothing, so each key is tried."""
    if not keyring.legacy:
        raise UnknownKey(
            f"The column {context} holds a value of the older Node helper, and no key for those.",
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
