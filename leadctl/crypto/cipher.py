"""The cipher of encrypted columns: AES-256-GCM, as a versioned text value.

    lc1.<fingerprint of the key>.<nonce>.<ciphertext and tag>

Nonce (12 bytes, random) and ciphertext with its 16-byte tag are base64url without padding.  The
associated data is the column's context in UTF-8, so that a value fails that was moved from
another column.  docs/encryption.md has a test vector for other languages.
"""

import binascii
import os
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from leadctl.crypto.keyring import Key, Keyring
from leadctl.errors import DecryptionFailed, NotEncrypted

VERSION = "lc1"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_FORM = re.compile(rf"{VERSION}\.([0-9a-f]{{16}})\.([\w-]+)\.([\w-]+)", re.ASCII)


def encrypt(text: str, key: Key, context: str) -> str:
    """Encrypt a text for one column; two calls never give the same value."""
    nonce = os.urandom(_NONCE_BYTES)
    sealed = AESGCM(key.secret).encrypt(nonce, text.encode(), context.encode())
    return f"{VERSION}.{key.fingerprint}.{_encode(nonce)}.{_encode(sealed)}"


def decrypt(value: str, keyring: Keyring, context: str) -> str:
    """Decrypt a value of one column.

    Raises NotEncrypted for what is no value of this format, UnknownKey (or MissingKey) where its
    key is not there, and DecryptionFailed for one that was changed, cut short or moved.
    """
    parts = _FORM.fullmatch(value)
    if parts is None:
        raise NotEncrypted(
            f"The column {context} holds a value that is not encrypted, or not by leadctl.",
            hint="Look for plaintext and for values of another tool in that column.",
        )
    key = keyring.find(parts[1])
    try:
        nonce, sealed = _decode(parts[2]), _decode(parts[3])
        if len(nonce) != _NONCE_BYTES or len(sealed) < _TAG_BYTES:
            raise InvalidTag
        return AESGCM(key.secret).decrypt(nonce, sealed, context.encode()).decode()
    except (InvalidTag, binascii.Error, ValueError):
        raise DecryptionFailed(
            f"A value of {context} cannot be decrypted with the key {key.label}: it was changed, "
            "cut short, or moved here from another column.",
            hint="Restore the value from a backup; the key itself is right.",
        ) from None


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
