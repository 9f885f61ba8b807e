"""Renames: those that were named, those that follow from them, and those that may be meant."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from leadctl.catalog.definitions import Attributes, Catalog, owner, split_name
from leadctl.errors import UsageError
from leadctl.migrate.ddl.steps import literal

_WHY = "Code that knows the old name stops working: let it be deployed with this, or before."
_ALIKE = 0.6
"""The share of columns that two tables must have in common to be taken for one."""


@dataclass(frozen=True)
class Rename:
    """One rename, and its way back."""

    sql: str
    back: str
    why: str = ""


@dataclass(frozen=True)
class Candidate:
    """What may have been renamed: it goes, and something like it comes."""

    old: str
    new: str
    """As `--rename` takes them, joined by a colon."""


def named(given: Sequence[str], before: Catalog) -> list[Rename]:
    """Return the renames that `old:new` stand for: a table, table.column, enum or enum.value.

    An empty new name says that it is none.  Raises UsageError for what is not there.
    """
    found = []
    for text in given:
        old, colon, new = text.rpartition(":")
        if not colon or not old:
            raise UsageError(f"--rename {text} names no pair.", hint="Write it as old:new.")
        if new:
            found.append(_named(old, new, before))
    return found


def refused(given: Sequence[str]) -> set[str]:
    """Return the names of which `old:` says that they go."""
    return {text.removesuffix(":") for text in given if text.endswith(":")}


def _named(old: str, new: str, before: Catalog) -> Rename:
    objects = before.objects
    if f"table {old}" in objects:
        return _whole("TABLE", old, new)
    if f"enum {old}" in objects:
        return _whole("TYPE", old, new)
    if f"column {old}" in objects:
        table, own = split_name(old)
        return _pair(f"ALTER TABLE {table} RENAME COLUMN {{}} TO {{}}", own, _identifier(new))
    for enum in before.names("enum"):
        value = old.removeprefix(f"{enum}.")
        if value not in objects[f"enum {enum}"]["values"]:
            continue
        form = f"ALTER TYPE {enum} RENAME VALUE {{}} TO {{}}"
        return _pair(form, literal(value), literal(new))
    raise UsageError(
        f"--rename {old}:{new}: there is no {old}.",
        hint="Name a table, table.column, enum or enum.value as the database has it.",
    )


def _whole(word: str, old: str, new: str) -> Rename:
    schema, own = _place(old)
    new = _identifier(new.removeprefix(schema))
    return _pair(f"ALTER {word} {schema}{{}} RENAME TO {{}}", own, new)


def _place(name: str) -> tuple[str, str]:
    """Return the schema that a name begins with, the dot included, and the rest."""
    own = split_name(name)[-1]
    return name.removesuffix(own), own


def _pair(form: str, old: str, new: str) -> Rename:
    return Rename(form.format(old, new), form.format(new, old), _WHY)


def _identifier(name: str) -> str:
    plainly = name.isidentifier() and name == name.lower() and name.isascii()
    return name if plainly else sql.Identifier(name).as_string(None)


def implied(before: Catalog, after: Catalog) -> Iterator[Rename]:
    """Yield renames that lose nothing and mean nothing: of constraints, indexes and sequences.

    They are what a convention calls them; what they are is the same.
    """
    for kind, form in (
        ("constraint", "ALTER TABLE {table} RENAME CONSTRAINT {{}} TO {{}}"),
        ("index", "ALTER INDEX {schema}{{}} RENAME TO {{}}"),
        ("sequence", "ALTER SEQUENCE {schema}{{}} RENAME TO {{}}"),
    ):
        going = _only(kind, before, after)
        coming = _only(kind, after, before)
        for old, attributes in going.items():
            what = _what(kind, old, attributes)
            new = next(
                (each for each, other in coming.items() if _what(kind, each, other) == what), None
            )
            if new is None or what is None:
                continue
            del coming[new]
            table = owner(f"{kind} {old}", attributes)
            names = [split_name(each)[-1] for each in (old, new)]
            pair = _pair(form.format(table=table, schema=_place(old)[0]), *names)
            yield Rename(pair.sql, pair.back)


def _only(kind: str, catalog: Catalog, other: Catalog) -> dict[str, Attributes]:
    return {
        name: catalog.objects[f"{kind} {name}"]
        for name in catalog.names(kind)
        if f"{kind} {name}" not in other.objects
    }


def _what(kind: str, name: str, attributes: Attributes) -> Any:
    """Return what an object is beside its name; None where it is nothing without it."""
    if kind == "sequence":
        return attributes.get("owned_by")
    text = attributes["definition"]
    if kind == "index":
        text = text.replace(f"INDEX {split_name(name)[-1]} ON", "INDEX ON", 1)
    return owner(f"{kind} {name}", attributes), text


def candidates(before: Catalog, after: Catalog) -> Iterator[Candidate]:
    """Yield what goes while something alike comes: tables, columns and enum values."""
    gone, come = _only("table", before, after), _only("table", after, before)
    for old in gone:
        for new in come:
            mine, other = _columns(before, old), _columns(after, new)
            if (
                _place(old)[0] == _place(new)[0]
                and mine
                and len(mine & other) / len(mine | other) >= _ALIKE
            ):
                yield Candidate(old, new)
    lost, found = _only("column", before, after), _only("column", after, before)
    for old, attributes in lost.items():
        for new, its in found.items():
            same_table = split_name(old)[0] == split_name(new)[0]
            if same_table and attributes["type"] == its["type"] and "generated" not in attributes:
                yield Candidate(old, split_name(new)[1])
    for name in before.names("enum"):
        wanted = after.objects.get(f"enum {name}")
        if wanted is not None:
            values = before.objects[f"enum {name}"]["values"]
            left = [value for value in values if value not in wanted["values"]]
            added = [value for value in wanted["values"] if value not in values]
            if len(left) == len(added):
                yield from (
                    Candidate(f"{name}.{old}", new) for old, new in zip(left, added, strict=True)
                )


def _columns(catalog: Catalog, table: str) -> set[tuple[str, str]]:
    return {
        (split_name(key)[1], attributes["type"])
        for key, attributes in catalog.objects.items()
        if key.startswith("column ") and owner(key, attributes) == table
    }
