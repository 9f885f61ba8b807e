"""How models, migrations, record and database differ: check, drift, diff."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from leadctl.apps.registry import App
from leadctl.catalog.definitions import (
    NOT_COMPARED,
    READS,
    Catalog,
    Difference,
    compare,
    differing,
    without_grants,
)
from leadctl.errors import (
    EnvironmentNotRun,
    LeadctlError,
    OperationFailed,
    RevisionFailed,
    UsageError,
)
from leadctl.migrate.ddl.autodetector import writable_changes
from leadctl.migrate.ddl.dependencies import narrowed
from leadctl.migrate.ddl.renames import named_by, named_renames, possible_renames
from leadctl.migrate.ddl.steps import as_script
from leadctl.migrate.env_hooks import left_out_by_hooks, not_compared_by_env
from leadctl.migrate.integrity import open_history, read_current, read_verified
from leadctl.migrate.revision import Revision
from leadctl.migrate.revisions import read_history
from leadctl.migrate.schema_sources import (
    database_schema,
    desired_schema,
    history_schema,
    migrations_schema,
    models_schema,
    recorded_schema,
)
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target
from leadctl.progress import Narrate
from leadctl.redact import scrub
from leadctl.text import place

MODELS, DATABASE, RECORD, BASE = "models", "database", "record", "base"
"""What may be compared, besides revisions and other databases."""


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
    Where none is, and its first tables were made by something else, models are compared with the
    database, and drift is named as not compared.
    """
    history = open_history(target, app)
    with connect(target, "check", read_only=True) as connection:
        current = read_verified(connection, target, app, history)
        pending = history.pending(current)
        made = migrated(connection, target, app, current, pending, narrate)
    models = models_schema(target, app, narrate, made.catalog)
    wanted = desired_schema(target, app, models, made.catalog, made.own)
    return SchemaCheck(
        app.name,
        target.database,
        target.schema,
        ", ".join(current) or None,
        tuple(revision.id for revision in pending),
        tuple(compare(made.catalog, wanted)),
        made.drift,
        (*made.not_compared, *not_compared_by_env(app)),
    )


@dataclass(frozen=True)
class Migrated:
    """What the revisions of a history make."""

    catalog: Catalog
    own: Collection[str]
    """What of it is the app's own, as far as that is known."""
    drift: tuple[Difference, ...]
    not_compared: tuple[str, ...] = NOT_COMPARED


def migrated(
    connection: Connection,
    target: Target,
    app: App,
    current: Sequence[str],
    pending: Sequence[Revision],
    narrate: Narrate,
) -> Migrated:
    """Return what all revisions make, and how the database differs from what was applied.

    Where nothing was recorded, and the history cannot be run from nothing, since its first tables
    were made by something else, it is what the database has, and drift is not compared.  Raises
    RevisionFailed where revisions are pending on top of that.
    """
    try:
        drift: tuple[Difference, ...] = ()
        if current:
            drift = _drift(connection, target, app, narrate).differences
        return Migrated(*migrations_schema(connection, target, app, pending), drift)
    except RevisionFailed as error:
        if pending or not current:
            raise
        narrate(
            f"{error.message} So leadctl assumes that the database is as the revisions made it."
        )
        found = database_schema(connection, target, app)
        return Migrated(found, (), (), (*NOT_COMPARED, "what was changed by hand"))


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
        return _drift(connection, target, app, narrate)


def _drift(connection: Connection, target: Target, app: App, narrate: Narrate) -> Drift:
    return compare_with_record(connection, target, app, narrate, written=False).drift


def compare_with_record(
    connection: Connection,
    target: Target,
    app: App,
    narrate: Narrate,
    *,
    written: bool = True,
) -> ComparedWithRecord:
    """Compare as `drift` does, and return the catalogs, too: with what SQL is `written` by."""
    current = read_current(connection, target, app)
    if not current:
        raise OperationFailed(
            f"Nothing of {app.name} was applied to {place(target)}.",
            hint="Apply its revisions with: leadctl migrate",
        )
    found = database_schema(connection, target, app, written=written)
    record = recorded_schema(connection, target, app)
    if record is not None:
        should = record.catalog
        found = _of_the_app(app, should, found.as_of(record.reads))
        differences = compare(should, found)
    else:
        at = " and ".join(current)
        narrate(f"No schema was recorded after {at}, so its history is run in a scratch schema.")
        should = history_schema(target, app, current)
        found = _of_the_app(app, should, found)
        differences = without_grants(compare(should, found))
    result = Drift(
        app.name,
        target.database,
        target.schema,
        ", ".join(current),
        record.applied_at if record else None,
        tuple(differences),
    )
    return ComparedWithRecord(result, should, found)


def _of_the_app(app: App, should: Catalog, found: Catalog) -> Catalog:
    """Return the database's objects but for those of its own that env.py's hooks leave out."""
    extra = found.objects.keys() - should.objects.keys()
    if not extra or app.environment is None:
        return found
    try:
        left = left_out_by_hooks(app, should, found) & extra
    except EnvironmentNotRun:
        return found
    return Catalog({key: each for key, each in found.objects.items() if key not in left})


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
class DiffScript:
    """The SQL that turns one schema into another, for psql."""

    sql: str
    """It says what it loses, what may be a rename, and what could not be written or tried."""
    unwritten: tuple[str, ...]
    """What could not be written, each with the reason."""


@dataclass(frozen=True)
class Sides:
    """What is compared, with both catalogs."""

    before: Catalog
    after: Catalog
    diff: Diff
    target: Target
    """Where SQL is tried before it is shown."""

    def script(self, renames: Sequence[str] = (), *, safe: bool = False) -> DiffScript:
        """Write the SQL that turns the first into the second; it was tried in a scratch schema.

        `renames` are "old:new", as `new` has them; `safe` takes the forms that let others write to
        big tables meanwhile.  Raises UsageError for a rename of what is not there.
        """
        from leadctl.migrate.drafts import Prepared, prepared, schemas_of
        from leadctl.migrate.scratch import scratch

        left_out = f"Not compared: {', '.join(self.diff.not_compared)}."
        if self.diff.ok:
            return DiffScript(f"-- Nothing differs. {left_out}", ())
        named = named_renames(renames, self.before)
        seeds = differing(self.before, self.after) | named_by(renames)
        before, after = narrowed(seeds, self.before, self.after)
        notes = []
        try:
            ready = prepared(self.target, before, after, named)
        except OperationFailed as error:
            if named:
                raise
            ready = Prepared(before)  # what needs no more is written all the same
            notes.append(f"Not tried: {error.message}")
        steps, errors = writable_changes(ready.schema, after, online=safe, copies=ready.copies)
        steps = [*ready.steps, *steps]
        unwritten = [f"{error.message} {error.hint}".rstrip() for error in errors]
        made_anew = {each.former for each in ready.copies}
        notes += [
            f"{old} is dropped and {new} is added; if this is a rename: --rename {old}:{new}"
            for old, new in possible_renames(ready.schema, after)
            if f"{old}:" not in renames and old not in made_anew
        ]
        try:
            with scratch(self.target, "diff", schemas_of(before, after)) as made:
                made.create(before)
                wanted = None if errors else after
                reason = made.why_not((each.sql for each in steps if each.sql), wanted)
        except LeadctlError as error:
            notes.append(f"Not tried: {error.message}")
        else:
            if reason:
                unwritten.append(f"a way there. This was tried without rows: {reason}")
        comments = [*(f"Not written: {each}" for each in unwritten), *notes, left_out]
        lines = [f"-- {' '.join(each.split())}" for each in comments]
        return DiffScript("\n".join([*lines, as_script(steps)]).rstrip(), tuple(unwritten))


def sides(
    target: Target,
    app: App,
    before: str,
    after: str,
    find: Callable[[str], Target],
    narrate: Narrate,
    *,
    written: bool = True,
) -> Sides:
    """Read and compare two definitions; changes nothing.

    Without `written` no script is asked of them, and what only that needs is not read.

    Each is "models", "database", "record" (what it was after its last revision), "base" (nothing),
    a revision, or the URL or environment of another database, of which `find` makes a target.
    Besides models, the other side counts for what models leave to revisions.
    """
    if before == after:
        raise UsageError(
            f"Both sides are {scrub(before)}.",
            hint="Name two, e.g.: leadctl migrate diff database models",
        )
    found = [
        _catalog(target, app, name, find, narrate, written=written) for name in (before, after)
    ]
    reads = min(each.reads for each in found)
    first, second = (each.catalog.as_of(reads) for each in found)
    if before == MODELS:
        first = desired_schema(target, app, first, second)
    elif after == MODELS:
        second = desired_schema(target, app, second, first)
    of, to = (find(each).describe() if "://" in each else each for each in (before, after))
    diff = Diff(app.name, of, to, tuple(compare(first, second)))
    return Sides(first, second, diff, target)


class _Read(NamedTuple):
    catalog: Catalog
    reads: int = READS
    """How much was read of it, as `catalog.definitions.READS` counts."""


def _catalog(
    target: Target,
    app: App,
    name: str,
    find: Callable[[str], Target],
    narrate: Narrate,
    *,
    written: bool,
) -> _Read:
    if name == BASE:
        return _Read(Catalog({}))
    if name == MODELS:
        return _Read(models_schema(target, app, narrate))
    if name in {DATABASE, RECORD}:
        with connect(target, "diff", read_only=True) as connection:
            if name == DATABASE:
                return _Read(database_schema(connection, target, app, written=written))
            record = recorded_schema(connection, target, app)
        if record is None:
            raise UsageError(
                f"Nothing was recorded in {target.database} for {app.name}.",
                hint="Name a revision instead.",
            )
        return _Read(record.catalog, record.reads)
    history = read_history(app.versions)
    if "://" not in name and any(each.id.startswith(name) for each in history.revisions):
        return _Read(history_schema(target, app, history.get(name).id))
    other = find(name)
    with connect(replace(other, log_sql=target.log_sql), "diff", read_only=True) as connection:
        return _Read(database_schema(connection, other, app, written=written))
