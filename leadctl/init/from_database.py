"""Init from a database: its tables become models, its state the baseline of a history."""

import importlib.util
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from sqlalchemy import MetaData

from leadctl.apps.prisma import from_prisma
from leadctl.apps.registry import App, find_app
from leadctl.catalog.definitions import read_names
from leadctl.errors import OperationFailed, UsageError
from leadctl.init.existing_models import app_name, notes, refuse_declared
from leadctl.init.existing_schema import (
    ExistingSchema,
    earlier_baseline,
    models_differ,
    proven_baseline,
    read_existing_schema,
)
from leadctl.init.foreign_histories import ForeignHistory, PrismaMigration
from leadctl.init.models_file import ModelsFile
from leadctl.init.project_files import (
    Files,
    WrittenFile,
    app_table,
    env_lines,
    joined_lines,
    leadctl_toml,
)
from leadctl.init.suggestions import EncryptedGuess, RetentionGuess, old_rows
from leadctl.journal import state
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.migrate import writer
from leadctl.migrate.ddl.steps import Phase, Step
from leadctl.migrate.recorder import record_fingerprint, recorded_facts
from leadctl.migrate.revisions import read_history
from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target
from leadctl.progress import Narrate
from leadctl.settings import Settings, load_settings

_MIGRATIONS = "migrations"
_NO_WAY_BACK = writer.refusal("This cannot be undone by a revision.")
_OFFER = (
    "These are the tables of {} as Prisma made them. In an empty folder elsewhere, "
    "leadctl init --from-database --take-over writes the revision that gives them the names of "
    "the built-in app, which then works with these rows and tokens."
)
_LEGACY = (
    "Tokens stay as Node encrypted them until leadctl keys rotate: put the old key behind a new "
    "one, as ENCRYPTION_KEYS=new:HEX,legacy/node:HEX."
)


@dataclass(frozen=True)
class Unrepresented:
    """What the database has and the models cannot say; the baseline has it."""

    object: str
    """Its kind and name, as `view totals`."""
    change: str
    """ "missing": the models lack it; "changed": they have it otherwise; "extra"."""


@dataclass(frozen=True)
class WrittenRevision:
    """A revision that is written."""

    message: str
    steps: Sequence[Step]


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
    read = read_existing_schema(target, prisma, narrate)
    _check_columns(encrypt, read)
    source = ModelsFile(name, read.metadata, read.catalog, encrypt=encrypt)
    text = source.text()
    baseline = proven_baseline(target, read, narrate)
    unrepresented = [
        Unrepresented(each.object, each.change)
        for each in models_differ(target, read, _load(text), name)
    ]
    module = f"{name}_models"
    guessed = tuple(old_rows(source.tables))
    files = Files(settings.project)
    files.new(settings.project / f"{module}.py", text, "the models")
    entries = {"models": f"{module}:Base", "migrations": _MIGRATIONS}
    toml = joined_lines(leadctl_toml(name, entries, guessed))
    revisions = [WrittenRevision("Baseline", baseline)]
    if drop_history and read.history_tables:
        revisions.append(WrittenRevision("Drop the history of another tool", _drops(read)))
    written = _write(settings, files, name, toml, revisions, needs_key=bool(encrypt))
    offer = (_OFFER.format(read.builtin),) if read.builtin else ()
    return DatabaseInit(
        app=name,
        database=target.database,
        schema=target.schema,
        revision=_record(settings, target, name, read, narrate),
        models=entries["models"],
        tables=tuple(table.name for table in source.tables),
        files=tuple(written),
        unrepresented=tuple(unrepresented),
        encrypted=tuple(read.guesses(encrypt)),
        retention=guessed,
        histories=read.histories,
        prisma=read.prisma,
        notes=(*notes(settings.project), *_replaced(read), *_others(read), *offer),
        next=("leadctl migrate --plan", "leadctl migrate")
        if len(revisions) > 1
        else ("leadctl migrate status",),
    )


def take_over(
    settings: Settings, target: Target, *, drop_history: bool, prisma: Path | None, narrate: Narrate
) -> DatabaseInit:
    """Write the history that takes a database of Prisma's to its product's built-in app.

    Its first revision, the baseline, is recorded as applied; the second renames and is pending.
    Raises as `init_from_database` does, and OperationFailed where the tables are others.
    """
    refuse_declared(settings)
    read = read_existing_schema(target, prisma, narrate)
    name = read.builtin
    if name is None:
        raise OperationFailed(
            f"{target.database} does not have the tables that Prisma made for a built-in app.",
            hint="Leave --take-over out: its tables become models of your own.",
        )
    baseline = proven_baseline(target, read, narrate)
    package, prismas = f"leadctl.apps.{name}", from_prisma(name)
    entries = {
        "models": f"{package}.models:Base",
        "migrations": _MIGRATIONS,
        "seed": f"{package}.seed:FIXTURES",
        "reports": f"{package}.reports:REPORTS",
        "rules": f"{package}.retention:RULES",
    }
    toml = joined_lines([f'app = "{name}"', "", *app_table(name, entries)])
    # It ends where the built-in history ends, under the same name: that may go on from there.
    changes = [Step(each, Phase.DEFINE) for each in prismas.statements()]
    changes += _drops(read) if drop_history else []
    revisions = [
        WrittenRevision("Baseline", baseline),
        WrittenRevision("Names and types of the built-in app", changes),
    ]
    written = _write(settings, Files(settings.project), name, toml, revisions, needs_key=False)
    return DatabaseInit(
        app=name,
        database=target.database,
        schema=target.schema,
        revision=_record(settings, target, name, read, narrate),
        models=entries["models"],
        tables=tuple(sorted(prismas.TABLES)),
        files=tuple(written),
        unrepresented=(),
        encrypted=(),
        retention=(),
        histories=read.histories,
        prisma=read.prisma,
        notes=(*notes(settings.project), *_replaced(read), *_others(read), _LEGACY),
        next=("leadctl migrate --plan", "leadctl migrate", "leadctl keys rotate"),
    )


def _drops(read: ExistingSchema) -> list[Step]:
    return [Step(f'DROP TABLE "{table}"', Phase.DROP) for table in read.history_tables]


def _write(
    settings: Settings,
    files: Files,
    name: str,
    toml: str,
    revisions: Sequence[WrittenRevision],
    *,
    needs_key: bool,
) -> list[WrittenFile]:
    follows: str | None = None
    for number, each in enumerate(revisions, 1):
        revision = f"{name}_{number:04d}"
        path = settings.project / _MIGRATIONS / writer.file_name(revision, each.message)
        upgrade = writer.body(each.steps, transactional=True)
        text = writer.text(revision, follows, each.message, upgrade, _NO_WAY_BACK)
        files.new(path, text, "pending" if follows else "recorded as applied")
        follows = revision
    root = settings.project
    files.new(root / "leadctl.toml", toml, "the app")
    lines = env_lines(root / ".env", name, has_url=bool(settings.url), needs_key=needs_key)
    files.extend(root / ".env", lines, "variables")
    return files.write()


def _record(
    settings: Settings, target: Target, name: str, read: ExistingSchema, narrate: Narrate
) -> str:
    app = find_app(load_settings({"app": name}, cwd=settings.project))
    record_baseline(target, app, read.ignored, settings.lock_wait, narrate)
    return f"{name}_0001"


def record_baseline(
    target: Target, app: App, ignored: Sequence[str], lock_wait: float, narrate: Narrate
) -> None:
    """Record an app's first revision as applied: all that is there is what it made.

    It takes the place of an earlier init's baseline.  `lock_wait` is in seconds.  Raises LockHeld,
    and AlreadyDeclared where something was applied meanwhile.
    """
    revision = read_history(app.migrations).revisions[0]
    schema = target.schema
    with (
        schema_lock(target, "init", lock_wait, narrate),
        journaled(target, "init", app.name) as entry,
        connect(target, "init") as connection,
        connection.transaction(),
    ):
        replaced = earlier_baseline(connection, target)
        if replaced:
            state.forget_app(connection, app=replaced.app, schema=schema)
        made = sorted(read_names(connection, schema, ignored))
        state.write_current(connection, schema, [revision.id], app.version_table)
        record = state.RevisionRecord(revision.id, revision.checksum, "", 0, made)
        state.record_migration(connection, app=app.name, schema=schema, record=record)
        record_fingerprint(connection, app, schema, [revision.id], recorded_facts(app))
        entry.note(baseline=revision.id, objects=len(made))


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
    module.Base.registry.dispose()  # else its classes would be configured with everybody's
    return found


def _check_columns(encrypt: Collection[str], read: ExistingSchema) -> None:
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


def _replaced(read: ExistingSchema) -> list[str]:
    if not read.replaces:
        return []
    old = read.replaces
    return [f"This takes the place of {old.revision} of {old.app}, which init recorded before."]


def _others(read: ExistingSchema) -> list[str]:
    said = []
    if read.others:
        said.append(f"Other schemas have tables, too, and were not read: {', '.join(read.others)}.")
    if read.elsewhere:
        said.append(
            f"These views read other schemas, which a new database must have before the baseline: "
            f"{', '.join(read.elsewhere)}."
        )
    return said
