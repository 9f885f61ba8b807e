"""Encrypted values: the keyring and the cipher."""

from leadctl.crypto.cipher import decrypt, encrypt
from leadctl.crypto.keyring import Key, Keyring, current, using

__all__ = ["Key", "Keyring", "current", "decrypt", "encrypt", "using"]
