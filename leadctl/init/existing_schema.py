"""Reading a schema that init writes models for, and the baseline that makes the same."""

import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import MetaData, String, Table
from sqlalchemy.exc import SAWarning

from leadctl.apps.registry import App
from leadctl.catalog.definitions import (
    Catalog,
    Difference,
    compare,
    is_unwritten,
    key_reference,
    read_catalog,
    split_name,
    with_uses,
)
from leadctl.crypto import FORM, NODE_FORM
from leadctl.errors import AlreadyDeclared, OperationFailed
from leadctl.init.discovery import (
    PRISMA,
    ForeignHistory,
    PrismaMigration,
    foreign_histories,
    prisma_migrations,
)
from leadctl.init.project_files import EncryptedGuess, secret_columns
from leadctl.journal import records
from leadctl.journal.records import VERSION_TABLE, AppliedRevision
from leadctl.migrate.ddl.autodetector import changes
from leadctl.migrate.ddl.steps import Phase, Step, plain
from leadctl.migrate.schema_sources import desired_schema
from leadctl.migrate.scratch import scratch
from leadctl.migrate.scratch_models import model_scratch
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.engine import run_engine
from leadctl.postgres.queries import queries_of
from leadctl.postgres.target import Target
from leadctl.postgres.translate import MORE_LOCKS
from leadctl.progress import Narrate
from leadctl.sql.lexer import split
from leadctl.text import counted

_QUERIES = queries_of(__file__, "init.sql")
_NAME = r'(\w+|"[^"]+")'
_RENAMED = re.compile(rf"^ALTER TABLE {_NAME} RENAME COLUMN {_NAME} TO ", re.MULTILINE)
_COMMENTS = re.compile(r"\A(?:--.*\n|\s)+")


@dataclass(frozen=True)
class ExistingSchema:
    """What was read from a database, and nothing written yet."""

    catalog: Catalog
    extensions: tuple[str, ...]
    """Those that are in the schema itself."""
    metadata: MetaData
    histories: tuple[ForeignHistory, ...]
    prisma: tuple[PrismaMigration, ...]
    ciphertext: tuple[EncryptedGuess, ...]
    others: tuple[str, ...]
    """Other schemas with tables."""
    needed_first: tuple[str, ...]
    """What is not in the schema, and must be there before the baseline: by kind and name."""
    take_over: "TakeOver | None"
    """How these tables become those of an app, where one says so."""
    replaces: AppliedRevision | None
    """The baseline of an earlier init, which this one takes the place of."""

    @property
    def ignored(self) -> list[str]:
        """The tables that are no part of the app."""
        return [VERSION_TABLE, *self.history_tables]

    @property
    def history_tables(self) -> list[str]:
        """The tables of other tools' histories."""
        return [name for each in self.histories for name in each.tables]

    def guesses(self, encrypted: Collection[str]) -> list[EncryptedGuess]:
        """Return the columns that may hold secrets, without those that are `encrypted`."""
        found = {each.column: each for each in secret_columns(self.metadata)}
        found |= {each.column: each for each in self.ciphertext}
        return [found[name] for name in sorted(found) if name not in encrypted]


@dataclass(frozen=True)
class TakeOver:
    """How the tables of another tool become those of an app."""

    app: App
    note: str
    """The comment that the app's file begins with."""
    statements: tuple[str, ...]


def read_existing_schema(
    target: Target, apps: Iterable[App], prisma: Path | None, narrate: Narrate
) -> ExistingSchema:
    """Read a schema; changes nothing.  `apps` are those that may take its tables over.

    Raises AlreadyDeclared for a database that Alembic or leadctl migrates already, and
    OperationFailed for a schema without tables.
    """
    schema = target.schema
    with connect(target, "init", read_only=True) as connection:
        quoted = sql.Identifier(schema).as_string(connection)
        replaces = earlier_baseline(connection, target)
        columns = _columns(read_catalog(connection, schema, kinds=("table", "column")))
        if not columns:
            raise OperationFailed(
                f"The schema {schema} of {target.database} has no tables.",
                hint="Name the schema with --schema, or the database with --url.",
            )
        histories = tuple(foreign_histories(columns))
        ignored = [VERSION_TABLE, *(name for each in histories for name in each.tables)]
        narrate(f"Reading {counted(len(columns.keys() - ignored), 'table')} of {target.database}.")
        metadata = _reflect(target, ignored)
        catalog = with_uses(connection, read_catalog(connection, schema, ignored), schema)
        written = catalog.written().objects.keys()
        return ExistingSchema(
            catalog=_without(catalog, ignored),
            extensions=tuple(_QUERIES.column(connection, "extensions", schema=quoted)),
            metadata=metadata,
            histories=histories,
            prisma=tuple(
                prisma_migrations(connection, schema, prisma) if PRISMA in ignored else ()
            ),
            ciphertext=tuple(
                _ciphertext_columns(connection, schema, list(metadata.tables.values()))
            ),
            others=tuple(_QUERIES.column(connection, "other_schemas", schema=quoted)),
            needed_first=(
                *(key.removeprefix("other ") for key in catalog.objects.keys() - written),
                *_QUERIES.column(connection, "needed_first", schema=quoted),
            ),
            take_over=_take_over(apps, columns),
            replaces=replaces,
        )


def earlier_baseline(connection: Connection, target: Target) -> AppliedRevision | None:
    """Return the baseline that an earlier init recorded, if nothing was applied since.

    It is a record and nothing else, so that init may begin again.  Raises AlreadyDeclared where
    there is any other history of Alembic's or leadctl's.
    """
    current = records.current_revisions(connection, target.schema)
    if current is None:
        return None
    recorded = records.applied_revisions(connection, target.schema)
    if not recorded:
        raise AlreadyDeclared(
            f"The schema {target.schema} of {target.database} has a history of Alembic's: "
            f"{VERSION_TABLE}.",
            hint="Run leadctl init in the project of its env.py: it is used in place.",
        )
    last = recorded[-1]
    if len(recorded) > 1 or current != [last.revision] or not _is_baseline(connection, last):
        raise AlreadyDeclared(
            f"The schema {target.schema} of {target.database} is migrated by leadctl already: "
            f"the app {last.app} is at {', '.join(current) or 'no revision'}.",
            hint=f"Run leadctl in the project of {last.app}, in the folder of its leadctl.toml.",
        )
    return last


def _take_over(apps: Iterable[App], columns: Mapping[str, Collection[str]]) -> TakeOver | None:
    """Return how an app takes tables over, given with their columns: it renames some, all here."""
    for app in apps:
        if app.take_over is None:
            continue
        text = app.take_over.read_text(encoding="utf-8")
        renamed = [(plain(table), plain(column)) for table, column in _RENAMED.findall(text)]
        if renamed and all(column in columns.get(table, ()) for table, column in renamed):
            comment = takewhile(lambda line: line.startswith("--"), text.splitlines())
            note = " ".join(line.removeprefix("--").strip() for line in comment)
            statements = (_COMMENTS.sub("", statement) for statement in split(text))
            return TakeOver(app, note, tuple(statements))
    return None


def _is_baseline(connection: Connection, revision: AppliedRevision) -> bool:
    key = {"app": revision.app, "revision": revision.revision}
    return _QUERIES.one(connection, "is_baseline", **key) is not None


def _columns(catalog: Catalog) -> dict[str, list[str]]:
    """Return the columns of each table, without SQL's quotes."""
    columns: dict[str, list[str]] = {plain(name): [] for name in catalog.names("table")}
    for name in catalog.names("column"):
        table, column = split_name(name)
        columns[plain(table)].append(plain(column))
    return columns


def _without(catalog: Catalog, tables: Collection[str]) -> Catalog:
    """Return a catalog without the sequences of tables that are not in it."""
    owners = {
        key: plain(split_name(each["owned_by"])[0])
        for key, each in catalog.objects.items()
        if "owned_by" in each
    }
    return Catalog(
        {key: each for key, each in catalog.objects.items() if owners.get(key) not in tables}
    )


def _reflect(target: Target, ignored: Collection[str]) -> MetaData:
    metadata = MetaData()
    with (
        run_engine(target, "init").connect() as connection,
        warnings.catch_warnings(),
    ):
        # A type that SQLAlchemy does not know is written under the server's name.
        warnings.filterwarnings("ignore", "Did not recognize type", SAWarning)
        warnings.filterwarnings("ignore", "Can't validate argument", SAWarning)
        warnings.filterwarnings("ignore", "Could not parse CHECK", SAWarning)  # left out of models
        # Keys are resolved when all tables are there: a chain of them would be a recursion.
        metadata.reflect(connection, only=lambda name, _: name not in ignored, resolve_fks=False)
    return metadata


_ROWS = 20
_FORMS = ((re.compile(FORM), "leadctl's ciphertext"), (re.compile(NODE_FORM), "Node's ciphertext"))


def _ciphertext_columns(
    connection: Connection, schema: str, tables: Sequence[Table]
) -> Iterator[EncryptedGuess]:
    """Yield the columns of text all of whose values, in a few rows, are ciphertext.

    A table that may not be read is passed over.
    """
    for table in tables:
        columns = [column.name for column in table.columns if isinstance(column.type, String)]
        if not columns:
            continue
        query = sql.SQL("SELECT {} FROM {} LIMIT {}").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.Identifier(schema, table.name),
            _ROWS,
        )
        try:
            rows = connection.execute(query).fetchall()
        except psycopg.errors.InsufficientPrivilege:
            continue
        for name, values in zip(columns, zip(*rows, strict=True), strict=False):
            found = [value for value in values if value is not None]
            for form, what in _FORMS:
                if found and all(form.match(str(value)) for value in found):
                    yield EncryptedGuess(f"{table.name}.{name}", f"its values: {what}")


@dataclass(frozen=True)
class Baseline:
    """The steps that make what a database has."""

    steps: tuple[Step, ...]
    left_out: Mapping[str, str]
    """Why, by what they do not make, or make otherwise."""


def proven_baseline(
    target: Target, read: ExistingSchema, narrate: Callable[[str], None]
) -> Baseline:
    """Return the steps that make what a database has, tried in a scratch schema.

    What the server rejects there is left out, by name.
    """
    extensions = [
        Step(f'CREATE EXTENSION IF NOT EXISTS "{name}"', Phase.DEFINE) for name in read.extensions
    ]
    steps = [*extensions, *changes(Catalog({}), read.catalog.written())]
    locking = _locking_elsewhere(read.catalog)
    made, rejected = _tried(target, [step for step in steps if locking.isdisjoint(step.makes)])
    reasons = {key: reason for step, reason in rejected.items() for key in step.makes}
    left_out = {
        each.object: reasons.get(each.object, f"{each.change} where it was tried")
        for each in compare(read.catalog, made)
        if each.object not in locking
        and not (each.change == "missing" and is_unwritten(each.object, each.before))
    }
    but = f" but for {counted(len(left_out), 'object')}" if left_out else ""
    narrate(f"The baseline, made in a scratch schema and undone, equals the database{but}.")
    if locking:
        listed = ", ".join(sorted(locking))
        narrate(f"Not tried, since that locks tables of other schemas: {listed}.")
    return Baseline(tuple(step for step in steps if step not in rejected), left_out)


def _tried(target: Target, steps: Sequence[Step]) -> tuple[Catalog, dict[Step, str]]:
    """Return what steps make in a scratch schema, and why the server rejects which."""
    try:
        with scratch(target, "init") as made:
            made.execute(step.sql for step in steps)
            return made.read(), {}
    except OperationFailed as error:
        if MORE_LOCKS in error.hint:
            raise
        with scratch(target, "init") as made:
            rejected = {step: why for step in steps if (why := made.rejection(step.sql))}
            return made.read(), rejected


def _locking_elsewhere(catalog: Catalog) -> set[str]:
    """Return the foreign keys to other schemas: to make one is to lock out who writes there."""
    return {
        key
        for key, each in catalog.objects.items()
        if str(each.get("definition")).startswith("FOREIGN KEY")
        and len(split_name(key_reference(each["definition"]).table)) > 1
    }


def models_differ(
    target: Target, read: ExistingSchema, metadata: MetaData, app: App
) -> tuple[list[Difference], list[str]]:
    """Return how what an app's models make differs from the database, and what they must not touch.

    The latter is what a next revision would change, by `kind name`.  Models have columns of the
    database's domains and composite types, and do not make these.
    """
    with model_scratch(target, "init") as made:
        made.create_tables(metadata, app.name, read.catalog, lambda _: True)
        models = made.read_models()
    wanted = desired_schema(target, app, models, read.catalog)
    unmanaged = [each.object for each in compare(read.catalog, wanted)]
    return compare(read.catalog, models), unmanaged
