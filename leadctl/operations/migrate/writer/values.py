"""Enums: values added in place, and types made anew where values go or change places."""

from collections.abc import Iterator, Mapping, Sequence

from leadctl.db.catalog import Attributes, Catalog, split_name
from leadctl.operations.migrate.writer.definitions import create, literal


def added(name: str, before: Sequence[str], after: Sequence[str]) -> list[tuple[str, str]] | None:
    """Return each new value with the statement that adds it; None where others go or move."""
    if [value for value in after if value in before] != list(before):
        return None
    statements = []
    for index, value in enumerate(after):
        if value in before:
            continue
        following = [each for each in after[index:] if each in before]
        place = f" BEFORE {literal(following[0])}" if following else ""
        statements.append((value, f"ALTER TYPE {name} ADD VALUE {literal(value)}{place}"))
    return statements


def made_anew(name: str, before: Catalog, after: Catalog) -> Iterator[str]:
    """Yield what replaces an enum by one of the same name, and moves the columns to it."""
    yield f"ALTER TYPE {name} RENAME TO {split_name(former(name))[-1]}"
    yield create("enum", name, after.objects[f"enum {name}"])
    for table, columns in _columns_of(name, before, after).items():
        actions = []
        for column, old, new in columns:
            kind = new["type"]
            if "default" in old:
                actions.append(f"ALTER COLUMN {column} DROP DEFAULT")
            actions.append(
                f"ALTER COLUMN {column} TYPE {kind} USING {column}::text{kind[len(name) :]}::{kind}"
            )
            if "default" in new:
                actions.append(f"ALTER COLUMN {column} SET DEFAULT {new['default']}")
        yield f"ALTER TABLE {table} {', '.join(actions)}"


def former(name: str) -> str:
    """Return the name that the replaced enum has until it is dropped."""
    return f'{name[:-1]}__old"' if name.endswith('"') else f"{name}__old"


def _columns_of(
    name: str, before: Catalog, after: Catalog
) -> Mapping[str, list[tuple[str, Attributes, Attributes]]]:
    """Return the columns that are and remain of an enum, or an array of it, by table."""
    found: dict[str, list[tuple[str, Attributes, Attributes]]] = {}
    for key, old in before.objects.items():
        new = after.objects.get(key, {})
        if (
            key.startswith("column ")
            and old["type"] == new.get("type")
            and old["type"] in {name, f"{name}[]"}
        ):
            table, column = split_name(key.removeprefix("column "))
            found.setdefault(table, []).append((column, old, new))
    return found
