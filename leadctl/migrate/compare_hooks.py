"""What the compare_type and compare_server_default of a team's env.py say of columns."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from leadctl.apps.metadata import load_metadata
from leadctl.apps.registry import App
from leadctl.catalog.definitions import Attributes, Catalog, split_name
from leadctl.migrate.ddl.steps import plain
from leadctl.postgres.target import Target

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
    same_types = _same(target, app, found, types, asked["type"], _asks_of_type)
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


def _asks_of_type(old: Any, new: Any) -> tuple[Any, ...]:
    return old.type, new.type


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
