"""What cannot be changed in place: types are replaced, what rests on a change is made again.

PostgreSQL cannot change an enum of which values go or move, a domain on another type, a range, a
composite type with attributes of another type or in another order, or what is made of them: one of
the same name replaces it, and columns move from the old type to the new one.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from leadctl.catalog.definitions import Attributes, Catalog, definition, split_name
from leadctl.errors import OperationFailed
from leadctl.migrate.ddl.dependencies import Uses
from leadctl.migrate.ddl.objects import added_values, alter, attribute, create, word
from leadctl.migrate.ddl.steps import Phase, Step, mentions, plain, suffixed
from leadctl.migrate.ddl.tables import alike, cast_loses, must_be_added_anew, using_clause

_Columns = list[tuple[str, Attributes, Attributes]]
"""Columns of a table, each as it was and as it will be."""
_TYPES = ("enum", "domain", "type")
_RESTING = {
    "view", "policy", "trigger", "rule", "index", "constraint", "statistics", "function",
    "property", "grant", "other",
}  # fmt: skip
"""Kinds that are dropped and created, where what they use is."""
_BY_POSTGRESQL = {"index", "constraint", "grant", "property"}
"""Kinds that the server makes again itself where a column of theirs gets another type."""

_CALLED = {"function", "view", "other", *_TYPES}
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
            return of in {"function", "other"} and key not in self._replaced
        return kind in _RESTING


def _kind(key: str) -> str:
    return key.partition(" ")[0]


def replaced_types(before: Catalog, after: Catalog) -> list[str]:
    """Return the keys of the types that must be replaced, each behind those it is made of."""
    both = {
        key: attributes
        for key, attributes in before.objects.items()
        if key.partition(" ")[0] in _TYPES and key in after.objects
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


def of_replaced(kind: str, keys: Sequence[str]) -> bool:
    """Whether a column's type is one of those that are replaced, or an array of it."""
    return any(f"{each} {kind.removesuffix('[]')}" in keys for each in _TYPES)


def replace_type(key: str, keys: list[str], before: Catalog, after: Catalog) -> Iterator[Step]:
    """Yield what replaces the type `key`, one of `keys`, and moves the columns to it.

    Raises OperationFailed where the values of columns cannot be moved.
    """
    kind, _, name = key.partition(" ")
    old, new = before.objects[key], after.objects[key]
    what, former = word(kind, new), f"former {name}"
    _refuse_hidden_values(name, old, new, before)
    yield Step(
        f"ALTER {what} {name} RENAME TO {split_name(_former(name))[-1]}",
        Phase.DEFINE,
        makes=(former,),
        why=f"{_in_the_way(old, new)}PostgreSQL cannot change it in place, so it is recreated: its "
        "tables are rewritten, and locked during that time.",
    )
    if "range" in old:
        for statement in _constructors_renamed(name, old, keys):
            yield Step(statement, Phase.DEFINE, makes=(former,))
    yield Step(create(kind, name, new), Phase.DEFINE, makes=(key,), needs=(former,))
    moved = _columns_of(name, before, after)
    of_arrays = any(column[1]["type"].endswith("[]") for each in moved.values() for column in each)
    by_function = of_arrays and _names(old) != _names(new)
    function = f"{_mover(name)}({_former(name)}[])"
    mover = f"function {function}"
    if by_function:
        yield Step(_move_arrays(name, old, new), Phase.DEFINE, (mover,), needs=(key,))
    for table, columns in moved.items():
        step = _move(name, table, columns, (old, new), keys)
        yield replace(step, needs=(mover,)) if by_function else step
    yield Step(f"DROP {what} {_former(name)}", Phase.DROP_DEFINITION, ends=(key,))
    if by_function:  # what comes last by name goes first
        yield Step(f"DROP FUNCTION {function}", Phase.DROP_DEFINITION, ends=(mover,))


def _constructors_renamed(name: str, old: Attributes, keys: list[str]) -> Iterator[str]:
    """Yield what takes their names from what goes with a range: its functions and multirange."""
    subtype = old["range"].partition("SUBTYPE = ")[2].partition(", ")[0]
    subtype = _former(subtype) if of_replaced(subtype, keys) else subtype
    for arguments in (f"{subtype}, {subtype}", f"{subtype}, {subtype}, text"):
        yield f"ALTER FUNCTION {name}({arguments}) RENAME TO {split_name(_former(name))[-1]}"
    of_many, former = old["multirange"], split_name(_former(old["multirange"]))[-1]
    yield f"ALTER TYPE {of_many} RENAME TO {former}"
    for arguments in ("", _former(name), f"VARIADIC {_former(name)}[]"):
        yield f"ALTER FUNCTION {of_many}({arguments}) RENAME TO {former}"


def _names(attributes: Attributes) -> list[str]:
    """Return the names of a composite type's attributes."""
    return [attribute(each)[0] for each in attributes.get("attributes", ())]


def _row(value: str, old: Attributes, new: Attributes) -> str:
    """Return the text of a composite value as the new type reads it, attribute by attribute."""
    had = _names(old)
    parts = ", ".join(f"({value}).{own}" if own in had else "NULL" for own in _names(new))
    return f"CASE WHEN {value} IS DISTINCT FROM NULL THEN ROW({parts})::text END"


def _mover(name: str) -> str:
    """Return the name of the function that moves arrays of a type, until it is dropped."""
    return suffixed(name, "__moved")


def _move_arrays(name: str, old: Attributes, new: Attributes) -> str:
    """Return what makes a function of arrays: ALTER TABLE takes no subquery."""
    value = _row("$1[n]", old, new)
    values = f"SELECT {value}::{name} FROM generate_subscripts($1, 1) AS n"  # noqa: S608 - names as the server quotes them
    return (
        f"CREATE FUNCTION {_mover(name)}({_former(name)}[]) RETURNS {name}[] LANGUAGE sql AS $move$"
        f" SELECT CASE WHEN array_ndims($1) > 1 THEN 'more than one dimension'::text::{name}[]"
        f" WHEN $1 IS NOT NULL THEN ARRAY({values} ORDER BY n) END $move$"
    )


def _move(
    name: str,
    table: str,
    columns: _Columns,
    types: tuple[Attributes, Attributes],
    keys: list[str],
) -> Step:
    """Return what moves the columns of a table from a type to the one that replaces it."""
    old, new = types
    was_on, is_on = str(old.get("type", "")), str(new.get("type", ""))
    by_text = not is_on or of_replaced(was_on, keys)
    renamed = _names(old) != _names(new)
    actions = []
    for column, was, will in columns:
        kind = str(will["type"])
        array = "[]" if kind.endswith("[]") else ""
        cast = f" USING {column}::text{array}::{kind}"
        if renamed:
            cast = f" USING {_row(column, old, new)}::{kind}"
            cast = f" USING {_mover(name)}({column})" if array else cast
        elif not by_text:
            cast = using_clause(column, was_on, is_on, into=kind)
        if "default" in was:
            actions.append(f"ALTER COLUMN {column} DROP DEFAULT")
        actions.append(f"ALTER COLUMN {column} TYPE {kind}{cast}")
        if "default" in will:
            actions.append(f"ALTER COLUMN {column} SET DEFAULT {will['default']}")
    statement = f"ALTER TABLE {table} {', '.join(actions)}"
    moved = [f"column {table}.{column}" for column, _, _ in columns]
    ends = [f"default {table}.{column}" for column, was, _ in columns if "default" in was]
    makes = [f"default {table}.{column}" for column, _, will in columns if "default" in will]
    places = ", ".join(f"{table}.{column}" for column, _, _ in columns)
    lost = " and ".join(f"{each} of {places}" for each in _lost(old, new))
    return Step(statement, Phase.DEFINE, (*moved, *makes), (*moved, *ends), loses=lost)


def _lost(old: Attributes, new: Attributes) -> Iterator[str]:
    """Yield what values lose when they move from a type to the one that replaces it."""
    was_on, is_on = str(old.get("type", "")), str(new.get("type", ""))
    if is_on and cast_loses(was_on, is_on):
        yield f"what {is_on} cannot hold"
    was, will = (dict(map(attribute, each.get("attributes", ()))) for each in (old, new))
    gone = [own for own in was if own not in will]
    if gone:
        yield f"the attributes {', '.join(gone)}"
    for own, kind in was.items():
        if own in will and kind != will[own] and cast_loses(kind, will[own]):
            yield f"what {will[own]} cannot hold of {own}"


def _is_another(key: str, before: Catalog, after: Catalog) -> bool:
    kind, _, name = key.partition(" ")
    old, new = before.objects[key], after.objects[key]
    if definition(old) == definition(new):
        return False
    if kind == "enum":
        return added_values(name, old["values"], new["values"]) is None
    if kind == "domain":
        return any(old.get(each) != new.get(each) for each in ("type", "collation"))
    if not _is_in_use(name, before):
        return False
    if "range" in old or "range" in new:
        return any(old.get(each) != new.get(each) for each in ("range", "multirange"))
    was, will = (dict(map(attribute, each.get("attributes", ()))) for each in (old, new))
    retyped = any(kind != will.get(own, kind) for own, kind in was.items())
    return retyped or alter(kind, name, old, new) is None


def _is_in_use(kind: str, catalog: Catalog) -> bool:
    """Whether columns are of a type, of arrays of it, or of what is made of it."""
    made_of = _made_of(kind, catalog)
    of_many = catalog.objects.get(f"type {kind}", {}).get("multirange")
    return _has_columns(kind, catalog) or any(
        _is_in_use(each, catalog) for each in (*made_of, *([of_many] if of_many else ()))
    )


def _has_columns(kind: str, catalog: Catalog) -> bool:
    return any(
        key.startswith("column ") and attributes["type"] in {kind, f"{kind}[]"}
        for key, attributes in catalog.objects.items()
    )


def _made_of(kind: str, catalog: Catalog) -> list[str]:
    """Return the names of the types that are made of one."""
    return [
        name
        for key, attributes in catalog.objects.items()
        if (name := key.partition(" ")[2]) != kind
        and key.partition(" ")[0] in {"domain", "type"}
        and plain(kind) in _parts(attributes)
    ]


def _refuse_hidden_values(name: str, old: Attributes, new: Attributes, before: Catalog) -> None:
    """Refuse to move what cannot be reached: within other types, or in a multirange.

    Raises OperationFailed.
    """
    hidden = [each for each in _made_of(name, before) if _is_in_use(each, before)]
    if _names(old) != _names(new) and hidden:
        raise OperationFailed(
            f"The type {name} gets other attributes or another order of them, and columns are of "
            f"{hidden[0]}, which is made of it.",
            hint="Make one of another name, move the columns to it by hand, and drop the old one.",
        )
    if "range" in old and _has_columns(str(old["multirange"]), before):
        raise OperationFailed(
            f"The range type {name} cannot be changed in place, and columns are of its multirange.",
            hint="Make one of another name, move the columns to it by hand, and drop the old one.",
        )


def _parts(attributes: Attributes) -> set[str]:
    """Return the names of what a type is made of, and of its attributes."""
    of_range = attributes.get("range", "").partition(", MULTIRANGE_TYPE_NAME")[0]
    made_of = (attributes.get("type", ""), of_range)
    return mentions(" ".join([*made_of, *attributes.get("attributes", ())]))


def _in_the_way(old: Attributes, new: Attributes) -> str:
    gone = [value for value in old.get("values", ()) if value not in new.get("values", ())]
    return f"Rows with {', '.join(gone)} make it stop: change them first. " if gone else ""


def _former(name: str) -> str:
    """Return the name that the replaced type has until it is dropped."""
    return suffixed(name, "__old")


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
