"""Values that are unique because the number of the row is in them, reversibly scrambled.

`series` tells runs into the same tables apart: the same seed, a later run, other values.
"""

import random
from collections.abc import Iterable
from functools import cache

from leadctl.apps.synthetic.layout import mix

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_ALPHANUMERIC = _LETTERS + "0123456789"
_HEX = "0123456789abcdef"
_SERIES_SHIFT = 32
"""A run has fewer than 2^32 rows a table."""
_TOKEN_MULTIPLIER = 0x5851F42D4C957F2D
_TOKEN_BITS = 40
_ID_BITS = 46
_ID_BASE = 10**14
"""2^46 and this make 15 digits, as Facebook's ids have."""
_PHONE_PREFIXES = ("+336", "+346", "+4474", "+141", "+4915", "+55119", "+9198")
"""Each makes, with eight digits, a number of the length that its country has."""
_PHONE_NUMBERS = 10**8


def cuids(rows: Iterable[int], salt: int) -> list[str]:
    """Return what CUID2s look like: a letter, and 23 letters and digits."""
    return _joined(rows, salt, _cuid_parts())


def uuids(rows: Iterable[int], salt: int) -> list[str]:
    """Return UUIDs of version 4."""
    return _joined(rows, salt, _uuid_parts())


def hexes(rows: Iterable[int], salt: int) -> list[str]:
    """Return 64 hexadecimal digits, as a SHA-256 has."""
    return [
        f"{mix(row, salt):016x}{mix(row, salt + 1):016x}{mix(row, salt + 2):016x}"
        f"{mix(row, salt + 3):016x}"
        for row in rows
    ]


def tokens(rows: Iterable[int], salt: int, series: int) -> list[str]:
    """Return short texts of ten letters and digits, different in every row and series."""
    high, low = _token_parts()
    mask, shifted = (1 << _TOKEN_BITS) - 1, series << _SERIES_SHIFT
    found = []
    for row in rows:
        number = ((row + shifted) * _TOKEN_MULTIPLIER + salt) & mask
        found.append(low[number >> 32] + high[number >> 16 & 0xFFFF] + high[number & 0xFFFF])
    return found


def digits(rows: Iterable[int], salt: int, series: int) -> list[str]:
    """Return numbers of 15 digits, different in every row and series."""
    mask, shifted = (1 << _ID_BITS) - 1, series << _SERIES_SHIFT
    return [str(_ID_BASE + (((row + shifted) * _TOKEN_MULTIPLIER + salt) & mask)) for row in rows]


def phones(rows: Iterable[int], salt: int, series: int) -> list[str]:
    """Return phone numbers in E.164, of a length that is possible in their country."""
    domain = _PHONE_NUMBERS * len(_PHONE_PREFIXES)
    shift = (salt + series * 45_678_901) % domain
    found = []
    for row in rows:
        prefix, number = divmod((row * 39_916_801 + shift) % domain, _PHONE_NUMBERS)
        found.append(f"{_PHONE_PREFIXES[prefix]}{number:08d}")
    return found


def _joined(rows: Iterable[int], salt: int, parts: tuple[list[str], ...]) -> list[str]:
    first, second, third, fourth = parts
    found = []
    for row in rows:
        x = mix(row, salt)
        found.append(
            first[x >> 48] + second[x >> 32 & 0xFFFF] + third[x >> 16 & 0xFFFF] + fourth[x & 0xFFFF]
        )
    return found


@cache
def _cuid_parts() -> tuple[list[str], ...]:
    rng = random.Random("cuid")  # noqa: S311 - made up, not secret
    rest = _ALPHANUMERIC
    return (
        _products(rng, (_LETTERS, rest, rest), (rest, rest, rest)),
        *(_products(rng, (rest,) * 3, (rest,) * 3) for _ in range(3)),
    )


@cache
def _uuid_parts() -> tuple[list[str], ...]:
    rng = random.Random("uuid")  # noqa: S311 - made up, not secret
    four = (_HEX,) * 4
    heads = _products(rng, four, four)
    middles = _products(rng, four, (_HEX,) * 3)
    tails = _products(rng, ("89ab", _HEX, _HEX, _HEX), four)
    ends = _products(rng, four, four)
    return (
        heads,
        [f"-{text[:4]}-4{text[4:]}-" for text in middles],
        [f"{text[:4]}-{text[4:]}" for text in tails],
        ends,
    )


@cache
def _token_parts() -> tuple[list[str], list[str]]:
    rng = random.Random("token")  # noqa: S311 - made up, not secret
    two = (_ALPHANUMERIC,) * 2
    return _products(rng, two, two), _distinct(rng, two)


def _products(rng: random.Random, left: tuple[str, ...], right: tuple[str, ...]) -> list[str]:
    """Return 65536 different texts: each of 256 left halves with each of 256 right ones."""
    rights = _distinct(rng, right)
    return [first + second for first in _distinct(rng, left) for second in rights]


def _distinct(rng: random.Random, alphabets: tuple[str, ...]) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < 256:
        found["".join(alphabet[int(rng.random() * len(alphabet))] for alphabet in alphabets)] = None
    return list(found)
