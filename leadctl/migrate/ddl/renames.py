"""Renames: those that were named, those that follow from them, and those that may be meant."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from leadctl.catalog.definitions import Attributes, Catalog, definition, owner, split_name
from leadctl.errors import UsageError
from leadctl.migrate.ddl.steps import Phase, Step, identifier, literal

_WHY = "Code that uses the old name stops working: deploy the new code together with this."
_ALIKE = 0.6
"""The share of columns that two tables must have in common to count as one."""


def named_renames(given: Sequence[str], before: Catalog) -> list[Step]:
    """Return the renames that `old:new` stand for: a table, table.column, enum or enum.value.

    All have the names that exist now: tables come last.  An empty new name says that it is
    none.  Raises UsageError for what is not there.
    """
    parts: list[Step] = []
    tables_and_types: list[Step] = []
    for text in given:
        old, colon, new = text.rpartition(":")
        if not colon or not old:
            raise UsageError(
                f"--rename {text} is not a pair of names.", hint="Write it as old:new."
            )
        if new:
            has_own_name = any(f"{kind} {old}" in before.objects for kind in ("table", "enum"))
            (tables_and_types if has_own_name else parts).append(_named(old, new, before))
    return [*parts, *tables_and_types]


def named_by(given: Sequence[str]) -> set[str]:
    """Return the keys of what `old:new` rename, of whichever kind it is."""
    names = {text.rpartition(":")[0] for text in given}
    return {f"{kind} {name}" for kind in ("table", "column", "enum") for name in names}


def _named(old: str, new: str, before: Catalog) -> Step:
    objects = before.objects
    if f"table {old}" in objects:
        schema = _schema_and_name(old)[0]
        named = f"{schema}{identifier(new.removeprefix(schema))}"
        return replace(_renamed_in_schema("TABLE", old, new), renamed=(old, named))
    if f"enum {old}" in objects:
        return _renamed_in_schema("TYPE", old, new)
    if f"column {old}" in objects:
        table, own = split_name(old)
        step = _pair(f"ALTER TABLE {table} RENAME COLUMN {{}} TO {{}}", own, identifier(new), _WHY)
        return replace(step, renamed=(table, own, identifier(new)))
    for enum in before.names("enum"):
        value = old.removeprefix(f"{enum}.")
        if value not in objects[f"enum {enum}"]["values"]:
            continue
        form = f"ALTER TYPE {enum} RENAME VALUE {{}} TO {{}}"
        return _pair(form, literal(value), literal(new), _WHY)
    raise UsageError(
        f"--rename {old}:{new}: there is no {old}.",
        hint="Name a table, table.column, enum or enum.value as the database has it.",
    )


def _renamed_in_schema(word: str, old: str, new: str) -> Step:
    schema, own = _schema_and_name(old)
    new = identifier(new.removeprefix(schema))
    return _pair(f"ALTER {word} {schema}{{}} RENAME TO {{}}", own, new, _WHY)


def _schema_and_name(name: str) -> tuple[str, str]:
    """Return the schema that a name begins with, the dot included, and the rest."""
    own = split_name(name)[-1]
    return name.removesuffix(own), own


def _pair(form: str, old: str, new: str, why: str = "") -> Step:
    back = Step(form.format(new, old), Phase.RENAME)
    return Step(form.format(old, new), Phase.RENAME, why=why, back=back)


_IMPLIED = {
    "constraint": "ALTER TABLE {table} RENAME CONSTRAINT {{}} TO {{}}",
    "index": "ALTER INDEX {schema}{{}} RENAME TO {{}}",
    "sequence": "ALTER SEQUENCE {schema}{{}} RENAME TO {{}}",
    "other index": "ALTER INDEX {schema}{{}} RENAME TO {{}}",  # of a partition
}


def implied_renames(before: Catalog, after: Catalog) -> tuple[list[Step], Catalog]:
    """Return renames that lose nothing and mean nothing, and the catalog after them.

    They are of constraints, indexes and sequences: they are what a convention calls them; what
    they are is the same.
    """
    steps, objects = [], dict(before.objects)
    for kind, old, new in _implied(before, after):
        was = objects.pop(f"{kind} {old}")
        table = owner(f"{kind} {old}", was)
        names = [split_name(each)[-1] for each in (old, new)]
        steps.append(
            _pair(_IMPLIED[kind].format(table=table, schema=_schema_and_name(old)[0]), *names)
        )
        renamed = after.objects[f"{kind} {new}"]
        objects[f"{kind} {new}"] = {
            **{key: value for key, value in renamed.items() if key != "comment"},
            **{key: value for key, value in was.items() if key != "definition"},
        }
    return steps, Catalog(objects)


def _implied(before: Catalog, after: Catalog) -> Iterator[tuple[str, str, str]]:
    keys = {
        split_name(each)[-1] for each in (*before.names("constraint"), *after.names("constraint"))
    }
    for kind in _IMPLIED:
        coming = _only(kind, after, before)
        for old, attributes in _only(kind, before, after).items():
            what = _what(kind, old, attributes)
            new = next(
                (each for each, other in coming.items() if _what(kind, each, other) == what), None
            )
            of_keys = (
                kind == "other index"
                and {split_name(each)[-1] for each in (old, new or old)} & keys
            )
            if new is not None and what is not None and not of_keys:
                del coming[new]
                yield kind, old, new


_TYPES = {"enum": "TYPE", "domain": "DOMAIN", "type": "TYPE"}


def type_renames(before: Catalog, after: Catalog) -> Iterator[Step]:
    """Yield the renames of types that go while one of the same definition takes all their columns.

    Nothing would be left of the old one, and the rows need not be written again.
    """
    for kind, word in _TYPES.items():
        coming = _only(kind, after, before)
        for old, attributes in _only(kind, before, after).items():
            columns = [
                (after.objects[key]["type"], str(each["type"]).removeprefix(old))
                for key, each in before.objects.items()
                if key.startswith("column ")
                and each["type"] in {old, f"{old}[]"}
                and key in after.objects
            ]
            for new, its in coming.items():
                taken = columns and all(now == f"{new}{rest}" for now, rest in columns)
                schema, own = _schema_and_name(old)
                if taken and schema == _schema_and_name(new)[0] and _same_type(attributes, its):
                    form = f"ALTER {word} {schema}{{}} RENAME TO {{}}"
                    yield _pair(form, own, _schema_and_name(new)[1], _WHY)
                    break


def _same_type(old: Attributes, new: Attributes) -> bool:
    sides = ({**(definition(each) or {}), "comment": None} for each in (old, new))
    return next(sides) == next(sides) and "range" not in old


def _only(kind: str, catalog: Catalog, other: Catalog) -> dict[str, Attributes]:
    return {
        name: catalog.objects[f"{kind} {name}"]
        for name in catalog.names(kind)
        if f"{kind} {name}" not in other.objects
    }


def _what(kind: str, name: str, attributes: Attributes) -> Any:
    """Return what an object is besides its name; None where it is nothing without it."""
    if kind == "sequence":
        return attributes.get("owned_by")
    if kind == "other index":
        return (attributes["table"], attributes["part_of"]) if "part_of" in attributes else None
    text = attributes["definition"]
    if kind == "index":
        text = text.replace(f"INDEX {split_name(name)[-1]} ON", "INDEX ON", 1)
    return owner(f"{kind} {name}", attributes), text


def possible_renames(before: Catalog, after: Catalog) -> Iterator[tuple[str, str]]:
    """Yield what goes while something alike comes: tables, columns and enum values.

    It is the old and the new name, as `--rename` takes them, joined by a colon.
    """
    for old in _only("table", before, after):
        for new in _only("table", after, before):
            mine, other = (
                {(name, each["type"]) for name, each in catalog.columns(table).items()}
                for catalog, table in ((before, old), (after, new))
            )
            same_schema = _schema_and_name(old)[0] == _schema_and_name(new)[0]
            if same_schema and mine and len(mine & other) / len(mine | other) >= _ALIKE:
                yield old, new
    lost, found = _only("column", before, after), _only("column", after, before)
    for old, attributes in lost.items():
        for new, its in found.items():
            same_table = split_name(old)[0] == split_name(new)[0]
            if same_table and attributes["type"] == its["type"] and "generated" not in attributes:
                yield old, split_name(new)[1]
    for name in before.names("enum"):
        wanted = after.objects.get(f"enum {name}")
        if wanted is not None:
            values = before.objects[f"enum {name}"]["values"]
            left = [value for value in values if value not in wanted["values"]]
            added = [value for value in wanted["values"] if value not in values]
            if len(left) == len(added):
                yield from zip((f"{name}.{each}" for each in left), added, strict=True)
