"""A project's own Alembic environment: its env.py, run on a connection that it is given.

While it runs, `lent_engine` connects every engine to what leadctl is connected to, or to nothing
where only what it says is asked for.  So lock, timeouts and journal hold for whatever env.py does.
"""

import argparse
import ast
import contextlib
import importlib
import io
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine

from leadctl.apps.alembic_config import AlembicConfig, VersionLocations
from leadctl.apps.lent_engine import (
    WaitsForever,
    connected_to,
    engine_to_nothing,
    replaced,
    schema_set,
    shared_engine,
)
from leadctl.apps.loading import make_importable, user_code
from leadctl.errors import EnvironmentNotRun, LeadctlError
from leadctl.journal.records import VersionTable

_NEUTRAL = ("driver://", "")
"""Values of `sqlalchemy.url` that name no database: what `alembic init` writes, and none."""
_HOW_TO_CONNECT = frozenset(
    {
        "as_sql",
        "connection",
        "dialect_name",
        "dialect_opts",
        "literal_binds",
        "output_buffer",
        "starting_rev",
        "tag",
        "transaction_per_migration",
        "transactional_ddl",
        "url",
    }
)
"""Options of `context.configure` that say how to connect and to run: those are leadctl's."""
_NO_SAVEPOINT = "3B001"
_UPGRADE = {
    "cmd": (command.upgrade, ["revision"], ["sql", "tag"]),
    "revision": "heads",
    "tag": None,
}
"""What an env.py sees of the command line, where no revision is written."""

Steps = Callable[[tuple[str, ...], Any], Any]
"""Alembic's `fn`: is handed heads and context, and yields the steps to run."""
Fence = Callable[..., contextlib.AbstractContextManager[None]]
"""Lets no statement of a block reach what it must not; told which are env.py's own, only those."""


@dataclass(frozen=True)
class EnvironmentFacts:
    """The configuration that an env.py hands to Alembic, found by running it up to that call."""

    options: Mapping[str, Any]
    """What it hands to `context.configure`."""
    version_table: VersionTable
    versions: VersionLocations
    schema: str | None
    """The schema that it sets the search path to, before that call."""


@dataclass
class AlembicEnvironment:
    """A project's env.py."""

    env_py: Path
    root: Path
    """The project's folder."""
    config: AlembicConfig
    passed_over: EnvironmentNotRun | None = field(default=None, init=False, compare=False)
    """Why its half for connections could not be run, where the other one was."""

    @cached_property
    def facts(self) -> EnvironmentFacts:
        """Its facts; it is run once, and connects to nothing.  Raises EnvironmentNotRun."""
        found: list[EnvironmentFacts] = []

        def said(run: "_Run", given: Mapping[str, Any]) -> None:
            script = run.context.script
            name = given.get("version_table") or VersionTable.DEFAULT
            table = VersionTable(name, given.get("version_table_schema"))
            folders = tuple(Path(each) for each in script._version_locations)  # noqa: SLF001
            where = VersionLocations(folders, script.recursive_version_locations)
            found.append(EnvironmentFacts(dict(given), table, where, schema_set(run.engine)))
            raise _Enough

        self._run_env(lambda: _Run(self, engine_to_nothing(), said))
        return found[0]

    def run(
        self,
        steps: Steps,
        ours: Mapping[str, Any],
        *,
        connection: Connection | None = None,
        fence: Fence | None = None,
        offline: Mapping[str, Any] | None = None,
        arguments: Mapping[str, Any] | None = None,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Run env.py; its `run_migrations()` calls `ready` and runs the steps on the connection.

        `ours` are options of `configure` that go before its own.  Within a `fence` it does not end
        the connection's transaction, and the fence is told which statements are its own.  `offline`
        has what lets Alembic print SQL instead, `arguments` what it sees of a command line.  Raises
        EnvironmentNotRun, and whatever a step raises.
        """
        self.refuse_loops()

        def configure(run: "_Run", given: Mapping[str, Any]) -> None:
            kept = _kept(given)
            callbacks = [kept.get("on_version_apply"), ours.get("on_version_apply")]
            options: dict[str, Any] = {**kept, **ours, "on_version_apply": _flat(callbacks)}
            if options.get("target_metadata") is None:
                options["target_metadata"] = given.get("target_metadata")
            run.context.context_opts.update(offline or {})
            if connection is not None:
                translated = _translate_map(given.get("connection"))
                if translated:
                    connection.execution_options(schema_translate_map=translated)
                options["connection"] = connection
            run.configure(**options)

        driver = None if connection is None else connection.connection.driver_connection
        dialect = None if connection is None else connection.dialect
        engine = (
            engine_to_nothing()
            if driver is None
            else shared_engine(driver, dialect, fenced=bool(fence))
        )

        def start() -> _Run:
            config = self.alembic_config(engine.url.render_as_string(), arguments)
            run = _Run(self, engine, configure, steps, ready, config=config, as_sql=bool(offline))
            run.fence = fence or run.fence
            return run

        self._run_env(start)

    def _run_env(self, start: Callable[[], "_Run"]) -> None:
        """Run the half of env.py that is for connections; the other one where it has none.

        One that makes no connection may want one handed, as Alembic's cookbook has it.
        """
        first: EnvironmentNotRun | None = None
        for offline, handed in ((False, False), (False, True), (True, False)):
            run = start()
            self.passed_over = first if offline else None
            try:
                run.env_py(offline=offline, handed=handed)
            except EnvironmentNotRun as error:
                if run.configured:
                    raise
                first = first or error
            if run.configured:
                return
        raise first or EnvironmentNotRun(
            f"{self.env_py} calls context.configure() neither online nor offline.",
            hint="Call it in env.py: leadctl reads the metadata and the version table from that "
            "call.",
        )

    def refuse_loops(self) -> None:
        """Refuse one that runs the revisions in a loop, unless that is of one round only.

        Raises EnvironmentNotRun with its line.
        """
        line = _line_of_loop(ast.parse(self.env_py.read_bytes()))
        if line is not None and not self._runs_once():
            raise EnvironmentNotRun(
                f"{self.env_py}, line {line}: it runs the revisions in a loop, once for each "
                "database or schema.",
                hint="leadctl migrates one target at a time: configure only that one in env.py. "
                "With Alembic's multidb template, name it: an app for each, whose alembic = "
                '"FILE" is an alembic.ini with one name in `databases`. '
                "For many targets: leadctl migrate --fleet NAME",
            )

    def _runs_once(self) -> bool:
        """Whether it runs the revisions once, as far as it can be run where there is no server."""

        def print_nothing(run: "_Run", given: Mapping[str, Any]) -> None:
            run.context.context_opts.update(as_sql=True, starting_rev=None)
            run.configure(**_kept(given) | {"output_buffer": io.StringIO()})

        def no_steps(_heads: tuple[str, ...], _context: Any) -> Iterator[Any]:
            return iter(())

        try:
            self._run_env(
                lambda: _Run(self, engine_to_nothing(), print_nothing, no_steps, as_sql=True)
            )
        except LeadctlError:
            return False
        return True

    def alembic_config(self, url: str, arguments: Mapping[str, Any] | None = None) -> Config:
        """Return Alembic's configuration of the project, in which `url` stands for no database.

        `arguments` are what `alembic` would have of its command line.
        """
        config = Config(
            str(self.config.ini) if self.config.ini else None,
            toml_file=str(self.config.toml) if self.config.toml else None,
            ini_section=self.config.section,
            cmd_opts=argparse.Namespace(
                config=str(self.config.file) if self.config.file else None,
                name=self.config.section,
                quiet=True,
                raiseerr=False,
                verbose=False,
                x=None,
                **(arguments or _UPGRADE),
            ),
        )
        config.set_main_option("script_location", str(self.env_py.parent).replace("%", "%%"))
        section, option = config.config_ini_section, "sqlalchemy.url"
        # Raw: what it refers to may be what env.py sets.
        given = config.file_config.get(section, option, raw=True, fallback="")
        if given == "" or given.startswith(_NEUTRAL[0]):
            config.set_main_option(option, url.replace("%", "%%"))
        return config

    def script(self, config: Config) -> ScriptDirectory:
        """Return Alembic's directory of scripts; the project's modules can be imported then."""
        paths = list(sys.path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                found = ScriptDirectory.from_config(config)
            except (CommandError, ImportError, ValueError) as error:
                raise EnvironmentNotRun(
                    f"{self.config.file or self.env_py}: {error}", hint="Correct it."
                ) from None
        sys.path[:] = paths
        for path in (str(self.root), *reversed(self.config.import_paths)):
            make_importable(Path(path))
        return found


def _kept(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an env.py hands over that holds on any connection."""
    return {key: value for key, value in given.items() if key not in _HOW_TO_CONNECT}


def _translate_map(connection: Any) -> Mapping[str | None, str | None] | None:
    options: Mapping[str, Any] = getattr(connection, "get_execution_options", dict)()
    found: Mapping[str | None, str | None] | None = options.get("schema_translate_map")
    return found


def _flat(callbacks: list[Any]) -> tuple[Any, ...]:
    return tuple(
        each
        for given in callbacks
        if given is not None
        for each in (given if isinstance(given, list | tuple) else [given])
    )


_LOOPS = ast.For | ast.AsyncFor | ast.While | ast.ListComp | ast.SetComp | ast.GeneratorExp


def _line_of_loop(tree: ast.Module) -> int | None:
    """Return the line of a loop in which revisions are run, by a function of the file's or not."""
    defined = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    running = {"run_migrations"}
    while more := {each.name for each in defined if _calls(each, running)} - running:
        running |= more
    loops = (each for each in ast.walk(tree) if isinstance(each, _LOOPS))
    return next((each.lineno for each in loops if _calls(each, running)), None)


def _calls(tree: ast.AST, names: Collection[str]) -> bool:
    called = (each.func for each in ast.walk(tree) if isinstance(each, ast.Call))
    return any(
        (getattr(each, "attr", None) or getattr(each, "id", None)) in names for each in called
    )


class _Run:
    """One run of an env.py."""

    def __init__(
        self,
        environment: AlembicEnvironment,
        engine: Engine,
        on_configure: Callable[["_Run", Mapping[str, Any]], None],
        steps: Steps | None = None,
        ready: Callable[[], None] = lambda: None,
        *,
        config: Config | None = None,
        as_sql: bool = False,
    ) -> None:
        self._environment = environment
        self.engine = engine
        self._on_configure = on_configure
        self._ready = ready
        self._as_sql = as_sql
        self._in_revisions = False
        self._offline = False
        self._has_run = False
        self._error: BaseException | None = None
        self.configured = False
        self.fence: Fence = contextlib.nullcontext
        config = config or environment.alembic_config(engine.url.render_as_string())
        self.context = EnvironmentContext(
            config, environment.script(config), fn=steps, destination_rev="heads"
        )
        # `alembic.context` is a proxy for this very class, so a subclass would not do.
        self.context.__dict__ |= {
            "configure": self._configure,
            "run_migrations": self._run_migrations,
            "is_offline_mode": lambda: self._offline or (self._in_revisions and self._as_sql),
        }

    def configure(self, **options: Any) -> None:
        """Configure Alembic's context, and say so."""
        if "connection" not in options:
            options["dialect_name"] = "postgresql"
        EnvironmentContext.configure(self.context, **options)

    def env_py(self, *, offline: bool, handed: bool) -> None:
        """Run the file, `offline` or not, with or without a connection among the attributes.

        Raises EnvironmentNotRun with its line, and what a revision raises.
        """
        self._offline = offline
        if handed:
            self.context.config.attributes["connection"] = self.engine.connect()
        before = Path.cwd()
        folder = self._environment.config.folder
        try:
            os.chdir(folder)
            with (
                user_code(),
                _logging_as_it_is(),
                connected_to(self.engine, lambda: not self._in_revisions),
                self.fence(lambda: not self._in_revisions),
                application_of(self._environment),
                self.context,
            ):
                self.context.script.run_env()
                if self.configured and not self._has_run:
                    with self.context.begin_transaction():
                        self.context.run_migrations()
        except _Enough:
            return
        except (Exception, SystemExit, WaitsForever) as error:  # noqa: BLE001 - an env.py may raise anything
            if isinstance(error, LeadctlError) or not (self._error or self._is_late(error)):
                raise self._failed(error) from None
        finally:
            os.chdir(before)
        if self._error is not None:
            raise self._error

    def _configure(self, *given: Any, **options: Any) -> None:
        if given:
            options |= dict(zip(("connection", "url", "dialect_name"), given, strict=False))
        self.configured = True
        try:
            self._on_configure(self, options)
        except LeadctlError as error:
            self._error = error
            raise

    def _run_migrations(self, **arguments: Any) -> None:
        if self._has_run:
            self._error = EnvironmentNotRun(  # whatever env.py makes of it
                f"{self._environment.env_py} runs the revisions a second time.",
                hint="leadctl migrates one target at a time: configure only that one in env.py.",
            )
            raise self._error
        self._has_run = self._in_revisions = True
        try:
            self._ready()
            EnvironmentContext.run_migrations(self.context, **arguments)
        except BaseException as error:
            self._error = error  # whatever env.py makes of it
            raise
        finally:
            self._in_revisions = False

    def _is_late(self, error: BaseException) -> bool:
        """Whether it is about what is not there behind revisions that are printed or committed."""
        state = getattr(getattr(error, "orig", None), "sqlstate", None)
        return self._has_run and (self._as_sql or state == _NO_SAVEPOINT)

    def _failed(self, error: BaseException) -> LeadctlError:
        if isinstance(error, LeadctlError):
            return error
        path = self._environment.env_py
        frames = traceback.extract_tb(error.__traceback__)
        own = [each for each in frames if Path(each.filename).resolve() == path.resolve()]
        line = f", line {own[-1].lineno}" if own else ""
        if isinstance(error, SyntaxError) and error.lineno:
            line = f", line {error.lineno}"
        did = "failed after its revisions" if self._has_run else "cannot be run"
        return EnvironmentNotRun(
            f"{path}{line} {did}: {type(error).__name__}: {error}",
            hint="Fix env.py: leadctl runs it on its own connection, to read its call of "
            "context.configure().",
        )


class _Enough(BaseException):
    """Ends an env.py once it said what it had to say; it must not be caught by it."""


@contextlib.contextmanager
def _logging_as_it_is() -> Iterator[None]:
    """Let env.py's `fileConfig()` do nothing: standard error is leadctl's."""
    import logging.config  # 10 ms that few commands need

    with replaced(logging.config, "fileConfig", lambda *_args, **_options: None):
        yield


@contextlib.contextmanager
def application_of(environment: AlembicEnvironment) -> Iterator[None]:
    """Push the application context that Flask-Migrate's env.py is run in by `flask db`."""
    if "current_app" not in environment.env_py.read_text(encoding="utf-8"):
        yield
        return
    cli = importlib.import_module("flask.cli")  # which the project has, since its env.py needs it
    before = Path.cwd()
    os.chdir(environment.root)
    try:
        cli.load_dotenv()
        named = os.environ.get("FLASK_APP") or _flask_app(environment.root)
        app = cli.ScriptInfo(named).load_app()
    except cli.NoAppException as error:
        raise EnvironmentNotRun(
            f"{environment.env_py} needs Flask's application: {_without_traceback(error)}",
            hint="Say which one with FLASK_APP, in the environment or in .flaskenv.",
        ) from None
    finally:
        os.chdir(before)
    with app.app_context():
        yield


def _without_traceback(error: Exception) -> str:
    """Return what flask says: where it could not import, its first and its last line."""
    said, _, trace = str(error).partition("Traceback (most recent call last)")
    return " ".join(f"{said} {trace.strip().rpartition(chr(10))[2]}".split())


def _flask_app(root: Path) -> str | None:
    """Return the one module that makes the application, where flask's own guesses find none."""
    if any((root / name).is_file() for name in ("wsgi.py", "app.py")):
        return None
    found = []
    for path in sorted({*root.glob("*.py"), *root.glob("*/__init__.py"), *root.glob("*/app.py")}):
        text = path.read_text(encoding="utf-8", errors="replace")
        if "Flask(" in text and ("def create_app(" in text or "app = " in text):
            parts = path.relative_to(root).with_suffix("").parts
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found[0] if len(found) == 1 else None
