"""One server a test run; a template database built once; a copy of it for every test."""

import functools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import typer.testing
from psycopg import sql
from typer.testing import CliRunner

from leadctl import crypto, redact
from leadctl.apps.registry import find_app
from leadctl.cli.commands import app as cli_app
from leadctl.crypto import Key, Keyring
from leadctl.journal.guard import Consent
from leadctl.migrate.up import up
from leadctl.postgres.connect import Timeouts
from leadctl.postgres.target import Target, resolve
from leadctl.seed.seed import seed
from leadctl.settings import Settings, load_settings
from tests.history import Project
from tests.processes import an_app, wait_for
from tests.servers import MAJOR, RunningServer, Server

KEY = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
ENOUGH = 4 * 2**30
"""Bytes of memory; a run takes less than half of it."""
PROJECTS = Path(__file__).parent / "projects"
_OURS = ("DATABASE_", "DIRECT_URL", "ENCRYPTION_", "LEADCTL_", "PG", "BACKUP_")

_running: list[RunningServer] = []

# No test depends on a time that was measured: a busy machine makes examples slowly.
hypothesis.settings.register_profile(
    "leadctl", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("leadctl")


def pytest_configure(config: pytest.Config) -> None:
    _work_in_memory()
    for name in [name for name in os.environ if name.startswith(_OURS)]:
        if name not in {"LEADCTL_TEST_POSTGRES", "LEADCTL_TEST_CITUS_URL"}:
            del os.environ[name]
    os.environ["COLUMNS"] = "80"


def _work_in_memory() -> None:
    """Put servers and folders of tests into memory, where there is enough that runs programs.

    The servers do not wait for their disk, but a database is made and dropped for
    nearly every test, of some hundred files: in memory that takes a twentieth of the time.
    """
    memory = Path("/dev/shm")
    if "TMPDIR" in os.environ or not memory.is_dir():
        return
    found = os.statvfs(memory)
    if found.f_bavail * found.f_frsize >= ENOUGH and not found.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = str(memory)
        tempfile.tempdir = None
        for left in memory.glob("leadctl-test-*-*"):  # by a run that was killed
            if not Path("/proc", left.name.split("-")[2]).exists():
                shutil.rmtree(left, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave so many cases of a test as `few(n)` says; the others, which say the same, are thorough.

    Those that stay lie apart in the list.
    """
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("few") and not item.get_closest_marker("slow"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for every in cases.values():
        (most,) = every[0].get_closest_marker("few").args  # type: ignore[union-attr]
        chosen = {round(number * (len(every) - 1) / max(1, most - 1)) for number in range(most)}
        for number, item in enumerate(every):
            if number not in chosen:
                item.add_marker(pytest.mark.thorough)


def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist where the server is."""
    node.workerinput["server"] = json.dumps(asdict(_started()))


def pytest_unconfigure(config: pytest.Config) -> None:
    while _running:
        _running.pop().stop()


def _started() -> Server:
    if not _running:
        _running.append(RunningServer(MAJOR))
    return _running[0].info


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Server:
    """The server of this test run."""
    handed = getattr(request.config, "workerinput", {}).get("server")
    return Server(**json.loads(handed)) if handed else _started()


@pytest.fixture(autouse=True)
def clean_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start every test in an empty folder, without keys and secrets remembered from another."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(crypto, "_of_process", [])
    monkeypatch.setattr(redact, "_known", set())


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The name of an empty database."""
    name = server.create()
    yield name
    server.drop(name)


@dataclass(frozen=True)
class Prepared:
    """A database with an app in it."""

    name: str
    url: str
    server: Server

    def query(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows, if it has any."""
        with self.server.connect(self.name) as connection:
            cursor = connection.execute(statement, params or None)
            return cursor.fetchall() if cursor.description else []

    def wait_for(self, statement: str) -> None:
        """Wait until a query has a row."""
        wait_for(lambda: self.query(statement))

    def settings(self, **flags: str) -> Settings:
        """Return settings that name this database."""
        return load_settings(flags, environ={"DATABASE_URL": self.url, "ENCRYPTION_KEY": KEY})

    def target(self, **flags: str) -> Target:
        """Return the target for leadconnector, or the app that is named."""
        settings = self.settings(**flags)
        return resolve(settings, app=settings.app)


@pytest.fixture(scope="session")
def template(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return the name of a database that an app was migrated and seeded into, made once."""

    def make(app: str) -> str:
        name = f"template_{app}"
        with server.connect() as connection:
            connection.execute("SELECT pg_advisory_lock(hashtext(%s))", (name,))
            if connection.execute(
                "SELECT 1 FROM pg_database WHERE datname = %s", (name,)
            ).fetchone():
                return name
            partial = f"{name}_partial"
            server.drop(partial)
            settings = load_settings(
                {"app": app},
                cwd=tmp_path_factory.mktemp("template"),
                environ={"DATABASE_URL": server.url(partial), "ENCRYPTION_KEY": KEY},
            )
            target, found = resolve(settings, app=app), find_app(settings)
            up(
                target,
                found,
                consent=Consent(),
                timeouts=Timeouts(lock_wait=60, lock_timeout=10),
                narrate=lambda _: None,
                progress=lambda *_: None,
            )
            seed(target, found, Keyring([Key.from_hex("test", KEY)]), lambda _: None)
            connection.execute(
                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                    sql.Identifier(partial), sql.Identifier(name)
                )
            )
        return name

    return make


Prepare = Callable[[str], Prepared]


@contextmanager
def copies(server: Server) -> Iterator[Prepare]:
    """Copy databases, by name; the copies are dropped in the end."""
    made: list[str] = []

    def copy(name: str) -> Prepared:
        made.append(server.create(name))
        return Prepared(made[-1], server.url(made[-1]), server)

    yield copy
    for name in made:
        server.drop(name)


@pytest.fixture
def copied(server: Server) -> Iterator[Prepare]:
    """Return a copy of one's own of a database, by name."""
    with copies(server) as copy:
        yield copy


@pytest.fixture
def prepared(copied: Prepare, template: Callable[[str], str]) -> Prepare:
    """Return a database of one's own with an app migrated and seeded."""
    return lambda app: copied(template(app))


@pytest.fixture(scope="module")
def prepared_once(server: Server, template: Callable[[str], str]) -> Iterator[Prepare]:
    """Return one database an app, migrated and seeded, for all tests of a file.

    They only read it, or change it once and work on copies.
    """
    with copies(server) as copy:
        yield functools.cache(lambda app: copy(template(app)))


@pytest.fixture
def leadconnector(prepared: Prepare) -> Prepared:
    """A database with leadconnector, migrated and seeded."""
    return prepared("leadconnector")


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it wrote where."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document that it must be."""
        return json.loads(self.out)


Cli = Callable[..., Outcome]


@functools.cache
def _command(app: typer.Typer) -> Any:
    """Build the tree of commands, once: that takes longer than most of them run."""
    return typer.main.get_command(app)


def fresh_command(app: typer.Typer) -> Any:
    """Return the tree with parameters that have not read anything, as in a process of its own."""
    command = _command(app)
    todo = [command]
    while todo:
        found = todo.pop()
        todo += getattr(found, "commands", {}).values()
        for param in found.params:
            param._runtime_param = None
    return command


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command in this process: `cli("migrate", "-o", "json", url=…, env={…})`."""
    monkeypatch.setattr(typer.testing, "_get_command", fresh_command)

    def run(
        *args: str, url: str | None = None, env: Mapping[str, str] | None = None, stdin: str = ""
    ) -> Outcome:
        variables = {"ENCRYPTION_KEY": KEY, **({"DATABASE_URL": url} if url else {})}
        variables |= {**an_app(next(iter(args), None)), **(env or {})}
        result = CliRunner().invoke(
            cli_app, list(args), env=variables, input=stdin, catch_exceptions=False
        )
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose history the test writes; it is the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_models", raising=False)  # that of another test
    return Project(tmp_path)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A team's own project with models of its own, in a folder that the test may change."""
    folder = tmp_path / "shop"
    shutil.copytree(PROJECTS / "shop", folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        monkeypatch.delitem(sys.modules, name)  # those of another test's copy
    return folder
