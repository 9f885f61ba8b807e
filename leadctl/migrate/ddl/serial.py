"""Serial columns: a column, its sequence and the default between them, written as one."""

from collections.abc import Mapping

from leadctl.catalog.definitions import Attributes, Catalog, split_name
from leadctl.migrate.ddl.objects import LARGEST
from leadctl.migrate.ddl.order import plain

_SERIALS = {"smallint": "smallserial", "integer": "serial", "bigint": "bigserial"}


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
