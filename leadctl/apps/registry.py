"""The registry of apps: those of the package's own table of apps, and those of leadctl.toml.

Both are declared alike.  Nothing here imports SQLAlchemy: models are loaded when a command needs
them.  What a team's code writes to standard output meanwhile goes to standard error: standard
output is for results.
"""

import ast
import contextlib
import ctypes
import importlib
import os
import re
import sys
import threading
import tomllib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from leadctl.apps.reports import AppReports
from leadctl.apps.retention import Rule
from leadctl.errors import MigrationsInvalid, ModelsNotImportable, UnknownApp
from leadctl.settings import AppConfig, Settings
from leadctl.settings.load import declared_apps
from leadctl.settings.sources import Project
from leadctl.text import did_you_mean

DEFAULT_VERSION_TABLE = "alembic_version"
_PACKAGE = Path(__file__).parent.parent
_BUILT_IN = _PACKAGE / "products" / "products.toml"


@dataclass(frozen=True)
class App(AppConfig):
    """A named set of models with its migrations, fixtures, reports and retention rules."""

    @cached_property
    def environment(self) -> Path | None:
        """The env.py of a team's own Alembic environment."""
        return environment_file(self.migrations)

    @cached_property
    def version_table(self) -> str:
        """The table of Alembic that says which revision is applied.

        Raises MigrationsInvalid where the app's env.py does not write its name out.
        """
        return version_table(self.environment)


def find_app(settings: Settings) -> App:
    """Return the app that the settings name.  Raises UnknownApp."""
    apps = all_apps(settings)
    if settings.app in apps:
        return apps[settings.app]
    raise UnknownApp(
        f"There is no app {settings.app!r} (from {settings.source('app')}).",
        hint=did_you_mean(settings.app, sorted(apps)),
    )


def all_apps(settings: Settings) -> dict[str, App]:
    """Return every app by name: the built-in ones, then the declared ones."""
    built_in = _built_in()
    # Version 0.1.0 had the built-in ones in this package: its leadctl.toml names them there.
    former = re.compile(rf"leadctl\.apps\.(?=(?:{'|'.join(built_in)})\.)")

    def now(value: Any) -> Any:
        return former.sub("leadctl.products.", value) if isinstance(value, str) else value

    return {
        name: App(**{key: now(value) for key, value in vars(config).items()})
        for name, config in {**built_in, **settings.apps}.items()
    }


def load_reports(app: App) -> AppReports:
    """Import an app's reports; an app that has none has an empty set."""
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
    make_importable(app.root)
    try:
        with to_stderr():
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


def make_importable(root: Path) -> None:
    """Let modules be imported from a folder, also later: inside of functions, say."""
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))


def _built_in() -> dict[str, AppConfig]:
    """Return the apps of the package's own table, each with its folder of the migrations."""
    with _BUILT_IN.open("rb") as file:
        project = Project(_PACKAGE.parent, _BUILT_IN, tomllib.load(file))
    return {
        name: replace(config, migrations=builtin_migrations() / name)
        for name, config in declared_apps(project).items()
    }


def builtin_migrations() -> Path:
    """Return the folder of the built-in apps' migrations, in the wheel or in the checkout."""
    installed = _PACKAGE / "_migrations"
    return installed if installed.exists() else _PACKAGE.parent / "migrations"


def environment_file(migrations: Path) -> Path | None:
    """Return the env.py of a migrations folder, or of the folder around its `versions/`."""
    for folder in (migrations, migrations.parent):
        if (folder / "env.py").is_file() and (
            folder == migrations or migrations.name == "versions"
        ):
            return folder / "env.py"
    return None


def version_table(environment: Path | None) -> str:
    """Return the name of Alembic's table that an env.py gives, read from its text.

    Raises MigrationsInvalid where the name is not written out.
    """
    for keyword in _configured(environment) if environment else ():
        if keyword.arg != "version_table":
            continue
        if isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str):
            return keyword.value.value
        raise MigrationsInvalid(
            f"{environment}: version_table is {ast.unparse(keyword.value)}, no literal.",
            hint='Write it out: context.configure(version_table="…").',
        )
    return DEFAULT_VERSION_TABLE


def _configured(environment: Path) -> list[ast.keyword]:
    try:
        module = ast.parse(environment.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise MigrationsInvalid(f"Cannot read {environment}: {error}", hint="Correct it.") from None
    return [
        keyword
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "configure"
        for keyword in node.keywords
    ]


_STDOUT = 1
_STDERR = 2


@contextlib.contextmanager
def to_stderr() -> Iterator[None]:
    """Send what is written to standard output to standard error, while a team's code runs.

    That is what Python prints, and what writes to the descriptor: C libraries, child processes.
    Both are the whole process's; with several threads in here the last one to leave restores them.
    """
    _diversion.enter()
    try:
        yield
    finally:
        _diversion.leave()


class _Diversion:
    """Standard output, diverted as long as anybody needs it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._restore = contextlib.ExitStack()

    def enter(self) -> None:
        with self._lock:
            if self._users == 0:
                self._restore.enter_context(_descriptor_to_stderr())
                self._restore.enter_context(contextlib.redirect_stdout(sys.stderr))
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._restore.close()


_diversion = _Diversion()


@contextlib.contextmanager
def _descriptor_to_stderr() -> Iterator[None]:
    _flush()
    try:
        kept = os.dup(_STDOUT)
    except OSError:  # it is closed: nothing can be written to it
        yield
        return
    try:
        os.dup2(_STDERR, _STDOUT)
        yield
        _flush()
    finally:
        os.dup2(kept, _STDOUT)
        os.close(kept)


def _flush() -> None:
    """Write out what is buffered, by Python and by C, while it goes where it belongs."""
    sys.stdout.flush()
    ctypes.CDLL(None).fflush(None)
