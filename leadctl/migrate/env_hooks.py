"""What a team's env.py has its comparison leave out, by include hooks and by compare hooks."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
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
from leadctl.migrate.ddl.steps import plain
from leadctl.postgres.target import Target
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


# --- compare_type and compare_server_default ------------------------------------------------

_DEFAULT = ("default", "default_uses")
"""What is compared together as a column's default."""
_UNCOMPARED = {
    "type": "types of columns (compare_type is off in env.py)",
    "default": "server defaults (compare_server_default is not set in env.py)",
}


def not_compared_by_env(app: App) -> tuple[str, ...]:
    """Return what an app's env.py has its comparison leave out, for whoever reads the result."""
    if app.environment is None:
        return ()
    asked = _asked(app)
    added = (f"what {each} adds to Alembic's comparison" for each in _comparing_packages())
    return (*(said for name, said in _UNCOMPARED.items() if not asked[name]), *added)


def _comparing_packages() -> list[str]:
    """Return the packages that env.py imports, and that compare more than Alembic does."""
    from alembic.autogenerate import comparators

    entries = [
        entry
        for given in comparators._registry.values()  # noqa: SLF001 - Alembic has no other list
        for entry in (given if isinstance(given, list) else [given])
    ]
    functions = [entry[0] if isinstance(entry, tuple) else entry for entry in entries]
    return sorted({each.__module__.partition(".")[0] for each in functions} - {"alembic"})


def as_env_compares(
    target: Target, app: App, wanted: Mapping[str, Attributes], found: Catalog
) -> dict[str, Attributes]:
    """Return what a schema should be; what env.py calls no difference is as it is found.

    That is of columns that are on both sides: their types and their defaults, but not whether they
    are generated or identities: without that, rows cannot be written.  Functions are asked
    of each column that differs, as Alembic asks them: with the column as it is reflected.
    """
    asked = _asked(app)
    existing = {
        key: (each, found.objects[key])
        for key, each in wanted.items()
        if key.startswith("column ") and key in found.objects
    }
    types = {key for key, (new, old) in existing.items() if new["type"] != old["type"]}
    defaults = {
        key
        for key, (new, old) in existing.items()
        if new.get("default") != old.get("default")
        and not any(each.keys() & {"generated", "identity"} for each in (new, old))
    }
    same_types = _same(
        target, app, found, types, asked["type"], lambda old, new: (old.type, new.type)
    )
    same_defaults = _same(target, app, found, defaults, asked["default"], _asks_of_default)
    result = dict(wanted)
    for key in same_types:
        result[key] = {**result[key], "type": found.objects[key]["type"]}
    for key in same_defaults:
        own = {name: value for name, value in result[key].items() if name not in _DEFAULT}
        there = {name: found.objects[key][name] for name in _DEFAULT if name in found.objects[key]}
        result[key] = own | there
    fed = {key.removeprefix("column ") for key in same_defaults}

    def feeds(key: str, attributes: Attributes) -> bool:
        return key.startswith("sequence ") and attributes.get("owned_by") in fed

    return {
        **{key: each for key, each in result.items() if not feeds(key, each)},
        **{key: each for key, each in found.objects.items() if feeds(key, each)},
    }


def _asked(app: App) -> dict[str, Any]:
    """Return what env.py says of types and defaults, with Alembic's own defaults."""
    options = app.alembic_environment.facts.options
    return {
        "type": options.get("compare_type", True),
        "default": options.get("compare_server_default") or False,
    }


def _same(
    target: Target,
    app: App,
    found: Catalog,
    differing: Collection[str],
    asked: Any,
    arguments: Callable[[Any, Any], tuple[Any, ...]],
) -> set[str]:
    """Return those of some columns that differ that count as the same."""
    if not callable(asked):
        return set() if asked else set(differing)
    if not differing:
        return set()
    return {
        key
        for key, context, old, new in _both_sides(target, app, found, differing)
        if asked(context, old, new, *arguments(old, new)) is False
    }


def _asks_of_default(old: Any, new: Any) -> tuple[Any, ...]:
    there = old.server_default.arg.text if old.server_default is not None else None
    said = getattr(new.server_default, "arg", None)
    if said is not None and not isinstance(said, str):
        from sqlalchemy import URL

        dialect = URL.create("postgresql+psycopg").get_dialect()()
        said = str(said.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    return there, new.server_default, said


def _both_sides(
    target: Target, app: App, found: Catalog, keys: Collection[str]
) -> Iterator[tuple[str, Any, Any, Any]]:
    """Yield for each column Alembic's context, the column reflected, and that of the models."""
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy import MetaData, Table

    from leadctl.migrate.scratch_models import model_scratch

    tables = load_metadata(app).tables
    options = app.alembic_environment.facts.options
    with model_scratch(target, "compare", app.schemas) as made:
        made.create(found)
        opts = {key: value for key, value in options.items() if key != "connection"}
        context = MigrationContext.configure(made.connection, opts=opts)
        there = MetaData()
        for key in sorted(keys):
            of, name = split_name(key.removeprefix("column "))
            *schema, table = map(plain, split_name(of))
            within = schema[0] if schema else None
            names = (f"{within or target.schema}.{table}", table)
            models = next((tables[each] for each in names if each in tables), None)
            if models is None:
                continue
            columns = {each.name: each for each in models.columns}
            name = plain(name)
            reflected = Table(table, there, schema=within, autoload_with=made.connection)
            if name in columns and name in reflected.columns:
                yield key, context, reflected.columns[name], columns[name]
