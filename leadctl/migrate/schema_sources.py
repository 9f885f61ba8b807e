"""What a schema is by models, migrations, record and database, and what it should be."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from leadctl.apps.metadata import load_metadata
from leadctl.apps.registry import App
from leadctl.catalog.definitions import (
    OWN_KINDS,
    READS,
    Attributes,
    Catalog,
    containing_table,
    definition,
    owner,
    read_catalog,
    split_name,
    with_uses,
)
from leadctl.journal import records
from leadctl.migrate.ddl.steps import plain
from leadctl.migrate.env_hooks import as_env_compares, left_out_by_hooks, tables_left_out
from leadctl.migrate.revision import Revision
from leadctl.migrate.revisions import read_history
from leadctl.postgres.connect import Connection
from leadctl.postgres.target import Target
from leadctl.progress import Narrate

_OPTIONAL = (
    "view", "function", "trigger", "policy", "sequence", "enum", "domain", "type", "statistics",
    "collation", "rule", "grant", "property", "namespace", "other",
)  # fmt: skip
"""Kinds that models may leave to revisions: where they name none, they say nothing of them."""


@dataclass(frozen=True)
class RecordedSchema:
    """The schema as it was after its newest revision."""

    catalog: Catalog
    revision: str
    applied_at: datetime
    own: frozenset[str]
    """What the app's own revisions made, as `kind name`."""
    reads: int
    """How much was read then, as `catalog.definitions.READS` counts."""


def models_schema(
    target: Target, app: App, narrate: Narrate, lender: Catalog | None = None
) -> Catalog:
    """Return what an app's models describe; they are created in a scratch schema.

    Types and functions that they use and do not make come from another schema, the `lender`: the
    target's own where none is given.  So does an index of an operator class that they do not say,
    without which the server rejects it; `narrate` is told of those.

    Privileges are the server's: models do not say who may do what.
    """
    from leadctl.migrate.model_parts import LENT_KEY  # loads SQLAlchemy
    from leadctl.migrate.scratch_models import model_scratch

    with model_scratch(target, "read models", app.schemas) as made:
        lender = lender or made.read_target()
        rejected = made.create_models(app, lender)
        for reason in sorted(set(rejected.values())):
            named = [key for key in rejected if rejected[key] == reason]
            which, counts = ", ".join(named), "those of the target are used instead; "
            said = counts if set(named) <= lender.objects.keys() else ""
            narrate(f"{which}: {said}the models' own cannot be made: {reason}.")
        found = made.read_models().without("grant").without("namespace")
        own = {key: each for key, each in found.objects.items() if f".{LENT_KEY}" not in key}
        return Catalog(
            {**own, **{key: lender.objects[key] for key in rejected if key in lender.objects}}
        )


def history_schema(target: Target, app: App, revision: str | Sequence[str] | None) -> Catalog:
    """Return what a history makes up to some revisions; it is run in a scratch schema."""
    from leadctl.migrate.scratch_models import (  # loads SQLAlchemy and Alembic
        ModelScratch,
        in_scratch,
    )

    if not revision:
        return Catalog({})

    def made_by_history(made: ModelScratch) -> Catalog:
        made.run(app, read_history(app.versions), revision)
        return made.read([app.version_table])

    return in_scratch(target, "read history", app.schemas, made_by_history)


def database_schema(
    connection: Connection, target: Target, app: App, *, written: bool = True
) -> Catalog:
    """Return what is there; a schema that does not exist has nothing.

    Without `written` it is to be compared, and no SQL to be written: what uses what is not read.
    """
    exists = "SELECT FROM pg_namespace WHERE nspname = %s"
    if connection.execute(exists, (target.schema,)).fetchone() is None:
        return Catalog({})
    found = read_catalog(connection, target.schema, [app.version_table], app.schemas)
    return with_uses(connection, found, target.schema, app.schemas) if written else found


def recorded_schema(connection: Connection, target: Target, app: App) -> RecordedSchema | None:
    """Return what was recorded after the revision that the database is at, if anything was."""
    found = records.read_fingerprint(connection, app.name, target.schema, app.version_table)
    if found is None:
        return None
    own = frozenset(found.content.get("own", ()))
    return RecordedSchema(
        Catalog(found.content["objects"]),
        found.revision,
        found.applied_at,
        own,
        found.content.get("reads", 1),
    )


def migrations_schema(
    connection: Connection, target: Target, app: App, pending: Sequence[Revision]
) -> tuple[Catalog, Collection[str]]:
    """Return what all revisions make, and what of it is the app's own, as far as that is known.

    Where none is pending that was recorded; else the history is run in a scratch schema, as it is
    where less was recorded than is read today.
    """
    record = None if pending else recorded_schema(connection, target, app)
    if record is not None and record.reads >= READS:
        return record.catalog, record.own
    history = read_history(app.versions)
    return history_schema(target, app, history.goals if pending else history.heads), ()


def desired_schema(
    target: Target, app: App, models: Catalog, found: Catalog, own: Collection[str] = ()
) -> Catalog:
    """Return what a schema should be: what the models say, and what is there that they leave out.

    Left out are kinds of objects that they have none of, partitions of their tables, tables,
    enums and the like that are not the app's `own` (where that is known), what a team's env.py
    excludes, and what the app leaves `unmanaged`.  Types and defaults that it does not compare are
    those that are found; a constraint that the models give no name has the one that is found.
    """
    models = _named_as_found(app, models, found)
    spoken = {key.partition(" ")[0] for key in models.objects}
    left = {
        key
        for key, attributes in found.objects.items()
        if key not in models.objects and _is_left_out(key, attributes, spoken, own)
    }
    wanted = dict(models.objects)
    if app.environment is not None:
        excluded = left_out_by_hooks(app, models, found)
        left |= {key for key in excluded if key in found.objects}
        wanted = {key: value for key, value in wanted.items() if key not in excluded}
        wanted = as_env_compares(target, app, wanted, found)
    left |= {
        key
        for key, attributes in found.objects.items()
        if key not in models.objects and f"table {containing_table(key, attributes)}" in left
    }
    if "policy" not in spoken:
        secured = {key: each for key, each in found.objects.items() if "row_security" in each}
        for key in wanted.keys() & secured.keys():
            wanted[key] = {**wanted[key], "row_security": secured[key]["row_security"]}
    return _with_unmanaged(app, {**wanted, **{key: found.objects[key] for key in left}}, found)


def with_others(app: App, models: Catalog, found: Catalog) -> Catalog:
    """Return a catalog that also has the tables of models that an app leaves to somebody else.

    A foreign key to one needs it, and so does what its columns are of: they count as there.
    """
    missing = {
        plain(key.partition(" ")[2])
        for key in models.objects
        if key.startswith("table ") and key not in found.objects
    }
    others = tables_left_out(app, missing)
    parts = {
        key: each
        for key, each in models.objects.items()
        if plain(key[6:] if key.startswith("table ") else containing_table(key, each) or "")
        in others
        and not str(each.get("definition", "")).startswith("FOREIGN KEY")
    }
    types = {str(each.get("type", "")).removesuffix("[]") for each in parts.values()}
    used = {
        key: models.objects[key]
        for name in types
        for key in (f"enum {name}", f"domain {name}", f"type {name}")
        if key in models.objects
    }
    return Catalog({**parts, **used, **found.objects})


def _named_as_found(app: App, models: Catalog, found: Catalog) -> Catalog:
    """Return models whose constraints without a name have that of an equal one that is found.

    Those that `init` writes of a database have all their names.  Alembic compares the names of
    unique constraints only, and so it is where it has the say.
    """
    if app.models is None and app.environment is None:
        return models
    named = {
        (table.name, str(constraint.name))
        for table in load_metadata(app).tables.values()
        for constraint in table.constraints
        if isinstance(constraint.name, str)
        and (app.environment is None or constraint.__visit_name__ == "unique_constraint")
    }

    def same(key: str, each: Attributes) -> tuple[str | None, str]:
        return owner(key, each), repr(sorted((definition(each) or {}).items()))

    others: dict[tuple[str | None, str], list[str]] = {}
    for key in sorted(found.objects.keys() - models.objects.keys()):
        if key.startswith("constraint "):
            others.setdefault(same(key, found.objects[key]), []).append(key)
    result = dict(models.objects)
    for key in sorted(models.objects.keys() - found.objects.keys()):
        if not key.startswith("constraint "):
            continue
        table, own = map(plain, split_name(key.partition(" ")[2]))
        equal = others.get(same(key, models.objects[key]))
        if equal and (table, own) not in named:
            del result[key]
            key = equal.pop(0)
            result[key] = found.objects[key]
    return Catalog(result)


def _with_unmanaged(app: App, wanted: Mapping[str, Attributes], found: Catalog) -> Catalog:
    """Return a schema in which an app's unmanaged objects are as they are found, or absent.

    So are the parts of a table that the models lack; what belongs to a table that goes, goes.
    """
    if not app.unmanaged:
        return Catalog(wanted)
    unmanaged = set(app.unmanaged)
    kept = {key: each for key, each in wanted.items() if key not in unmanaged}
    tables = {key.removeprefix("table ") for key in unmanaged if key not in wanted}
    for key, attributes in found.objects.items():
        if key in unmanaged or (key not in wanted and containing_table(key, attributes) in tables):
            kept[key] = attributes
    return Catalog(
        {
            key: attributes
            for key, attributes in kept.items()
            if key in wanted
            or (table := containing_table(key, attributes)) is None
            or {f"table {table}", f"view {table}"} & kept.keys()
        }
    )


def _is_left_out(
    key: str, attributes: Attributes, spoken: Collection[str], own: Collection[str]
) -> bool:
    kind = key.partition(" ")[0]
    if own and kind in OWN_KINDS and key not in own:
        return True
    if kind == "table":
        return "partition_of" in attributes
    return kind in _OPTIONAL and kind not in spoken
