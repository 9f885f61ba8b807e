"""What cannot be changed in place: types are replaced, what rests on a change is made again.

PostgreSQL cannot change an enum of which values go or move, a domain on another type, a composite
type with attributes of another type, or what is made of them: one of the same name replaces it,
and columns move from the old type to the new one.  A range is not among them, since its functions
cannot be replaced: where something uses it the server refuses.
"""

from collections.abc import Iterator, Mapping

from leadctl.catalog.definitions import (
    Attributes,
    Catalog,
    definition,
    key_reference,
    owner,
    split_name,
)
from leadctl.errors import OperationFailed
from leadctl.migrate.ddl.objects import added_values, alter, attribute, create, unique_keys, word
from leadctl.migrate.ddl.steps import Phase, Step, identifier, mentions, plain
from leadctl.migrate.ddl.tables import alike, cast_loses, must_be_added_anew, using_clause

_Columns = list[tuple[str, Attributes, Attributes]]
"""Columns of a table, each as it was and as it will be."""
_TYPES = ("enum", "domain", "type")
_NAMED = {"view", "function", "sequence", *_TYPES}
_RESTING = {"view", "policy", "trigger", "rule", "index", "constraint", "statistics", "function"}


def rebuilt(before: Catalog, after: Catalog, replaced: list[str]) -> set[str]:
    """Return the keys of objects that both have, and that must be recreated.

    `replaced` are types that are, too, in a way of their own: they are not returned.
    """
    return _Rebuilt(before, after, replaced).find()


class _Rebuilt:
    def __init__(self, before: Catalog, after: Catalog, replaced: list[str]) -> None:
        self._replaced = replaced
        self._both = {
            key: attributes for key, attributes in before.objects.items() if key in after.objects
        }
        self._after = after.objects
        self._unique_keys = unique_keys(before)
        self._words = {
            key: _words(key, attributes)
            for key, attributes in self._both.items()
            if key.partition(" ")[0] in _RESTING
            or (key.startswith("column ") and {"generated", "default"} & attributes.keys())
        }
        gone = [key.partition(" ") for key in before.objects if key not in after.objects]
        self._gone = {plain(name) for kind, _, name in gone if kind in {*_NAMED, "table"}}
        self._gone_relations = {plain(name) for kind, _, name in gone if kind in {"table", "view"}}
        self._gone_functions = {plain(name) for kind, _, name in gone if kind == "function"}
        self._gone_columns: dict[str, set[str]] = {}
        for kind, _, name in gone:
            if kind == "column":
                table, own = split_name(name)
                self._gone_columns.setdefault(plain(table), set()).add(plain(own))
        self._found: set[str] = set()

    def find(self) -> set[str]:
        self._found = {
            key for key in self._both if self._changes_as_a_whole(key) or self._holds_what_goes(key)
        }
        self._found |= set(self._replaced)
        while resting := self._resting():
            self._found |= resting
        granted = {
            key
            for key, each in self._both.items()
            if key.startswith(("grant ", "property ")) and each["of"] in self._found
        }
        return (self._found | granted) - set(self._replaced)

    def _resting(self) -> set[str]:
        """Return what rests on what was found, and was not found itself."""
        named = [key.partition(" ") for key in self._found]
        names = {plain(name) for kind, _, name in named if kind in {"view", "function", *_TYPES}}
        functions = {plain(name) for kind, _, name in named if kind == "function"}
        columns = self._touched_columns()
        waiting = self._words.keys() - self._found
        return {key for key in waiting if self._rests_on(key, names, functions, columns)}

    def _changes_as_a_whole(self, key: str) -> bool:
        kind, _, name = key.partition(" ")
        old, new = self._both[key], self._after[key]
        if definition(old) == definition(new) or kind in {"enum", "table"}:
            return False
        if kind == "column":
            return must_be_added_anew(old, new)
        try:
            return alter(kind, name, old, new) is None
        except OperationFailed:  # it is named where it would be written
            return False

    def _holds_what_goes(self, key: str) -> bool:
        """Whether an object is on something that goes, and would keep it from going.

        It is another afterwards, or something of the same name comes in its place.
        """
        words = self._words.get(key)
        if words is None:
            return False
        if key.startswith("column "):
            return self._both[key].get("default") != self._after[key].get("default") and bool(
                words & self._gone_functions
            )
        if definition(self._both[key]) == definition(self._after[key]):
            return bool(words & self._gone_relations)
        columns = (self._gone_columns[each] for each in words & self._gone_columns.keys())
        return bool(words & self._gone) or any(words & each for each in columns)

    def _touched_columns(self) -> Mapping[str, set[str]]:
        touched: dict[str, set[str]] = {}
        for key, old in self._both.items():
            if not key.startswith("column "):
                continue
            new = self._after[key]
            of_replaced_type = of_replaced(old["type"], self._replaced)
            retyped = any(old.get(each) != new.get(each) for each in ("type", "collation"))
            if retyped or key in self._found or of_replaced_type:
                table, column = split_name(key.removeprefix("column "))
                touched.setdefault(plain(table), set()).add(plain(column))
        return touched

    def _rests_on(
        self, key: str, names: set[str], functions: set[str], columns: Mapping[str, set[str]]
    ) -> bool:
        kind, _, name = key.partition(" ")
        attributes, words = self._both[key], self._words[key]
        on_columns = any(words & columns[each] for each in words & columns.keys())
        if kind == "function":
            return on_columns or bool(words & names - {plain(name)})
        if kind == "column":
            parent, column = split_name(name)
            on_columns = bool(words & columns.get(plain(parent), set()) - {plain(column)})
            return (on_columns and "generated" in attributes) or bool(words & functions)
        if kind == "constraint" and "FOREIGN KEY" in attributes["definition"]:
            return self._rests_on_key(attributes) or self._is_retyped(key, attributes)
        table = owner(key, attributes)
        if f"view {table}" in self._found:
            return True  # it goes with what it is on
        if kind in {"view", "policy", "trigger", "rule", "statistics"}:
            if on_columns:
                return True
        elif words & self._anew_columns(table or ""):
            return True
        own = {plain(name)} | ({plain(table)} if table else set())
        return bool(words & (names - own))

    def _anew_columns(self, table: str) -> set[str]:
        return {
            plain(split_name(key.removeprefix("column "))[1])
            for key in self._found
            if key.startswith("column ") and owner(key, {}) == table
        }

    def _is_retyped(self, key: str, attributes: Attributes) -> bool:
        """Whether a foreign key's columns change their types on both sides, to another family.

        PostgreSQL makes the key again with each side, and in between the two would not compare.
        """
        reference = key_reference(attributes["definition"])
        sides = ((owner(key, {}) or "", reference.columns), (reference.table, reference.referred))
        return all(self._changes_family(table, mentions(text)) for table, text in sides)

    def _changes_family(self, table: str, columns: set[str]) -> bool:
        for own in columns:
            old = self._both.get(f"column {table}.{identifier(own)}")
            new = self._after.get(f"column {table}.{identifier(own)}")
            if old and new and not alike(old["type"], new["type"]):
                return True
        return False

    def _rests_on_key(self, attributes: Attributes) -> bool:
        """Whether a foreign key rests on a key that is dropped or recreated."""
        reference = key_reference(attributes["definition"])
        columns = mentions(reference.referred)
        for key, each in self._unique_keys.get(plain(reference.table), ()):
            gone = definition(each) != definition(self._after.get(key)) or key in self._found
            if gone and columns <= mentions(each["definition"]):
                return True
        return False


def _words(key: str, attributes: Attributes) -> set[str]:
    """Return what a definition names."""
    kind, _, name = key.partition(" ")
    if kind == "column":
        return mentions(attributes.get("generated") or attributes["default"])
    return mentions(create(kind, name, attributes))


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
    own, what = plain(name), word(kind, new)
    yield Step(
        f"ALTER {what} {name} RENAME TO {split_name(_former(name))[-1]}",
        Phase.DEFINE,
        own,
        about=own,
        why=f"{_in_the_way(old, new)}PostgreSQL cannot change it in place, so it is recreated: its "
        "tables are rewritten, and locked during that time.",
    )
    yield Step(create(kind, name, new), Phase.DEFINE, own)
    for table, columns in _columns_of(name, before, after).items():
        yield _move(table, columns, old, new, keys, own)
    names = [each.partition(" ")[2] for each in keys]
    rests_on = [each for each in names if plain(each) in _parts(old)]
    yield Step(
        f"DROP {what} {_former(name)}",
        Phase.DROP_DEFINITION,
        plain(_former(name)),
        about=" ".join([_former(name), *map(_former, rests_on)]),
    )


def _move(
    table: str, columns: _Columns, old: Attributes, new: Attributes, keys: list[str], provides: str
) -> Step:
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
    return Step(statement, Phase.DEFINE, provides, loses=lost)


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
