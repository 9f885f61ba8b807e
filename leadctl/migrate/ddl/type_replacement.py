"""Types that cannot be changed in place, and how the values of columns move to what replaces them.

PostgreSQL cannot change an enum of which values go or move, a domain on another type, a range, a
composite type with attributes of another type or in another order, a collation of another locale,
or what is made of them: one of the same name replaces it, and columns move from the old to the new.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from leadctl.catalog.definitions import Attributes, Catalog, definition, split_name
from leadctl.errors import OperationFailed
from leadctl.migrate.ddl.objects import (
    added_values,
    alter,
    attribute,
    create,
    unvalidated_checks,
    word,
)
from leadctl.migrate.ddl.steps import Phase, Step, aside, mentions, plain, suffixed
from leadctl.migrate.ddl.tables import cast_loses, using_clause, without_default

_Columns = list[tuple[str, Attributes, Attributes]]
"""Columns of a table, each as it was and as it will be."""
TYPES = ("enum", "domain", "type")
"""The kinds of types that a schema may have of its own."""


def replaced_types(before: Catalog, after: Catalog) -> list[str]:
    """Return the keys of the types and collations that must be replaced, in order.

    Each is behind those it is made of.
    """
    both = {
        key: attributes
        for key, attributes in before.objects.items()
        if key.partition(" ")[0] in {*TYPES, "collation"} and key in after.objects
    }
    found = [key for key in both if _is_another(key, before, after)]
    for key in found:  # grows meanwhile
        names = _called(key, both[key])
        found += [other for other in both if other not in found and names & _parts(both[other])]
    made_of = {key: _parts(after.objects[key]) for key in found}
    ordered: list[str] = []
    while found:
        others = {
            key: set().union(*(_called(k, both[k]) for k in found if k != key)) for key in found
        }
        free = next((key for key in found if not made_of[key] & others[key]), found[0])
        found.remove(free)
        ordered.append(free)
        if "multirange" in both[free]:
            ordered.append(f"type {both[free]['multirange']}")
    return ordered


def _called(key: str, attributes: Attributes) -> set[str]:
    """Return the bare names of a type, and of the multirange that comes with it."""
    of_many = attributes.get("multirange")
    return {plain(key.partition(" ")[2]), *([plain(of_many)] if of_many else ())}


def of_replaced(kind: str, keys: Sequence[str]) -> bool:
    """Whether a column's type is one of those that are replaced, or an array of it."""
    return any(f"{each} {kind.removesuffix('[]')}" in keys for each in TYPES)


def is_moved(column: Attributes, keys: Sequence[str]) -> bool:
    """Whether a column's type or collation is one of those that are replaced."""
    return of_replaced(column["type"], keys) or f"collation {column.get('collation')}" in keys


def replace_type(
    key: str, keys: list[str], before: Catalog, after: Catalog, apart: Collection[str]
) -> Iterator[Step]:
    """Yield what replaces the type `key`, one of `keys`, and moves the columns to it.

    `apart` are the keys of what is made again, such defaults among it as are not moved along.
    Raises OperationFailed where the values of columns cannot be moved.
    """
    kind, _, name = key.partition(" ")
    old, new = before.objects[key], after.objects[key]
    what, former = word(kind, new), f"former {name}"
    _refuse_ranges_of_rows(name, before, after)
    yield Step(
        f"ALTER {what} {name} RENAME TO {split_name(aside(name))[-1]}",
        Phase.DEFINE,
        makes=(former,),
        why=f"{_in_the_way(old, new)}PostgreSQL cannot change it in place, so it is recreated: "
        + ("indexes are rebuilt" if kind == "collation" else "its tables are rewritten")
        + ", and tables locked during that time.",
    )
    if "range" in old:
        for statement in _constructors_renamed(name, old, keys):
            yield Step(statement, Phase.DEFINE, makes=(former,))
    yield Step(create(kind, name, new), Phase.DEFINE, makes=(key,), needs=(former,))
    needs = (key, *(movers(name, before) if kind in TYPES else ()))
    mover, of_many = needs[1:2], old.get("multirange")
    has_mover = mover and _is_other_row(name, before, after) and _is_in_arrays(name, before)
    if has_mover:
        yield Step(_move_arrays(name, before, after), Phase.DEFINE, mover, needs=needs)
    for each in filter(None, (key, of_many and f"type {of_many}")):
        for table, columns in _columns_of(each, before, after, apart).items():
            yield replace(_move(table, columns, key, before, after, keys), needs=needs)
    late = unvalidated_checks(name, new) if kind == "domain" else ()
    yield from (Step(each, Phase.CONSTRAINT) for each in late)
    goes = f"DROP {what} {aside(name)}"
    yield Step(goes, Phase.DROP_DEFINITION, ends=(key,), needs=(former,))
    if has_mover:  # what comes last by name goes first
        drop = f"DROP {mover[0].replace('function', 'FUNCTION', 1)}"
        yield Step(drop, Phase.DROP_DEFINITION, ends=mover)


def _constructors_renamed(name: str, old: Attributes, keys: list[str]) -> Iterator[str]:
    """Yield what takes their names from what goes with a range: its functions and multirange."""
    subtype = old["range"].partition("SUBTYPE = ")[2].partition(", ")[0]
    subtype = aside(subtype) if of_replaced(subtype, keys) else subtype
    for arguments in (f"{subtype}, {subtype}", f"{subtype}, {subtype}, text"):
        yield f"ALTER FUNCTION {name}({arguments}) RENAME TO {split_name(aside(name))[-1]}"
    of_many, former = old["multirange"], split_name(aside(old["multirange"]))[-1]
    yield f"ALTER TYPE {of_many} RENAME TO {former}"
    for arguments in ("", aside(name), f"VARIADIC {aside(name)}[]"):
        yield f"ALTER FUNCTION {of_many}({arguments}) RENAME TO {former}"


def _names(attributes: Attributes) -> list[str]:
    """Return the names of a composite type's attributes."""
    return [attribute(each)[0] for each in attributes.get("attributes", ())]


def moved(value: str, kind: str, before: Catalog, after: Catalog) -> str:
    """Return a value of a type that is replaced, as the type that takes its name can read it.

    Rows whose attributes change are read attribute by attribute, those within others, too.
    """
    of, array = kind.removesuffix("[]"), kind.endswith("[]")
    if not _is_other_row(of, before, after):
        return f"{value}::text{'[]' if array else ''}"
    if array:
        return f"{_mover(of)}({value})"
    if f"domain {of}" in before.objects:
        return moved(value, before.objects[f"domain {of}"]["type"], before, after)
    had = dict(map(attribute, before.objects[f"type {of}"]["attributes"]))
    parts = [
        moved(f"({value}).{own}", _bare(had[own]), before, after)
        if own in had and _is_other_row(_bare(had[own]).removesuffix("[]"), before, after)
        else f"({value}).{own}"
        if own in had
        else "NULL"
        for own in _names(after.objects[f"type {of}"])
    ]
    return f"CASE WHEN {value} IS DISTINCT FROM NULL THEN ROW({', '.join(parts)})::text END"


def _bare(kind: str) -> str:
    return kind.partition(" COLLATE ")[0]


def _is_other_row(kind: str, before: Catalog, after: Catalog) -> bool:
    """Whether the text of a type's values changes: its attributes do, or those of its parts."""
    domain = before.objects.get(f"domain {kind}")
    if domain is not None:
        return _is_other_row(str(domain["type"]).removesuffix("[]"), before, after)
    old, new = (each.objects.get(f"type {kind}", {}) for each in (before, after))
    return _names(old) != _names(new) or any(
        _is_other_row(_bare(attribute(each)[1]).removesuffix("[]"), before, after)
        for each in old.get("attributes", ())
    )


def _is_in_arrays(kind: str, catalog: Catalog) -> bool:
    """Whether columns, attributes or domains are of arrays of a type."""
    return any(
        f"{kind}[]" == attributes.get("type")
        or f"{kind}[]" in (_bare(attribute(each)[1]) for each in attributes.get("attributes", ()))
        for attributes in catalog.objects.values()
    )


def movers(kind: str, catalog: Catalog) -> tuple[str, ...]:
    """Return the keys of what moves the arrays of a type and of its parts, where something does."""
    parts = _parts(catalog.objects.get(f"type {kind}") or catalog.objects.get(f"domain {kind}", {}))
    of = [
        name for each in ("type", "domain") for name in catalog.names(each) if plain(name) in parts
    ]
    inner = (each for name in of if name != kind for each in movers(name, catalog))
    return (f"function {_mover(kind)}({aside(kind)}[])", *inner)


def _mover(name: str) -> str:
    """Return the name of the function that moves arrays of a type, until it is dropped."""
    return suffixed(name, "__moved")


def _move_arrays(name: str, before: Catalog, after: Catalog) -> str:
    """Return what makes a function of arrays: ALTER TABLE takes no subquery."""
    value = moved("$1[n]", name, before, after)
    values = f"SELECT {value}::{name} FROM generate_subscripts($1, 1) AS n"  # noqa: S608 - names as the server quotes them
    return (
        f"CREATE FUNCTION {_mover(name)}({aside(name)}[]) RETURNS {name}[] LANGUAGE sql AS $move$"
        f" SELECT CASE WHEN array_ndims($1) > 1 THEN 'more than one dimension'::text::{name}[]"
        f" WHEN $1 IS NOT NULL THEN ARRAY({values} ORDER BY n) END $move$"
    )


def _move(
    table: str, columns: _Columns, key: str, before: Catalog, after: Catalog, keys: list[str]
) -> Step:
    """Return what moves the columns of a table from the type `key` to what replaces it."""
    old, new = before.objects[key], after.objects[key]
    was_on, is_on = str(old.get("type", "")), str(new.get("type", ""))
    actions = []
    for column, was, will in columns:
        kind = str(will["type"])
        cast = f" USING {moved(column, kind, before, after)}::{kind}"
        if key.startswith("collation "):
            cast = f" COLLATE {will['collation']}"
        elif is_on and not kind.endswith("[]") and not of_replaced(was_on, keys):
            cast = using_clause(column, was_on, is_on, into=kind)
        if "default" in was:
            actions.append(f"ALTER COLUMN {column} DROP DEFAULT")
        actions.append(f"ALTER COLUMN {column} TYPE {kind}{cast}")
        if "default" in will:
            actions.append(f"ALTER COLUMN {column} SET DEFAULT {will['default']}")
    statement = f"ALTER TABLE {table} {', '.join(actions)}"
    moves = [f"column {table}.{column}" for column, _, _ in columns]
    ends = [f"default {table}.{column}" for column, was, _ in columns if "default" in was]
    makes = [f"default {table}.{column}" for column, _, will in columns if "default" in will]
    names = ", ".join(f"{table}.{column}" for column, _, _ in columns)
    lost = " and ".join(f"{each} of {names}" for each in _lost(key, before, after))
    return Step(statement, Phase.DEFINE, (*moves, *makes), (*moves, *ends), loses=lost)


def _lost(key: str, before: Catalog, after: Catalog) -> Iterator[str]:
    """Yield what values lose when they move from a type to the one that replaces it."""
    old, new = before.objects.get(key), after.objects.get(key)
    if old is None or new is None:
        return
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
    for own, kind in [("", was_on), *was.items()]:
        of = _bare(kind).removesuffix("[]")
        if own in will or not own:
            for lost in (each for part in TYPES for each in _lost(f"{part} {of}", before, after)):
                yield f"{lost} of {own}" if own else lost


def _is_another(key: str, before: Catalog, after: Catalog) -> bool:
    kind, _, name = key.partition(" ")
    old, new = before.objects[key], after.objects[key]
    if definition(old) == definition(new):
        return False
    if kind == "enum":
        return added_values(name, old["values"], new["values"]) is None
    if kind == "domain":
        if any(old.get(each) != new.get(each) for each in ("type", "collation")):
            return True
        # What holds it, an array or a row, lets it get no further rule.
        held = _is_in_arrays(name, before) or bool(_made_of(name, before))
        return held and _is_stricter(old, new) and _is_in_use(name, before)
    if kind == "collation":
        sides = ({**(definition(each) or {}), "comment": None} for each in (old, new))
        return next(sides) != next(sides) and any(
            each.get("collation") == name or plain(name) in _parts(each)
            for each in before.objects.values()
        )
    if not _is_in_use(name, before):
        return False
    if "range" in old or "range" in new:
        return any(old.get(each) != new.get(each) for each in ("range", "multirange"))
    was, will = (dict(map(attribute, each.get("attributes", ()))) for each in (old, new))
    retyped = any(kind != will.get(own, kind) for own, kind in was.items())
    return retyped or alter(kind, name, old, new) is None


def _is_stricter(old: Attributes, new: Attributes) -> bool:
    """Whether a domain gets a rule that values are held against."""
    had, has = (each.get("checks", {}) for each in (old, new))
    added = [text for own, text in has.items() if had.get(own) != text]
    return any(not text.endswith("NOT VALID") for text in added) or (
        old["nullable"] and not new["nullable"]
    )


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


def _refuse_ranges_of_rows(name: str, before: Catalog, after: Catalog) -> None:
    """Refuse to move ranges whose bounds are rows with other attributes: nothing reaches them.

    Raises OperationFailed.
    """
    subtype = before.objects.get(f"type {name}", {}).get("range", "").partition("SUBTYPE = ")[2]
    of = subtype.partition(", ")[0]
    if _is_other_row(of, before, after) and _is_in_use(name, before):
        raise OperationFailed(
            f"The type {of} gets other attributes or another order of them, and columns are of "
            f"{name}, a range of it.",
            hint="Create a type of another name, move the columns to it by hand, then drop the "
            "old one.",
        )


def _parts(attributes: Attributes) -> set[str]:
    """Return the names of what a type is made of, and of its attributes."""
    of_range = attributes.get("range", "").partition(", MULTIRANGE_TYPE_NAME")[0]
    made_of = (attributes.get("type", ""), attributes.get("collation", ""), of_range)
    return mentions(" ".join([*made_of, *attributes.get("attributes", ())]))


def _in_the_way(old: Attributes, new: Attributes) -> str:
    gone = [value for value in old.get("values", ()) if value not in new.get("values", ())]
    return f"Rows with {', '.join(gone)} make it fail: change them first. " if gone else ""


def _columns_of(
    key_of_type: str, before: Catalog, after: Catalog, apart: Collection[str]
) -> Mapping[str, _Columns]:
    """Return the columns that are and remain of a type or collation, or an array, by table."""
    found: dict[str, _Columns] = {}
    kind, _, name = key_of_type.partition(" ")
    for key, old in before.objects.items():
        new = after.objects.get(key, {})
        if (
            key.startswith("column ")
            and old["type"] == new.get("type")
            and (
                old.get("collation") == new.get("collation") == name
                if kind == "collation"
                else old["type"] in {name, f"{name}[]"}
            )
            and "generated" not in new
        ):
            table, column = split_name(key.removeprefix("column "))
            if f"default {table}.{column}" in apart:
                old, new = without_default(old), without_default(new)
            found.setdefault(table, []).append((column, old, new))
    return found
