"""The guard, per verb: from a list of all commands that a new one cannot escape."""

import inspect
import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from typer.main import get_command

from leadctl.cli.command import Effect
from leadctl.cli.commands import app
from leadctl.cli.console import Console
from leadctl.cli.exit_codes import exit_code
from leadctl.errors import NotConfirmed
from leadctl.journal.guard import Consent, decide
from tests.conftest import KEY, Cli, Prepared
from tests.processes import environment, run

LINES = {
    "db environment": ["db", "environment", "--unprotect"],
    "db kept": ["db", "kept", "--drop", "restored_20200101_000000"],
    "db push": ["db", "push", "--yes"],
    "migrate dev": ["migrate", "dev", "-m", "x"],
    "tenants drop": ["tenants", "drop", "tenant_a"],
    "tenants rename": ["tenants", "rename", "tenant_a", "tenant_b"],
}
"""The command lines that do harm; of others the bare name does."""


def all_commands() -> Iterator[tuple[str, Effect]]:
    def walk(command: Any, path: str) -> Iterator[tuple[str, Effect]]:
        subcommands = getattr(command, "commands", None)
        if subcommands is None or getattr(command, "invoke_without_command", False):
            yield path, command.callback.effect
        for name, subcommand in (subcommands or {}).items():
            yield from walk(subcommand, f"{path} {name}".strip())

    yield from walk(get_command(app), "")


def lines(effect: Effect) -> dict[str, list[str]]:
    """Return a command line for each command that has an effect."""
    return {
        name: LINES.get(name, name.split()) for name, found in all_commands() if found is effect
    }


LOCAL, DESTROYS = lines(Effect.LOCAL), lines(Effect.DESTROYS)


def test_every_command_says_what_it_does() -> None:
    """So that none escapes the tests below: what is in no list here, cannot be registered."""
    assert set(LOCAL) == {"db push", "migrate dev"}
    assert list(lines(Effect.BY_RULE)) == ["cleanup"]  # its fuse has tests of its own
    assert {"reset", "restore", "migrate down", "db destroy"} < set(DESTROYS)
    assert LINES.keys() < {name for name, _ in all_commands()}


def everything(database: Prepared, name: str | None = None) -> list[object]:
    """Return what a database holds, to see that nothing of it was changed."""
    with database.server.connect(name or database.name) as connection:
        tables = [
            row[0]
            for row in connection.execute(
                "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables"
                " WHERE schemaname IN ('public', 'leadctl') ORDER BY 1"
            )
        ]
        return [
            (table, connection.execute(f"SELECT * FROM {table}").fetchall()) for table in tables
        ]


@pytest.fixture
def protected(leadconnector: Prepared, cli: Cli) -> Prepared:
    outcome = cli(
        "db", "environment", "production", "--protect", "-o", "json", url=leadconnector.url
    )
    assert outcome.json["protected"]
    leadconnector.query("CREATE SCHEMA restored_20200101_000000")  # for db kept
    leadconnector.query(
        "CREATE SCHEMA tenant_a; CREATE TABLE tenant_a.alembic_version (version_num text)"
    )
    assert cli("backup", url=leadconnector.url).code == 0  # for restore
    return leadconnector


@pytest.mark.parametrize("verb", LOCAL)
def test_a_protected_database_is_no_place_to_develop_on(
    verb: str, protected: Prepared, cli: Cli
) -> None:
    before = everything(protected)
    outcome = cli(*LOCAL[verb], url=protected.url)
    assert outcome.code == 5, outcome.err
    assert "Nothing was changed" in outcome.err
    assert everything(protected) == before


ELSEWHERE = {"db destroy", "backup prune", "pitr off", "tenants move", "tenants open"}
"""What needs another database, or none: tests/pitr and tests/tenants have the guard of the rest."""
ON_A_DATABASE = [verb for verb in DESTROYS if verb not in ELSEWHERE]


@pytest.mark.few(3)
@pytest.mark.parametrize("verb", ON_A_DATABASE)
def test_yes_is_not_enough_on_a_protected_database(
    verb: str, protected: Prepared, cli: Cli
) -> None:
    before = everything(protected)
    consents: list[list[str]] = [[], ["--confirm", "wrong"]]
    if verb != "db environment":
        consents.append(["--yes"])
    for consent in consents:
        outcome = cli(*DESTROYS[verb], *consent, url=protected.url)
        assert outcome.code == 5, outcome.err
        assert "Nothing was changed" in outcome.err
    assert everything(protected) == before
    outcome = cli(*DESTROYS[verb], "--confirm", protected.name, url=protected.url)
    assert outcome.code == 0, outcome.err
    assert everything(protected) != before


@pytest.mark.few(2)
@pytest.mark.parametrize("verb", ON_A_DATABASE)
@pytest.mark.parametrize("how", ["template", "rename", "dump"])
def test_a_copy_is_as_protected(verb: str, how: str, protected: Prepared, cli: Cli) -> None:
    server = protected.server
    if how == "dump":
        copy = server.create()
        dumped = subprocess.run(
            ["pg_dump", "--no-owner", _socket_url(protected, protected.name)],
            capture_output=True,
            check=False,
            env={**os.environ, "PATH": f"{_client_folder()}:{os.environ['PATH']}"},
        )
        assert dumped.returncode == 0, dumped.stderr
        loaded = subprocess.run(
            [_client_folder() / "psql", "-q", _socket_url(protected, copy)],
            input=dumped.stdout,
            capture_output=True,
            check=False,
        )
        assert loaded.returncode == 0, loaded.stderr
    elif how == "template":
        copy = server.create(protected.name)
    else:
        copy = f"{protected.name}_renamed"
        with server.connect() as connection:
            connection.execute(
                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                    sql.Identifier(protected.name), sql.Identifier(copy)
                )
            )
    try:
        before = everything(protected, copy)
        url = server.url(copy)
        assert cli(*DESTROYS[verb], "--confirm", protected.name, url=url).code == 5
        assert cli(*DESTROYS[verb], url=url).code == 5
        assert everything(protected, copy) == before
        assert cli(*DESTROYS[verb], "--confirm", copy, url=url).code == 0
    finally:
        server.drop(copy)


def _client_folder() -> Path:
    from leadctl.postgres.binaries import client_program

    return client_program("pg_dump").parent


def _socket_url(database: Prepared, name: str) -> str:
    return (
        f"postgresql://postgres@/{name}?host={database.server.socket}&port={database.server.port}"
    )


def test_configuration_protects_too(leadconnector: Prepared, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "leadctl.toml").write_text(
        f'[env.prod]\nurl = "{leadconnector.url}"\nprotected = true\n'
    )
    assert cli("reset", "--env", "prod", "--yes").code == 5
    assert cli("reset", "--env", "prod", "--confirm", leadconnector.name).code == 0


def test_another_environment_than_was_meant_is_refused(
    leadconnector: Prepared, cli: Cli, tmp_path: Path
) -> None:
    assert cli("db", "environment", "production", url=leadconnector.url).code == 0
    (tmp_path / "leadctl.toml").write_text(f'[env.staging]\nurl = "{leadconnector.url}"\n')
    outcome = cli("reset", "--env", "staging", "--yes")
    assert outcome.code == 5
    assert "production, not staging" in outcome.err
    assert cli("reset", "--yes", url=leadconnector.url).code == 0


def test_consent_does_not_come_from_a_variable(protected: Prepared, cli: Cli) -> None:
    env = {"LEADCTL_RESET_YES": "1", "LEADCTL_RESET_CONFIRM": protected.name}
    assert cli("reset", url=protected.url, env=env).code == 5


def test_without_a_terminal_nothing_prompts(leadconnector: Prepared) -> None:
    done = run("reset", env={"DATABASE_URL": leadconnector.url, "ENCRYPTION_KEY": KEY}, timeout=30)
    assert done.returncode == 5
    assert "--yes" in done.stderr


def at_the_prompt(database: Prepared, answer: str | None) -> tuple[int, str]:
    """Run reset on a terminal; answer its question, or press Ctrl-C."""
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover - the child
        variables = environment(
            {"DATABASE_URL": database.url, "ENCRYPTION_KEY": KEY, "TERM": "xterm"}
        )
        os.execve(sys.executable, [sys.executable, "-m", "leadctl", "reset"], variables)
    shown = b""
    while not shown.endswith((b"[y/N]: ", b"to continue: ")) and (part := read(terminal)):
        shown += part
    # Python misses a Ctrl-C in the instant before it reads; people press it again.
    keys, patience = (b"\x03", 2.0) if answer is None else (answer.encode() + b"\n", 60.0)
    os.write(terminal, keys)
    while part := read(terminal, patience, keys):
        shown += part
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), shown.decode()


def read(terminal: int, patience: float = 60.0, keys: bytes = b"") -> bytes:
    """Read what a terminal shows, nothing at its end; press keys each time it takes too long."""
    for _ in range(30):
        if select.select([terminal], [], [], patience)[0]:
            break
        assert keys, "nothing was shown for so long"
        os.write(terminal, keys)
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


@pytest.mark.thorough
def test_answers_on_a_terminal(leadconnector: Prepared) -> None:
    before = everything(leadconnector)
    code, shown = at_the_prompt(leadconnector, None)
    assert (code, "Traceback" in shown) == (130, False)
    code, shown = at_the_prompt(leadconnector, "n")
    assert code == 5
    assert everything(leadconnector) == before
    assert "users" in shown  # what goes was shown first
    code, shown = at_the_prompt(leadconnector, "y")
    assert code == 0
    assert everything(leadconnector) != before


@pytest.mark.thorough
def test_the_name_is_typed_on_a_terminal(protected: Prepared) -> None:
    before = everything(protected)
    assert at_the_prompt(protected, "wrong")[0] == 5
    assert at_the_prompt(protected, "")[0] == 5
    assert at_the_prompt(protected, None)[0] == 130
    assert everything(protected) == before
    assert at_the_prompt(protected, protected.name)[0] == 0


@pytest.mark.thorough
def test_a_protected_database_protects_the_embedded_server(tmp_path: Path) -> None:
    try:
        assert run("migrate").returncode == 0
        assert run("db", "environment", "production", "--protect").returncode == 0
        assert run("db", "stop").returncode == 0
        refused = run("db", "destroy", "--yes")
        assert refused.returncode == 5
        assert "leadconnector" in refused.stderr
        assert run("migrate", "status").returncode == 0
    finally:
        done = run("db", "destroy", "--confirm", "leadconnector")
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_no_is_an_answer_and_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotConfirmed) as said:
        decide("shop", None, "reset", Consent(ask=lambda _: False))
    Console().error(said.value)
    assert capsys.readouterr().err == "Nothing was changed.\n"
    Console(as_json=True).error(said.value)
    assert json.loads(capsys.readouterr().err)["code"] == "declined"
    assert exit_code(said.value) == 5


def test_what_excludes_and_is_excluded_are_options_of_the_command() -> None:
    def declared(function: Any) -> dict[str, tuple[str, ...]]:
        while function is not None:
            found = inspect.getclosurevars(function).nonlocals
            if "excluded" in found:
                return found["excluded"] or {}
            function = getattr(function, "__wrapped__", None)
        return {}

    def look(command: Any, path: str) -> Iterator[str]:
        excluded = declared(command.callback)
        names = {*excluded, *(name for others in excluded.values() for name in others)}
        assert names <= {parameter.name for parameter in command.params}, path
        if excluded:
            yield path
        for name, subcommand in getattr(command, "commands", {}).items():
            yield from look(subcommand, f"{path} {name}".strip())

    assert {"init", "restore", "tenants move"} <= set(look(get_command(app), ""))
