"""What checks look at: the facts of one run, each read once."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.rows import dict_row

from leadctl.catalog.citus import distributes
from leadctl.catalog.definitions import Catalog, read_catalog
from leadctl.catalog.relations import Relation, read_tables
from leadctl.errors import ConnectionFailed, MissingExtension
from leadctl.health.shared_readings import Row, SchemaReadings, SharedReadings
from leadctl.inspect.run import (
    NOT_COUNTED,
    OF_FILES,
    OF_NODES,
    ServerFacts,
    ask,
    ask_all_nodes,
    block_of,
    is_of_all_nodes,
    reports,
    server_facts,
)
from leadctl.journal import records, state
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import queries_of, version_of
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told
from leadctl.text import listed

if TYPE_CHECKING:
    from leadctl.apps.registry import App
    from leadctl.backup.storage import BackupFolder
    from leadctl.crypto import Keyring
    from leadctl.pitr.wal_archive import WalArchive

QUERIES = queries_of(__file__, "health.sql")
_T = TypeVar("_T")
_COUNTERS: Mapping[str, tuple[str, ...]] = {
    "cache-hit": ("table", "hits", "reads"),
    "index-usage": ("table", "sequential_scans", "index_scans"),
    "database": ("database", "deadlocks", "temp_bytes"),
}
"""Reports with numbers that only grow: the column that tells their rows apart, then the numbers."""
_ROOM_SECONDS = 1.0
"""How long a second connection is waited for when nothing else is left to do."""
_UNUSABLE = (
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedFile,
)
"""What an extension says whose library is not loaded, or that is older than its server."""


class Skip(Exception):
    """Raised by a check that cannot know the answer; its text says why."""


class BackgroundReading:
    """What is read on a connection of its own, in a thread that no end of the process waits for."""

    def __init__(self, read: Callable[[Callable[[], None]], Catalog]) -> None:
        self._found: Future[Catalog] = Future()
        self._reached = threading.Event()
        threading.Thread(target=self._run, args=[read], daemon=True).start()

    def _run(self, read: Callable[[Callable[[], None]], Catalog]) -> None:
        try:
            self._found.set_result(read(self._reached.set))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            self._found.set_exception(error)
        self._reached.set()

    def result(self) -> Catalog:
        """Return what was read; what reading it raised is raised.

        Raises TimeoutError where the server is not reached by now: a pooler lets a connection wait
        while all of its own are in use.
        """
        if not self._reached.wait(_ROOM_SECONDS):
            raise TimeoutError
        return self._found.result()


@dataclass(frozen=True, eq=False, repr=False)
class Facts:
    """The facts of one run of the checks, each read once, when a check first asks for it."""

    connection: Connection
    target: Target
    app: "App"
    app_was_named: bool
    """Whether somebody named the app, rather than its being the default."""
    keyring: "Callable[[], Keyring]"
    """Reads the keyring; raises what `crypto.keyring_of` raises."""
    rules: Callable[[], Iterable[str]]
    """Reads the names of the app's retention rules; raises what `cleanup.rules.rules_of` does."""
    interval: float = 0.0
    """Seconds between two looks at counters; 0 for one look at what they counted so far."""
    backups: "BackupFolder | None" = None
    """The backup folder, where one is set or there."""
    copies: "BackupFolder | None" = None
    """Where backups are copied to, where that is set."""
    archive: "WalArchive | None" = None
    """The archive for point in time, where one is set or there."""
    shared: SharedReadings = field(default_factory=SharedReadings)
    """What is known of the database, and of its schemas."""
    background: "list[BackgroundReading]" = field(default_factory=list)
    """What defines the schema, where it is read on a connection of its own."""
    _rows: dict[str, list[Row]] = field(default_factory=dict)
    _earlier: dict[str, list[Row]] = field(default_factory=dict)
    _asked_everywhere: set[str] = field(default_factory=set)
    """Reports that have the rows of the cluster's other nodes."""
    _read: SchemaReadings = field(default_factory=SchemaReadings)

    def query(self, name: str, **values: Any) -> list[Any]:
        """Run a named block of health.sql and return its rows."""
        if name in self._read.blocks:
            return list(self._read.blocks[name])
        return QUERIES.rows(self.connection, name, schema=self.target.schema, **values)

    def query_database(self, name: str) -> list[Any]:
        """Return the rows of a named block of health.sql that is about the database or server."""
        return self.shared.once(f"block {name}", lambda: QUERIES.rows(self.connection, name))

    @property
    def has_definitions(self) -> bool:
        """Whether what defines the schema was read together with other schemas."""
        return self._read.definitions is not None

    @property
    def definitions(self) -> Catalog:
        """What defines the app's schemas, as the server has it."""
        if self._read.definitions is not None:
            return self._read.definitions
        for each in self.background:
            with suppress(ConnectionFailed, TimeoutError):
                return each.result()
        return self.read_definitions(self.connection)

    def read_definitions(self, connection: Connection) -> Catalog:
        """Read what defines the app's schemas on a connection."""
        ignore = [self.app.version_table]
        return read_catalog(connection, self.target.schema, ignore, self.app.schemas)

    def rows(self, report: str) -> list[Row]:
        """Return the rows of one of inspect's reports.

        Of counters: what was counted between two looks, where there is an interval.  Raises Skip
        where an extension is missing, and psycopg.Error.
        """
        if report not in self._asked_everywhere and is_of_all_nodes(
            report, self.server, lambda: self.distributed
        ):
            if report in self._earlier and report in OF_FILES:
                raise Skip("the other nodes of the Citus cluster are not looked at twice")
            self._rows[report] = self._of_all_nodes(report)
        elif report not in self._rows:
            self._rows[report] = self._asked(report, ask)
        if report in self._earlier:
            return _difference(self._earlier[report], self._rows[report], _COUNTERS[report])
        return self._rows[report]

    @property
    def schemas(self) -> list[str]:
        """The target's schema, and those that the app has next to it."""
        return [self.target.schema, *self.app.schemas]

    def rows_of_schema(self, report: str) -> list[Row]:
        """Return the rows of a report on the schemas.  Raises Skip where there are no tables."""
        if not self.tables:
            raise Skip(f"the schema {self.target.schema} has no tables")
        return self.rows(report)

    def prefetch(
        self, wanted: Iterable[str], seen: Callable[[], None], *, definitions: bool
    ) -> None:
        """Read reports in two round trips; what is not available so is asked by itself later.

        `seen` is called between them, when what goes on has been read.  Where the schema is read
        together with others, so are its `definitions`, if wanted.
        """
        names = [name for name in dict.fromkeys(wanted) if not reports()[name].needs]
        if self.interval:
            self._rows.update(self._fetch([name for name in names if name in _COUNTERS]))
            self._earlier.update(self._rows)
            self._rows.clear()
            time.sleep(self.interval)
        else:
            self._rows.update(self.shared.fresh(names))
            if not self.app.schemas:
                ignored = self.app.version_table if definitions else None
                asked = (self.connection, self.target.schema, names, QUERIES, ignored)
                self._read.update(self.shared.of_schema(*asked))
                self._rows.update(self._read.reports)
        going_on = [name for name in names if name in OF_NODES and name not in self._rows]
        self._rows.update(self._fetch(going_on))
        if all(name in self._rows for name in going_on):
            seen()
        self._rows.update(self._fetch([name for name in names if name not in self._rows]))

    def _fetch(self, names: list[str]) -> dict[str, list[Row]]:
        if not names:
            return {}
        version, parameters = version_of(self.connection), {"schemas": self.schemas}
        try:
            blocks = [block_of(reports()[name], version).sql for name in names]
            found = exact.fetch_all(self.connection, blocks, parameters, dict_row)
        except psycopg.Error:
            return {}
        rows = dict(zip(names, found, strict=True))
        self.shared.keep(version, rows)
        return rows

    def _of_all_nodes(self, report: str) -> list[Row]:
        """Raise Skip where a node does not answer."""
        rows, silent = self._asked(report, ask_all_nodes)
        if silent:
            raise Skip(f"no answer from {', '.join(silent)}")
        self._asked_everywhere.add(report)
        return rows

    def _asked(self, report: str, how: Callable[..., _T]) -> _T:
        found = reports()[report]
        extensions = self.server.extensions if found.needs else {}
        try:
            return how(self.connection, found, self.schemas, extensions)
        except MissingExtension as error:
            raise Skip(error.message) from None
        except _UNUSABLE as error:
            if found.needs is None:
                raise
            raise Skip(
                f"the extension {found.needs} is installed, but cannot be used: {told(error)}"
            ) from None

    @property
    def counted(self) -> str:
        """Say over which time counters counted."""
        if self.interval:
            return f"within {self.interval:g} s"
        age = self.server.counted_seconds
        return f"within {age / 86400:.1f} days" if age is not None else "since counting began"

    @property
    def counted_hours(self) -> float | None:
        """How long counters counted; None where that is not known."""
        seconds = self.interval or self.server.counted_seconds
        return seconds / 3600 if seconds else None

    @cached_property
    def distributed(self) -> bool:
        """Whether rows of the schemas are on other nodes of a Citus cluster."""
        return "citus" in self.server.extensions and distributes(self.connection, self.schemas)

    @cached_property
    def server(self) -> ServerFacts:
        """What the server is, and what this role may see of it."""
        return self.shared.once("server", lambda: server_facts(self.connection))

    @cached_property
    def current(self) -> list[str] | None:
        """The revisions that the schema is at; None where it was never migrated."""
        version_table = self.app.version_table
        return records.current_revisions(self.connection, self.target.schema, version_table)

    @cached_property
    def fingerprint(self) -> Mapping[str, Any] | None:
        """What the schema should look like, as recorded."""
        found = records.fingerprint_after(
            self.connection, self.app.name, self.target.schema, self.current or []
        )
        return found.content if found else None

    @cached_property
    def relations(self) -> Mapping[str, Relation]:
        """The existing tables of fixtures and of encrypted columns, with columns and sizes."""
        recorded = self.fingerprint or {}
        names = {name.rpartition(".")[0] for name in recorded.get("encrypted", ())}
        names |= {name for each in recorded.get("fixtures", ()) for name in tables_of(each)}
        return read_tables(self.connection, self.target.schema, names, "columns", "sizes")

    @cached_property
    def identity(self) -> state.Identity | None:
        """What the database says about itself; None where it has no identity that can be read."""
        return self.shared.once("identity", lambda: state.read_identity(self.connection))

    @property
    def uncounted(self) -> str:
        """Say why more may have happened than was counted; nothing where all roles are counted."""
        _, counts, roles = self.counts
        if not counts:
            return NOT_COUNTED
        return (
            f"track_counts is off for {listed(roles)}: their changes are not counted"
            if roles
            else ""
        )

    @cached_property
    def counts(self) -> tuple[bool, bool, list[str]]:
        """Whether the server has autovacuum on, and counts; the roles that it does not count."""
        vacuums, counts, without = self.query_database("autovacuum")[0]
        return vacuums, counts, without

    @cached_property
    def tables(self) -> int:
        """How many tables the schema has, Alembic's own not counted."""
        return int(self.query("tables")[0][0])

    @cached_property
    def missing_tables(self) -> list[str]:
        """The app's own tables that were recorded and are gone, as the server quotes them."""
        recorded = self.fingerprint or {"objects": {}}
        own = recorded.get("own", recorded["objects"])
        tables = set(records.tables_among(own))
        schemas = list(self.app.schemas)
        return sorted(tables - {name for (name,) in self.query("relations", schemas=schemas)})

    @property
    def of_app(self) -> str:
        """What a command adds that names the app; nothing where none is."""
        return f" --app {self.app.name}" if self.app.name else ""

    @property
    def expects_no_migrations(self) -> bool:
        """Whether no app is meant, or the database has tables, and none by leadctl or Alembic.

        Then nobody expects migrations there, unless the app was named.
        """
        never = self.current is None and self.tables > 0
        return not self.app.name or (never and not self.app_was_named)


def tables_of(fixture: Mapping[str, Any]) -> Iterator[str]:
    """Yield the tables of a fixture's row, and of those that its key refers to."""
    yield fixture["table"]
    for value in fixture["key"].values():
        if isinstance(value, Mapping):
            yield from tables_of(value["ref"])


def _difference(before: list[Row], after: list[Row], columns: tuple[str, ...]) -> list[Row]:
    """Return the rows of `after` with what was counted since `before`; new rows count whole."""
    key, *counters = columns
    earlier = {row[key]: row for row in before}
    return [
        row | {name: row[name] - earlier[row[key]][name] for name in counters}
        if row[key] in earlier
        else row
        for row in after
    ]
