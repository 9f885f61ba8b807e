"""The command line under random arguments, settings and addresses, in this process.

Whatever is typed: no traceback, no hang, an exit code that is documented, JSON where JSON was asked
for, and no secret in anything that is shown, journaled or handed to another program.  A vector is
made from its number alone, so that one that fails can be run again by it.
"""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from typer.main import get_command

from leadctl import crypto
from leadctl.apps import registry
from leadctl.cli.commands import app
from leadctl.migrate import alembic_runner
from tests import processes
from tests.conftest import Prepared, fresh_command
from tests.servers import MAJOR, RunningServer

CHUNK = 50
THOROUGH, ALL = 20, 200
"""Chunks of the thorough run, and of all: ten thousand vectors."""
SLOW_AFTER, HANGS_AFTER = 30, 900
"""Seconds.  A call that starts programs can take as long as the first on a loaded machine, so it is
run again before it counts; what hangs does so however long it is waited for.
"""
CODES = {0, 1, 2, 3, 4, 5, 6, 7}
SECRET = "fuzzedS3cret"
KEY = "f0227ed5" * 8
AGE = f"AGE-SECRET-KEY-1{'FUZZED' * 9}"
SECRETS = (SECRET, KEY, AGE)

TEXTS = [
    "",
    " ",
    "x",
    "users",
    "leads",
    "public.leads",
    "leadconnector",
    "production",
    "latest",
    "base",
    "head",
    "-1",
    "0",
    "1",
    "2",
    "99999999999999999999",
    "1.5",
    "nan",
    "1d",
    "P1Y",
    "-5s",
    "*",
    "%s%n",
    "'; DROP TABLE users; --",
    '"quoted"',
    "{}",
    "[bold]x[/bold]",
    "\x1b[31m",
    "ünï\u202eçødé",
    "\udcff",
    "a\nb",
    "../../etc/passwd",
    "/dev/null",
    "/dev/full/x",
    "~nobody-there/x",
    "id=1",
    "a:b",
    "users=3",
    "x" * 300,
]
BOUNDED = {
    "bulk": ["-1", "0", "1", "30", "x", ""],
    "jobs": ["0", "1", "2", "x"],
    "wait": ["0s", "0.1s", "-1s", "x", ""],
    "timeout": ["1s", "0.5s", "0s", "x"],
    "interval": ["0s", "0.1s", "x"],
    "lock_wait": ["0s", "0.1s", "x"],
    "max_seconds": ["0", "1", "x"],
    "output": ["json", "json", "json", "table", "csv", "nagios", "prometheus", "x", ""],
    "steps": ["0", "1", "3", "x"],
    "limit": ["-1", "0", "1", "5", "x"],
}
"""Values of options that would otherwise ask for more than a fuzzer has time for."""
SETTINGS = [
    {"leadctl.toml": ""},
    {"leadctl.toml": "app = 3\n"},
    {"leadctl.toml": "[[[\n"},
    {"leadctl.toml": f'[env.production]\nurl = "postgresql://u:12/{SECRET}@127.0.0.1:1/d"\n'},
    {"leadctl.toml": f'[env.production]\nurl_command = "echo {SECRET}; exit 3"\n'},
    {"leadctl.toml": '[env.production]\nprotected = "yes"\n'},
    {"leadctl.toml": '[apps.x]\nmodels = "no.such:Base"\n'},
    {"leadctl.toml": '[[apps.leadconnector.retention]]\nname = "x"\ntable = "users"\n'},
    {"leadctl.toml": '[retention.x]\nolder_than = "-1d"\n[health.bloat]\nwarning = "x"\n'},
    {"leadctl.toml": f'[backup]\nrecipients = ["{AGE}"]\n'},
    {"pyproject.toml": '[tool.leadctl]\nschema = "\\u0000"\n'},
    {".env": f"ENCRYPTION_KEY={KEY}\nBACKUP_RECIPIENTS={AGE}\n"},
    {".env": "not of that form\n"},
    {".env": "\xff\xfe"},
    {"leadctl.toml": "", ".env.local": f"LEADCTL_LOCK_WAIT={SECRET}\n"},
]
VARIABLES = [
    {"ENCRYPTION_KEY": ""},
    {"ENCRYPTION_KEY": KEY[:-1]},
    {"ENCRYPTION_KEYS": f"a:{KEY},b:{SECRET}"},
    {"ENCRYPTION_KEY_FILE": "/dev/null"},
    {"ENCRYPTION_KEY_COMMAND": f"echo {SECRET}"},
    {"BACKUP_RECIPIENTS": AGE},
    {"BACKUP_RECIPIENTS": SECRET},
    {"LEADCTL_OUTPUT": "json"},
    {"LEADCTL_CONNECT_TIMEOUT": "x"},
    {"LEADCTL_LOG_SQL": "1", "ENCRYPTION_KEY": KEY},
    {"PGOPTIONS": "-c statement_timeout=1"},
    {"PGSSLMODE": SECRET},
    {"PGAPPNAME": "\x1b[2J"},
    {"LEADCTL_APP": AGE},
    {"LEADCTL_SCHEMA": 'a"b'},
]
URLS = [
    "{real}?schema=other",
    "{real}?sslpassword=" + SECRET,
    "{real}?options=-c%20app.x%3D" + SECRET,
    f"postgresql://u:{SECRET}@127.0.0.1:1/d",
    f"postgresql://u:12/{SECRET}@127.0.0.1:1/d",
    f"postgresql://u:a?{SECRET}=b@127.0.0.1:1/d",
    f"postgresql://u:a@b@{SECRET}@127.0.0.1:1/d",
    f"postgresql://u:%zz{SECRET}@127.0.0.1:1/d",
    f"host=127.0.0.1 port=1 password=a {SECRET}=b",
    f"host=127.0.0.1 port={SECRET}",
    f"mysql://u:{SECRET}@127.0.0.1:1/d",
    SECRET,
    "postgresql://[::1",
    "postgresql://127.0.0.1:1/%00",
]


@dataclass(frozen=True)
class Vector:
    """What one call is made with."""

    arguments: list[str]
    files: dict[str, str]
    variables: dict[str, str]


class Hang(BaseException):
    """A call took too long."""


@pytest.fixture(scope="module")
def commands() -> list[tuple[list[str], list[Any]]]:
    """Every command: its words and its parameters."""

    def walk(command: Any, words: list[str]) -> Iterator[tuple[list[str], list[Any]]]:
        subcommands = getattr(command, "commands", None)
        if subcommands is None or command.invoke_without_command:
            yield words, command.params
        for name, subcommand in (subcommands or {}).items():
            yield from walk(subcommand, [*words, name])

    return list(walk(get_command(app), []))


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    """A database on a server of its own: commands make slots there, of which others' would warn."""
    with RunningServer(MAJOR) as running:
        name = running.info.create()
        found = Prepared(name, running.info.url(name), running.info)
        env = {"DATABASE_URL": found.url, "ENCRYPTION_KEY": KEY, "LEADCTL_APP": "leadconnector"}
        for verb in ("migrate", "seed"):
            done = processes.run(verb, env=env, cwd=tmp_path_factory.mktemp("fuzzed"))
            assert done.returncode == 0, done.stderr
        yield found


def make(number: int, commands: list[tuple[list[str], list[Any]]], real: str) -> Vector:
    """Return the vector with a number."""
    chance = random.Random(number)
    words, params = chance.choice(commands)
    arguments = list(words)
    for param in params:
        if param.name in {"help", "install_completion", "show_completion"}:
            continue
        values = BOUNDED.get(param.name, TEXTS)
        if param.param_type_name == "argument":
            if chance.random() < 0.5:
                arguments.append(chance.choice(values))
        elif chance.random() < (0.5 if param.name == "output" else 0.08):
            flag = chance.choice([*param.opts, *param.secondary_opts])
            arguments.append(flag)
            if not (param.is_flag or param.count):
                arguments.append(real if param.name == "url" else chance.choice(values))
    if chance.random() < 0.05:
        arguments.insert(chance.randrange(len(arguments) + 1), chance.choice(TEXTS))
    variables = {"DATABASE_URL": real, "ENCRYPTION_KEY": KEY}
    if chance.random() < 0.2:
        variables["DATABASE_URL"] = chance.choice(URLS).format(real=real)
    if chance.random() < 0.2:
        variables |= chance.choice(VARIABLES)
    files = chance.choice(SETTINGS) if chance.random() < 0.2 else {}
    return Vector(arguments, files, variables)


@contextlib.contextmanager
def called(
    vector: Vector, folder: Path, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """Make the vector's surroundings; yields the arguments of programs that are started."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, text in vector.files.items():
        (folder / name).write_text(text, encoding="latin-1" if "\xff" in text else "utf-8")
    started: list[str] = []

    def hang(_number: int, _frame: FrameType | None) -> None:
        raise Hang

    class Watched(subprocess.Popen[Any]):
        def __init__(self, arguments: Any, *args: Any, **options: Any) -> None:
            started.append(str(arguments))
            super().__init__(arguments, *args, **options)

    def execve(program: str, arguments: list[str], _environment: Any) -> None:
        started.append(f"{program} {arguments}")
        raise SystemExit(0)

    with monkeypatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(subprocess, "Popen", Watched)
        patch.setattr(os, "execve", execve)
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr(crypto, "_of_process", [])
        for name, value in vector.variables.items():
            patch.setenv(name, value)
        before = signal.signal(signal.SIGALRM, hang)
        signal.alarm(seconds)
        try:
            yield started
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
            patch.undo()
            end_server(vector, folder)


def end_server(vector: Vector, folder: Path) -> None:
    """End the embedded server that a command may have made, whatever settings it had."""
    if (folder / ".leadctl").is_dir():
        for name in vector.files:
            (folder / name).unlink(missing_ok=True)
        done = processes.run("db", "destroy", "--yes", cwd=folder, timeout=HANGS_AFTER)
        assert done.returncode == 0, done.stderr


def run(vector: Vector) -> tuple[int, str, str]:
    """Run the command line; return its exit code and what it wrote where."""
    out, err = io.StringIO(), io.StringIO()
    command = fresh_command(app)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            command.main(vector.arguments, prog_name="leadctl")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
    return code, out.getvalue(), err.getvalue()


def faults(vector: Vector, code: int, out: str, err: str, started: list[str]) -> Iterator[str]:
    """Yield what is wrong with a call."""
    if code not in CODES:
        yield f"exit code {code}"
    if "Traceback" in err or "failed unexpectedly" in err:
        yield "a fault of leadctl"
    for secret in SECRETS:
        if any(secret in argument for argument in vector.arguments):
            continue
        if secret in out or secret in err:
            yield f"{secret} is shown"
        if any(secret in line for line in started if "/bin/sh" not in line):
            yield f"{secret} is an argument of a program"
    asked = any(
        pair in {("-o", "json"), ("--output", "json")}
        for pair in zip(vector.arguments, vector.arguments[1:], strict=False)
    )
    if asked and out and code == 0 and "--help" not in vector.arguments:
        try:
            json.loads(out)
        except ValueError:
            yield "standard output is not JSON"


@pytest.mark.parametrize(
    "chunk",
    [
        *(pytest.param(each, marks=pytest.mark.thorough) for each in range(THOROUGH)),
        *(pytest.param(each, marks=pytest.mark.slow) for each in range(THOROUGH, ALL)),
    ],
)
def test_vectors(
    chunk: int,
    commands: list[tuple[list[str], list[Any]]],
    fuzzed: Prepared,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    # Revisions of the built-in apps are written to a copy.
    copy = tmp_path / "migrations"
    shutil.copytree(registry.builtin_migrations(), copy)
    # In both: a module that is loaded meanwhile would keep the copy's name for the tests after this.
    for module in (registry, alembic_runner):
        monkeypatch.setattr(module, "builtin_migrations", lambda: copy)
    wrong = []
    for number in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        vector = make(number, commands, fuzzed.url)
        for seconds in (SLOW_AFTER, HANGS_AFTER):
            with (
                contextlib.suppress(Hang),
                called(vector, tmp_path / "project", seconds, monkeypatch) as started,
            ):
                code, out, err = run(vector)
                break
        else:
            wrong.append(f"{number}: {vector}: it hangs")
            continue
        found = list(faults(vector, code, out, err, started))
        wrong += [f"{number}: {vector}: {fault}\n{err[-600:]}" for fault in found]
    assert not wrong, f"{len(wrong)} of {CHUNK}:\n" + "\n".join(wrong[:8])
    with fuzzed.server.connect(fuzzed.name) as connection:
        if connection.execute("SELECT to_regclass('leadctl.run')").fetchone() != (None,):
            journal = str(connection.execute("SELECT * FROM leadctl.run").fetchall())
            assert not [secret for secret in SECRETS if secret in journal]
