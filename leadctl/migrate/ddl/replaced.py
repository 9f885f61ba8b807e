"""Types that PostgreSQL cannot change in place: replaced by one of the same name.

An enum of which values go or move, a domain on another type, a composite type with attributes of
another type, and what is made of them.  Columns move from the old type to the new one.  A range is
not among them, since its functions cannot be replaced: where something uses it the server refuses.
"""

from collections.abc import Iterator, Mapping

from leadctl.catalog.definitions import Attributes, Catalog, definition, split_name
from leadctl.migrate.ddl import values
from leadctl.migrate.ddl.casts import loses, using
from leadctl.migrate.ddl.objects import create, word
from leadctl.migrate.ddl.order import mentions, plain
from leadctl.migrate.ddl.steps import Phase, Step
from leadctl.migrate.ddl.types import attribute

KINDS = ("enum", "domain", "type")
_Columns = list[tuple[str, Attributes, Attributes]]
"""Columns of a table, each as it was and as it will be."""


def replaced(before: Catalog, after: Catalog) -> list[str]:
    """Return the keys of the types that must be replaced, each behind those it is made of."""
    both = {
        key: attributes
        for key, attributes in before.objects.items()
        if key.partition(" ")[0] in KINDS and key in after.objects and "range" not in attributes
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
    return any(f"{each} {kind.removesuffix('[]')}" in keys for each in KINDS)


def replace(key: str, keys: list[str], before: Catalog, after: Catalog) -> Iterator[Step]:
    """Yield what replaces one of `keys` and moves the columns to it."""
    kind, _, name = key.partition(" ")
    old, new = before.objects[key], after.objects[key]
    own, what = plain(name), word(kind, new)
    yield Step(
        f"ALTER {what} {name} RENAME TO {split_name(_former(name))[-1]}",
        Phase.DEFINE,
        own,
        about=own,
        why=f"{_in_the_way(old, new)}PostgreSQL cannot change it in place, so it is made anew: its "
        "tables are written anew, and locked meanwhile.",
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
            cast = using(column, was_on, is_on, into=kind)
        if "default" in was:
            actions.append(f"ALTER COLUMN {column} DROP DEFAULT")
        actions.append(f"ALTER COLUMN {column} TYPE {kind}{cast}")
        if "default" in will:
            actions.append(f"ALTER COLUMN {column} SET DEFAULT {will['default']}")
    lost = ""
    if is_on and loses(was_on, is_on):
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
        return values.added(name, old["values"], new["values"]) is None
    if kind == "domain":
        return bool(old["type"] != new["type"])
    was, will = (list(map(attribute, each.get("attributes", ()))) for each in (old, new))
    same_names = [own for own, _ in was] == [own for own, _ in will]
    in_use = any(
        each.startswith("column ") and attributes["type"] in {name, f"{name}[]"}
        for each, attributes in before.objects.items()
    )
    return was != will and same_names and in_use


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
