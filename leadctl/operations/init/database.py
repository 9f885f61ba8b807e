"""Init from a database: its tables become models, its state the baseline of a history."""

import importlib.util
import sys
import tempfile
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from sqlalchemy import MetaData
from sqlalchemy.exc import SAWarning

from leadctl.apps.registry import App, find_app
from leadctl.db import state
from leadctl.db.catalog import read_names
from leadctl.db.connect import connect
from leadctl.db.engine import run_engine
from leadctl.db.journal import journaled
from leadctl.db.lock import schema_lock
from leadctl.db.state import VERSION_TABLE
from leadctl.db.target import Target
from leadctl.errors import AlreadyDeclared, OperationFailed, UsageError
from leadctl.operations.init.baseline import baseline_text, revision_text
from leadctl.operations.init.config import env_lines, leadctl_toml
from leadctl.operations.init.content import ciphertext_columns
from leadctl.operations.init.ddl import (
    Definition,
    bare,
    other_schemas,
    read_definition,
    statements,
)
from leadctl.operations.init.files import Files, WrittenFile, join
from leadctl.operations.init.guesses import (
    EncryptedGuess,
    RetentionGuess,
    old_rows,
    secret_columns,
)
from leadctl.operations.init.histories import PRISMA, ForeignHistory, foreign_histories
from leadctl.operations.init.own import app_name, notes, refuse_declared
from leadctl.operations.init.prisma import PrismaMigration, prisma_migrations
from leadctl.operations.init.proof import baseline_differs, models_differ
from leadctl.operations.init.source import Source
from leadctl.operations.migrate.execution import record_fingerprint, recorded_facts
from leadctl.operations.migrate.revisions import read_history
from leadctl.settings import Settings, load_settings

Narrate = Callable[[str], None]


@dataclass(frozen=True)
class Unrepresented:
    """What the database has and the models cannot say; the baseline has it."""

    object: str
    """Its kind and name, as `view totals`."""
    change: str
    """ "missing": the models lack it; "changed": they have it otherwise; "extra"."""


@dataclass(frozen=True)
class DatabaseInit:
    """What was read from a database and written."""

    app: str
    database: str
    schema: str
    revision: str
    """The baseline, recorded as applied."""
    models: str
    tables: tuple[str, ...]
    files: tuple[WrittenFile, ...]
    unrepresented: tuple[Unrepresented, ...]
    encrypted: tuple[EncryptedGuess, ...]
    """Columns that may hold secrets and were not named with --encrypt."""
    retention: tuple[RetentionGuess, ...]
    histories: tuple[ForeignHistory, ...]
    """Histories of other tools; their tables are left alone."""
    prisma: tuple[PrismaMigration, ...]
    notes: tuple[str, ...]
    next: tuple[str, ...]


@dataclass(frozen=True)
class Read:
    """What was read from a database, and nothing written yet."""

    definition: Definition
    metadata: MetaData
    histories: tuple[ForeignHistory, ...]
    prisma: tuple[PrismaMigration, ...]
    ciphertext: tuple[EncryptedGuess, ...]
    others: tuple[str, ...]
    """Other schemas with tables."""

    @property
    def ignored(self) -> list[str]:
        """The tables that are no part of the app."""
        return [VERSION_TABLE, *(name for each in self.histories for name in each.tables)]


def init_from_database(
    settings: Settings,
    target: Target,
    *,
    encrypt: Collection[str],
    drop_history: bool,
    prisma: Path | None,
    narrate: Narrate,
) -> DatabaseInit:
    """Read a database into models and a baseline, and record the baseline as applied.

    `encrypt` are columns, as `table.column`, that become encrypted ones; `prisma` is a folder of
    Prisma's migrations.  The schema's objects stay as they are; only records are written.  Raises
    AlreadyDeclared and OperationFailed before anything is written.
    """
    refuse_declared(settings)
    name = app_name(settings)
    read = read_database(target, prisma, narrate)
    _check_columns(encrypt, read)
    catalog = read.definition.catalog
    source = Source(name, read.metadata, catalog, encrypt=encrypt)
    text = source.text()
    baseline = list(statements(read.definition))
    different = baseline_differs(target, read.definition, baseline)
    if different:
        listed = ", ".join(f"{each.object} ({each.change})" for each in different)
        raise OperationFailed(
            f"The baseline would not make what {target.database} has: {listed}.",
            hint="Nothing was written. This is beyond what init reads; please report it.",
        )
    narrate("The baseline, made in a schema of its own and undone, equals the database.")
    unrepresented = [
        Unrepresented(each.object, each.change)
        for each in models_differ(target, read.definition, _load(text))
    ]
    root, module, revision = settings.project, f"{name}_models", f"{name}_0001"
    guessed = tuple(old_rows(source.tables))
    files = Files(root)
    files.new(root / f"{module}.py", text, "the models")
    migrations = root / "migrations"
    files.new(migrations / "0001_baseline.py", baseline_text(revision, baseline), "applied")
    dropped = [each for history in read.histories for each in history.tables]
    if drop_history and dropped:
        drops = [f'DROP TABLE "{table}"' for table in dropped]
        files.new(
            migrations / "0002_drop_history.py",
            revision_text(f"{name}_0002", revision, "Drop the history of another tool", drops),
            "pending",
        )
    entries = {"models": f"{module}:Base", "migrations": "migrations"}
    files.new(root / "leadctl.toml", join(leadctl_toml(name, entries, guessed)), "the app")
    lines = env_lines(root / ".env", name, has_url=bool(settings.url), needs_key=bool(encrypt))
    files.extend(root / ".env", lines, "variables")
    written = files.write()
    app = find_app(load_settings({"app": name}, cwd=root))
    record_baseline(target, app, read.ignored, settings.lock_wait, narrate)
    return DatabaseInit(
        app=name,
        database=target.database,
        schema=target.schema,
        revision=revision,
        models=entries["models"],
        tables=tuple(table.name for table in source.tables),
        files=tuple(written),
        unrepresented=tuple(unrepresented),
        encrypted=tuple(_guesses(read, encrypt)),
        retention=guessed,
        histories=read.histories,
        prisma=read.prisma,
        notes=(*notes(root), *_others(read)),
        next=("leadctl migrate",) if drop_history and dropped else ("leadctl migrate status",),
    )


def read_database(target: Target, prisma: Path | None, narrate: Narrate) -> Read:
    """Read a schema; changes nothing.

    Raises AlreadyDeclared for a database that Alembic or leadctl migrate already.
    """
    schema = target.schema
    with connect(target, "init", read_only=True) as connection:
        if state.current_revisions(connection, schema) is not None:
            raise AlreadyDeclared(
                f"The schema {schema} of {target.database} has a history of Alembic's: "
                f"{VERSION_TABLE}.",
                hint="Run leadctl init in the project of its env.py: it is used in place.",
            )
        columns = {
            bare(table): [bare(column) for column in names]
            for table, names in read_definition(connection, schema, []).columns.items()
        }
        if not columns:
            raise OperationFailed(
                f"The schema {schema} of {target.database} has no tables.",
                hint="Name the schema with --schema, or the database with --url.",
            )
        histories = tuple(foreign_histories(columns))
        ignored = [name for each in histories for name in each.tables]
        narrate(f"Reading {len(columns) - len(ignored)} tables of {target.database}.")
        definition = read_definition(connection, schema, ignored)
        metadata = _reflect(target, ignored)
        return Read(
            definition=definition,
            metadata=metadata,
            histories=histories,
            prisma=tuple(
                prisma_migrations(connection, schema, prisma) if PRISMA in ignored else ()
            ),
            ciphertext=tuple(
                ciphertext_columns(connection, schema, list(metadata.tables.values()))
            ),
            others=tuple(other_schemas(connection, schema)),
        )


def record_baseline(
    target: Target, app: App, ignored: Sequence[str], lock_wait: float, narrate: Narrate
) -> None:
    """Record an app's first revision as applied: all that is there is what it made.

    `lock_wait` is in seconds.  Raises LockHeld.
    """
    revision = read_history(app.migrations).revisions[0]
    schema = target.schema
    with (
        schema_lock(target, "init", lock_wait, narrate),
        journaled(target, "init", app.name) as entry,
        connect(target, "init") as connection,
        connection.transaction(),
    ):
        made = sorted(read_names(connection, schema, ignored))
        state.write_current(connection, schema, [revision.id], app.version_table)
        record = state.RevisionRecord(revision.id, revision.checksum, "", 0, made)
        state.record_migration(connection, app=app.name, schema=schema, record=record)
        record_fingerprint(connection, app, schema, [revision.id], recorded_facts(app))
        entry.note(baseline=revision.id, objects=len(made))


def _reflect(target: Target, ignored: Collection[str]) -> MetaData:
    metadata = MetaData()
    with (
        run_engine(target, "init").connect() as connection,
        warnings.catch_warnings(),
    ):
        # A type that SQLAlchemy does not know is written under the server's name.
        warnings.filterwarnings("ignore", "Did not recognize type", SAWarning)
        metadata.reflect(connection, only=lambda name, _: name not in ignored)
    return metadata


def _load(text: str) -> MetaData:
    """Import models from a file that is not there yet."""
    name = f"leadctl_init_{uuid4().hex}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.py"
        path.write_text(text, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # annotations are resolved there
        try:
            spec.loader.exec_module(module)
        finally:
            del sys.modules[name]
    found: MetaData = module.Base.metadata
    return found


def _check_columns(encrypt: Collection[str], read: Read) -> None:
    known = {
        f"{table.name}.{column.name}"
        for table in read.metadata.tables.values()
        for column in table.columns
    }
    for column in encrypt:
        if column not in known:
            raise UsageError(
                f"--encrypt {column}: there is no such column.", hint="Name it as TABLE.COLUMN."
            )


def _guesses(read: Read, encrypt: Collection[str]) -> list[EncryptedGuess]:
    found = {each.column: each for each in secret_columns(read.metadata)}
    found |= {each.column: each for each in read.ciphertext}
    return [found[name] for name in sorted(found) if name not in encrypt]


def _others(read: Read) -> list[str]:
    if not read.others:
        return []
    return [f"Other schemas have tables, too, and were not read: {', '.join(read.others)}."]
