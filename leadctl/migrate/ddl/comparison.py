"""Two catalogs, and what follows from comparing them: what rests on a change is made again."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property

from leadctl.catalog.definitions import Catalog, definition, owner, split_name
from leadctl.errors import OperationFailed
from leadctl.migrate.ddl import objects
from leadctl.migrate.ddl.dependencies import Uses, all_used, uses_of
from leadctl.migrate.ddl.objects import alter
from leadctl.migrate.ddl.partition_indexes import PartitionIndexes
from leadctl.migrate.ddl.steps import Phase, Step
from leadctl.migrate.ddl.table_copies import Copy, link_to_parents, rows_of
from leadctl.migrate.ddl.tables import (
    alike,
    inherited_column,
    is_elsewhere,
    is_retyped,
    must_be_added_again,
    parents,
    serials,
    within_tables,
)
from leadctl.migrate.ddl.type_replacement import TYPES, is_moved, of_replaced, replaced_types

_RESTING = {
    "view", "policy", "trigger", "rule", "index", "constraint", "statistics", "function",
    "property", "grant", "other",
}  # fmt: skip
"""Kinds that are dropped and created, where what they use is."""
_BY_POSTGRESQL = {"index", "constraint", "grant", "property"}
"""Kinds that the server makes again itself where a column of theirs gets another type."""

_CALLED = {"function", "view", "other", *TYPES}
"""What a default may name that the server lets go only when the default has."""


class Comparison:
    """Two catalogs, and what follows from comparing them."""

    def __init__(
        self, before: Catalog, after: Catalog, *, online: bool, copies: Iterable[Copy] = ()
    ) -> None:
        self.before = before
        self.after = after
        self.online = online
        self.copies = {each.table: each for each in copies}
        """The tables that take the rows of those that were set aside."""
        self.replaced = replaced_types(before, after)
        late = {rows_of(each.former): {f"table {each.former}"} for each in self.copies.values()}
        for name in before.names("table"):
            late[link_to_parents(name)] = {f"table {each}" for each in parents(before, name)}
        self.used, self.uses = {**uses_of(before), **late}, uses_of(after)
        """What each object used, and what it uses afterwards."""
        self.partition_indexes = PartitionIndexes(before, after)
        self.handed = _HandedConstraints(before, after, self.partition_indexes)
        seeds = self.partition_indexes.recreated
        self.rebuilt = _Rebuilt(before, after, self.replaced, self.used).find(seeds)
        self.serials = serials(before, after)
        self.unique_keys = objects.unique_keys(after)
        self.within: dict[str, list[str]] = {}
        """The keys of the constraints that come with their tables, by table."""
        for key in within_tables(before, after):
            self.within.setdefault(split_name(key.removeprefix("constraint "))[0], []).append(key)
        self.dropped = {
            name
            for kind in ("table", "view")
            for name in before.names(kind)
            if f"{kind} {name}" not in after.objects or f"{kind} {name}" in self.rebuilt
        }

    @cached_property
    def coming(self) -> set[str]:
        """The keys of what is made, or made again."""
        return (self.after.objects.keys() - self.before.objects.keys()) | self.rebuilt

    def parts(self, key: str, catalog: Catalog) -> tuple[str, ...]:
        """Return the keys of a table or view, and of all that goes with it."""
        name = key.partition(" ")[2]
        return (key, *self._parts[catalog is self.after].get(name, ()))

    @cached_property
    def _parts(self) -> tuple[Mapping[str, list[str]], ...]:
        both: list[dict[str, list[str]]] = []
        for catalog in (self.before, self.after):
            found: dict[str, list[str]] = {}
            for key, attributes in catalog.objects.items():
                name = owner(key, attributes)
                if name is not None:
                    found.setdefault(name, []).append(key)
                    if key.startswith("column ") and "default" in attributes:
                        found[name].append(f"default {key.removeprefix('column ')}")
            both.append(found)
        return tuple(both)

    @cached_property
    def rounds(self) -> Mapping[str, int]:
        """In which statement each table goes: one after what is called by its defaults and rules.

        PostgreSQL drops many at once, but not with a function between them.
        """
        gone = [name for name in self.before.names("table") if name in self.dropped]
        found = dict.fromkeys(gone, 0)
        later: dict[str, set[str]] = {}
        for name in gone:
            own = self.parts(f"table {name}", self.before)
            used = {each for key in own for each in self.used.get(key, ())}
            called = {each for each in used if each.startswith(("function ", "view ", "domain "))}
            if called:
                seen = all_used(called, self.used)
                later[name] = {each for each in gone if f"table {each}" in seen} - {name}
        for _ in later:
            for name, others in later.items():
                for each in others:
                    found[each] = max(found[each], found[name] + 1)
        for name in gone:  # a partition goes with its parent
            root = name
            while (above := self.before.objects[f"table {root}"].get("partition_of")) in found:
                root = str(above)
            found[name] = found[root]
        return found

    def default_of_parent_changes(self, table: str, own: str) -> bool:
        """Whether a column that is a table's own in the end has a parent whose default changes."""
        both = (self.before, self.after)
        if own not in self.after.columns(table):
            return False
        above = [inherited_column(each, table, own) for each in both]
        defaults = [(each or {}).get("default") for each in above]
        return None not in above and defaults[0] != defaults[1]

    def exists(self, table: str) -> bool:
        """Whether a table was there, is still, and has rows of its own to be careful with."""
        key = f"table {table}"
        return (
            key in self.before.objects
            and key in self.after.objects
            and "partition_key" not in self.after.objects[key]
        )


class _Rebuilt:
    """Finds the objects that both catalogs have, and that must be recreated.

    A default (`default t.c`) and a domain are not: what they call is taken off, and put back.
    `replaced` are types that are, too, in a way of their own: they are not returned.
    """

    def __init__(self, before: Catalog, after: Catalog, replaced: list[str], uses: Uses) -> None:
        self._replaced = replaced
        self._before, self._after = before.objects, after.objects
        self._both = before.objects.keys() & after.objects.keys()
        self._gone = before.objects.keys() - after.objects.keys()
        new = after.objects.keys() - before.objects.keys()
        used = {each for its in uses.values() for each in its}
        self._from_identities = {each for each in used & new if each.startswith("sequence ")}
        """Sequences that are an identity's before, and so no objects of their own."""
        self._uses = {
            key: used for key, used in uses.items() if key in self._both or self._is_default(key)
        }
        self._users: dict[str, set[str]] = {}
        for key, used in self._uses.items():
            for each in used:
                self._users.setdefault(each, set()).add(key)

    def find(self, seeds: Collection[str]) -> set[str]:
        """Return their keys, the `seeds` too: what goes is followed to what uses it."""
        found = {key for key in self._both if self._changes_as_a_whole(key)} | {*seeds}
        found |= {key for key in self._uses if self._loses_what_it_uses(key)} | set(self._replaced)
        retyped = {key for key in self._both if self._is_retyped(key)}
        found |= {key for key in self._uses if self._compares_retyped(key, retyped)}
        for key in retyped:
            kept = {each for each in self._users.get(key, ()) if _kind(each) in _BY_POSTGRESQL}
            found |= {
                each for each in self._users.get(key, set()) - kept if self._goes_with(each, key)
            }
        waiting = list(found)
        while waiting:
            key = waiting.pop()
            if _kind(key) == "domain" and key not in self._replaced:
                continue
            more = {each for each in self._users.get(key, ()) if self._goes_with(each, key)} - found
            found |= more
            waiting += more
        return found - set(self._replaced)

    def _is_default(self, key: str) -> bool:
        """Whether it is a default of a column that has one before and after."""
        own = f"column {key.removeprefix('default ')}"
        return key.startswith("default ") and own in self._both and "default" in self._after[own]

    def _changes_as_a_whole(self, key: str) -> bool:
        kind, _, name = key.partition(" ")
        old, new = self._before[key], self._after[key]
        if definition(old) == definition(new) or kind in {"enum", "property", "grant"}:
            return False
        if kind == "table":
            return is_elsewhere(old, new)
        if kind == "column":
            return must_be_added_again(old, new)
        try:
            return alter(kind, name, old, new) is None
        except OperationFailed:  # it is named where it would be written
            return False

    def _loses_what_it_uses(self, key: str) -> bool:
        """Whether something that an object uses goes, or has its name taken by another."""
        gone = self._uses[key] & (self._gone | self._from_identities)
        if _kind(key) == "domain":  # it is changed in place
            gone = gone if definition(self._before[key]) == definition(self._after[key]) else set()
        return any(self._goes_with(key, each) for each in gone)

    def _is_retyped(self, key: str) -> bool:
        if not key.startswith("column "):
            return False
        old, new = self._before[key], self._after[key]
        return is_moved(old, self._replaced) or is_retyped(old, new)

    def _compares_retyped(self, key: str, retyped: set[str]) -> bool:
        """Whether a foreign key's columns change their types to another family.

        PostgreSQL makes the key again with each side, and in between the two would not compare.
        """
        columns = self._uses[key] & retyped
        if not columns or "FOREIGN KEY" not in self._before.get(key, {}).get("definition", ""):
            return False
        types = ((self._before[each]["type"], self._after[each]["type"]) for each in columns)
        return not all(alike(old, new) for old, new in types)

    def _goes_with(self, key: str, used: str) -> bool:
        """Whether an object cannot stay where one that it uses goes, or gets another type."""
        kind, of = _kind(key), _kind(used)
        if kind == "default":  # its column's type takes it along
            column = self._before[f"column {key.removeprefix('default ')}"]
            if of == "sequence":
                name = key.removeprefix("default ")
                return bool(column["default"] == self._after[f"column {name}"]["default"])
            along = of in TYPES and of_replaced(column["type"], self._replaced)
            return of in _CALLED and not along
        if kind == "column":
            table = owner(key, self._before[key])
            return used == f"table {table}" or ("generated" in self._before[key] and of != "table")
        if kind == "domain":
            return of in {"function", "other"} and key not in self._replaced
        return kind in _RESTING


class _HandedConstraints:
    """What tables get with a parent, and keep without it, between two catalogs.

    https://www.postgresql.org/docs/current/sql-altertable.html, DETACH PARTITION and NO INHERIT
    """

    def __init__(self, before: Catalog, after: Catalog, indexes: PartitionIndexes) -> None:
        self._before, self._after, self._indexes = before, after, indexes

    def stays(self, name: str) -> bool:
        """Whether a constraint that a table is to have is the one that it keeps."""
        table, own = split_name(name)
        wanted = self._after.objects[f"constraint {name}"]
        return self._kept(table).get(own) == str(wanted["definition"])

    def merges(self, name: str) -> bool:
        """Whether a constraint of a table becomes one with its new parent's."""
        table, own = split_name(name)
        if f"table {table}" not in self._after.objects:
            return False
        was = self._before.objects[f"constraint {name}"]
        return self._apart(table, self._after, self._before).get(own) == str(was["definition"])

    def missing_checks(self, table: str) -> dict[str, str]:
        """Return the checks of its new parent that a table must have before it is a part of it."""
        had = self._handed(self._before, table, parents(self._before, table))
        new = self._apart(table, self._after, self._before)
        return {
            own: text
            for own, text in new.items()
            if text.startswith("CHECK") and own not in had and not self._has(table, own, text)
        }

    def _has(self, table: str, own: str, text: str) -> bool:
        return self._before.objects.get(f"constraint {table}.{own}", {}).get("definition") == text

    def left_behind(self) -> Iterator[Step]:
        """Yield what drops the constraints that tables keep from a parent, and should not have."""
        for table in self._before.names("table"):
            for own, text in self._kept(table).items():
                wanted = self._after.objects.get(f"constraint {table}.{own}", {})
                if wanted.get("definition") != text:
                    yield Step(
                        f"ALTER TABLE {table} DROP CONSTRAINT {own}",
                        Phase.DROP_KEY,
                        needs=(link_to_parents(table),),
                    )

    def leavers(self, table: str) -> tuple[str, ...]:
        """Return the places of the tables that leave one, which keep what they have of it."""
        return tuple(self._leavers.get(table, ()))

    @cached_property
    def _leavers(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for table in self._before.names("table"):
            if f"table {table}" in self._after.objects:
                now = parents(self._after, table)
                for parent in parents(self._before, table):
                    if parent not in now:
                        found.setdefault(parent, []).append(link_to_parents(table))
        return found

    def _kept(self, table: str) -> dict[str, str]:
        """Return the constraints of parents that a table leaves, and of none that it gets."""
        if f"table {table}" not in self._after.objects:
            return {}
        kept = self._apart(table, self._before, self._after)
        now = self._handed(self._after, table, parents(self._after, table))
        had = {own for own in kept if f"constraint {table}.{own}" in self._before.objects}
        return {own: text for own, text in kept.items() if own not in had and now.get(own) != text}

    def _apart(self, table: str, here: Catalog, there: Catalog) -> dict[str, str]:
        """Return what comes from the parents that a table has in one catalog alone."""
        others = parents(there, table) if f"table {table}" in there.objects else []
        apart = [each for each in parents(here, table) if each not in others]
        return self._handed(here, table, apart) if apart and others != apart else {}

    def _handed(self, catalog: Catalog, table: str, above: list[str]) -> dict[str, str]:
        is_partition = "partition_of" in catalog.objects.get(f"table {table}", {})
        keys = self._indexes.keys_of(table, catalog) if is_partition and above else {}
        return {**_of_parents(catalog, above, is_partition=is_partition), **keys}


def _of_parents(catalog: Catalog, above: list[str], *, is_partition: bool) -> dict[str, str]:
    """Return the checks of parents and theirs by name, of partitions' the foreign keys, too."""
    found: dict[str, str] = {}
    for parent in above:
        found |= _of_parents(catalog, parents(catalog, parent), is_partition=is_partition)
        for name in catalog.names("constraint"):
            of, own = split_name(name)
            text = str(catalog.objects[f"constraint {name}"]["definition"])
            is_check = text.startswith("CHECK") and " NO INHERIT" not in text
            if of == parent and (is_check or (is_partition and text.startswith("FOREIGN KEY"))):
                found[own] = text
    return found


def _kind(key: str) -> str:
    return key.partition(" ")[0]
