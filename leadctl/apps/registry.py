"""The registry of apps: those of the package's own table of apps, and those of leadctl.toml.

Both are declared alike.  Nothing here imports SQLAlchemy: models are loaded when a command needs
them.  What a team's code writes to standard output meanwhile goes to standard error: standard
output is for results.
"""

import importlib
import os
import re
import tomllib
import traceback
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from leadctl.apps.alembic_config import (
    AlembicConfig,
    VersionLocations,
    find_config,
    literal_version_table,
)
from leadctl.apps.loading import make_importable, user_code
from leadctl.apps.retention import Rule
from leadctl.errors import (
    InvalidSetting,
    MigrationsInvalid,
    ModelsNotImportable,
    NoProject,
    UnknownApp,
)
from leadctl.journal.records import VERSION_TABLE, VersionTable
from leadctl.settings import AppConfig, Settings
from leadctl.settings.load import declared_apps
from leadctl.settings.model import DEFAULT_APP
from leadctl.settings.sources import ProjectFolder
from leadctl.text import did_you_mean

if TYPE_CHECKING:
    from leadctl.apps.alembic_environment import AlembicEnvironment
    from leadctl.apps.reports import AppReports

_PACKAGE = Path(__file__).parent.parent
_BUILT_IN = _PACKAGE / "products" / "products.toml"


class App(AppConfig):
    """A named set of models with its migrations, fixtures, reports and retention rules.

    One without a name has none of these: it stands for a database alone.
    """

    @cached_property
    def environment(self) -> Path | None:
        """The env.py of a team's own Alembic environment."""
        return _environment_file(self.migrations)

    @cached_property
    def configuration(self) -> AlembicConfig:
        """The configuration of that environment."""
        scripts = self.environment.parent if self.environment else None
        found = find_config(self.root, scripts, self.alembic, self.alembic_section)
        return found or AlembicConfig(root=self.root)

    @cached_property
    def import_paths(self) -> tuple[Path, ...]:
        """The folders that its modules are imported from; the first has precedence."""
        source = self.root / "src"
        has_source = source.is_dir() and not (source / "__init__.py").exists()
        own = (self.root, source) if has_source else (self.root,)
        return (*(map(Path, self.configuration.import_paths) if self.environment else ()), *own)

    @cached_property
    def version_table(self) -> VersionTable:
        """The table of Alembic that says which revision is applied.

        Raises MigrationsInvalid, and EnvironmentNotRun where the app's env.py must be run to know.
        """
        if self.environment is None:
            return VERSION_TABLE
        return self._literal or self.alembic_environment.facts.version_table

    def require_table_in_each_schema(self) -> None:
        """Refuse several schemas that share one version table: it cannot tell them apart.

        Raises InvalidSetting, and as `version_table` does.
        """
        if self.name and self.version_table.schema is not None:
            raise InvalidSetting(
                f"All schemas of {self.name} share the version table "
                f"{self.version_table.schema}.{self.version_table}: what is applied to one would "
                "count as applied to all.",
                hint="Leave version_table_schema out of env.py, so that each schema has its own.",
            )

    @cached_property
    def versions(self) -> VersionLocations:
        """Where the files of its history are.  Raises as `version_table` does."""
        if self.environment is None:
            below = self.migrations / "versions"
            return VersionLocations((below if below.is_dir() else self.migrations,))
        if self._literal:
            found = self.configuration.versions(self.environment.parent)
        else:
            found = self.alembic_environment.facts.versions
        if self.configuration.flag("sourceless"):
            _refuse_compiled(found)
        return found

    @property
    def is_computed(self) -> bool:
        """Whether its env.py must be run to know version table and folders."""
        return self.environment is not None and self._literal is None

    @cached_property
    def alembic_environment(self) -> "AlembicEnvironment":
        """What runs its env.py, which must be there."""
        from leadctl.apps.alembic_environment import AlembicEnvironment  # loads Alembic

        assert self.environment is not None
        return AlembicEnvironment(self.environment, self.root, self.configuration)

    @cached_property
    def _literal(self) -> VersionTable | None:
        return literal_version_table(self.environment) if self.environment else None


def _refuse_compiled(versions: VersionLocations) -> None:
    """Refuse compiled revisions without their source: they would count as none."""
    for folder in versions.folders:
        for path in folder.rglob("*.pyc") if versions.recursive else folder.glob("*.pyc"):
            if not path.with_suffix(".py").exists():
                raise MigrationsInvalid(
                    f"{path} is a compiled revision without its source (`sourceless`).",
                    hint="leadctl reads the source of revisions: deploy their .py files, too.",
                )


def find_app(settings: Settings) -> App:
    """Return the app that the settings name, or the default one.  Raises UnknownApp."""
    apps = all_apps(settings)
    if settings.app in apps:
        return apps[settings.app]
    raise UnknownApp(
        f"There is no app {settings.app!r} (from {settings.source('app')}).",
        hint=did_you_mean(settings.app, sorted(apps)),
    )


def require_named_app(settings: Settings) -> None:
    """Raise NoProject where neither a project nor its name says which app is meant."""
    if not settings.names_app:
        raise NoProject(
            f"There is no leadctl.toml in {settings.project} or above, and no app is named.",
            hint=f"For your own models: leadctl init. For a built-in app add: --app {DEFAULT_APP}",
        )


def find_app_or_none(settings: Settings) -> App:
    """Return the app that the settings name, else one without a name.  Raises UnknownApp."""
    if settings.names_app:
        return find_app(settings)
    # No folder: one of the name `migrations` that lies there is nobody's.
    return App(name="", root=settings.project, migrations=Path(os.devnull))


def all_apps(settings: Settings) -> dict[str, App]:
    """Return every app by name: the built-in ones, then the declared ones."""
    built_in = _built_in()
    # Version 0.1.0 had the built-in ones in this package: its leadctl.toml names them there.
    former = re.compile(rf"leadctl\.apps\.(?=(?:{'|'.join(built_in)})\.)")

    def now(value: Any) -> Any:
        return former.sub("leadctl.products.", value) if isinstance(value, str) else value

    return {
        name: App(**{key: now(value) for key, value in config._asdict().items()})
        for name, config in {**built_in, **settings.apps}.items()
    }


def load_reports(app: App) -> "AppReports":
    """Import an app's reports; an app that has none has an empty set."""
    from leadctl.apps.reports import AppReports

    if app.reports is None:
        return AppReports(())
    found: AppReports = load_object(app, app.reports, "reports")
    return found


def load_rules(app: App) -> tuple[Rule, ...]:
    """Import an app's own retention rules; an app that has none has an empty tuple."""
    if app.rules is None:
        return ()
    return tuple(load_object(app, app.rules, "rules"))


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
    for path in reversed(app.import_paths):
        make_importable(path)
    try:
        with user_code():
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
    where = "".join(f"{frame.filename}, line {frame.lineno}: " for frame in (own or frames)[-1:])
    if isinstance(error, SyntaxError):
        where = f"{error.filename}, line {error.lineno}: "
    return ModelsNotImportable(
        f"Cannot import {module}, the {what} of {app.name}: {where}{type(error).__name__}: {error}",
        hint="leadctl runs in your project's own environment: are its packages installed there?",
    )


def _built_in() -> dict[str, AppConfig]:
    """Return the apps of the package's own table, each with its folder of the migrations."""
    with _BUILT_IN.open("rb") as file:
        project = ProjectFolder(_PACKAGE.parent, _BUILT_IN, tomllib.load(file))
    return {
        name: config._replace(migrations=builtin_migrations() / name)
        for name, config in declared_apps(project).items()
    }


def builtin_migrations() -> Path:
    """Return the folder of the built-in apps' migrations, in the wheel or in the checkout."""
    installed = _PACKAGE / "_migrations"
    return installed if installed.exists() else _PACKAGE.parent / "migrations"


def _environment_file(migrations: Path) -> Path | None:
    """Return the env.py of a migrations folder, or of the folder around its `versions/`."""
    for folder in (migrations, migrations.parent):
        if (folder / "env.py").is_file() and (
            folder == migrations or migrations.name == "versions"
        ):
            return folder / "env.py"
    return None
