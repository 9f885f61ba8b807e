"""Init for a project that has models: what leadctl.toml must say is found out and written."""

import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import MetaData

from leadctl.apps.alembic_config import SECTION, AlembicConfig, find_config
from leadctl.apps.metadata import joined, known_metadata, load_metadata, metadata_of_env_py
from leadctl.apps.registry import App, all_apps
from leadctl.errors import (
    AlreadyDeclared,
    EnvironmentNotRun,
    MigrationsInvalid,
    ModelsNotFound,
    ModelsNotImportable,
)
from leadctl.files import absolute
from leadctl.init.discovery import (
    ALL_BASES,
    FoundModels,
    alembic_folders,
    discover,
    imports,
)
from leadctl.init.project_files import (
    EncryptedGuess,
    Files,
    RetentionGuess,
    WrittenFile,
    joined_lines,
    leadctl_toml,
    not_ignored,
    old_rows,
    secret_columns,
    seed_files_of,
)
from leadctl.models.values import encrypted_columns
from leadctl.settings import Settings
from leadctl.text import counted

_Choose = Callable[[str, Sequence[str]], str]
"""Asks a person to choose one of several; there is none where nobody can be asked."""

Ask = Callable[[str], bool]
"""Asks a person a question that is answered by yes or no."""

_MODELS_MODULE = "leadctl_models"
"""The module that is written where no single one of the project's imports all tables."""


@dataclass(frozen=True)
class InitResult:
    """What init found and wrote."""

    app: str
    models: str | None
    migrations: Path
    tables: tuple[str, ...]
    files: tuple[WrittenFile, ...]
    encrypted: tuple[EncryptedGuess, ...]
    """Columns that may hold secrets, for people to confirm."""
    retention: tuple[RetentionGuess, ...]
    """Suggested rules, written as comments."""
    notes: tuple[str, ...]
    next: tuple[str, ...]
    """The commands to run next."""


def init_own(
    settings: Settings,
    *,
    models: str | None,
    migrations: Path | None,
    alembic: str | None,
    choose: _Choose | None,
    ask: Ask | None = None,
) -> InitResult:
    """Declare a project's own models in leadctl.toml.

    `alembic` is the configuration of its Alembic environment, as FILE or FILE:SECTION; where it is
    not given, ALEMBIC_CONFIG and the usual places are looked at.
    What .gitignore lacks is added where `ask` says yes.

    Raises ModelsNotImportable with the file and line that matter, ModelsNotFound where there are
    none, or several and nobody to `choose`, and AlreadyDeclared; then nothing was written.
    """
    root = settings.project
    refuse_declared(settings)
    name = app_name(settings)
    folder, config = _environment(root, migrations, alembic)
    app = App(name, root, folder, models, **_config_of(config, root, folder) if config else {})
    files = Files(root)
    entries: dict[str, object] = {}
    said: list[str] = []
    app, metadata = _with_models(app, models, choose, files, said)
    if app.models is not None:
        entries["models"] = app.models
    schema = settings.schema or _schema_of_env_py(app)
    if schema != settings.schema:
        entries["schema"] = schema
    if metadata.tables:
        entries |= _schemas(metadata, schema, alone=app.environment is None)
    entries["migrations"] = _location(folder, root, config)
    if app.alembic:
        entries["alembic"] = _relative(app.alembic, root)
    if app.alembic_section != SECTION:
        entries["alembic_section"] = app.alembic_section
    _keep_migrations(files, app)
    said += _refused(app)
    guessed = tuple(old_rows(list(metadata.tables.values())))
    entries |= seed_files_of(root)
    files.new_configuration(leadctl_toml(name, entries, guessed))
    encrypted = any(True for _ in encrypted_columns(metadata))
    files.add_variables(name, has_url=bool(settings.url), needs_key=encrypted)
    if ask and notes(root) and ask(f"Add {', '.join(not_ignored(root))} to .gitignore?"):
        files.ignore()
    return InitResult(
        app=name,
        models=app.models,
        migrations=folder,
        tables=tuple(sorted(metadata.tables)),
        files=files.write(),
        encrypted=tuple(secret_columns(metadata)),
        retention=guessed,
        notes=(*said, *notes(root)),
        next=_next_commands(folder, has_url=bool(settings.url)),
    )


def _keep_migrations(files: Files, app: App) -> None:
    if app.environment:
        files.keep(app.migrations, "its Alembic environment, used in place")
    elif app.migrations.exists():
        files.keep(app.migrations, "revisions, used in place")
    else:
        files.new(app.migrations / ".gitkeep", "", "the folder of revisions")


def _next_commands(folder: Path, *, has_url: bool) -> tuple[str, ...]:
    """Return the commands to run after init."""
    if (folder / ".gitkeep").exists():
        return ('leadctl migrate new -m "first tables"', "leadctl migrate")
    return ("leadctl migrate status", "leadctl migrate") if has_url else ("leadctl migrate",)


def refuse_declared(settings: Settings) -> None:
    """Refuse a project that has apps of its own.  Raises AlreadyDeclared."""
    if settings.config_file is not None:
        raise AlreadyDeclared(
            f"{settings.config_file} exists, and init overwrites nothing.",
            hint='Add a table [apps.NAME] with models = "package.module:Base" to it; '
            "to start again, first remove it and what init wrote.",
        )


def app_name(settings: Settings) -> str:
    """Return the new app's name: what was given, else the project's or its folder's.

    Raises AlreadyDeclared for the name of a built-in app.
    """
    given = settings.app if settings.is_set("app") else None
    name = given or _slug(_project_name(settings.project) or settings.project.resolve().name)
    if name in all_apps(settings) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise AlreadyDeclared(
            f"{name!r} is the name of a built-in app, or not a valid app name.",
            hint="Give another one with --app: small letters, digits and _.",
        )
    return name


def _refused(app: App) -> list[str]:
    """Return why `migrate` will not run an app's env.py, where that can be said."""
    try:
        if app.environment is not None:
            app.alembic_environment.refuse_loops()
    except EnvironmentNotRun as error:
        return [f"{error.message} {error.hint}"]
    return []


def notes(root: Path) -> list[str]:
    """Return what a person should look after."""
    if not (missing := not_ignored(root)):
        return []
    lines = "".join(rf"{name}\n" for name in missing)
    return [
        f".gitignore lacks {', '.join(missing)}, which hold secrets and data: "
        f"printf '{lines}' >> .gitignore"
    ]


def _schema_of_env_py(app: App) -> str | None:
    """Return the schema that an env.py sets the search path to, where it is not the usual one."""
    try:
        found = app.alembic_environment.facts.schema if app.environment is not None else None
    except EnvironmentNotRun:
        return None
    return None if found in {"public", "user", "$user"} else found


def _relative(path: Path, root: Path) -> str:
    """Return a path as leadctl.toml has it: relative to its folder where it is below."""
    path = path.resolve()
    base = root.resolve()
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)


def _slug(name: str) -> str:
    slug = re.sub(r"\W+", "_", name.lower()).strip("_")
    return slug if slug[:1].isalpha() else f"app_{slug}"


def _project_name(root: Path) -> str | None:
    try:
        content = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    found = content.get("project", {}).get("name")
    return found if isinstance(found, str) else None


def _alembic_config(root: Path, given: str | None) -> AlembicConfig | None:
    """Return the configuration of the project's Alembic environment, where it has one."""
    if given is None:
        return find_config(root)
    path, _, section = given.rpartition(":")
    if not path or absolute(given, root).exists():
        path, section = given, SECTION
    return find_config(root, named=absolute(path, root), section=section)


def _environment(
    root: Path, migrations: Path | None, alembic: str | None
) -> tuple[Path, AlembicConfig | None]:
    """Return the folder of a project's revisions, and the configuration of its Alembic environment.

    Where no configuration says it, an env.py that lies there does.  Raises MigrationsInvalid where
    there are several.
    """
    config = _alembic_config(root, alembic)
    scripts = config.script_location if config else None
    if scripts is not None and (scripts / "env.py").is_file():
        return migrations or scripts, config
    if migrations is None and alembic is not None and config is not None and config.file:
        migrations = config.file.parent if (config.file.parent / "env.py").is_file() else None
    if migrations is None:
        found = alembic_folders(root)
        if len(found) > 1:
            names = [_relative(each, root) for each in found]
            raise MigrationsInvalid(
                f"There are {len(found)} Alembic environments in {root}: {', '.join(names)}.",
                hint=f"Choose one, e.g.: leadctl init --migrations {names[0]}",
            )
        migrations = found[0] if found else root / "migrations"
    return migrations, find_config(root, migrations)


def _config_of(config: AlembicConfig, root: Path, scripts: Path) -> dict[str, Any]:
    """Return what an app says of its Alembic configuration: nothing, where it is found anyway."""
    is_found = config in (find_config(root), find_config(root, scripts))
    if is_found and not os.environ.get("ALEMBIC_CONFIG"):
        return {}
    return {"alembic": config.file, "alembic_section": config.section}


def _location(folder: Path, root: Path, config: AlembicConfig | None) -> str:
    """Return how leadctl.toml names a folder of revisions, on every machine alike."""
    said = config.option("script_location") if config else None
    outside = not folder.resolve().is_relative_to(root.resolve())
    return said if said and ":" in said and outside else _relative(folder, root)


def _with_models(
    app: App, given: str | None, choose: _Choose | None, files: Files, said: list[str]
) -> tuple[App, MetaData]:
    """Return the app with its models: as they are given, by its env.py, or as they are found.

    `said` gets what a person must know of that.
    """
    if given is None and app.environment and known_metadata(app).tables:
        return app, known_metadata(app)
    if given is not None:
        named = [each.strip() for each in given.split(",")]
        loaded = [load_metadata(app._replace(models=each)) for each in named]
        chosen = [FoundModels(*each) for each in zip(named, map(_names, loaded), strict=True)]
    else:
        try:
            discovered = discover(app)
        except (ModelsNotFound, ModelsNotImportable) as error:
            if app.environment is None:
                raise
            said.append(
                f"The env.py names no tables, and no models were found: {error.message} "
                f"Revisions can be applied without models; commands that compare need `models` "
                f"in leadctl.toml."
            )
            return app, MetaData()
        said += [f"Skipped, with any tables that it defines: {e}" for e in discovered.skipped]
        chosen = _of_env_py(app, discovered.found) or [_chosen(app, discovered.found, choose)]
    metadata = joined([load_metadata(app._replace(models=each.models)) for each in chosen])
    if len(chosen) == 1 and not chosen[0].modules:
        return app._replace(models=chosen[0].models), metadata
    path = app.root / f"{_MODELS_MODULE}.py"
    files.new(path, joined_lines(imports(chosen)), "imports all models")
    name = ALL_BASES if len(chosen) > 1 else chosen[0].models.partition(":")[2]
    return app._replace(models=f"{_MODELS_MODULE}:{name}"), metadata


def _names(metadata: MetaData) -> tuple[str, ...]:
    return tuple(sorted(metadata.tables))


def _of_env_py(app: App, candidates: Sequence[FoundModels]) -> list[FoundModels]:
    """Return those whose metadata the env.py names, without importing what fills it."""
    if app.environment is None:
        return []
    named = metadata_of_env_py(app)
    return [
        each
        for each in candidates
        if any(load_metadata(app._replace(models=each.models)) is one for one in named)
    ]


def _chosen(app: App, candidates: Sequence[FoundModels], choose: _Choose | None) -> FoundModels:
    if len(candidates) == 1:
        return candidates[0]
    described = {
        f"{each.models} ({counted(len(each.tables), 'table')})": each for each in candidates
    }
    if choose is None:
        raise ModelsNotFound(
            f"There are {len(candidates)} bases in {app.root}: {', '.join(described)}.",
            hint=f"Choose one, e.g.: leadctl init --models {candidates[0].models}, or all with: "
            f"--models {','.join(each.models for each in candidates)}",
        )
    return described[choose("Which one is the app's?", list(described))]


def _schemas(metadata: MetaData, default: str | None, *, alone: bool) -> Mapping[str, object]:
    """Return what leadctl.toml says of schemas.

    Where all tables are in one, and Alembic's own is not elsewhere yet, it is the app's.
    """
    schemas = {table.schema for table in metadata.tables.values()}
    (first, *others) = sorted(schema or "" for schema in schemas)
    if alone and first and not others:
        return {"schema": first}
    named = sorted({schema for schema in schemas if schema} - {default or "public"})
    return {"schemas": named} if named else {}
