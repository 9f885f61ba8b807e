"""Values that are unique because the number of the row is in them, reversibly scrambled.

`series` tells runs into the same tables apart: the same seed, a later run, other values.
"""

import hashlib
import random
import sys
from array import array
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_ALPHANUMERIC = _LETTERS + "0123456789"
_TO_ALPHANUMERIC = (_ALPHANUMERIC * 8)[:256].encode()
_SERIES_SHIFT = 32
"""A run has fewer than 2^32 rows a table."""
_LOW = 0xFFFF
_MULTIPLIER = 0x5851F42D4C957F2D
_TOKEN_BITS = 40
_ID_BITS = 46
_ID_BASE = 10**14
"""2^46 and this make 15 digits, as Facebook's ids have."""
_PHONE_PREFIXES = ("+336", "+346", "+4474", "+141", "+4915", "+55119", "+9198")
"""Each makes, with eight digits, a number of the length that its country has."""
_PHONE_NUMBERS = 10**8


@dataclass(frozen=True)
class Scramble:
    """A permutation of 128 bits, AES's, and 64 bits for what is shorter."""

    cipher: Cipher[ECB]
    salt: int

    def blocks(self, rows: Collection[int], number: int) -> bytes:
        """Return so many blocks of 16 bytes a row, encrypted in one call."""
        count = len(rows)
        words = array("Q", bytes(16 * number * count))
        for block in range(number):
            words[2 * block :: 2 * number] = array("Q", rows)
            words[2 * block + 1 :: 2 * number] = array("Q", [block]) * count
        if sys.byteorder == "big":
            words.byteswap()
        encryptor = self.cipher.encryptor()
        return encryptor.update(words.tobytes()) + encryptor.finalize()


@cache
def scramble(seed: str) -> Scramble:
    """Return the scramble of a seed."""
    digest = hashlib.sha256(seed.encode()).digest()
    # One block stands for one row: nothing is kept secret, and no block comes twice.
    return Scramble(Cipher(AES(digest[:16]), ECB()), int.from_bytes(digest[16:24], "big"))  # noqa: S305


def cuids(rows: Collection[int], by: Scramble, _series: int) -> list[str]:
    """Return what CUID2s look like: a letter, and 23 letters and digits (113 random bits)."""
    text = by.blocks(rows, 2).translate(_TO_ALPHANUMERIC).decode()
    return [
        _LETTERS[row % 26] + text[start : start + 23]
        for row, start in zip(rows, range(0, len(text), 32), strict=True)
    ]


def _uuids(rows: Collection[int], by: Scramble, _series: int) -> list[str]:
    """Return UUIDs of version 4; hyphens are optional, and left out."""
    text = by.blocks(rows, 1).hex()
    return [
        text[start : start + 12] + "4" + text[start + 13 : start + 16] + "a"
        + text[start + 17 : start + 32]
        for start in range(0, len(text), 32)
    ]  # fmt: skip


def _hexes(rows: Collection[int], by: Scramble, _series: int) -> list[str]:
    """Return 64 hexadecimal digits, as a SHA-256 has."""
    text = by.blocks(rows, 2).hex()
    return [text[start : start + 64] for start in range(0, len(text), 64)]


def _short_tokens(rows: Collection[int], by: Scramble, series: int) -> list[str]:
    """Return short texts of ten letters and digits, different in every row and series."""
    high, low = _token_parts()
    mask, shifted, salt = (1 << _TOKEN_BITS) - 1, series << _SERIES_SHIFT, by.salt
    found = []
    for row in rows:
        number = ((row + shifted) * _MULTIPLIER + salt) & mask
        found.append(low[number >> 32] + high[number >> 16 & _LOW] + high[number & _LOW])
    return found


def _digits(rows: Collection[int], by: Scramble, series: int) -> list[str]:
    """Return numbers of 15 digits, different in every row and series."""
    mask, shifted, salt = (1 << _ID_BITS) - 1, series << _SERIES_SHIFT, by.salt
    return [str(_ID_BASE + (((row + shifted) * _MULTIPLIER + salt) & mask)) for row in rows]


def _phones(rows: Collection[int], by: Scramble, series: int) -> list[str]:
    """Return phone numbers in E.164, of a length that is possible in their country."""
    domain = _PHONE_NUMBERS * len(_PHONE_PREFIXES)
    shift = (by.salt + series * 45_678_901) % domain
    found = []
    for row in rows:
        prefix, number = divmod((row * 39_916_801 + shift) % domain, _PHONE_NUMBERS)
        found.append(f"{_PHONE_PREFIXES[prefix]}{number:08d}")
    return found


def base36(number: int, length: int) -> str:
    """Return a number as so many letters and digits."""
    found = ""
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHANUMERIC))
        found = _ALPHANUMERIC[digit] + found
    return found


FORMS: Mapping[str, Callable[[Collection[int], Scramble, int], list[str]]] = {
    "cuid": cuids,
    "uuid": _uuids,
    "hex": _hexes,
    "token": _short_tokens,
    "digits": _digits,
    "phone": _phones,
}
"""By name; the last three differ between series for sure, the others since they are long."""


@cache
def _token_parts() -> tuple[list[str], list[str]]:
    rng = random.Random("token")  # noqa: S311 - made up, not secret
    rights, lefts, low = (_distinct(rng) for _ in range(3))
    # 65536 different texts: each of 256 left halves with each of 256 right ones.
    return [first + second for first in lefts for second in rights], low


def _distinct(rng: random.Random) -> list[str]:
    """Return 256 different texts of two letters or digits."""
    found: dict[str, None] = {}
    while len(found) <= 0xFF:
        found["".join(_ALPHANUMERIC[int(rng.random() * 36)] for _ in range(2))] = None
    return list(found)
