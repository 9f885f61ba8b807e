"""Relationships between mapped tables: one for each foreign key of a single column."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ForeignKeyConstraint, Table, UniqueConstraint

from leadctl.init.attributes import attribute_name
from leadctl.init.suggestions import snake_case

_ES = ("sses", "xes", "ches", "shes", "zes")
_NO_PLURAL = ("ss", "us", "is", "ics", "news", "series", "species")


@dataclass(frozen=True)
class Relation:
    """One side of a relationship."""

    attribute: str
    other_class: str
    back: str
    """The attribute of the other side."""
    foreign_key: str
    """`Class.attribute` of the column."""
    many: bool
    optional: bool = False
    remote: str | None = None
    """`Class.attribute` of the referred column, where a table refers to itself."""
    cascades: bool = False


def class_name(table: str) -> str:
    """Return the class of a table: its name's singular in CapWords."""
    words = [word for word in singular(snake_case(table)).split("_") if word]
    name = "".join(word[0].upper() + word[1:] for word in words) or "Table"
    return f"T{name}" if name[0].isdigit() else name


def singular(name: str) -> str:
    """Return the singular of an English plural, as far as its ending tells."""
    if name.endswith(_NO_PLURAL):
        return name
    if name.endswith("ies"):
        return f"{name[:-3]}y"
    if name.endswith(_ES):
        return name[:-2]
    return name.removesuffix("s")


def plural(table: str) -> str:
    """Return the plural of a table's name, in snake_case."""
    name = snake_case(table)
    if singular(name) != name or name.endswith(_NO_PLURAL[3:]):
        return name
    if re.search(r"[^aeiou]y$", name):
        return f"{name[:-1]}ies"
    return f"{name}es" if re.search(r"(s|x|z|ch|sh)$", name) else f"{name}s"


def relations(
    tables: Sequence[Table],
    classes: Mapping[str, str],
    attributes: Mapping[str, Mapping[str, str]],
) -> dict[str, list[Relation]]:
    """Return the relationships by table.

    `classes` has the class of each mapped table, `attributes` the attribute of each column.
    """
    found: dict[str, list[Relation]] = {name: [] for name in classes}
    taken = {name: set(attributes[name].values()) for name in classes}
    for table in [each for each in tables if each.name in classes]:
        simple = [each for each in sorted_keys(table) if _is_simple(each, classes)]
        referred = Counter(each.referred_table.name for each in simple)
        for key in simple:
            parent = key.referred_table.name
            column, target = key.columns[0], key.elements[0].column
            own = attributes[table.name][column.name]
            stem = re.sub(r"_(id|uuid|key|fk)$", "", own)
            name = _free(stem if stem != own else f"{own}_{class_snake(parent)}", taken[table.name])
            several = referred[parent] > 1 or parent == table.name
            back = _free(plural(table.name) + (f"_by_{name}" if several else ""), taken[parent])
            foreign_key = f"{classes[table.name]}.{own}"
            itself = parent == table.name
            remote = f"{classes[parent]}.{attributes[parent][target.name]}" if itself else None
            nullable = bool(column.nullable)
            found[table.name].append(
                Relation(name, classes[parent], back, foreign_key, False, nullable, remote)
            )
            unique = _is_unique(table, column.name)
            found[parent].append(
                Relation(
                    back,
                    classes[table.name],
                    name,
                    foreign_key,
                    many=not unique,
                    optional=unique,
                    cascades=bool(key.ondelete),
                )
            )
    return found


def sorted_keys(table: Table) -> list[ForeignKeyConstraint]:
    """Return a table's foreign keys by name."""
    return sorted(table.foreign_key_constraints, key=lambda each: str(each.name))


def class_snake(table: str) -> str:
    """Return the singular of a table's name, in snake_case."""
    return singular(snake_case(table))


def _is_simple(key: ForeignKeyConstraint, classes: Mapping[str, str]) -> bool:
    referred = key.referred_table
    return len(key.columns) == 1 and referred.schema is None and referred.name in classes


def _is_unique(table: Table, column: str) -> bool:
    unique = [each.columns.keys() for each in table.indexes if each.unique]
    unique += [
        each.columns.keys() for each in table.constraints if isinstance(each, UniqueConstraint)
    ]
    return [column] in [list(each) for each in [*unique, table.primary_key.columns.keys()]]


def _free(name: str, taken: set[str]) -> str:
    name = attribute_name(name, taken)
    taken.add(name)
    return name
