"""An app's models, imported, or as its own Alembic environment hands them over."""

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadctl.apps.registry import App, load_object
from leadctl.errors import ModelsNotFound, ModelsNotImportable

if TYPE_CHECKING:
    from sqlalchemy import ForeignKeyConstraint, MetaData, Table
    from sqlalchemy.orm import Mapper

_PARTS = "leadctl: joined of"
_CONVENTION = "leadctl: naming convention"
_WITHOUT_EFFECT = frozenset({"autogenerate_plugins", "transactional_ddl"})
"""Options of `context.configure` that are for what leadctl does in its own way."""


def load_metadata(app: App) -> "MetaData":
    """Import an app's models and return their metadata.

    Raises ModelsNotFound where the app names none, and ModelsNotImportable with the file and line
    that matter.
    """
    if app.models is None:
        if app.environment is None:
            raise ModelsNotFound(
                f"The app {app.name} names no models.",
                hint=f'Name them in leadctl.toml, below [apps.{app.name}]: models = "MODULE:NAME"',
            )
        found: Any = app.alembic_environment.facts.options.get("target_metadata")
    else:
        found = load_object(app, app.models, "models")
    several = _several(found)
    strangers = [each for each in several if not hasattr(type(_metadata(each)), "sorted_tables")]
    if strangers:
        which = getattr(strangers[0], "__qualname__", type(strangers[0]).__qualname__)
        raise ModelsNotImportable(
            f"The models of {app.name}, {_origin(app)}, have no metadata"
            f"{f': {which}, one of {len(several)}, is none' if len(several) > 1 else ''}.",
            hint='Name the declarative base or the MetaData: models = "package.module:Base".',
        )
    result = joined(several)
    if not result.tables:
        raise ModelsNotImportable(
            f"The models of {app.name}, {_origin(app)}, have no tables.",
            hint="In that module, import the modules that define the tables.",
        )
    return result


def known_metadata(app: App) -> "MetaData":
    """Return an app's metadata, an empty one where it has no tables: to run revisions needs none.

    Raises ModelsNotImportable for models that are named and cannot be imported, or are none.
    """
    from sqlalchemy import MetaData

    if app.models is None:
        if app.environment is None:
            return MetaData()
        found = app.alembic_environment.facts.options.get("target_metadata")
    else:
        found = load_object(app, app.models, "models")
        is_metadata = hasattr(type(_metadata(found)), "sorted_tables")
        if not (is_metadata or isinstance(found, list | tuple)):
            return load_metadata(app)  # which says what is wrong with it
    return joined(_several(found)) if found is not None else MetaData()


def metadata_of_env_py(app: App) -> "list[MetaData]":
    """Return what an app's env.py hands over as `target_metadata`, with tables or without."""
    found = app.alembic_environment.facts.options.get("target_metadata")
    named = [_metadata(each) for each in _several(found)]
    return [each for each in named if hasattr(type(each), "sorted_tables")]


def _several(found: Any) -> Sequence[Any]:
    return found if isinstance(found, list | tuple) else [found]


def _metadata(found: Any) -> Any:
    return getattr(found, "metadata", found)


def joined(found: Sequence[Any]) -> "MetaData":
    """Return one metadata with the tables of several, as Alembic takes a list of them.

    What has no name gets it here, by the naming convention of the metadata that it comes from.
    """
    from sqlalchemy import MetaData

    named = [_metadata(each) for each in found]
    known = [each for each in named if isinstance(each, MetaData)]
    if len(known) == len(named) == 1:
        return known[0]
    joined = MetaData(info={_PARTS: known})
    usual = joined.naming_convention
    for each in known:
        joined.naming_convention = each.naming_convention
        for table in each.tables.values():
            copy = table.to_metadata(joined)
            copy.info[_CONVENTION] = each.naming_convention
            _name_constraints(copy)
    is_one = len({str(each.naming_convention) for each in known}) == 1
    joined.naming_convention = known[0].naming_convention if is_one else usual
    return joined


def _name_constraints(table: "Table") -> None:
    """Give names to constraints of types, which SQLAlchemy names when it writes them."""
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.schema import conv

    prepare = postgresql.dialect().identifier_preparer  # type: ignore[no-untyped-call]
    for constraint in table.constraints:
        if constraint.name is None or isinstance(constraint.name, str):
            continue
        name = prepare.format_constraint(constraint, _alembic_quote=False)
        constraint.name = conv(name) if name else None


def naming_convention(table: "Table") -> Any:
    """Return the convention by which a table's constraints and indexes are named."""
    return table.info.get(_CONVENTION, table.metadata.naming_convention)


def mappers(metadata: "MetaData") -> "list[Mapper[Any]]":
    """Return the ORM's mappers of a metadata's tables, in the order of the tables' names."""
    from sqlalchemy import Table
    from sqlalchemy.orm import mapperlib

    parts = metadata.info.get(_PARTS, [metadata])
    found = [
        (mapper.local_table.name, str(mapper), mapper)
        for registry in mapperlib._all_registries()  # noqa: SLF001 - from a MetaData no public way leads to them
        for mapper in registry.mappers
        if isinstance(mapper.local_table, Table) and mapper.local_table.metadata in parts
    ]
    return [mapper for *_, mapper in sorted(found, key=lambda each: each[:2])]


@contextmanager
def keys_in_circles_apart(metadata: "MetaData") -> Iterator[None]:
    """Let SQLAlchemy sort tables without those foreign keys that lead round in circles.

    Keys that may be empty come first; those that are left are taken out where they have circles of
    their own.  Left to find the circles itself, SQLAlchemy walks through all tables from each:
    minutes for a thousand.
    """
    keys = [
        (key, table, parent)
        for table in metadata.tables.values()
        for key in table.foreign_key_constraints
        if (parent := key.referred_table) is not table
    ]
    inside = _in_circles(keys)
    required = [each for each in inside if not any(c.nullable for c in each[0].columns)]
    kept = {each[0] for each in required} - {each[0] for each in _in_circles(required)}
    before = [(key, key.use_alter) for key, _, _ in inside]
    try:
        for key, _ in before:
            key.use_alter = key not in kept
        yield
    finally:
        for key, use_alter in before:
            key.use_alter = use_alter


_Keys = list[tuple["ForeignKeyConstraint", "Table", "Table"]]


def _in_circles(keys: _Keys) -> _Keys:
    """Return the foreign keys, of those with their tables, from which a way may lead back."""
    while True:
        children = {table for _, table, _ in keys}
        parents = {parent for _, _, parent in keys}
        inside = [each for each in keys if each[1] in parents and each[2] in children]
        if len(inside) == len(keys):
            return inside
        keys = inside


def _origin(app: App) -> str:
    """Say where an app's models are: the object, and the file and line that define it."""
    if app.models is None:
        return str(app.environment)
    module_name, _, attribute = app.models.partition(":")
    module = sys.modules[module_name]
    if module.__file__ is None:
        return app.models
    for node in ast.parse(Path(module.__file__).read_bytes()).body:
        targets = getattr(node, "targets", [getattr(node, "target", node)])
        if attribute in {
            getattr(target, "id", getattr(target, "name", None)) for target in targets
        }:
            return f"{app.models} ({module.__file__}, line {node.lineno})"
    return f"{app.models} ({module.__file__})"


def without_effect(given: Mapping[str, Any]) -> list[str]:
    """Return the options of `context.configure` that are set, and change nothing under leadctl."""
    return sorted(name for name in _WITHOUT_EFFECT if given.get(name) is not None)
