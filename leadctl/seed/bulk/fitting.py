"""Makers whose rows meet the conditions of their tables, tried on the server before a run.

Where the values that inference would make do not, others are tried: those in the condition's own
text and around them, and what its regular expressions describe.  Columns that a condition names
together are drawn together, from rows that pass.
"""

import itertools
import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from leadctl.apps.synthetic.chunk import (
    CHUNK_ROWS,
    ColumnPlan,
    Maker,
    TablePlan,
    World,
    column_texts,
    escaped_for_copy,
)
from leadctl.apps.synthetic.constrained import KEPT, Drawn, Other, Pattern, Span, pattern_texts
from leadctl.apps.synthetic.makers import (
    After,
    Days,
    Email,
    InTurn,
    Position,
    Reference,
    Rotated,
    Serial,
    Short,
    Unique,
)
from leadctl.catalog.relations import Relation
from leadctl.errors import CannotInfer
from leadctl.postgres.connect import Connection
from leadctl.seed.bulk.conditions import Condition, Row, RowsAsked
from leadctl.seed.bulk.inheritance import Inheritance

_ASKED = 2000
"""Rows of a sample, and rows that are made up of candidates."""
_POOL, _ENOUGH = 1000, 200
_EACH = 60
"""How many values of a column are tried with those of others."""
_LONGEST = 200
_TEXTS = {"text", "character varying", "character", "citext", "name"}
_WHOLE = {"smallint", "integer", "bigint"}
_NUMBERS = {*_WHOLE, "numeric", "real", "double precision", "money"}
_KEEP = (
    Unique | Serial | Short | Email | Days | InTurn | Position | Reference | Rotated | Other
    | Span | Pattern
)  # fmt: skip
"""What makes values that depend on the row: they differ, or others refer to them."""
_Unique = Pattern | Unique | Short
_UNEQUAL = re.compile(r'^\("?\w+"? <> "?\w+"?\)$')


def fit(
    connection: Connection,
    world: World,
    relations: Mapping[str, Relation],
    conditions: Mapping[str, Sequence[Condition]],
    declared: Mapping[str, frozenset[str]],
    inheritance: Inheritance,
) -> World:
    """Return a world whose rows meet the conditions of their tables, as far as samples tell.

    `declared` are, by table, the columns that a factory makes: its word is taken.  Raises
    CannotInfer with a condition that nothing was found for.
    """
    for table in world.tables:
        if conditions[table]:
            fitting = _Fitting(
                connection,
                world,
                relations[table],
                conditions[table],
                declared[table],
                inheritance.column(table),
            )
            world = fitting.fitted()
    return world


class _Fitting:
    """One table on the way to rows that pass."""

    def __init__(
        self,
        connection: Connection,
        world: World,
        relation: Relation,
        conditions: Sequence[Condition],
        declared: frozenset[str],
        discriminator: frozenset[str],
    ) -> None:
        self._world = world
        self._plan = world.tables[relation.name]
        self._random = random.Random(relation.name)  # noqa: S311 - made up, not secret
        self._discriminator = discriminator
        made = {plan.name for plan in self._plan.columns}
        self._nullable = {
            column.name
            for column in relation.columns
            if not column.not_null or column.name not in made  # what is not made has a default
        } - discriminator
        self._bases = {column.name: column.base for column in relation.columns}
        self._conditions = [each for each in conditions if self._is_ours(each, declared)]
        self._rows = RowsAsked(connection, relation, self._conditions, self._nullable)

    def _is_ours(self, condition: Condition, declared: frozenset[str]) -> bool:
        """Whether its columns are all made here, or left to be NULL."""
        plans = {plan.name: plan for plan in self._plan.columns}
        return any(
            name in plans and name not in declared for name in condition.columns
        ) and not any(name in plans and plans[name].context for name in condition.columns)

    def fitted(self) -> World:
        """Return the world with other makers where they are needed."""
        for _ in range(2 if self._conditions else 0):
            failing = self._failing()
            if not failing:
                return self._world
            for columns in self._together(failing):
                self._replace(self._drawn(columns))
        if self._conditions and (failing := self._failing()):
            raise self._unread(failing[0])
        return self._world

    # --- What is so now ---------------------------------------------------------------------

    def _failing(self) -> list[Condition]:
        """Return the conditions that not all rows of a sample meet."""
        columns = sorted({name for each in self._conditions for name in each.columns})
        rows = self._sample(columns)
        return self._rows.failing(columns, rows, self._conditions)

    def _sample(self, columns: Sequence[str]) -> list[Row]:
        """Return rows of the first chunk and of the last, as texts; what is not made is NULL."""
        plans = {plan.name: plan for plan in self._plan.columns}
        found: list[Row] = []
        for index in sorted({0, (self._plan.rows - 1) // CHUNK_ROWS}):
            chunk = self._world.chunk(self._plan.name, index)
            made = [
                column_texts(chunk, plans[name]) if name in plans else [None] * len(chunk)
                for name in columns
            ]
            rows = list(zip(*made, strict=True))
            step = max(1, len(rows) // _ASKED)
            found += [*rows[::step], rows[-1]]
        return found

    # --- What else may be -------------------------------------------------------------------

    def _together(self, failing: Iterable[Condition]) -> list[list[str]]:
        """Return the columns of failing conditions, those together that depend on each other."""
        groups = [set(each.columns) for each in failing]
        links = [set(each.columns) for each in self._conditions]
        links += [
            {plan.name, plan.maker.column}
            for plan in self._plan.columns
            if isinstance(plan.maker, After)
        ]
        merged: list[set[str]] = []
        for group in groups:
            grown = True
            while grown:
                near = [link for link in links if link & group and not link <= group]
                group = group.union(*near)
                grown = bool(near)
            if group not in merged:
                merged.append(group)
        return [sorted(group) for group in merged]

    def _drawn(self, columns: list[str]) -> dict[str, Maker]:
        """Return makers that draw columns together from rows that pass."""
        conditions = [each for each in self._conditions if set(each.columns) <= set(columns)]
        plans = {plan.name: plan for plan in self._plan.columns}
        if others := self._other_references(conditions):
            return others
        own = {name: _own_maker(plans[name].maker) for name in columns if name in plans}
        kept = [name for name, maker in own.items() if isinstance(maker, _KEEP)]
        if kept and len(columns) == 1 and not isinstance(own[kept[0]], Reference | Rotated):
            return {kept[0]: self._unique(plans[kept[0]], conditions)}
        sample = self._sample(columns)
        rows: list[Row] = []
        for tried in self._tries(columns, sample, conditions):
            passing = [tried[i] for i in self._rows.passing(columns, tried, conditions)]
            rows += passing
            is_usual = len(passing) >= len(tried) // 4
            if len(set(rows)) >= min(20 if is_usual else _ENOUGH, len(set(sample)) // 4 + 1):
                break
        if not rows:
            alone = [c for c in conditions if not self._rows.passing(columns, sample, [c])]
            raise self._unread((alone or conditions)[0])
        pool = self._random.sample(rows, min(_POOL, len(rows)))
        group = " ".join(columns)
        return {
            name: Drawn(
                group,
                tuple(
                    KEPT if name in kept and row[i] is not None else _copied(row[i]) for row in pool
                ),
                _without_null(own[name]) if name in kept else None,
            )
            for i, name in enumerate(columns)
            if name in plans
        }

    def _other_references(self, conditions: Iterable[Condition]) -> dict[str, Maker]:
        """Return makers of references that differ from another of the same row, where they must."""
        makers = {plan.name: plan.maker for plan in self._plan.columns}
        found: dict[str, Maker] = {}
        for each in conditions:
            pair = [makers.get(name) for name in each.columns]
            match pair:
                case [Reference() as first, Reference() as second] if (
                    _UNEQUAL.match(each.expression) and first.link.table == second.link.table
                ):
                    is_owner = second.link.through == second.link.table
                    mine, other = (first, second) if is_owner else (second, first)
                    found[each.columns[0 if is_owner else 1]] = Other(mine, other)
        return found

    def _tries(
        self, columns: Sequence[str], sample: list[Row], conditions: list[Condition]
    ) -> Iterator[list[Row]]:
        """Yield rows, the likeliest first: as they are, solved, combined again, and made up."""
        yield sample
        yield self._solved(columns, sample, conditions)
        for made_up in (False, True):
            rows = self._combined(columns, sample, conditions, made_up=made_up)
            yield self._solved(columns, rows, conditions)

    def _solved(
        self, columns: Sequence[str], rows: list[Row], conditions: list[Condition]
    ) -> list[Row]:
        for condition in conditions:
            if condition.equation is not None:
                rows = self._rows.solved(columns, rows, *condition.equation)
        return rows

    def _combined(
        self,
        columns: Sequence[str],
        sample: Sequence[Row],
        conditions: list[Condition],
        *,
        made_up: bool,
    ) -> list[Row]:
        """Combine values of each column, all of them or some by chance."""
        made = {plan.name for plan in self._plan.columns}
        values = []
        for i, name in enumerate(columns):
            own = [each for each in conditions if name in each.columns]
            alone = [each for each in own if each.columns == (name,)]
            seen = dict.fromkeys(row[i] for row in sample)
            few = (
                [None]
                if name not in made
                else [
                    *itertools.islice(seen, _EACH),
                    *(
                        _possible_values(self._bases[name], own, self._random)
                        if made_up and name not in self._discriminator
                        else ()
                    ),
                    *([None] if name in self._nullable else []),
                ]
            )
            tried = [(value,) for value in self._rows.of_type(name, [*dict.fromkeys(few)])]
            values.append([tried[j][0] for j in self._rows.passing([name], tried, alone)] or [None])
        number = 1
        for each in values:
            number *= len(each)
        if number <= 10 * _ASKED:
            return list(itertools.product(*values))
        return [tuple(self._random.choice(each) for each in values) for _ in range(10 * _ASKED)]

    def _unique(self, plan: ColumnPlan, conditions: list[Condition]) -> Maker:
        """Return another maker of different values that pass, for a column that must differ."""
        lengths = {
            int(float(text)) for each in conditions for text in each.numbers if len(text) < 4
        }
        patterns = [pattern for each in conditions for pattern in each.patterns]
        tried: list[_Unique] = [Pattern(each) for each in (*patterns, *_beginnings(conditions))]
        tried += [
            Unique(form, name=plan.name) for form in ("token", "digits", "uuid", "cuid", "hex")
        ]
        tried += [
            Unique("token", form, name=plan.name)
            for form in ("X{}", "{}@example.com", "https://www.example.com/{}")
        ]
        tried += [Short(length) for length in sorted(lengths, reverse=True) if 0 < length < 30]
        tried += [
            Short(length, upper=True) for length in sorted(lengths, reverse=True) if 0 < length < 30
        ]
        rows = self._plan.rows
        numbers = [*range(min(rows, _ASKED)), rows - 1]
        for maker in tried:
            try:
                values = [(str(v),) for v in maker.at(self._world, self._plan.name, numbers)]
            except ValueError:
                continue  # fewer different values than rows
            if len(set(values)) == len(set(numbers)) and len(
                self._rows.passing([plan.name], values, conditions)
            ) == len(values):
                return maker
        raise self._unread(conditions[0])

    def _replace(self, makers: Mapping[str, Maker]) -> None:
        columns = tuple(
            replace(plan, maker=makers[plan.name], kind="text") if plan.name in makers else plan
            for plan in self._plan.columns
        )
        self._plan = TablePlan(self._plan.name, self._plan.rows, columns)
        self._world = replace(
            self._world, tables={**self._world.tables, self._plan.name: self._plan}
        )

    def _unread(self, condition: Condition) -> CannotInfer:
        what = f"the domain of {condition.columns[0]}" if condition.base else "the constraint"
        return CannotInfer(
            f"No value was found that meets {what} {condition.name} of {self._plan.name}: "
            f"CHECK {condition.expression}. Nothing was changed.",
            hint="Declare its columns in a factory: [apps.NAME] factory, "
            f"Shape({self._plan.name!r}, …).",
        )


def _own_maker(maker: Maker) -> Maker:
    """Return the maker of a column before it was fitted."""
    return maker.keep if isinstance(maker, Drawn) and maker.keep else maker


def _without_null(maker: Maker) -> Maker:
    """Return a maker that never makes NULL: where there is one is the pool's affair."""
    if isinstance(maker, Reference):
        return replace(maker, link=replace(maker.link, null=0.0, required=True))
    return replace(maker, null=0.0) if isinstance(maker, Unique) else maker


def _copied(text: str | None) -> str | None:
    return None if text is None else escaped_for_copy(text)


def _possible_values(
    base: str, conditions: Sequence[Condition], rng: random.Random
) -> Iterator[str]:
    """Yield values of a type that conditions on a column may mean."""
    numbers = sorted({float(text) for each in conditions for text in each.numbers})
    texts = [text for each in conditions for text in each.texts]
    if base in _NUMBERS:
        yield from _possible_numbers(numbers, integers=base in _WHOLE)
    elif base in _TEXTS:
        yield from (
            form.format(text) for text in texts for form in ("{}", "ab{}cd", "{}cd", "ab{}")
        )
        patterns = [pattern for each in conditions for pattern in each.patterns]
        for pattern in (*patterns, *_beginnings(conditions)):
            yield from pattern_texts(pattern, _EACH, rng)
        yield from _possible_texts([int(number) for number in numbers if 0 <= number <= _LONGEST])
    elif base.endswith("[]"):
        yield from ("{1}", "{1,2}", "{1,2,3}", "{}", f"{{{','.join(texts or ['new', 'vip'])}}}")
        yield from (f"{{{text}}}" for text in texts)
    elif base in {"json", "jsonb"}:
        keys = [text for text in texts if text.isidentifier()]
        some: tuple[object, ...] = ("new", 1, True, {}, [], None)
        for value in some:
            yield json.dumps(dict.fromkeys(keys, value))
        yield from ("{}", "[]", '["new"]', '"new"', "1", "null")
    else:
        yield from (*texts, *_OTHERS.get(base.partition(" ")[0], ()))


def _beginnings(conditions: Sequence[Condition]) -> Iterator[str]:
    """Yield patterns of texts that begin as one condition says, and are as long as another does."""
    numbers = {float(text) for each in conditions for text in each.numbers}
    stems = {text.rstrip("%") for each in conditions for text in each.texts}
    for stem, length in itertools.product(sorted(stems), sorted(numbers)):
        if length.is_integer() and len(stem) < length <= _LONGEST:
            for letters in ("0-9", "a-z", "A-Z"):
                yield f"^{re.escape(stem)}[{letters}]{{{length - len(stem):.0f}}}$"


_DAYS = tuple(f"{year}-{year % 12 + 1:02d}-{year % 28 + 1:02d}" for year in range(1930, 2050, 2))
_OTHERS: Mapping[str, Sequence[str]] = {
    "boolean": ("true", "false"),
    "date": _DAYS,
    "timestamp": _DAYS,
    "interval": ("1 second", "1 hour", "1 day", "1 month", "1 year"),
    "inet": ("203.0.113.7", "2001:db8::7", "10.0.0.0/8"),
}


def _possible_numbers(numbers: Sequence[float], *, integers: bool) -> Iterator[str]:
    """Yield numbers near those that are named, and between them."""
    near = [0.0, *(number + step for number in numbers for step in (0, 1, -1, 0.01, -0.01, 10))]
    near += [number * part / 4 for number in numbers for part in (1, 2, 3)]
    near += [
        low + (high - low) * part / 8
        for low, high in itertools.pairwise(numbers)
        for part in range(1, 8)
    ]
    yield from (f"{number:.0f}" if integers else f"{number:.2f}" for number in near)


def _possible_texts(lengths: Sequence[int]) -> Iterator[str]:
    for word in ("Alpine", "cedar plate", "NOBLE", "x"):
        yield from (word, word.upper(), word.lower(), word.title())
    yield from ("ada@example.com", "https://www.example.com/plan", "203.0.113.7", "4711", "DE")
    for length in {near for each in lengths for near in (each - 1, each, each + 1) if near > 0}:
        for letters in ("cedarplate", "ALPINE", "4711", "a1b2"):
            yield (letters * (length // len(letters) + 1))[:length]
