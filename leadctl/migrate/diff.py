"""Diff: what turns one definition of a schema into another."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from leadctl.apps.registry import App
from leadctl.catalog.compare import Difference, compare
from leadctl.catalog.definitions import Catalog
from leadctl.errors import UsageError
from leadctl.migrate import schema_sources
from leadctl.migrate.ddl.autodetector import changes
from leadctl.migrate.ddl.steps import as_script
from leadctl.migrate.desired_schema import goal
from leadctl.migrate.revisions import read_history
from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target
from leadctl.redact import scrub

MODELS, DATABASE, RECORD, BASE = "models", "database", "record", "base"


@dataclass(frozen=True)
class Diff:
    """How two definitions of a schema differ, from the first's view."""

    app: str
    before: str
    after: str
    differences: tuple[Difference, ...]
    """"missing" only the first has, "extra" only the second."""

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

    @property
    def sql(self) -> str:
        """The SQL that turns the first into the second, for psql: each statement commits.

        It says what it loses.  Raises OperationFailed for what cannot be written.
        """
        return as_script(changes(self.before, self.after)) or "-- Nothing differs."


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
    found: Mapping[str, Catalog] = {
        name: _catalog(target, app, name, find) for name in (before, after)
    }
    first, second = found[before], found[after]
    if before == MODELS:
        first = goal(app, first, second)
    elif after == MODELS:
        second = goal(app, second, first)
    diff = Diff(app.name, scrub(before), scrub(after), tuple(compare(first, second)))
    return Sides(first, second, diff)


def _catalog(target: Target, app: App, name: str, find: Callable[[str], Target]) -> Catalog:
    if name == BASE:
        return Catalog({})
    if name == MODELS:
        return schema_sources.of_models(target, app)
    if name in {DATABASE, RECORD}:
        with connect(target, "diff", read_only=True) as connection:
            if name == DATABASE:
                return schema_sources.of_database(connection, target, app)
            record = schema_sources.recorded(connection, target, app)
        if record is None:
            raise UsageError(
                f"Nothing was recorded in {target.database} for {app.name}.",
                hint="Name a revision instead.",
            )
        return record.catalog
    history = read_history(app.migrations)
    if "://" not in name and any(each.id.startswith(name) for each in history.revisions):
        return schema_sources.of_history(target, app, history.get(name).id)
    other = find(name)
    with connect(replace(other, log_sql=target.log_sql), "diff", read_only=True) as connection:
        return schema_sources.of_database(connection, other, app)
