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
    yield f"ALTER TYPE {name} RENAME TO {former(name)}"
    yield create("enum", name, after.objects[f"enum {name}"])
    for table, columns in _columns_of(name, before).items():
        actions = []
        for column, attributes in columns:
            kind = attributes["type"]
            if "default" in attributes:
                actions.append(f"ALTER COLUMN {column} DROP DEFAULT")
            actions.append(
                f"ALTER COLUMN {column} TYPE {kind} USING {column}::text{kind[len(name) :]}::{kind}"
            )
            wanted = after.objects.get(f"column {table}.{column}", {})
            if wanted.get("type") == kind and "default" in wanted:
                actions.append(f"ALTER COLUMN {column} SET DEFAULT {wanted['default']}")
        yield f"ALTER TABLE {table} {', '.join(actions)}"


def former(name: str) -> str:
    """Return the name that the replaced enum has until it is dropped."""
    return f'{name[:-1]}__old"' if name.endswith('"') else f"{name}__old"


def _columns_of(name: str, catalog: Catalog) -> Mapping[str, list[tuple[str, Attributes]]]:
    found: dict[str, list[tuple[str, Attributes]]] = {}
    for key, attributes in catalog.objects.items():
        if key.startswith("column ") and attributes["type"] in {name, f"{name}[]"}:
            table, column = split_name(key.removeprefix("column "))
            found.setdefault(table, []).append((column, attributes))
    return found
