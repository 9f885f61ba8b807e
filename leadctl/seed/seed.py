"""Seeding: the rows that an app needs, from its fixtures and seed files; in empty tables, too."""

import shlex
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Column, Connection, MetaData, Select, Table, and_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from leadctl.apps.fixtures import Fixture, Ref
from leadctl.apps.loading import user_code
from leadctl.apps.metadata import load_metadata
from leadctl.apps.registry import App, load_object
from leadctl.catalog.relations import Relation, read_named
from leadctl.crypto import Keyring, using
from leadctl.errors import DependentObjects, SeedFailed
from leadctl.journal import records, state
from leadctl.journal.guard import Consent, permit
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.migrate.integrity import refuse_other_apps
from leadctl.migrate.recorder import own_objects
from leadctl.models.values import encrypted_columns
from leadctl.postgres.connect import Connection as DriverConnection
from leadctl.postgres.connect import Timeouts, connect, set_timeouts
from leadctl.postgres.engine import driver_connection, run_engine
from leadctl.postgres.queries import queries_of
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told
from leadctl.progress import Narrate
from leadctl.seed.files import SeedFile, seed_files
from leadctl.seed.upsert import ModelRows, Upsert, advance_sequences
from leadctl.text import counted

_FOLDER = "seeds"
"""Where `init` and the documents have seed files."""
_LOCK_TIMEOUT = "60s"


@dataclass(frozen=True)
class SeededTable:
    """What seeding did to one table, in rows."""

    table: str
    inserted: int
    unchanged: int
    updated: int = 0
    """Rows of seed files that were otherwise in the database."""


@dataclass(frozen=True)
class SeededFile:
    """What became of one file."""

    file: str
    state: str
    """ "seeded", or "unchanged": it is what was brought in before."""


@dataclass(frozen=True)
class SeedResult:
    """What seeding did; a seed function of its own is not counted."""

    app: str
    database: str
    schema: str
    tables: tuple[SeededTable, ...]
    files: tuple[SeededFile, ...] = ()
    nothing: str | None = None
    """Why there was nothing to seed, where there was nothing."""

    @property
    def inserted(self) -> int:
        """The rows that were inserted, in all."""
        return sum(table.inserted for table in self.tables)


def seed(
    target: Target,
    app: App,
    keyring: Keyring,
    narrate: Narrate,
    before: Callable[[DriverConnection], None] = lambda _: None,
) -> SeedResult:
    """Insert the fixtures that are missing, in one transaction; other rows stay as they are.

    `before` is called in that transaction, before anything is inserted.  Raises MissingKey before
    anything is written where a column is encrypted and there is no key, and SeedFailed.
    """
    check_key(app, keyring)
    fixtures = _fixtures(app)
    tables: tuple[SeededTable, ...] = ()
    files: tuple[SeededFile, ...] = ()
    if app.seed_files:
        with connect(target, "seed") as session:
            state.ensure(session, target)
            record_files_in(session)
    with using(keyring), run_engine(target, "seed").connect() as connection:
        try:
            with connection.begin():
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
                _wait_for_others(driver_connection(connection), target.schema, narrate)
                before(driver_connection(connection))
                if callable(fixtures):
                    narrate(f"Running {app.seed}")
                    with Session(connection, join_transaction_mode="create_savepoint") as session:
                        with user_code():
                            fixtures(session)
                        session.commit()
                else:
                    tables = _insert_missing(connection, load_metadata(app), fixtures)
                if app.seed_files:
                    upsert = Upsert(connection, load_metadata(app), ModelRows(connection))
                    files = _load_files(upsert, target, app, narrate)
                    tables += tuple(
                        SeededTable(name, each.inserted, each.unchanged, each.updated)
                        for name, each in upsert.counts.items()
                    )
        except ProgrammingError as error:
            if not isinstance(error.orig, psycopg.errors.UndefinedTable):
                raise
            raise SeedFailed(
                f"{target.database} lacks a table that the fixtures of {app.name} need: "
                f"{told(error.orig)}.",
                hint=f"Apply the migrations first: leadctl migrate --app {app.name}. If none makes "
                f"the table, write one: leadctl migrate new --app {app.name} -m NAME",
            ) from None
    nothing = None if tables or files else _why_nothing(app)
    return SeedResult(app.name, target.database, target.schema, tables, files, nothing)


def _wait_for_others(connection: DriverConnection, schema: str, narrate: Narrate) -> None:
    """Let one run at a time seed a schema: two would both insert what they find missing."""
    if not _QUERIES.value(connection, "try_lock", schema=schema):
        narrate("Waiting for another seed of this schema.")
        _QUERIES.run(connection, "lock", schema=schema)


def _why_nothing(app: App) -> str | None:
    """Say why an app has nothing to seed; None where a function of it ran."""
    if app.seed:
        return None
    if app.seed_files:
        return f"{app.seed_files} has no YAML, JSON, CSV or SQL file"
    there = (app.root / _FOLDER).is_dir()
    found = f'; {_FOLDER}/ is there: seed_files = "{_FOLDER}" in leadctl.toml uses it'
    return f"{app.name} has no fixtures{found if there else ''}"


def journaled_seed(target: Target, app: App, keyring: Keyring, narrate: Narrate) -> SeedResult:
    """Seed as a run of its own, with an entry in the journal."""
    check_key(app, keyring)
    with journaled(target, "seed", app.name) as entry:
        result = seed(target, app, keyring, narrate)
        entry.note(inserted=result.inserted)
    return result


def check_key(app: App, keyring: Keyring) -> None:
    """Raise MissingKey where seeding an app needs a key and there is none."""
    if (_fixtures(app) or app.seed_files) and any(
        True for _ in encrypted_columns(load_metadata(app))
    ):
        keyring.primary  # noqa: B018 - raises where there is none


def _fixtures(app: App) -> Any:
    return load_object(app, app.seed, "seed") if app.seed else ()


def _insert_missing(
    connection: Connection, metadata: MetaData, fixtures: tuple[Fixture, ...]
) -> tuple[SeededTable, ...]:
    inserted: Counter[str] = Counter()
    unchanged: Counter[str] = Counter()
    bringing = _Fixtures(connection, metadata)
    for fixture in fixtures:
        counter = inserted if bringing.insert(fixture) else unchanged
        counter[fixture.table] += 1
    advance_sequences(connection, [_table(metadata, name) for name in inserted])
    names = dict.fromkeys(fixture.table for fixture in fixtures)
    return tuple(SeededTable(name, inserted[name], unchanged[name]) for name in names)


class _Fixtures:
    """Inserts the rows of fixtures."""

    def __init__(self, connection: Connection, metadata: MetaData) -> None:
        self._connection = connection
        self._metadata = metadata
        self._rows = ModelRows(connection)

    def insert(self, fixture: Fixture) -> bool:
        """Insert a fixture's row unless it is there; say whether it was inserted."""
        table = _table(self._metadata, fixture.table)
        column = next(iter(table.columns))
        if self._find(fixture.table, fixture.key, column):
            return False
        values = {
            name: self._value(value) for name, value in {**fixture.values, **fixture.key}.items()
        }
        # DO NOTHING, since another seed may insert the same row between our look and this.
        statement = insert(table).values(values).on_conflict_do_nothing().returning(column)
        with self._rows.touched(table):
            if self._connection.execute(statement).first():
                return True
        if not self._find(fixture.table, fixture.key, column):
            raise SeedFailed(
                f"The fixture {_describe(fixture)} cannot be inserted: another row has one of its "
                "unique values.",
                hint=f"Look for it with: leadctl studio {shlex.quote(fixture.table)}",
            )
        return False

    def _value(self, value: Any) -> Any:
        if isinstance(value, Ref):
            column = _table(self._metadata, value.table).columns[value.column]
            found = self._find(value.table, value.key, column)
            if found is None:
                raise SeedFailed(
                    f"A fixture refers to {value.table} with {dict(value.key)}, which does not "
                    f"exist.",
                    hint="List the fixture that it refers to before it.",
                )
            return found[0]
        return value() if callable(value) else value

    def _find(self, table_name: str, key: Mapping[str, Any], column: Column[Any]) -> Any:
        table = _table(self._metadata, table_name)
        conditions = [
            self._rows.equal(table.columns[name], self._value(value)) for name, value in key.items()
        ]
        query: Select[Any] = select(column).where(and_(*conditions))
        with self._rows.touched(table):
            return self._connection.execute(query).first()


def _table(metadata: MetaData, name: str) -> Table:
    try:
        return metadata.tables[name]
    except KeyError:
        raise SeedFailed(
            f"A fixture is for the table {name}, which the models do not have.",
            hint=f"Available: {', '.join(sorted(metadata.tables))}.",
        ) from None


def _describe(fixture: Fixture) -> str:
    plain = {name: value for name, value in fixture.key.items() if not isinstance(value, Ref)}
    return f"{fixture.table} {plain}" if plain else fixture.table


_QUERIES = queries_of(__file__, "seed_files.sql")


def _load_files(
    upsert: Upsert, target: Target, app: App, narrate: Narrate
) -> tuple[SeededFile, ...]:
    """Bring in the seed files that changed, each recorded with its checksum next to its rows."""
    assert app.seed_files is not None
    files = seed_files(app.seed_files, target.environment)
    connection = driver_connection(upsert.connection)
    key = {"app": app.name, "schema": target.schema}
    known = dict(_QUERIES.rows(connection, "seed_files", **key))
    changed = [file for file in files if known.get(file.name) != file.checksum]
    tables = [file for file in changed if not file.is_sql]
    if tables:
        narrate(f"Inserting {', '.join(file.name for file in tables)}")
        # The others are read, too: the changed ones may refer to names in them.
        others = [file for file in files if not (file.is_sql or file in changed)]
        upsert.bring_in(
            [row for file in tables for row in file.rows()],
            [row for file in others for row in file.rows()],
        )
    for file in changed:
        if file.is_sql:
            narrate(f"Running {file.name}")
            _run(connection, file)
        record = {"file": file.name, "checksum": file.checksum}
        _QUERIES.run(connection, "record_seed_file", **key, **record)
    return tuple(
        SeededFile(file.name, "seeded" if file in changed else "unchanged") for file in files
    )


def record_files_in(connection: DriverConnection) -> None:
    """Make the table of what was brought in, where it is missing."""
    state.make_table(connection, _QUERIES, "create_seed_files")


def forget_files(connection: DriverConnection, target: Target, app: App) -> None:
    """Forget what was brought in: the tables are empty again."""
    if _QUERIES.value(connection, "is_recorded"):
        _QUERIES.run(connection, "forget_seed_files", app=app.name, schema=target.schema)


def _run(connection: DriverConnection, file: SeedFile) -> None:
    try:
        connection.execute(file.text.encode())
    except psycopg.Error as error:
        position = int(error.diag.statement_position or 1)
        line = file.text.count("\n", 0, position - 1) + 1
        raise SeedFailed(
            f"{file.name}, line {line}: {told(error)}",
            hint="Nothing was changed. Correct the file.",
        ) from None


REPLANT = "seed --replant"
"""What the guard, the lock and the journal call it."""


def replant(
    target: Target,
    app: App,
    keyring: Keyring,
    consent: Consent,
    *,
    timeouts: Timeouts,
    narrate: Narrate,
) -> SeedResult:
    """Empty the app's tables and seed them, in one transaction; their sequences begin again.

    Rows that revisions inserted go, too.  Raises Protected, NotConfirmed and NoIdentity before
    anything is changed, DependentObjects where rows of others would have to go, and what `seed`
    raises: then all rows are as they were.
    """
    check_key(app, keyring)

    def empty(connection: DriverConnection) -> None:
        permit(connection, target, REPLANT, granted)  # it may be protected by now
        set_timeouts(connection, timeouts)
        tables = _own_tables(connection, app, target.schema)
        _truncate(connection, tables)
        forget_files(connection, target, app)
        narrate(f"Emptied {counted(len(tables), 'table')}.")

    with schema_lock(target, REPLANT, timeouts.lock_wait, narrate) as session:
        refuse_other_apps(session, target, app)
        granted = permit(session, target, REPLANT, consent)
        with journaled(target, REPLANT, app.name) as entry:
            result = seed(target, app, keyring, narrate, before=empty)
            entry.note(inserted=result.inserted)
    return result


def _own_tables(connection: DriverConnection, app: App, schema: str) -> list[Relation]:
    """Return the tables that hold the app's rows."""
    names = records.tables_among(own_objects(connection, app, schema))
    found = read_named(connection, names, "descendants").values()
    return [relation for relation in found if relation.is_table]


def _truncate(connection: DriverConnection, tables: list[Relation]) -> None:
    """Empty tables without CASCADE: what others have that refers to them stops it."""
    for table in tables:
        foreign = [each.name for each in table.descendants if each.kind == "f"]
        if table.kind == "p" and foreign:
            raise DependentObjects(
                f"Rows of {table.name} are on another server, in the foreign table {foreign[0]}. "
                "Nothing was changed.",
                hint=f"Detach it first: ALTER TABLE {table.qualified} DETACH PARTITION …",
            )
    if not tables:
        return
    # What inherits from a table without being its partition may be somebody else's.
    names = [
        sql.SQL("{}" if table.kind == "p" else "ONLY {}").format(table.identifier)
        for table in tables
    ]
    try:
        connection.execute(
            sql.SQL("TRUNCATE {} RESTART IDENTITY").format(sql.SQL(", ").join(names))
        )
    except psycopg.errors.FeatureNotSupported as error:
        raise DependentObjects(
            f"A table that is not the app's refers to rows that would go: "
            f"{told(error, detail=True)} Nothing was changed.",
            hint="Empty that table or drop its foreign key first.",
        ) from None
