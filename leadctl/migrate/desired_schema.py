"""What models speak of: much of a schema is made by revisions, and models cannot say it."""

from collections.abc import Collection, Mapping
from typing import Any

from leadctl.apps import alembic_environment
from leadctl.apps.registry import App, load_metadata
from leadctl.catalog.definitions import OWN_KINDS, Attributes, Catalog, owner

_OPTIONAL = (
    "view",
    "function",
    "trigger",
    "policy",
    "sequence",
    "enum",
    "domain",
    "type",
    "statistics",
    "collation",
    "rule",
    "grant",
    "other",
)
"""Kinds that models may leave to revisions: where they name none, they say nothing of them."""


def goal(app: App, models: Catalog, found: Catalog, own: Collection[str] = ()) -> Catalog:
    """Return what a schema should be: what the models say, and what is there that they leave out.

    Left out are kinds of objects that they have none of, partitions of their tables, tables,
    enums and the like that are not the app's `own` (where that is known), and what a team's env.py
    excludes.
    """
    spoken = {key.partition(" ")[0] for key in models.objects}
    left = {
        key
        for key, attributes in found.objects.items()
        if key not in models.objects and _is_left_out(key, attributes, spoken, own)
    }
    wanted = dict(models.objects)
    if app.environment is not None:
        excluded = _excluded(app, models, found)
        left |= {key for key in excluded if key in found.objects}
        wanted = {key: value for key, value in wanted.items() if key not in excluded}
    left |= {
        key
        for key, attributes in found.objects.items()
        if key not in models.objects and f"table {owner(key, attributes)}" in left
    }
    if "policy" not in spoken:
        wanted |= _row_security(wanted, found)
    return Catalog({**wanted, **{key: found.objects[key] for key in left}})


def _is_left_out(
    key: str, attributes: Attributes, spoken: Collection[str], own: Collection[str]
) -> bool:
    kind = key.partition(" ")[0]
    if own and kind in OWN_KINDS and key not in own:
        return True
    if kind == "table":
        return "partition_of" in attributes
    return kind in _OPTIONAL and kind not in spoken


def _row_security(
    wanted: Mapping[str, Attributes], found: Catalog
) -> Mapping[str, Mapping[str, Any]]:
    """Return the tables of the models with the row security that they have."""
    return {
        key: {**wanted[key], "row_security": attributes["row_security"]}
        for key, attributes in found.objects.items()
        if key in wanted and "row_security" in attributes
    }


def _excluded(app: App, models: Catalog, found: Catalog) -> set[str]:
    """Return what the include_name and include_object of a team's env.py leave out."""
    from sqlalchemy import Column, MetaData, Table
    from sqlalchemy.types import NullType

    assert app.environment is not None
    options = alembic_environment.options(app.environment, app.root)
    by_name, by_object = options.get("include_name"), options.get("include_object")
    metadata = load_metadata(app)
    excluded = set()
    for key in models.objects.keys() | found.objects.keys():
        kind, _, name = key.partition(" ")
        reflected = key not in models.objects
        if kind == "table":
            plain = _plain(name)
            if reflected and by_name and not by_name(plain, "table", {"schema_name": None}):
                excluded.add(key)
            stub = metadata.tables.get(plain)
            stub = Table(plain, MetaData()) if stub is None else stub
            if by_object and not by_object(stub, plain, "table", reflected, None):
                excluded.add(key)
        elif kind == "column":
            table, column = (_plain(part) for part in name.rsplit(".", 1))
            parents = {"schema_name": None, "table_name": table}
            if reflected and by_name and not by_name(column, "column", parents):
                excluded.add(key)
            known = metadata.tables.get(table)
            item: Any = None if known is None else known.columns.get(column)
            if item is None:
                item = Column(column, NullType())
                Table(table, MetaData(), item)
            if by_object and not by_object(item, column, "column", reflected, None):
                excluded.add(key)
    return excluded | {
        key
        for catalog in (models, found)
        for key, attributes in catalog.objects.items()
        if f"table {owner(key, attributes)}" in excluded
    }


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
