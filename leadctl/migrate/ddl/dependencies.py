"""What uses what, as the server has it in pg_depend: what a change reaches, and in which order.

A default is a node of its own beside its column's, since PostgreSQL can set it later.  Where a
catalog was recorded without what its objects use, the words in their definitions stand for it.
"""

import heapq
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from leadctl.catalog.definitions import (
    DEFAULT_USES,
    USES,
    Attributes,
    Catalog,
    key_reference,
    owner,
    split_name,
)
from leadctl.migrate.ddl.objects import create, unique_keys
from leadctl.migrate.ddl.steps import BACKWARDS, Stage, Step, mentions, plain, values_first
from leadctl.migrate.ddl.tables import ancestors, parents

Uses = Mapping[str, set[str]]
"""The keys of what each object uses, by its own key; `default t.c` is that of a column."""
_RELATIONS = {"table", "view", "sequence", "index", "enum", "domain", "type"}
"""Kinds of which two cannot have one name: a table has a type."""
_NAMED = {*_RELATIONS, "function", "collation"} - {"index"}
_BY_ITS_WORDS = {"view", "rule", "trigger", "policy", "index", "constraint", "statistics"}
_UNIQUE = ("PRIMARY KEY", "UNIQUE", "EXCLUDE")
_EXECUTES = re.compile(r"\bEXECUTE\b", re.IGNORECASE)
_WORD = re.compile(r'"((?:[^"]|"")+)"|([^\W\d][\w$]*)')


def uses_of(catalog: Catalog) -> Uses:
    """Return what each object of a catalog uses: its table, and what its definition rests on."""
    read = any(USES in each or DEFAULT_USES in each for each in catalog.objects.values())
    words = {} if read else _by_words(catalog)
    schemas = catalog.names("schema")
    found: dict[str, set[str]] = {}
    for key, attributes in catalog.objects.items():
        name = key.partition(" ")[2]
        used = {*attributes.get(USES, ()), *words.get(key, ()), *_containers(key, attributes)}
        used.update(f"schema {each}" for each in schemas if name.startswith(f"{each}."))
        for each in [each for each in used if each not in catalog.objects]:
            used.update(_inherited(each, catalog))
        used.discard(key)
        found[key] = used
        if "default" in attributes and key.startswith("column "):
            found[f"default {name}"] = {
                key,
                *attributes.get(DEFAULT_USES, ()),
                *words.get(f"default {name}", ()),
            }
    return found


def _containers(key: str, attributes: Attributes) -> Iterator[str]:
    """Yield what an object is a part of."""
    if "of" in attributes:
        yield str(attributes["of"])
    part_of = owner(key, attributes)
    if part_of is not None:
        yield f"table {part_of}"
        yield f"view {part_of}"


def _inherited(key: str, catalog: Catalog) -> Iterator[str]:
    """Yield what stands for an object that is none: a partition's column is its parent's."""
    yield key
    if key.startswith("column ") and key not in catalog.objects:
        table, own = split_name(key.removeprefix("column "))
        yield f"table {table}"
        for parent in parents(catalog, table):
            yield from _inherited(f"column {parent}.{own}", catalog)


def _by_words(catalog: Catalog) -> Uses:
    named: dict[str, set[str]] = {}
    for key in catalog.objects:
        kind, _, name = key.partition(" ")
        if kind in _NAMED:
            named.setdefault(plain(name), set()).add(key)
    keys = unique_keys(catalog)
    found: dict[str, set[str]] = {}
    for key, text in _texts(catalog):
        words = mentions(text)
        used = {each for word in words for each in named.get(word, ())}
        tables = [each.partition(" ")[2] for each in used if each.startswith("table ")]
        part_of = owner(key, catalog.objects.get(key, {}))
        if key.startswith("default "):
            part_of = None
        elif key.startswith("column "):
            part_of = split_name(key.removeprefix("column "))[0]
        for table in {*tables, *([part_of] if part_of else [])}:
            columns = catalog.columns(table)
            used |= {f"column {table}.{own}" for own in columns if plain(own) in words}
        reference = key_reference(text) if "FOREIGN KEY" in text else None
        if reference is not None:
            referred = mentions(reference.referred)
            used |= {
                other
                for other, each in keys.get(plain(reference.table), ())
                if referred <= mentions(each["definition"])
            }
        found[key] = used
    return found


def _texts(catalog: Catalog) -> Iterator[tuple[str, str]]:
    """Yield what names others, by the key of what it defines."""
    for key, attributes in catalog.objects.items():
        kind, _, name = key.partition(" ")
        if kind == "column":
            yield key, f"{attributes['type']} {attributes.get('generated', '')}"
            if "default" in attributes:
                yield f"default {name}", str(attributes["default"])
        elif kind == "table":
            yield key, " ".join(map(str, attributes.values()))
        elif kind in _BY_ITS_WORDS or kind in _NAMED:
            yield key, create(kind, name, attributes)
        elif kind in {"property", "other"}:
            yield key, " ".join(attributes.get("written", (str(attributes.get("do", "")),)))


def all_used(start: Iterable[str], uses: Uses) -> set[str]:
    """Return everything that some objects use, and what that uses, and so on."""
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        for each in uses.get(waiting.pop(), ()):
            if each not in found:
                found.add(each)
                waiting.append(each)
    return found


def narrowed(seeds: Collection[str], *catalogs: Catalog) -> list[Catalog]:
    """Return of each catalog what a change of some objects reaches, to be tried without the rest.

    That is what rests on them, with the tables that are part of it as a whole, and what all of it
    needs: of tables that are needed only their columns and keys.  The catalogs themselves where
    most of it changes, and where a function puts together what it runs: nobody knows what that
    reaches.
    """
    known = Catalog({key: each for one in catalogs for key, each in one.objects.items()})
    if 2 * len(seeds) > len(known.objects):
        return list(catalogs)
    above = {name for seed in seeds for name in _above(seed, catalogs)}
    within = {key for key, each in known.objects.items() if owner(key, each) in above}
    uses = [*map(uses_of, catalogs), *map(_owning_columns, catalogs)]
    kept = _Reach(known, uses).of({*seeds, *within})
    kept &= known.objects.keys()  # not what comes with others, as a range's functions do
    functions = (str(known.objects[key].get("definition")) for key in kept if _is_function(key))
    if any(map(_EXECUTES.search, functions)):
        return list(catalogs)
    return [
        Catalog({key: each for key, each in one.objects.items() if key in kept}) for one in catalogs
    ]


def _owning_columns(catalog: Catalog) -> Uses:
    """Return the column that each sequence belongs to, which either side may say."""
    return {
        key: {f"column {each['owned_by']}"}
        for key, each in catalog.objects.items()
        if "owned_by" in each
    }


def _above(key: str, catalogs: Sequence[Catalog]) -> Iterator[str]:
    """Yield the tables that a table is a part of: what refers to those is in a partition's way."""
    kind, _, name = key.partition(" ")
    for catalog in catalogs if kind == "table" else ():
        yield from ancestors(catalog, name)


class _Reach:
    """What objects of several catalogs reach, each by its own account of what uses what."""

    def __init__(self, known: Catalog, uses: Sequence[Uses]) -> None:
        self._known = known
        self._uses = uses
        self._users: dict[str, set[str]] = {}
        """What rests on each object; not what is in a schema, which rests on it as such."""
        for one in uses:
            for key, used in one.items():
                for each in used:
                    if not each.startswith("schema "):
                        self._users.setdefault(each, set()).add(key)
        self._parts: dict[str, list[str]] = {}
        self._children: dict[str, list[str]] = {}
        self._by_name: dict[str, list[str]] = {}
        for key, attributes in known.objects.items():
            kind, _, name = key.partition(" ")
            part_of = owner(key, attributes)
            if part_of is not None:
                self._parts.setdefault(part_of, []).append(key)
            if kind in _NAMED:
                self._by_name.setdefault(plain(name), []).append(key)
            for parent in parents(known, name) if kind == "table" else ():
                self._children.setdefault(parent, []).append(name)

    def of(self, seeds: Collection[str]) -> set[str]:
        """Return the keys of what is reached, the seeds among them."""
        resting = {*seeds, *all_used(seeds, self._users)}
        tables: set[str] = set()
        waiting = [name for key in resting if (name := self._table_of(key)) is not None]
        while waiting:
            name = waiting.pop()
            if name not in tables:
                tables.add(name)
                waiting += self._children.get(name, ())
        kept = {key for key in self._known.objects if key.startswith("schema ")}
        needed = [*resting, *(part for name in tables for part in self._parts.get(name, ()))]
        needed += [f"table {name}" for name in tables]  # a partition may have no part of its own
        while needed:
            key = needed.pop()
            if key not in kept:
                kept.add(key)
                needed += self._needed(key)
        return kept

    def _table_of(self, key: str) -> str | None:
        """Return the table that an object is, or is a part of."""
        kind, _, name = key.partition(" ")
        if kind in {"column", "default"}:
            return split_name(name)[0]
        return name if kind == "table" else owner(key, self._known.objects.get(key, {}))

    def _needed(self, key: str) -> Iterator[str]:
        for one in self._uses:
            yield from one.get(key, ())
        kind, _, name = key.partition(" ")
        if kind in {"column", "default"}:
            yield f"table {split_name(name)[0]}"
            yield f"default {name}" if kind == "column" else f"column {name}"
        elif kind == "table":
            # A partition's keys and indexes are parts of its parent's.
            inherits = name in self._children or parents(self._known, name)
            for part in self._parts.get(name, ()):
                if inherits or self._makes_a_table(part):
                    yield part
        elif _is_function(key):
            text = str(self._known.objects.get(key, {}).get("definition", ""))
            for quoted, bare in _WORD.findall(text):
                yield from self._by_name.get(quoted.replace('""', '"') or bare, ())

    def _makes_a_table(self, part: str) -> bool:
        """Whether no table is without such a part, or none could refer to it."""
        text = str(self._known.objects[part].get("definition", ""))
        return part.startswith("column ") or text.startswith(_UNIQUE)


def _is_function(key: str) -> bool:
    return key.startswith("function ")


def in_order(steps: Sequence[Step], before: Uses, after: Uses) -> list[Step]:
    """Sort steps by what uses what, and where that leaves it open by phase; then by stage.

    What is used is made before what uses it, and goes after that.  What others wait for comes as
    early as they do.  Where that is a circle, the first one of it goes first.
    """
    successors = _successors(steps, before, after)
    missing = [0] * len(steps)
    for after_it in successors:
        for each in after_it:
            missing[each] += 1
    rank = _ranks(steps, successors)
    ready = [(rank[index], index) for index in range(len(steps)) if not missing[index]]
    heapq.heapify(ready)
    left = dict.fromkeys(sorted(range(len(steps)), key=lambda index: rank[index]))
    ordered = []
    while left:
        index = heapq.heappop(ready)[1] if ready else next(iter(left))
        if index not in left:
            continue
        del left[index]
        ordered.append(steps[index])
        for each in successors[index]:
            missing[each] -= 1
            if not missing[each] and each in left:
                heapq.heappush(ready, (rank[each], each))
    return sorted(values_first(_staged(ordered, after)), key=lambda step: step.stage)


def _staged(ordered: Sequence[Step], uses: Uses) -> list[Step]:
    """Put what uses what a later stage makes there, or behind it."""
    stages = [step.stage for step in ordered]
    for first, then in sorted(_made_first(ordered, uses)):
        if first < then and stages[first] > stages[then]:
            built = stages[first] is Stage.INDEX  # outside a transaction
            stages[then] = Stage.CONSTRAINT if built else stages[first]
    return [replace(step, stage=stage) for step, stage in zip(ordered, stages, strict=True)]


def _ranks(steps: Sequence[Step], successors: Sequence[set[int]]) -> list[tuple[int, int]]:
    """Return where each step stands: as early as the first of those that wait for it."""
    rank: list[tuple[int, int]] = [
        (step.phase, -index if step.phase in BACKWARDS else index)
        for index, step in enumerate(steps)
    ]
    ahead: list[set[int]] = [set() for _ in steps]
    for index, followers in enumerate(successors):
        for each in followers:
            ahead[each].add(index)
    done: set[int] = set()
    for first in sorted(range(len(steps)), key=lambda index: rank[index]):
        waiting = [first]
        while waiting:
            index = waiting.pop()
            if index in done:
                continue
            done.add(index)
            rank[index] = min(rank[index], rank[first])
            waiting += ahead[index]
    return rank


def _successors(steps: Sequence[Step], before: Uses, after: Uses) -> list[set[int]]:
    """Return which steps come behind each."""
    successors: list[set[int]] = [set() for _ in steps]
    enders = _by_key(steps, "ends")
    for first, then in chain(
        _made_first(steps, after), _ended_first(steps, before, enders), _freed_first(steps, enders)
    ):
        if first != then:
            successors[first].add(then)
    return successors


def _made_first(steps: Sequence[Step], uses: Uses) -> Iterator[tuple[int, int]]:
    """Yield what is made before what uses it."""
    makers = _by_key(steps, "makes")
    for index, step in enumerate(steps):
        needed = chain(step.needs, *(uses.get(key, ()) for key in step.makes))
        for maker in chain.from_iterable(makers.get(each, ()) for each in needed):
            yield maker, index


def _ended_first(
    steps: Sequence[Step], uses: Uses, enders: Mapping[str, list[int]]
) -> Iterator[tuple[int, int]]:
    """Yield what goes before what it used; what goes by itself does so before its table."""
    for key, its in enders.items():
        fewest = min(len(steps[each].ends) for each in its)
        with_others = [
            each for each in its if len(steps[each].ends) > fewest and key not in steps[each].makes
        ]
        for index in its:
            if index in with_others:
                continue
            yield from ((index, each) for each in with_others)
            for used in uses.get(key, ()):
                yield from ((index, each) for each in enders.get(used, ()))


def _freed_first(
    steps: Sequence[Step], enders: Mapping[str, list[int]]
) -> Iterator[tuple[int, int]]:
    """Yield what has a name before what comes by that name."""
    by_name: dict[str, list[tuple[str, int]]] = {}
    for key, its in enders.items():
        by_name.setdefault(_exclusive_name(key), []).extend((key, each) for each in its)
    for index, step in enumerate(steps):
        for key in step.makes:
            for other, ender in by_name.get(_exclusive_name(key), ()):
                # A type that is replaced goes under another name, after that.
                if other != key or steps[ender].phase < step.phase:
                    yield ender, index


def _by_key(steps: Sequence[Step], which: str) -> Mapping[str, list[int]]:
    found: dict[str, list[int]] = {}
    for index, step in enumerate(steps):
        for key in getattr(step, which):
            found.setdefault(key, []).append(index)
    return found


def _exclusive_name(key: str) -> str:
    """Return what no two objects can be at once: a name among relations and types, or a key."""
    kind, _, name = key.partition(" ")
    if kind == "constraint":  # a key's index is a relation
        table, own = split_name(name)
        return f"{table.removesuffix(split_name(table)[-1])}{own}"
    return name if kind in _RELATIONS else key
