"""Values that meet conditions: texts of a regular expression, rows drawn whole, spans of time.

A regular expression is read as far as most CHECK constraints go: classes, groups, alternatives and
repetitions.  Whether its texts pass is the server's word, not ours.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, ClassVar

from leadctl.apps.synthetic.chunk import Chunk, Maker, Values, World
from leadctl.apps.synthetic.makers import Reference, with_nulls

_LOWER, _DIGITS = "abcdefghijklmnopqrstuvwxyz", "0123456789"
_UPPER = _LOWER.upper()
_WORD = _LOWER + _DIGITS + "_" + _UPPER
_ANY = _LOWER + _UPPER + _DIGITS
_ESCAPES = {"d": _DIGITS, "w": _WORD, "s": " ", "D": _LOWER, "W": "-", "S": _ANY}
_NAMED = {
    "alpha": _LOWER + _UPPER, "digit": _DIGITS, "alnum": _ANY, "upper": _UPPER, "lower": _LOWER,
    "space": " ", "punct": "-_.", "xdigit": _DIGITS + "abcdef", "word": _WORD,
}  # fmt: skip
_MORE = 12
"""How often at most what may come any number of times comes more often than it must."""
_RUNS = 64
_STEP = 2_654_435_761


@dataclass(frozen=True)
class PatternPart:
    """One part of a pattern: a letter of some, or one of some patterns, a number of times."""

    letters: str
    patterns: tuple[tuple["PatternPart", ...], ...]
    low: int
    high: int


@cache
def _parts_of_pattern(pattern: str) -> tuple[PatternPart, ...]:
    """Return the parts of a regular expression.  Raises ValueError where it has others."""
    reader = _Reader(pattern)
    alternatives = reader.alternatives()
    if reader.rest:
        raise ValueError(pattern)
    return alternatives[0] if len(alternatives) == 1 else (PatternPart("", alternatives, 1, 1),)


class _Reader:
    def __init__(self, pattern: str) -> None:
        self.rest = pattern

    def _take(self, number: int = 1) -> str:
        taken, self.rest = self.rest[:number], self.rest[number:]
        if len(taken) < number:
            raise ValueError(taken)
        return taken

    def alternatives(self) -> tuple[tuple[PatternPart, ...], ...]:
        found: list[tuple[PatternPart, ...]] = []
        sequence: list[PatternPart] = []
        while self.rest and self.rest[0] != ")":
            character = self._take()
            if character == "|":
                found.append(tuple(sequence))
                sequence = []
            elif character not in "^$":
                letters, patterns = self._atom(character)
                sequence.append(PatternPart(letters, patterns, *self._times()))
        return (*found, tuple(sequence))

    def _atom(self, character: str) -> tuple[str, tuple[tuple[PatternPart, ...], ...]]:
        if character == "(":
            if self.rest.startswith("?"):
                if not self.rest.startswith("?:"):
                    raise ValueError(self.rest)
                self._take(2)
            patterns = self.alternatives()
            self._take()
            return "", patterns
        if character == "[":
            return self._class(), ()
        if character == ".":
            return _ANY, ()
        if character == "\\":
            escaped = self._take()
            if escaped.isdigit():
                raise ValueError(escaped)  # what a group had again
            return _ESCAPES.get(escaped, escaped), ()
        return character, ()

    def _class(self) -> str:
        negated = self.rest.startswith("^")
        if negated:
            self._take()
        letters, is_first = "", True
        while is_first or not self.rest.startswith("]"):
            is_first = False
            character = self._take()
            if character == "[" and self.rest.startswith(":"):
                name, _, self.rest = self.rest[1:].partition(":]")
                letters += _NAMED.get(name, "")
            elif character == "\\":
                escaped = self._take()
                letters += _ESCAPES.get(escaped, escaped)
            elif self.rest.startswith("-") and self.rest[1:2] not in {"]", ""}:
                self._take()
                letters += "".join(map(chr, range(ord(character), ord(self._take()) + 1)))
            else:
                letters += character
        self._take()
        if negated:
            letters = "".join(each for each in _ANY if each not in letters)
        if not letters:
            raise ValueError("an empty class")
        return "".join(dict.fromkeys(letters))

    def _times(self) -> tuple[int, int]:
        low, high = 1, 1
        if self.rest[:1] in {"?", "*", "+"}:
            low, high = {"?": (0, 1), "*": (0, _MORE), "+": (1, _MORE)}[self._take()]
        elif self.rest.startswith("{"):
            text, _, self.rest = self.rest[1:].partition("}")
            first, comma, second = text.partition(",")
            low = int(first)
            high = int(second) if second else low + (_MORE if comma else 0)
        if self.rest[:1] == "?":
            self._take()
        return low, high


def pattern_texts(pattern: str, number: int, rng: random.Random) -> list[str]:
    """Return texts that a regular expression describes; none where it cannot be read."""
    try:
        parts = _parts_of_pattern(pattern)
    except ValueError:
        return []
    return [_text(parts, rng) for _ in range(number)]


def _text(parts: Sequence[PatternPart], rng: random.Random) -> str:
    made = ""
    for part in parts:
        for _ in range(rng.randint(part.low, min(part.high, part.low + _MORE))):
            made += (
                rng.choice(part.letters) if part.letters else _text(rng.choice(part.patterns), rng)
            )
    return made


@dataclass(frozen=True)
class Pattern:
    """A different text of a regular expression in every row, and in each of 64 runs."""

    pattern: str
    by_number: ClassVar[bool] = True

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        return self.at(chunk.world, chunk.table, chunk.rows)

    def at(self, world: World, table: str, rows: Sequence[int]) -> Values:
        """Return the values of any rows.  Raises ValueError where there are fewer than rows."""
        count = world.tables[table].rows
        alphabets = _alphabets(self.pattern, count * _RUNS)
        number = math.prod(map(len, alphabets))
        first = world.series * (number // _RUNS)
        if first + count > number:
            raise ValueError(self.pattern)
        step = next(step for step in range(_STEP, 2 * _STEP) if math.gcd(step, number) == 1)
        return [_spelled((first + row) * step % number, alphabets) for row in rows]


@cache
def _alphabets(pattern: str, wanted: int) -> tuple[str, ...]:
    """Return the letters that each place of a text may have, with as many places as are wanted."""
    for more in range(_MORE + 1):
        alphabets = tuple(_letters(_parts_of_pattern(pattern), more))
        if math.prod(map(len, alphabets)) >= wanted:
            break
    return alphabets


def _letters(parts: Sequence[PatternPart], more: int) -> list[str]:
    found: list[str] = []
    for part in parts:
        for _ in range(min(part.high, part.low + more)):
            found += [part.letters] if part.letters else _letters(part.patterns[0], more)
    return found


def _spelled(number: int, alphabets: Sequence[str]) -> str:
    letters = []
    for alphabet in reversed(alphabets):
        number, digit = divmod(number, len(alphabet))
        letters.append(alphabet[digit])
    return "".join(reversed(letters))


@dataclass(frozen=True)
class _Kept:
    """Says that a row keeps what its column's own maker makes."""


KEPT = _Kept()


@dataclass(frozen=True)
class Drawn:
    """Values drawn from a pool of rows: those of columns of one group are of one row of it."""

    group: str
    values: tuple[Any, ...]
    keep: Maker | None = None
    """Makes the values that are KEPT in the pool."""

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        count = len(self.values)
        made = [self.values[bits * count >> 16] for bits in chunk.bits(f"drawn {self.group}")]
        if self.keep is None:
            return made
        own = self.keep(chunk)
        return [mine if value is KEPT else value for value, mine in zip(made, own, strict=True)]


@dataclass(frozen=True)
class Other:
    """A reference that leads to another row than one next to it does."""

    own: Reference
    other: Reference

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        link, count = self.own.link, chunk.world.layout.rows(self.own.link.table)
        rows = [
            (row + 1) % count if row is not None and row == other else row
            for row, other in zip(link.rows(chunk), self.other.link.rows(chunk), strict=True)
        ]
        return chunk.world.texts(link.table, self.own.column, rows)


_WIDEST = 72
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Span:
    """Ranges, or an edge of them, of times, days or numbers.

    With `first`, no two of a table overlap, or no two of an owner's if `owned`: each row has a
    place of its own behind it, in hours, days or tens.
    """

    kind: str
    """time, date or number."""
    form: str = "[{0},{1})"
    """How the lower and the upper edge are written."""
    first: int | None = None
    owned: bool = False
    null: float = 0.0

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        if self.first is not None:
            numbers = chunk.positions if self.owned else chunk.rows
            lows = [self.first + 2 * number for number in numbers]  # edges may be included
            return [self._written(low, low + 1) for low in lows]
        widths = [1 + bits % _WIDEST for bits in chunk.bits(f"span {self}")]
        began = datetime.combine(chunk.world.calendar.start, datetime.min.time(), UTC)
        start = int((began - _EPOCH).total_seconds()) // 3600
        if self.kind == "number":
            lows = [bits % 1000 for bits in chunk.bits(f"low {self}")]
        else:
            seconds = chunk.world.calendar.at(chunk.moments)
            lows = [start + second // 3600 for second in seconds]
        if self.kind == "date":
            lows = [low // 24 for low in lows]
        made = [self._written(low, low + width) for low, width in zip(lows, widths, strict=True)]
        return with_nulls(chunk, str(self), made, self.null)

    def _written(self, low: int, high: int) -> str:
        if self.kind == "number":
            edges: tuple[object, ...] = (10 * low, 10 * high)
        elif self.kind == "date":
            edges = tuple((_EPOCH + timedelta(days=day)).date() for day in (low, high))
        else:
            edges = tuple(
                (_EPOCH + timedelta(hours=hour)).strftime("%Y-%m-%d %H:%M:%S+00")
                for hour in (low, high)
            )
        return self.form.format(*edges)
