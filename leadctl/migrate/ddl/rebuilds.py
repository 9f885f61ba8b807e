"""What cannot be changed in place: types are replaced, what rests on a change is made again.

PostgreSQL cannot change an enum of which values go or move, a domain on another type, a composite
type with attributes of another type, or what is made of them: one of the same name replaces it,
and columns move from the old type to the new one.  A range is not among them, since its functions
cannot be replaced: where something uses it the server refuses.
"""

from collections.abc import Collection, Iterator, Mapping

from leadctl.catalog.definitions import Attributes, Catalog, definition, split_name
from leadctl.errors import OperationFailed
from leadctl.migrate.ddl.dependencies import Uses
from leadctl.migrate.ddl.objects import added_values, alter, attribute, create, word
from leadctl.migrate.ddl.steps import Phase, Step, mentions, plain
from leadctl.migrate.ddl.tables import alike, cast_loses, must_be_added_anew, using_clause

_Columns = list[tuple[str, Attributes, Attributes]]
"""Columns of a table, each as it was and as it will be."""
_TYPES = ("enum", "domain", "type")
_RESTING = {
    "view", "policy", "trigger", "rule", "index", "constraint", "statistics", "function",
    "property", "grant",
}  # fmt: skip
"""Kinds that are dropped and created, where what they use is."""
_BY_POSTGRESQL = {"index", "constraint", "grant", "property"}
"""Kinds that the server makes again itself where a column of theirs gets another type."""

_CALLED = {"function", "view", *_TYPES}
"""What a default may name that the server lets go only when the default has."""


def rebuilt(
    before: Catalog, after: Catalog, replaced: list[str], uses: Uses, seeds: Collection[str] = ()
) -> set[str]:
    """Return the keys of objects that both have, and that must be recreated, the `seeds` too.

    A default (`default t.c`) and a domain are not: what they call is taken off, and put back.
    `replaced` are types that are, too, in a way of their own: they are not returned.
    """
    return _Rebuilt(before, after, replaced, uses).find(seeds)


class _Rebuilt:
    def __init__(self, before: Catalog, after: Catalog, replaced: list[str], uses: Uses) -> None:
        self._replaced = replaced
        self._before, self._after = before.objects, after.objects
        self._both = before.objects.keys() & after.objects.keys()
        self._gone = before.objects.keys() - after.objects.keys()
        self._uses = {
            key: used for key, used in uses.items() if key in self._both or self._is_default(key)
        }
        self._users: dict[str, set[str]] = {}
        for key, used in self._uses.items():
            for each in used:
                self._users.setdefault(each, set()).add(key)

    def find(self, seeds: Collection[str]) -> set[str]:
        """Follow what goes to what uses it."""
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
        if definition(old) == definition(new) or kind in {"enum", "table", "property", "grant"}:
            return False
        if kind == "column":
            return must_be_added_anew(old, new)
        try:
            return alter(kind, name, old, new) is None
        except OperationFailed:  # it is named where it would be written
            return False

    def _loses_what_it_uses(self, key: str) -> bool:
        """Whether something that an object uses goes, or has its name taken by another."""
        gone = self._uses[key] & self._gone
        if _kind(key) == "domain":  # it is changed in place
            gone = gone if definition(self._before[key]) == definition(self._after[key]) else set()
        return any(self._goes_with(key, each) for each in gone)

    def _is_retyped(self, key: str) -> bool:
        if not key.startswith("column "):
            return False
        old, new = self._before[key], self._after[key]
        if of_replaced(old["type"], self._replaced):
            return True
        return any(old.get(each) != new.get(each) for each in ("type", "collation"))

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
            return of in _CALLED and not of_replaced(column["type"], self._replaced)
        if kind == "column":
            return "generated" in self._before[key] and of != "table"
        if kind == "domain":
            return of == "function" and key not in self._replaced
        return kind in _RESTING


def _kind(key: str) -> str:
    return key.partition(" ")[0]


def replaced_types(before: Catalog, after: Catalog) -> list[str]:
    """Return the keys of the types that must be replaced, each behind those it is made of."""
    both = {
        key: attributes
        for key, attributes in before.objects.items()
        if key.partition(" ")[0] in _TYPES and key in after.objects and "range" not in attributes
    }
    found = [key for key in both if _is_another(key, before, after)]
    for key in found:  # grows meanwhile
        name = plain(key.partition(" ")[2])
        found += [other for other in both if other not in found and name in _parts(both[other])]
    made_of = {key: _parts(after.objects[key]) for key in found}
    ordered: list[str] = []
    while found:
        names = {key: plain(key.partition(" ")[2]) for key in found}
        free = next(
            (key for key in found if not made_of[key] & (set(names.values()) - {names[key]})),
            found[0],
        )
        found.remove(free)
        ordered.append(free)
    return ordered


def of_replaced(kind: str, keys: list[str]) -> bool:
    """Whether a column's type is one of those that are replaced, or an array of it."""
    return any(f"{each} {kind.removesuffix('[]')}" in keys for each in _TYPES)


def replace_type(key: str, keys: list[str], before: Catalog, after: Catalog) -> Iterator[Step]:
    """Yield what replaces the type `key`, one of `keys`, and moves the columns to it."""
    kind, _, name = key.partition(" ")
    old, new = before.objects[key], after.objects[key]
    what, former = word(kind, new), f"former {name}"
    yield Step(
        f"ALTER {what} {name} RENAME TO {split_name(_former(name))[-1]}",
        Phase.DEFINE,
        makes=(former,),
        why=f"{_in_the_way(old, new)}PostgreSQL cannot change it in place, so it is recreated: its "
        "tables are rewritten, and locked during that time.",
    )
    yield Step(create(kind, name, new), Phase.DEFINE, makes=(key,), needs=(former,))
    for table, columns in _columns_of(name, before, after).items():
        yield _move(table, columns, old, new, keys)
    yield Step(f"DROP {what} {_former(name)}", Phase.DROP_DEFINITION, ends=(key,))


def _move(table: str, columns: _Columns, old: Attributes, new: Attributes, keys: list[str]) -> Step:
    """Return what moves the columns of a table from a type to the one that replaces it."""
    was_on, is_on = str(old.get("type", "")), str(new.get("type", ""))
    by_text = not is_on or of_replaced(was_on, keys)
    actions = []
    for column, was, will in columns:
        kind = str(will["type"])
        array = "[]" if kind.endswith("[]") else ""
        cast = f" USING {column}::text{array}::{kind}"
        if not by_text:
            cast = using_clause(column, was_on, is_on, into=kind)
        if "default" in was:
            actions.append(f"ALTER COLUMN {column} DROP DEFAULT")
        actions.append(f"ALTER COLUMN {column} TYPE {kind}{cast}")
        if "default" in will:
            actions.append(f"ALTER COLUMN {column} SET DEFAULT {will['default']}")
    lost = ""
    if is_on and cast_loses(was_on, is_on):
        places = ", ".join(f"{table}.{column}" for column, _, _ in columns)
        lost = f"what {is_on} cannot hold of {places}"
    statement = f"ALTER TABLE {table} {', '.join(actions)}"
    moved = [f"column {table}.{column}" for column, _, _ in columns]
    ends = [f"default {table}.{column}" for column, was, _ in columns if "default" in was]
    makes = [f"default {table}.{column}" for column, _, will in columns if "default" in will]
    return Step(statement, Phase.DEFINE, (*moved, *makes), (*moved, *ends), loses=lost)


def _is_another(key: str, before: Catalog, after: Catalog) -> bool:
    kind, _, name = key.partition(" ")
    old, new = before.objects[key], after.objects[key]
    if definition(old) == definition(new):
        return False
    if kind == "enum":
        return added_values(name, old["values"], new["values"]) is None
    if kind == "domain":
        return any(old.get(each) != new.get(each) for each in ("type", "collation"))
    was, will = (list(map(attribute, each.get("attributes", ()))) for each in (old, new))
    same_names = [own for own, _ in was] == [own for own, _ in will]
    return was != will and same_names and _is_in_use(name, before)


def _is_in_use(kind: str, catalog: Catalog) -> bool:
    return any(
        key.startswith("column ") and attributes["type"] in {kind, f"{kind}[]"}
        for key, attributes in catalog.objects.items()
    )


def refuse_retyped(name: str, old: Attributes, new: Attributes, before: Catalog) -> None:
    """Refuse a composite type that columns are of, of which attributes come and change at once.

    Raises OperationFailed.
    """
    was, will = (dict(map(attribute, each.get("attributes", ()))) for each in (old, new))
    retyped = any(kind != will.get(own, kind) for own, kind in was.items())
    if retyped and was.keys() != will.keys() and _is_in_use(name, before):
        raise OperationFailed(
            f"The type {name} gets attributes of other types and other attributes at once, and "
            "columns are of it.",
            hint="Change the types of its attributes in one revision, and the rest in the next.",
        )


def refuse_used_range(name: str, before: Catalog) -> None:
    """Refuse to recreate a range type that columns are of.  Raises OperationFailed."""
    if _is_in_use(name, before):
        raise OperationFailed(
            f"The range type {name} cannot be changed in place, and columns are of it.",
            hint="Make one of another name, move the columns to it by hand, and drop the old one.",
        )


def _parts(attributes: Attributes) -> set[str]:
    """Return the names of what a type is made of, and of its attributes."""
    return mentions(" ".join([attributes.get("type", ""), *attributes.get("attributes", ())]))


def _in_the_way(old: Attributes, new: Attributes) -> str:
    gone = [value for value in old.get("values", ()) if value not in new.get("values", ())]
    return f"Rows with {', '.join(gone)} make it stop: change them first. " if gone else ""


def _former(name: str) -> str:
    """Return the name that the replaced type has until it is dropped."""
    return f'{name[:-1]}__old"' if name.endswith('"') else f"{name}__old"


def _columns_of(name: str, before: Catalog, after: Catalog) -> Mapping[str, _Columns]:
    """Return the columns that are and remain of a type, or an array of it, by table."""
    found: dict[str, _Columns] = {}
    for key, old in before.objects.items():
        new = after.objects.get(key, {})
        if (
            key.startswith("column ")
            and old["type"] == new.get("type")
            and old["type"] in {name, f"{name}[]"}
            and "generated" not in new
        ):
            table, column = split_name(key.removeprefix("column "))
            found.setdefault(table, []).append((column, old, new))
    return found
