"""The statements that create and change columns: types, defaults, identities, serials."""

import re
from collections.abc import Iterator, Mapping

from leadctl.catalog.definitions import Attributes, Catalog, split_name
from leadctl.migrate.ddl.objects import LARGEST
from leadctl.migrate.ddl.steps import Phase, Step, literal, plain

_TEXT = ("text", "character varying", "character", "citext", "name")
_NUMBERS = ("smallint", "integer", "bigint", "numeric", "real", "double precision")
_TIMES = ("date", "timestamp", "time", "interval")
_WIDER = {
    "smallint": ("integer", "bigint", "numeric", "real", "double precision"),
    "integer": ("bigint", "numeric", "double precision", "smallint"),
    "bigint": ("numeric", "integer", "smallint"),
    "real": ("double precision",),
    "date": ("timestamp without time zone", "timestamp with time zone"),
    "timestamp without time zone": ("timestamp with time zone",),
    "timestamp with time zone": ("timestamp without time zone",),
}
"""What a type's values survive: in the other type they are the same, or refused."""
_SERIALS = {"smallint": "smallserial", "integer": "serial", "bigint": "bigserial"}
_START = re.compile(r"START WITH (-?\d+)")


def column(name: str, attributes: Attributes) -> str:
    """Return a column as CREATE TABLE and ADD COLUMN have it."""
    parts = [name, attributes["type"]]
    if "collation" in attributes:
        parts.append(f"COLLATE {attributes['collation']}")
    if "generated" in attributes:
        kind = "VIRTUAL" if attributes.get("virtual") else "STORED"
        parts.append(f"GENERATED ALWAYS AS ({attributes['generated']}) {kind}")
    if "identity" in attributes:
        parts.append(_identity(attributes))
    if "default" in attributes:
        parts.append(f"DEFAULT {attributes['default']}")
    if is_required(attributes) and "identity" not in attributes:
        parts.append("NOT NULL")
    return " ".join(parts)


def is_required(attributes: Attributes) -> bool:
    """Whether no row has a NULL: what is not validated (PostgreSQL 18) speaks of new ones only."""
    return not attributes["nullable"] and "unvalidated" not in attributes


def require_of_new_rows(table: str, name: str, attributes: Attributes) -> str:
    """Return what keeps NULL out of new rows, and says nothing of those that are there."""
    constraint = attributes["unvalidated"]
    return f"ALTER TABLE {table} ADD CONSTRAINT {constraint} NOT NULL {name} NOT VALID"


def _identity(attributes: Attributes) -> str:
    options = attributes.get("identity_options")
    return f"GENERATED {attributes['identity'].upper()} AS IDENTITY" + (
        f" ({options})" if options else ""
    )


def must_be_added_anew(before: Attributes, after: Attributes) -> bool:
    """Whether a column can only be dropped and added: it becomes generated, or by other rules."""
    if "generated" not in after:
        return bool(before.get("virtual"))
    keys = ("generated", "virtual", "type", "collation")
    return any(before.get(key) != after.get(key) for key in keys)


def alter_column(
    before: Attributes, after: Attributes, name: str, on: tuple[str, str]
) -> list[str]:
    """Return the actions of ALTER TABLE that change a column, NOT NULL and comment left out.

    `on` are its types, or those that its domains are on.
    """
    head = f"ALTER COLUMN {name}"
    actions: list[str] = []
    typed = [before.get(key) != after.get(key) for key in ("type", "collation")]
    old_default, new_default = before.get("default"), after.get("default")
    if "generated" in before and "generated" not in after:
        actions.append(f"{head} DROP EXPRESSION")
    if "identity" in before and "identity" not in after:
        actions.append(f"{head} DROP IDENTITY")
    if old_default is not None and (any(typed) or new_default is None):
        actions.append(f"{head} DROP DEFAULT")
        old_default = None
    if any(typed):
        collation = f" COLLATE {after['collation']}" if "collation" in after else ""
        cast = using_clause(name, *on, into=after["type"]) if typed[0] else ""
        actions.append(f"{head} TYPE {after['type']}{collation}{cast}")
    if new_default != old_default and new_default is not None:
        actions.append(f"{head} SET DEFAULT {new_default}")
    if "identity" in after:
        actions += _alter_identity(head, before, after)
    return actions


def _alter_identity(head: str, before: Attributes, after: Attributes) -> list[str]:
    if "identity" not in before:
        return [f"{head} ADD {_identity(after)}"]
    actions = []
    if before["identity"] != after["identity"]:
        actions.append(f"{head} SET GENERATED {after['identity'].upper()}")
    if before.get("identity_options") != after.get("identity_options"):
        options = {
            "START": "START WITH 1",
            "INCREMENT": "INCREMENT BY 1",
            "MINVALUE": "NO MINVALUE",
            "MAXVALUE": "NO MAXVALUE",
            "CACHE": "CACHE 1",
        }
        given = after.get("identity_options") or ""
        wanted = [text for key, text in options.items() if key not in given]
        wanted += [f"{key} {value}" for key, value in _pairs(given)]
        wanted.append("CYCLE" if given.endswith("CYCLE") else "NO CYCLE")
        actions.append(f"{head} {' '.join(f'SET {each}' for each in wanted)}")
    return actions


def _pairs(options: str) -> Iterator[tuple[str, str]]:
    words = options.replace("CYCLE", "").split()
    for index, word in enumerate(words):
        if word in {"WITH", "BY"}:
            yield f"{words[index - 1]} {word}", words[index + 1]
        elif word in {"CACHE", "MINVALUE", "MAXVALUE"}:
            yield word, words[index + 1]


def using_clause(name: str, before: str, after: str, *, into: str | None = None) -> str:
    """Return how values become the other type: as an assignment would where that is possible.

    `into` is the domain on the other type that they are for, if any.

    An explicit cast would cut a text to the length of its new type; an assignment refuses to.
    """
    if _base(after) in _TEXT or _same(before, after):
        return ""
    if after.endswith("[]") and not before.endswith("[]"):  # a value becomes an array of it
        element = after.removesuffix("[]")
        return f" USING CASE WHEN {name} IS NOT NULL THEN ARRAY[{name}::text::{element}] END"
    return f" USING {name}::text::{into or after}"


def cast_loses(before: str, after: str) -> bool:
    """Whether values may be rounded or cut by a change of type, instead of refused."""
    is_limited = "(" in after
    if after.endswith("[]"):
        return is_limited or cast_loses(before.removesuffix("[]"), after.removesuffix("[]"))
    old, new = _base(before), _base(after)
    if new in _TEXT or before == after:
        return False
    if old in _NUMBERS or old.startswith(_TIMES):
        return is_limited if old == new else new not in _WIDER.get(old, ())
    if old in _TEXT:  # leading zeros go, and so does whatever else is more than the number
        return is_limited or new in (*_NUMBERS, "boolean") or new.startswith(_TIMES)
    if old in {"json", "jsonb"}:
        return new != "jsonb"
    return is_limited or old.startswith("bit") or before.endswith("[]")


def _same(before: str, after: str) -> bool:
    families = (_NUMBERS, _TIMES)
    return "[]" not in before + after and any(
        before.startswith(family) and after.startswith(family) for family in families
    )


def _base(kind: str) -> str:
    return kind.partition("(")[0].strip()


def serials(before: Catalog, after: Catalog) -> Mapping[str, str]:
    """Return the columns that are new together with a sequence of their own, and its name."""
    found = {}
    for name in after.names("sequence"):
        attributes = after.objects[f"sequence {name}"]
        key = f"column {attributes.get('owned_by')}"
        column = after.objects.get(key)
        if column is None or key in before.objects or f"sequence {name}" in before.objects:
            continue
        if _is_plain(name, attributes, column, key.removeprefix("column ")):
            found[key] = name
    return found


def as_serial(column: Attributes) -> Attributes:
    """Return a column as it is written: of a type that brings sequence, default and NOT NULL."""
    kept = {name: value for name, value in column.items() if name != "default"}
    return {**kept, "type": _SERIALS[column["type"]], "nullable": True}


def _is_plain(name: str, sequence: Attributes, column: Attributes, place: str) -> bool:
    """Whether it is what `serial` would make."""
    table, own = split_name(place)
    wanted = {
        "type": column["type"],
        "start": 1,
        "increment": 1,
        "min": 1,
        "max": LARGEST.get(column["type"]),
        "cache": 1,
        "cycle": False,
        "owned_by": place,
    }
    return (
        column["type"] in _SERIALS
        and not column["nullable"]
        and plain(name) == f"{plain(table)}_{plain(own)}_seq"
        and column.get("default") == f"nextval('{name}'::regclass)"
        and dict(sequence) == wanted
    )


def count_on(table: str, own: str, attributes: Attributes, sequence: str | None = None) -> Step:
    """Return the step that lets a column's sequence go on behind the values that are there.

    `attributes` are those of the sequence, or of the identity column where none is named.
    """
    start = _START.search(attributes.get("identity_options", ""))
    first = attributes.get("start", start[1] if start else 1)
    found = f"pg_get_serial_sequence({literal(table)}, {literal(plain(own))})"
    which = literal(sequence) if sequence else found
    rows = f"{table} HAVING max({own}) >= {first}"
    return Step(
        f"SELECT setval({which}, max({own})) FROM {rows}",  # noqa: S608 - names as the server quotes them
        Phase.DEPENDENT,
        why="New rows count on behind those that are there.",
    )
