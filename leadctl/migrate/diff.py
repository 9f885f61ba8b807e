"""What a schema is by models, migrations, record and database, and how two of these differ."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from leadctl.apps.metadata import environment_options, load_metadata
from leadctl.apps.registry import App
from leadctl.catalog.definitions import (
    NOT_COMPARED,
    OWN_KINDS,
    READS,
    Attributes,
    Catalog,
    Difference,
    compare,
    owner,
    read_catalog,
    without_grants,
)
from leadctl.errors import OperationFailed, UsageError
from leadctl.journal import state
from leadctl.migrate.ddl.autodetector import writable_changes
from leadctl.migrate.ddl.steps import Step, as_script
from leadctl.migrate.integrity import read_verified
from leadctl.migrate.revisions import Revision, read_history
from leadctl.migrate.status import read_current
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target
from leadctl.progress import Narrate
from leadctl.redact import scrub

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


def models_schema(target: Target, app: App) -> Catalog:
    """Return what an app's models describe; they are created in a scratch schema.

    Privileges are the server's: models do not say who may do what.
    """
    from leadctl.migrate.scratch import scratch  # loads SQLAlchemy

    with scratch(target, "read models", app.schemas) as made:
        made.create_models(app)
        return made.read().without("grant").without("namespace")


def history_schema(target: Target, app: App, revision: str | None) -> Catalog:
    """Return what a history makes up to a revision, or nothing; it is run in a scratch schema."""
    from leadctl.migrate.scratch import scratch  # loads SQLAlchemy and Alembic

    if revision is None:
        return Catalog({})
    with scratch(target, "read history", app.schemas) as made:
        made.run(app, read_history(app.migrations), revision)
        return made.read([app.version_table])


def database_schema(connection: Connection, target: Target, app: App) -> Catalog:
    """Return what is there; a schema that does not exist has nothing."""
    exists = "SELECT FROM pg_namespace WHERE nspname = %s"
    if connection.execute(exists, (target.schema,)).fetchone() is None:
        return Catalog({})
    return read_catalog(connection, target.schema, [app.version_table], app.schemas)


def recorded_schema(connection: Connection, target: Target, app: App) -> RecordedSchema | None:
    """Return what was recorded after the revision that the database is at, if anything was."""
    found = state.read_fingerprint(connection, app.name, target.schema, app.version_table)
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
    return history_schema(target, app, read_history(app.migrations).head), ()


def desired_schema(app: App, models: Catalog, found: Catalog, own: Collection[str] = ()) -> Catalog:
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
        secured = {key: each for key, each in found.objects.items() if "row_security" in each}
        for key in wanted.keys() & secured.keys():
            wanted[key] = {**wanted[key], "row_security": secured[key]["row_security"]}
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


def _excluded(app: App, models: Catalog, found: Catalog) -> set[str]:
    """Return what the include_name and include_object of a team's env.py leave out."""
    from sqlalchemy import Column, MetaData, Table
    from sqlalchemy.types import NullType

    assert app.environment is not None
    options = environment_options(app.environment, app.root)
    by_name, by_object = options.get("include_name"), options.get("include_object")
    metadata = load_metadata(app)

    def is_excluded(key: str, *, reflected: bool) -> bool:
        kind, _, name = key.partition(" ")
        if kind not in {"table", "column"}:
            return False
        own = _plain(name)
        parents: dict[str, str | None] = {"schema_name": None}
        item: Any = metadata.tables.get(own)
        if kind == "column":
            table, own = (_plain(part) for part in name.rsplit(".", 1))
            parents["table_name"] = table
            known = metadata.tables.get(table)
            item = None if known is None else known.columns.get(own)
            if item is None:
                Table(table, MetaData(), item := Column(own, NullType()))
        elif item is None:
            item = Table(own, MetaData())
        return bool(
            (reflected and by_name and not by_name(own, kind, parents))
            or (by_object and not by_object(item, own, kind, reflected, None))
        )

    keys = models.objects.keys() | found.objects.keys()
    excluded = {key for key in keys if is_excluded(key, reflected=key not in models.objects)}
    return excluded | {
        key
        for catalog in (models, found)
        for key, attributes in catalog.objects.items()
        if f"table {owner(key, attributes)}" in excluded
    }


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


MODELS, DATABASE, RECORD, BASE = "models", "database", "record", "base"
"""What may be compared, beside revisions and other databases."""


@dataclass(frozen=True)
class SchemaCheck:
    """Where models, migrations and database differ."""

    app: str
    database: str
    schema: str
    current: str | None
    pending: tuple[str, ...]
    models: tuple[Difference, ...]
    """From what the migrations make to what the models say: what `new` would write."""
    drift: tuple[Difference, ...]
    """From what was recorded to what is there: what was changed by hand."""
    not_compared: tuple[str, ...] = NOT_COMPARED

    @property
    def ok(self) -> bool:
        """Whether all three agree."""
        return not (self.pending or self.models or self.drift)


def check(target: Target, app: App, narrate: Narrate) -> SchemaCheck:
    """Compare models, migrations and database; changes nothing.

    Raises what connecting raises, RevisionEdited, RevisionMissing, and RevisionFailed where a
    history cannot be run in a scratch schema, which is needed while revisions are pending.
    """
    history = read_history(app.migrations)
    with connect(target, "check", read_only=True) as connection:
        current = read_verified(connection, target, app, history)
        pending = history.pending(current)
        drift = compare_with_record(connection, target, app, narrate).drift if current else None
        made, own = migrations_schema(connection, target, app, pending)
    wanted = desired_schema(app, models_schema(target, app), made, own)
    return SchemaCheck(
        app.name,
        target.database,
        target.schema,
        ", ".join(current) or None,
        tuple(revision.id for revision in pending),
        tuple(compare(made, wanted)),
        drift.differences if drift else (),
    )


@dataclass(frozen=True)
class Drift:
    """What the database has that no revision says, and the other way round."""

    app: str
    database: str
    schema: str
    revision: str
    """The revision that the database is at."""
    since: datetime | None
    """When that was applied: what was changed by hand was changed later.  None where nothing was
    recorded then, and the history was run in a scratch schema instead."""
    differences: tuple[Difference, ...]
    """"missing" was dropped by hand, "extra" was made by hand."""
    not_compared: tuple[str, ...] = NOT_COMPARED

    @property
    def ok(self) -> bool:
        """Whether nothing was changed."""
        return not self.differences


@dataclass(frozen=True)
class ComparedWithRecord:
    """A drift, with the two catalogs that were compared."""

    drift: Drift
    should: Catalog
    found: Catalog


def drift(target: Target, app: App, narrate: Narrate) -> Drift:
    """Compare the live schema with what was recorded; changes nothing.

    Raises OperationFailed where nothing was applied yet, and what connecting raises.
    """
    with connect(target, "drift", read_only=True) as connection:
        return compare_with_record(connection, target, app, narrate).drift


def compare_with_record(
    connection: Connection, target: Target, app: App, narrate: Narrate
) -> ComparedWithRecord:
    """Compare as `drift` does, and return the catalogs, too."""
    current = read_current(connection, target, app)
    if not current:
        raise OperationFailed(
            f"Nothing of {app.name} was applied to {target.database}, schema {target.schema}.",
            hint="Apply its revisions with: leadctl migrate",
        )
    found = database_schema(connection, target, app)
    record = recorded_schema(connection, target, app)
    if record is not None:
        should, found = record.catalog, found.as_of(record.reads)
        differences = compare(should, found)
    elif len(current) == 1:
        narrate(f"Nothing was recorded after {current[0]}; its history is run in a scratch schema.")
        should = history_schema(target, app, current[0])
        differences = without_grants(compare(should, found))
    else:
        raise OperationFailed(
            f"The database is at {len(current)} revisions, and nothing was recorded after them.",
            hint="Join the branches of the history, and apply that.",
        )
    result = Drift(
        app.name,
        target.database,
        target.schema,
        ", ".join(current),
        record.applied_at if record else None,
        tuple(differences),
    )
    return ComparedWithRecord(result, should, found)


@dataclass(frozen=True)
class Diff:
    """How two definitions of a schema differ, from the first's view."""

    app: str
    before: str
    after: str
    differences: tuple[Difference, ...]
    """"missing" only the first has, "extra" only the second."""
    not_compared: tuple[str, ...] = NOT_COMPARED

    @property
    def ok(self) -> bool:
        """Whether they are equal."""
        return not self.differences


@dataclass(frozen=True)
class Sides:
    """What is compared, with both catalogs."""

    before: Catalog
    after: Catalog
    diff: Diff

    @cached_property
    def _changes(self) -> tuple[list[Step], list[OperationFailed]]:
        return writable_changes(self.before, self.after)

    @property
    def unwritten(self) -> tuple[str, ...]:
        """What cannot be written as SQL, each with the reason."""
        return tuple(str(error) for error in self._changes[1])

    @property
    def sql(self) -> str:
        """The SQL that turns the first into the second, for psql, in one transaction.

        It says what it loses, and what could not be written.
        """
        if self.diff.ok:
            return "-- Nothing differs."
        script = as_script(self._changes[0])
        return "\n".join([*(f"-- Not written: {each}" for each in self.unwritten), script]).rstrip()


def sides(
    target: Target, app: App, before: str, after: str, find: Callable[[str], Target]
) -> Sides:
    """Read and compare two definitions; changes nothing.

    Each is "models", "database", "record" (what it was after its last revision), "base" (nothing),
    a revision, or the URL or environment of another database, of which `find` makes a target.
    Beside models, the other side counts for what models leave to revisions.
    """
    if before == after:
        raise UsageError(f"Both sides are {scrub(before)}.", hint="Name two, as: database models")
    first, second = (_catalog(target, app, name, find) for name in (before, after))
    if before == MODELS:
        first = desired_schema(app, first, second)
    elif after == MODELS:
        second = desired_schema(app, second, first)
    of, to = (find(each).describe() if "://" in each else each for each in (before, after))
    diff = Diff(app.name, of, to, tuple(compare(first, second)))
    return Sides(first, second, diff)


def _catalog(target: Target, app: App, name: str, find: Callable[[str], Target]) -> Catalog:
    if name == BASE:
        return Catalog({})
    if name == MODELS:
        return models_schema(target, app)
    if name in {DATABASE, RECORD}:
        with connect(target, "diff", read_only=True) as connection:
            if name == DATABASE:
                return database_schema(connection, target, app)
            record = recorded_schema(connection, target, app)
        if record is None:
            raise UsageError(
                f"Nothing was recorded in {target.database} for {app.name}.",
                hint="Name a revision instead.",
            )
        return record.catalog
    history = read_history(app.migrations)
    if "://" not in name and any(each.id.startswith(name) for each in history.revisions):
        return history_schema(target, app, history.get(name).id)
    other = find(name)
    with connect(replace(other, log_sql=target.log_sql), "diff", read_only=True) as connection:
        return database_schema(connection, other, app)
