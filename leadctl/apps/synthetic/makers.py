"""The vocabulary of a factory: what makes the values of a column.

A maker is a callable that is handed a chunk and returns a value a row.  These are plain data, so
that a plan can be sent to another process; a factory's own functions are makers, too.  Those that
are `by_number` make a value of the row's number alone: keys, and what else is unique.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import zip_longest
from typing import Any, ClassVar

from leadctl.apps.synthetic import keys
from leadctl.apps.synthetic.chunk import Chunk, Maker, Values, World
from leadctl.apps.synthetic.pools import (
    POOL_SIZE,
    address_heads,
    documents,
    phrases,
    weighted,
    wholes,
)

# --- Unique values --------------------------------------------------------------------------


@dataclass(frozen=True)
class Unique:
    """A different value in every row: cuid, uuid, hex (64), token (10), digits (15) or phone."""

    form: str
    template: str = "{}"
    null: float = 0.0
    name: str = ""
    """Tells columns of the same form in one table apart."""

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        made = self.at(chunk.world, chunk.table, chunk.rows)
        return with_nulls(chunk, str(self), made, self.null)

    @property
    def by_number(self) -> bool:
        """Whether `at` says what a row has: without NULLs."""
        return not self.null

    def at(self, world: World, table: str, rows: Sequence[int]) -> Values:
        """Return the values of any rows."""
        seed = f"{world.seed}/{world.series}/{table}/{self.form} {self.template} {self.name}"
        made = keys.FORMS[self.form](rows, keys.scramble(seed), world.series)
        if self.template == "{}":
            return made
        before, after = self.template.split("{}")
        return [before + text + after for text in made]


@dataclass(frozen=True)
class Serial:
    """Numbers that follow each other."""

    first: int = 1
    by_number: ClassVar[bool] = True

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        return self.at(chunk.world, chunk.table, chunk.rows)

    def at(self, _world: World, _table: str, rows: Sequence[int]) -> Values:
        """Return the values of any rows."""
        return [self.first + row for row in rows]


_RUNS = 64


@dataclass(frozen=True)
class Short:
    """Texts of a few letters and digits; each of 64 runs has its own, where they suffice."""

    length: int
    upper: bool = False
    by_number: ClassVar[bool] = True

    @property
    def of_a_run(self) -> int:
        """How many a run has that none of the others has."""
        return max(1, int(36**self.length) // _RUNS)

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        return self.at(chunk.world, chunk.table, chunk.rows)

    def at(self, world: World, _table: str, rows: Sequence[int]) -> Values:
        """Return the values of any rows."""
        first, domain = world.series * self.of_a_run, 36**self.length
        made = [keys.base36((row + first) % domain, self.length) for row in rows]
        return [text.upper() for text in made] if self.upper else made


@dataclass(frozen=True)
class Email:
    """Addresses, each a different one."""

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        unique = Unique("token")(chunk)
        heads = chunk.draw("email", address_heads())
        return [head.replace("@", token + "@") for head, token in zip(heads, unique, strict=True)]


@dataclass(frozen=True)
class Name:
    """Names of firms and things, each a different one."""

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        form = "{adjective} {trade}"
        names, unique = chunk.draw(form, phrases(form)), Unique("token", name="name")(chunk)
        return [f"{name} {token}" for name, token in zip(names, unique, strict=True)]


DAYS = 1000
"""The most days that a run has; a later one takes those before."""


@dataclass(frozen=True)
class Days:
    """A different day in every row, or in every row of an owner's, backwards from the last one."""

    owned: bool = False

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        end = chunk.world.calendar.end - timedelta(days=1 + DAYS * chunk.world.series)
        numbers = chunk.positions if self.owned else chunk.rows
        return [(end - timedelta(days=number)).isoformat() for number in numbers]


_SERIES = 8
"""So many times rows can be added whose moments differ from those of before."""
_APART = 2
"""Seconds: a column without fractions rounds."""
MOMENTS = 2_000_000
"""The most that can differ: they fit into the days that a calendar has behind its span."""


@dataclass(frozen=True)
class Moments:
    """A different second in every row, back from the end of the span, then of the days behind."""

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk, as seconds from the start of the span."""
        last = chunk.world.calendar.seconds - _APART * (1 + chunk.world.series % _SERIES)
        return [last - _SERIES * _APART * row for row in chunk.rows]


@dataclass(frozen=True)
class Rotated:
    """A few values one after the other, by the row's number: rows of other tables go by it."""

    values: Sequence[Any]
    by_number: ClassVar[bool] = True

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        return self.at(chunk.world, chunk.table, chunk.rows)

    def at(self, _world: World, _table: str, rows: Sequence[int]) -> Values:
        """Return the values of any rows."""
        return [self.values[row % len(self.values)] for row in rows]


# --- References -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Link:
    """Rows of a table that rows refer to.

    `through` is the table that both belong to: one of its owner's rows is picked; or the table
    itself, where the rows belong to it.  Without it any row is picked, old ones more often.  Of
    the rows' own table an earlier one is, or the row itself where it is the first and must.
    """

    table: str
    through: str | None = None
    null: float = 0.0
    required: bool = True
    """Whether a row of another owner is better than none."""
    turn: bool = False
    """Whether an owner's rows take all rows in turn, so that none comes twice."""

    def rows(self, chunk: Chunk) -> list[int | None]:
        """Return the rows that the rows of a chunk refer to."""
        return chunk.made(f"link {self}", lambda: self._rows(chunk))

    def _rows(self, chunk: Chunk) -> Values:
        layout, found = chunk.world.layout, Values()
        if self.through == self.table:
            found = list(chunk.owned_by(self.table))
        elif self.table == chunk.table:
            before = chunk.positions if self.through else chunk.rows
            found = [
                row - earlier + int(earlier * share) if earlier or self.required else None
                for row, earlier, share in zip(
                    chunk.rows, before, chunk.shares(str(self)), strict=True
                )
            ]
        elif self.turn:
            count = layout.rows(self.table)
            found = [
                (owner * 7919 + position) % count
                for owner, position in zip(chunk.owners, chunk.positions, strict=True)
            ]
        else:
            shares = chunk.shares(str(self))
            if self.through is not None:
                owners = chunk.owned_by(self.through)
                found = list(layout.picks(self.table, owners, chunk.moments, shares))
            if self.through is None or (self.required and None in found):
                others = layout.picks_any(self.table, chunk.moments, shares)
                found = [other if row is None else row for row, other in zip_longest(found, others)]
        return with_nulls(chunk, str(self), found, self.null)


@dataclass(frozen=True)
class Reference:
    """A column of the rows that a link leads to: a foreign key."""

    link: Link
    column: str

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        return chunk.world.texts(self.link.table, self.column, self.link.rows(chunk))

    @property
    def by_number(self) -> bool:
        """Whether `at` says what a row has: where rows belong to what they refer to."""
        return self.link.through == self.link.table and not self.link.null

    def at(self, world: World, table: str, rows: Sequence[int]) -> Values:
        """Return the values of any rows, where they belong to what they refer to."""
        placements, found, above = world.layout.placements, list(rows), table
        while above != self.link.table:
            found = world.layout.owners(above, found)
            above = str(placements[above].owner)
        return world.texts(self.link.table, self.column, found)


# --- Drawn values ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Pick:
    """One of some values, each as often as its weight says; None is NULL."""

    weights: Mapping[Any, float]
    name: str = ""
    """Tells picks with the same weights in one table apart."""

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        return chunk.draw(f"pick {self.name} {self.weights}", self.pool)

    @property
    def pool(self) -> list[Any]:
        """65536 values, each as often as its weight says."""
        return weighted(tuple(self.weights.items()))


PASSWORD_HASH = Pick({"$2b$12$" + "N0passw0rdHasTh1sHash." + "o" * 31: 1.0})
"""What a bcrypt hash looks like: nobody signs in with it."""


def choice(*values: Any, null: float = 0.0, name: str = "") -> Pick:
    """Return a pick of values that are all as likely; `null` is the share of rows without one."""
    weights: dict[Any, float] = dict.fromkeys(values, (1.0 - null) / len(values))
    return Pick(weights | ({None: null} if null else {}), name)


@dataclass(frozen=True)
class By:
    """A value chosen by the value of another column of the row, else NULL."""

    column: str
    values: Mapping[Any, Any]

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        return [self.values.get(value) for value in chunk[self.column]]


@dataclass(frozen=True)
class Phrase:
    """Texts of a form such as "{adjective} {trade}", drawn from a pool of some thousands.

    It may name first, last, city, country, trade, adjective, noun, verb and number (to 9999);
    "{{" and "}}" are braces.
    """

    form: str
    null: float = 0.0

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        made = chunk.draw(self.form, phrases(self.form))
        return with_nulls(chunk, self.form, made, self.null)


@dataclass(frozen=True)
class Cut:
    """Texts of another maker, cut to a length."""

    maker: Maker
    length: int

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        length = self.length
        return [None if text is None else text[:length].rstrip() for text in self.maker(chunk)]


@dataclass(frozen=True)
class Whole:
    """Integers from `low` to `high`; with `tail`, mostly low ones and a few high ones."""

    low: int
    high: int
    tail: int = 1
    null: float = 0.0
    name: str = ""

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        made = chunk.draw(str(self), wholes(self.low, self.high, self.tail))
        return with_nulls(chunk, str(self), made, self.null)


@dataclass(frozen=True)
class Fraction:
    """Numbers from `low` to `high` with some digits after the point."""

    low: float
    high: float
    places: int = 2
    null: float = 0.0
    name: str = ""

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        scale = (self.high - self.low) / POOL_SIZE
        made: Values = [
            f"{self.low + bits * scale:.{self.places}f}" for bits in chunk.bits(str(self))
        ]
        return with_nulls(chunk, str(self), made, self.null)


@dataclass(frozen=True)
class Position:
    """Which of its owner's rows it is, from `first`."""

    first: int = 1

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        return [position + self.first for position in chunk.positions]


@dataclass(frozen=True)
class InTurn:
    """A few values one after the other within an owner's rows: no owner has one twice.

    Each stands `stride` times, so that several such columns together are digits of a number.  With
    `first` they go on over the whole table, whose rows have the numbers from there on.
    """

    values: Sequence[Any]
    stride: int = 1
    first: int | None = None

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        if self.first is not None:
            return self.at(chunk.world, chunk.table, chunk.rows)
        return self._of(p + owner for p, owner in zip(chunk.positions, chunk.owners, strict=True))

    @property
    def by_number(self) -> bool:
        """Whether `at` says what a row has: where they go on over the whole table."""
        return self.first is not None

    def at(self, _world: World, _table: str, rows: Sequence[int]) -> Values:
        """Return the values of any rows, which others refer to."""
        return self._of(row + (self.first or 0) for row in rows)

    def _of(self, numbers: Iterable[int]) -> Values:
        count = len(self.values)
        return [self.values[number // self.stride % count] for number in numbers]


@dataclass(frozen=True)
class Json:
    """JSON of a form whose texts may be phrases, or a list of such forms to draw from."""

    forms: Sequence[Any]
    null: float = 0.0

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        pool = documents(json.dumps(self.forms, ensure_ascii=False))
        made = chunk.draw(f"json {self.forms}", pool)
        return with_nulls(chunk, f"json {self.forms}", made, self.null)


# --- Times ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """When the row was made."""

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        return chunk.world.calendar.at(chunk.moments)


@dataclass(frozen=True)
class After:
    """Some seconds after another time of the row, or of its owner's: `low` to `high`, mostly low.

    `when` are the values of a column that it is for; other rows have NULL, as those have whose
    other time is NULL.  A time never lies beyond the end of the span, unless it is `ahead`.
    """

    column: str
    low: int
    high: int
    when: tuple[str, tuple[Any, ...]] | None = None
    null: float = 0.0
    of_owner: bool = False
    ahead: bool = False

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        before = chunk.of_owner(self.column) if self.of_owner else chunk[self.column]
        limit = chunk.world.calendar.seconds + (self.high if self.ahead else 0)
        delays = chunk.draw(str(self), wholes(self.low, self.high, 3))
        made: Values = [
            None if time is None else later if (later := time + delay) < limit else limit
            for time, delay in zip(before, delays, strict=True)
        ]
        if self.when is not None:
            column, wanted = self.when
            made = [
                time if value in wanted else None
                for time, value in zip(made, chunk[column], strict=True)
            ]
        return with_nulls(chunk, str(self), made, self.null)


def with_nulls(chunk: Chunk, name: str, values: Values, share: float) -> Values:
    """Return the values with a share of them replaced by NULL."""
    if not share:
        return values
    limit = int(share * POOL_SIZE)
    return [
        None if bits < limit else value
        for value, bits in zip(values, chunk.bits(f"null {name}"), strict=True)
    ]
