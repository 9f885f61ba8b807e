"""What the include_name and include_object of a team's env.py leave out of a comparison."""

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple

from leadctl.apps.metadata import load_metadata
from leadctl.apps.registry import App
from leadctl.catalog.definitions import (
    Attributes,
    Catalog,
    containing_table,
    key_reference,
    owner,
    split_name,
)
from leadctl.text import quoted, unquoted

if TYPE_CHECKING:
    from sqlalchemy import Table

_NAME = re.compile(r'"(?:[^"]|"")*"|\w+')
_CONSTRAINTS = {"UNIQUE": "unique_constraint", "FOREIGN KEY": "foreign_key_constraint"}
"""Alembic's word for a kind, by how a constraint's definition begins: it compares no others."""


def left_out_by_hooks(app: App, models: Catalog, found: Catalog) -> set[str]:
    """Return what an app's hooks leave out of two catalogs, with what goes with it.

    Those are the parts of such tables, the sequences that feed such columns, and types that no
    other column has.
    """
    options = app.alembic_environment.facts.options
    by_name, by_object = options.get("include_name"), options.get("include_object")
    if not (by_name or by_object):
        return set()
    tables = load_metadata(app).tables

    def is_excluded(key: str) -> bool:
        reflected = key not in models.objects
        attributes = (found if reflected else models).objects[key]
        kind = _kind(key, attributes)
        if kind is None:
            return False
        name = unquoted(split_name(key.partition(" ")[2])[-1])
        *within_schema, table = map(
            unquoted, split_name(owner(key, attributes) or key.partition(" ")[2])
        )
        schema = within_schema[0] if within_schema else None
        whole = ".".join((*within_schema, table))
        parents = {
            "schema_name": schema,
            "table_name": table,
            "schema_qualified_table_name": whole,
        }
        if reflected and by_name:
            within = {"schema_name": schema} if kind == "table" else parents
            if not by_name(name, kind, within):
                return True
        if not by_object:
            return False
        item = _Item(kind, name, str(attributes.get("definition", "")))
        known = tables.get(whole)
        made = None if known is None else item.of_models(known)
        there = item.as_reflected(table, schema, known) if key in found.objects else None
        if reflected or made is None:
            made = item.as_reflected(table, schema, known) if there is None else there
        return not by_object(made, name, kind, reflected, None if reflected else there)

    excluded = {key for key in models.objects.keys() | found.objects.keys() if is_excluded(key)}
    return excluded | _gone_with(excluded, models) | _gone_with(excluded, found)


def tables_left_out(app: App, names: Collection[str]) -> set[str]:
    """Return which tables, of models and database both, an app leaves to somebody else."""
    keys = {f"table {quoted(name)}": name for name in names}
    tables = Catalog({key: {} for key in keys})
    left = left_out_by_hooks(app, tables, tables) if app.environment is not None else set()
    unmanaged = {unquoted(each.removeprefix("table ")) for each in app.unmanaged}
    return {name for key, name in keys.items() if key in left or name in unmanaged}


def _gone_with(excluded: set[str], catalog: Catalog) -> set[str]:
    parts = {
        key
        for key, attributes in catalog.objects.items()
        if f"table {containing_table(key, attributes)}" in excluded
        or f"column {attributes.get('owned_by')}" in excluded
    }
    columns: dict[str, set[str]] = {}
    for key, attributes in catalog.objects.items():
        if key.startswith("column "):
            columns.setdefault(str(attributes["type"]).removesuffix("[]"), set()).add(key)
    types = {name for name, keys in columns.items() if keys <= excluded | parts}
    named = {f"{kind} {name}" for kind in ("enum", "domain", "type") for name in types}
    return parts | (named & catalog.objects.keys())


def _kind(key: str, attributes: Attributes) -> str | None:
    """Return Alembic's word for an object's kind; None where it compares none of it."""
    kind = key.partition(" ")[0]
    if kind in {"table", "column", "index"}:
        return kind
    definition = str(attributes.get("definition", ""))
    if kind == "constraint":
        return next(
            (_CONSTRAINTS[each] for each in _CONSTRAINTS if definition.startswith(each)), None
        )
    return None


class _Item(NamedTuple):
    """An object that include_object is asked about."""

    kind: str
    name: str
    definition: str

    def of_models(self, table: "Table") -> Any:
        """Return what the models have of it; None where they have it not, or without a name."""
        if self.kind == "table":
            return table
        if self.kind == "column":
            return table.columns.get(self.name)
        parts: list[Any] = [*table.indexes, *table.constraints]
        return next((each for each in parts if each.name == self.name), None)

    def as_reflected(self, table_name: str, schema: str | None, known: "Table | None") -> Any:
        """Return it as Alembic reflects it: an object of SQLAlchemy's, with its table."""
        from sqlalchemy import (
            Column,
            ForeignKeyConstraint,
            Index,
            MetaData,
            Table,
            UniqueConstraint,
        )
        from sqlalchemy.types import NullType

        columns = () if known is None else known.columns
        copied = Table(
            table_name,
            MetaData(),
            *(Column(each.name, each.type) for each in columns),
            schema=schema,
        )
        if self.kind == "table":
            return copied
        if self.kind == "column":
            if self.name not in copied.columns:
                copied.append_column(Column(self.name, NullType()))
            return copied.columns[self.name]
        named = dict.fromkeys(unquoted(each) for each in _NAME.findall(self.definition))
        within = [each for each in named if each in copied.columns]
        if self.kind == "index":
            index = Index(self.name, *(copied.columns[each] for each in within))
            index.table = copied
            return index
        if self.kind == "unique_constraint":
            unique = UniqueConstraint(*within, name=self.name)
            copied.append_constraint(unique)
            return unique
        said = key_reference(self.definition)
        own = [unquoted(each.strip()) for each in said.columns.split(",")]
        referred = [
            f"{unquoted(said.table)}.{unquoted(e.strip())}" for e in said.referred.split(",")
        ]
        key = ForeignKeyConstraint(own, referred, name=self.name)
        if set(own) <= set(copied.columns.keys()):
            copied.append_constraint(key)
        return key
