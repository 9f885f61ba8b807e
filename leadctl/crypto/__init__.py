"""Encrypted values: the keyring and the cipher."""

from leadctl.crypto.cipher import Key, Keyring, current, decrypt, encrypt, using

__all__ = ["Key", "Keyring", "current", "decrypt", "encrypt", "using"]
