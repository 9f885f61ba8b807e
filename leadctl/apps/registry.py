"""The registry of apps: the built-in folders beside this file, and those of leadctl.toml.

An app that a team declares is an entry like the built-in ones.  Nothing here imports SQLAlchemy:
models are loaded when a command needs them.
"""

import ast
import contextlib
import importlib
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from leadctl.apps import alembic_environment
from leadctl.apps.alembic_environment import DEFAULT_VERSION_TABLE
from leadctl.apps.output import to_stderr
from leadctl.apps.reports import AppReports
from leadctl.apps.retention import Rule
from leadctl.errors import ModelsNotImportable, UnknownApp
from leadctl.settings import AppConfig, Settings

if TYPE_CHECKING:
    from sqlalchemy import MetaData

_PACKAGE = Path(__file__).parent.parent


@dataclass(frozen=True)
class App:
    """A named set of models with its migrations, fixtures, reports and retention rules."""

    name: str
    description: str
    models: str | None
    """`package.module:object`, the object being metadata or something that has it; None where
    the app's env.py says what they are."""
    migrations: Path
    seed: str | None
    reports: str | None
    retention: str | None
    factory: str | None
    """`package.module:FACTORY`: the shapes of synthetic rows, where there are any."""
    builtin: bool
    root: Path
    """The folder that the modules are imported from."""
    environment: Path | None = None
    """The env.py of a team's own Alembic environment."""
    version_table: str = DEFAULT_VERSION_TABLE
    schemas: tuple[str, ...] = ()
    """Schemas that the models name, beside the target's."""
    seed_files: Path | None = None
    """A folder of rows as files, brought in beside what `seed` names."""


def find_app(settings: Settings) -> App:
    """Return the app that the settings name.  Raises UnknownApp."""
    apps = all_apps(settings)
    if settings.app in apps:
        return apps[settings.app]
    close = get_close_matches(settings.app, apps, n=1)
    raise UnknownApp(
        f"There is no app {settings.app!r} (from {settings.source('app')}).",
        hint=f"Did you mean {close[0]}?" if close else f"There are: {', '.join(sorted(apps))}.",
    )


def all_apps(settings: Settings) -> dict[str, App]:
    """Return every app by name: the built-in ones, then the declared ones."""
    apps = {app.name: app for app in _builtin_apps()}
    apps |= {name: _declared(settings, config) for name, config in settings.apps.items()}
    return apps


def load_metadata(app: App) -> "MetaData":
    """Import an app's models and return their metadata.

    Raises ModelsNotImportable with the file and line that matter.
    """
    if app.models is None:
        with importable(app.root):
            found: Any = alembic_environment.options(app).get("target_metadata")
    else:
        found = load_object(app, app.models, "models")
    metadata = getattr(found, "metadata", found)
    if not hasattr(type(metadata), "sorted_tables"):
        raise ModelsNotImportable(
            f"The models of {app.name}, {_place(app)}, have no metadata.",
            hint='Name the declarative base or the MetaData: models = "package.module:Base".',
        )
    if not metadata.tables:
        raise ModelsNotImportable(
            f"The models of {app.name}, {_place(app)}, have no tables.",
            hint="Import the modules that define them from the module that is named.",
        )
    result: MetaData = metadata
    return result


def _place(app: App) -> str:
    """Say where an app's models are: the object, and the file and line that define it."""
    if app.models is None:
        return str(app.environment)
    module_name, _, attribute = app.models.partition(":")
    module = sys.modules[module_name]
    if module.__file__ is None:
        return app.models
    for node in ast.parse(Path(module.__file__).read_bytes()).body:
        targets = getattr(node, "targets", [getattr(node, "target", node)])
        if attribute in {
            getattr(target, "id", getattr(target, "name", None)) for target in targets
        }:
            return f"{app.models} ({module.__file__}, line {node.lineno})"
    return f"{app.models} ({module.__file__})"


def load_reports(app: App) -> AppReports:
    """Import an app's reports; an app that has none has an empty set."""
    if app.reports is None:
        return AppReports(())
    found: AppReports = load_object(app, app.reports, "reports")
    return found


def load_rules(app: App) -> tuple[Rule, ...]:
    """Import an app's own retention rules; an app that has none has an empty tuple."""
    if app.retention is None:
        return ()
    return tuple(load_object(app, app.retention, "rules"))


def load_object(app: App, name: str, what: str) -> Any:
    """Import `package.module:object` from an app's folder.

    What the module prints goes to standard error: standard output is for results.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise ModelsNotImportable(
            f"{what} of {app.name} is {name!r}, which names no object.",
            hint=f'Write it as {what} = "package.module:object".',
        )
    module = load_module(app, module_name, what)
    if not hasattr(module, attribute):
        raise ModelsNotImportable(
            f"The module {module_name} ({module.__file__}) has no {attribute!r}.",
            hint=f"Correct {what} of {app.name} in leadctl.toml.",
        )
    return getattr(module, attribute)


def load_module(app: App, name: str, what: str) -> ModuleType:
    """Import a module from an app's folder; what it prints goes to standard error.

    Raises ModelsNotImportable with the file and line that matter.
    """
    try:
        with to_stderr(), importable(app.root):
            return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's module may raise anything
        raise _not_importable(app, name, what, error) from None


def _not_importable(
    app: App, module: str, what: str, error: Exception | SystemExit
) -> ModelsNotImportable:
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<")
        and frame.filename not in {__file__, importlib.__file__}
    ]
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(app.root)]
    place = "".join(f"{frame.filename}, line {frame.lineno}: " for frame in (own or frames)[-1:])
    if isinstance(error, SyntaxError):
        place = f"{error.filename}, line {error.lineno}: "
    return ModelsNotImportable(
        f"Cannot import {module}, the {what} of {app.name}: {place}{type(error).__name__}: {error}",
        hint="leadctl runs in your project's own environment: are its packages installed there?",
    )


@contextlib.contextmanager
def importable(root: Path) -> Iterator[None]:
    """Let modules be imported from a folder."""
    # Left in place: what a models module imports later, inside a function, must be found, too.
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    yield


def _builtin_apps() -> Iterator[App]:
    for folder in sorted((_PACKAGE / "products").iterdir()):
        if (folder / "models.py").exists():
            package = f"leadctl.products.{folder.name}"
            doc = importlib.import_module(package).__doc__ or ""
            yield App(
                name=folder.name,
                description=doc.strip().partition("\n")[0],
                models=f"{package}.models:Base",
                migrations=builtin_migrations() / folder.name,
                seed=f"{package}.seed:FIXTURES",
                reports=f"{package}.reports:REPORTS",
                retention=f"{package}.retention:RULES",
                factory=f"{package}.factory:FACTORY",
                builtin=True,
                root=_PACKAGE.parent,
            )


def builtin_migrations() -> Path:
    """Return the folder of the built-in apps' migrations, in the wheel or in the checkout."""
    installed = _PACKAGE / "_migrations"
    return installed if installed.exists() else _PACKAGE.parent / "migrations"


def _declared(settings: Settings, config: AppConfig) -> App:
    migrations = config.migrations or settings.project / "migrations"
    environment = alembic_environment.environment_file(migrations)
    return App(
        name=config.name,
        description=f"declared in {settings.config_file.name if settings.config_file else 'code'}",
        models=config.models,
        migrations=migrations,
        seed=config.seed,
        reports=config.reports,
        retention=config.rules,
        factory=config.factory,
        builtin=False,
        root=settings.project,
        environment=environment,
        version_table=alembic_environment.version_table(environment)
        if environment
        else DEFAULT_VERSION_TABLE,
        schemas=config.schemas,
        seed_files=config.seed_files,
    )
