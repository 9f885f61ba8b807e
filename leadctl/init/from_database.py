"""Init from a database: its tables become models, its state the baseline of a history."""

import gc
import importlib.util
import sys
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from sqlalchemy import MetaData

from leadctl.apps.metadata import load_metadata
from leadctl.apps.registry import App, all_apps, find_app
from leadctl.catalog.definitions import read_names
from leadctl.errors import AlreadyDeclared, OperationFailed, UsageError
from leadctl.files import temporary_folder
from leadctl.init.discovery import ForeignHistory, PrismaMigration
from leadctl.init.existing_models import app_name, notes, refuse_declared
from leadctl.init.existing_schema import (
    Baseline,
    ExistingSchema,
    earlier_baseline,
    models_differ,
    proven_baseline,
    read_existing_schema,
)
from leadctl.init.models_file import ModelsFile
from leadctl.init.project_files import (
    EncryptedGuess,
    Files,
    RetentionGuess,
    WrittenFile,
    app_table,
    leadctl_toml,
    old_rows,
    seed_files_of,
)
from leadctl.journal import records
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.migrate import revision_writer
from leadctl.migrate.ddl.steps import Phase, Step
from leadctl.migrate.recorder import record_fingerprint, recorded_facts
from leadctl.migrate.revision import RevisionText
from leadctl.migrate.revisions import read_history
from leadctl.models.values import encrypted_columns
from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target
from leadctl.progress import Narrate
from leadctl.settings import Settings, load_settings

_MIGRATIONS = "migrations"
_NO_WAY_BACK = "    raise NotImplementedError('This cannot be undone by a revision.')"
_OFFER = (
    "These are the tables of {} under the names of another tool. In an empty folder elsewhere, "
    "leadctl init --from-database --take-over writes the revision that gives them the names of "
    "the app, which then works with these rows."
)


@dataclass(frozen=True)
class Unrepresented:
    """What the database has and the models cannot say; the baseline has it."""

    object: str
    """Its kind and name, as `view totals`."""
    change: str
    """ "missing": the models lack it; "changed": they have it otherwise; "extra"."""


@dataclass(frozen=True, kw_only=True)
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
    unrepresented: tuple[Unrepresented, ...] = ()
    encrypted: tuple[EncryptedGuess, ...] = ()
    """Columns that may hold secrets and were not named with --encrypt."""
    retention: tuple[RetentionGuess, ...] = ()
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

    `encrypt` are columns, as `table.column`, that become encrypted ones; `prisma` is the folder of
    Prisma's migrations, where it is not the project's prisma/migrations.  The schema's objects stay
    as they are; only records are written.  Raises AlreadyDeclared and OperationFailed before
    anything is written.
    """
    refuse_declared(settings)
    name = app_name(settings)
    existing = _read(settings, target, prisma, narrate)
    _check_columns(encrypt, existing)
    source = ModelsFile(name, existing.metadata, existing.catalog, encrypt=encrypt)
    text, tables = source.text(), tuple(table.name for table in source.tables)
    guessed, encrypted = tuple(old_rows(source.tables)), tuple(existing.guesses(encrypt))
    # What was reflected is in the text now; of a thousand tables it is 100 MB, all in circles.
    existing = replace(existing, metadata=MetaData())
    del source
    gc.collect()
    baseline, models = _proven(target, existing, text, narrate)
    app = App(name, settings.project, settings.project / _MIGRATIONS)
    different, unmanaged = models_differ(target, existing, models, app)
    revisions: dict[str, Sequence[Step]] = {"Baseline": baseline.steps}
    if drop_history and existing.history_tables:
        revisions["Drop the history of another tool"] = _drops(existing)
    files = _files_of(settings, name, text, revisions, unmanaged, guessed)
    files.add_variables(name, has_url=bool(settings.url), needs_key=bool(encrypt))
    written = files.write()
    offer = [_OFFER.format(existing.take_over.app.name)] if existing.take_over else []
    return DatabaseInit(
        app=name,
        database=target.database,
        schema=target.schema,
        revision=_record(settings, target, name, existing, narrate, models),
        models=f"{name}_models:Base",
        tables=tables,
        files=written,
        unrepresented=tuple(Unrepresented(each.object, each.change) for each in different),
        encrypted=encrypted,
        retention=guessed,
        histories=existing.histories,
        prisma=existing.prisma,
        notes=tuple(_notes(settings, existing, baseline) + offer),
        next=("leadctl migrate --plan", "leadctl migrate")
        if len(revisions) > 1
        else ("leadctl migrate status",),
    )


def _files_of(
    settings: Settings,
    name: str,
    models: str,
    revisions: Mapping[str, Sequence[Step]],
    unmanaged: Sequence[str],
    retention: Sequence[RetentionGuess],
) -> Files:
    files = Files(settings.project)
    files.new(settings.project / f"{name}_models.py", models, "the models")
    _add_revisions(files, settings.project / _MIGRATIONS, name, revisions)
    entries: dict[str, object] = {"models": f"{name}_models:Base", "migrations": _MIGRATIONS}
    entries |= {"unmanaged": unmanaged} if unmanaged else {}
    entries |= seed_files_of(files.root)
    files.new_configuration(leadctl_toml(name, entries, retention))
    return files


def _proven(
    target: Target, existing: ExistingSchema, text: str, narrate: Narrate
) -> tuple[Baseline, MetaData]:
    """Return the baseline and the models: those of many tables load while the server works."""
    with ThreadPoolExecutor(1) as thread:
        loading = thread.submit(_load, text)
        return proven_baseline(target, existing, narrate), loading.result()


def take_over(
    settings: Settings, target: Target, *, drop_history: bool, prisma: Path | None, narrate: Narrate
) -> DatabaseInit:
    """Write the history that takes another tool's database to the app that says how.

    Its first revision, the baseline, is recorded as applied; the second is what the app's
    `take_over` says, and is pending.  An app of leadctl.toml gets it into its own folder, another
    one is declared.  Raises as `init_from_database` does, and OperationFailed where no app takes
    these tables over.
    """
    if not any(config.take_over for config in settings.apps.values()):
        refuse_declared(settings)
    existing = _read(settings, target, prisma, narrate)
    if existing.take_over is None:
        raise OperationFailed(
            f"{target.database} does not have the tables that an app takes over.",
            hint="Leave --take-over out: its tables become models of your own.",
        )
    app = existing.take_over.app
    metadata = load_metadata(app)
    # It ends where the app's own history ends, under the same name: that may go on from there.
    changes = [Step(each, Phase.DEFINE) for each in existing.take_over.statements]
    baseline = proven_baseline(target, existing, narrate)
    revisions: dict[str, Sequence[Step]] = {
        "Baseline": baseline.steps,
        f"Names and types of {app.name}": changes + (_drops(existing) if drop_history else []),
    }
    files = Files(settings.project)
    folder = app.migrations if app.name in settings.apps else settings.project / _MIGRATIONS
    _add_revisions(files, folder, app.name, revisions)
    if app.name not in settings.apps:
        named = ("models", "seed", "reports", "rules", "factory")
        entries = {key: getattr(app, key) for key in named if getattr(app, key)}
        table = app_table(app.name, {**entries, "migrations": _MIGRATIONS})
        files.new_configuration([f'app = "{app.name}"', "", *table])
    files.add_variables(app.name, has_url=bool(settings.url), needs_key=False)
    written = files.write()
    encrypts = any(True for _ in encrypted_columns(metadata))
    return DatabaseInit(
        app=app.name,
        database=target.database,
        schema=target.schema,
        revision=_record(settings, target, app.name, existing, narrate, metadata),
        models=app.models or str(app.environment),
        tables=tuple(sorted(metadata.tables)),
        files=written,
        histories=existing.histories,
        prisma=existing.prisma,
        notes=(*_notes(settings, existing, baseline), *filter(None, [existing.take_over.note])),
        next=(
            "leadctl migrate --plan",
            "leadctl migrate",
            *(["leadctl keys rotate"] if encrypts else []),
        ),
    )


def _read(
    settings: Settings, target: Target, prisma: Path | None, narrate: Narrate
) -> ExistingSchema:
    usual = settings.project / "prisma" / "migrations"
    folder = prisma or (usual if usual.is_dir() else None)
    return read_existing_schema(target, all_apps(settings).values(), folder, narrate)


def _add_revisions(
    files: Files, folder: Path, app: str, revisions: Mapping[str, Sequence[Step]]
) -> None:
    """Plan a history, the steps of each revision given by its message."""
    if folder.is_dir() and any(folder.glob("*.py")):
        raise AlreadyDeclared(
            f"{folder} has revisions, and init overwrites nothing.",
            hint="Move them away, or work in an empty folder.",
        )
    follows: str | None = None
    for number, (message, steps) in enumerate(revisions.items(), 1):
        revision = f"{app}_{number:04d}"
        upgrade = revision_writer.body(steps, transactional=True)
        said = RevisionText(message, upgrade, _NO_WAY_BACK)
        text = revision_writer.file_text(revision, [follows] if follows else [], said)
        state = "pending" if follows else "recorded as applied"
        files.new(folder / revision_writer.file_name(None, revision, message), text, state)
        follows = revision


def _drops(existing: ExistingSchema) -> list[Step]:
    return [Step(f'DROP TABLE "{table}"', Phase.DROP) for table in existing.history_tables]


def _record(
    settings: Settings,
    target: Target,
    name: str,
    existing: ExistingSchema,
    narrate: Narrate,
    models: MetaData,
) -> str:
    """Record an app's first revision as applied: all that exists is what it made.

    It takes the place of an earlier init's baseline.  Raises LockHeld, and AlreadyDeclared where
    something was applied meanwhile.
    """
    app = find_app(load_settings({"app": name}, cwd=settings.project))
    revision = read_history(app.versions).revisions[0]
    schema = target.schema
    facts = recorded_facts(app, models)
    with (
        schema_lock(target, "init", settings.lock_wait, narrate),
        journaled(target, "init", app.name, adopts=True) as entry,
        connect(target, "init") as connection,
        connection.transaction(),
    ):
        replaced = earlier_baseline(connection, target)
        if replaced:
            records.forget_app(connection, app=replaced.app, schema=schema)
        made = sorted(read_names(connection, schema, existing.ignored))
        records.write_current(connection, schema, [revision.id], app.version_table)
        record = records.RevisionRecord(revision.id, revision.checksum, "", 0, made)
        records.record_migration(connection, app=app.name, schema=schema, record=record)
        record_fingerprint(connection, app, schema, [revision.id], facts)
        entry.note(baseline=revision.id, objects=len(made))
    return revision.id


def _load(text: str) -> MetaData:
    """Import models from a file that is not there yet."""
    name = f"leadctl_init_{uuid4().hex}"
    with temporary_folder("leadctl-init-") as folder:
        path = folder / f"{name}.py"
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


def _check_columns(encrypt: Collection[str], existing: ExistingSchema) -> None:
    known = {
        f"{table.name}.{column.name}"
        for table in existing.metadata.tables.values()
        for column in table.columns
    }
    for column in encrypt:
        if column not in known:
            raise UsageError(
                f"--encrypt {column}: there is no such column.", hint="Name it as TABLE.COLUMN."
            )


def _notes(settings: Settings, existing: ExistingSchema, baseline: Baseline) -> list[str]:
    said = notes(settings.project)
    old = existing.replaces
    if old:
        said.append(f"This replaces {old.revision} of {old.app}, which init recorded before.")
    if existing.others:
        said.append(
            f"Other schemas have tables, too, and were not read: {', '.join(existing.others)}."
        )
    if baseline.left_out:
        listed = ", ".join(f"{key} ({why})" for key, why in baseline.left_out.items())
        said.append(f"The baseline does not make these as they are: {listed}.")
    if existing.needed_first:
        said.append(
            "A new database must have these before the baseline; make them there first, with "
            f"CREATE SERVER, CREATE ROLE and so on: {', '.join(sorted(existing.needed_first))}."
        )
    return said
