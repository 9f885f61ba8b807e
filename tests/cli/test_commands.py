"""The habits that all commands share: streams, formats, flags, help."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from leadctl.cli import commands
from leadctl.cli.console import Console
from leadctl.cli.exit_codes import Terminated
from leadctl.render import views
from tests.conftest import Cli, Prepared
from tests.processes import environment, run
from tests.servers import Server


def test_version_and_help(cli: Cli) -> None:
    assert cli("--version").out.startswith("leadctl 0.")
    for arguments in (["--help"], ["-h"], ["migrate", "--help"], ["db", "start", "-h"]):
        outcome = cli(*arguments)
        assert (outcome.code, outcome.err) == (0, "")
        assert "Usage: " in outcome.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["migrat"], "Did you mean 'migrate'"),
        (["--install-completion", "zsh"], "Run this in zsh"),
        (["migrate", "--step", "1"], "--steps"),
        (["migrate", "--steps", "none"], "--steps"),
        (["migrate", "-o", "xml"], "xml"),
        (["seed", "-o", "nagios"], "table, json"),
        (["seed", "--url", "postgresql://a/b", "--env", "prod"], "--env"),
        (
            ["migrate", "--steps", "1", "status"],
            "--steps is not an option of leadctl migrate status",
        ),
        (["migrate", "--schema", "a", "status", "--schema", "b"], "given twice"),
    ],
)
def test_usage_errors(cli: Cli, arguments: list[str], said: str) -> None:
    outcome = cli(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert said in outcome.err


def test_the_views_that_commands_name_exist() -> None:
    for file in Path(commands.__path__[0]).glob("*.py"):
        for module, name in re.findall(r"\bviews\.(\w+)\.(\w+)", file.read_text()):
            assert callable(getattr(getattr(views, module), name, None)), f"{module}.{name}"


def test_usage_errors_in_json(cli: Cli) -> None:
    outcome = cli("migrate", "--nonsense", "-o", "json")
    assert outcome.code == 2
    assert json.loads(outcome.err)["code"] == "usage_error"


def test_an_option_before_the_subcommand_counts(leadconnector: Prepared, cli: Cli) -> None:
    outcome = cli("migrate", "--schema", "elsewhere", "-o", "json", "status", url=leadconnector.url)
    assert outcome.json["schema"] == "elsewhere"


def test_every_flag_has_a_variable(leadconnector: Prepared, cli: Cli) -> None:
    env = {"LEADCTL_OUTPUT": "json", "LEADCTL_SCHEMA": "elsewhere", "LEADCTL_MIGRATE_STEPS": "1"}
    outcome = cli("migrate", url=leadconnector.url, env=env)
    assert len(outcome.json["applied"]) == 1
    assert outcome.json["schema"] == "elsewhere"


def test_unknown_app(cli: Cli) -> None:
    outcome = cli("migrate", "--app", "leadconector", url="postgresql://localhost/x")
    assert outcome.code == 3
    assert "Did you mean leadconnector?" in outcome.err


def test_no_database_is_a_configuration_error(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("migrate", "status")
    assert outcome.code == 3
    assert "DATABASE_URL" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_sql_log_hides_parameters(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query("TRUNCATE users CASCADE")
    outcome = cli("seed", "-vv", "-o", "json", url=leadconnector.url)
    assert outcome.code == 0
    assert json.loads(outcome.out)
    assert "INSERT INTO users" in outcome.err
    assert " ms " in outcome.err
    assert "test@example.com" not in outcome.err
    assert "test_facebook_id" not in outcome.err


def test_config_hides_secrets(cli: Cli) -> None:
    env = {"ENCRYPTION_KEYS": "old:" + "cd" * 32}
    url = "postgresql://ada:hunter22@db/shop"
    for arguments in (["config"], ["config", "-o", "json"]):
        outcome = cli(*arguments, url=url, env=env)
        assert outcome.code == 0
        assert "hunter22" not in outcome.out
        assert "cdcdcd" not in outcome.out
        assert "db/shop" in outcome.out


def test_config_in_json(cli: Cli) -> None:
    found = {entry["name"]: entry for entry in cli("config", "-o", "json").json["settings"]}
    assert found["app"]["value"] == "leadconnector"
    assert found["encryption_key"]["source"] == "environment"
    assert found["pool_max"]["value"] == 10


TOML = """
[env.production]
url = "postgresql://ada:hunter22@db/shop"
protected = true
[env.cloud]
url_command = "touch ran"
[env.empty]
"""


@pytest.mark.parametrize(
    ("environment", "url", "source"),
    [
        (["--env", "production"], "postgresql://ada:••••@db/shop", "[env.production]"),
        (["--env", "cloud"], None, "url_command of [env.cloud], which is not run here"),
        (["--env", "empty"], None, "The environment empty has no url"),
        (["--url", "postgresql:///own"], "postgresql:///own", "flag --url"),
        ([], None, "embedded server, not made yet"),
    ],
)
def test_config_says_which_database_counts(
    environment: list[str], url: str | None, source: str, tmp_path: Path, cli: Cli
) -> None:
    (tmp_path / "leadctl.toml").write_text(TOML)
    shown = cli("config", *environment, env={"COLUMNS": "200"}).out
    target = cli("config", *environment, "-o", "json").json["target"]
    assert target["url"] == url
    assert target["source"].startswith(source)
    assert target["protected"] == ("production" in environment)
    assert source in shown
    assert "hunter22" not in shown
    assert (url or "Target") in shown
    assert not (tmp_path / "ran").exists()


def test_a_format_that_a_command_lacks_names_those_it_has(cli: Cli) -> None:
    for name in ("svg", "tsv", "nagios"):
        refused = cli("studio", "-o", name)
        assert (refused.code, "It has: table, json, csv, jsonl." in refused.err) == (2, True)


def in_terminal(arguments: list[str], env: dict[str, str]) -> str:
    """Run a command on a terminal of its own and return what it shows."""
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover - the child
        variables = environment({"TERM": "xterm", **env})
        os.execve(sys.executable, [sys.executable, "-m", "leadctl", *arguments], variables)
    shown = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.waitpid(pid, 0)
    os.close(terminal)
    return shown.decode()


@pytest.mark.thorough
def test_widths_and_colours(leadconnector: Prepared) -> None:
    env = {"DATABASE_URL": leadconnector.url}
    piped = run("migrate", "status", env=env).stdout
    assert "\x1b" not in piped
    assert "leadconnector_0002   Performance indexes" in piped
    narrow = run("migrate", "status", env={**env, "COLUMNS": "60"}).stdout
    assert max(map(len, narrow.splitlines())) <= 60
    assert not [line for line in piped.splitlines() if line != line.rstrip()]
    refused = in_terminal(["stats", "nothing"], env)
    assert "\x1b[1;31mError:\x1b[0m " in refused
    assert "\x1b[1mHint:\x1b[0m " in refused
    assert "\x1b" not in in_terminal(["stats", "nothing"], {**env, "NO_COLOR": "1"})
    assert "\x1b" not in in_terminal(["stats", "nothing"], {**env, "TERM": "dumb"})
    coloured = in_terminal(["migrate", "status"], env)
    assert "\x1b[32mapplied" in coloured
    assert "\x1b" not in in_terminal(["migrate", "status"], {**env, "NO_COLOR": "1"})


@pytest.mark.parametrize(
    "line",
    [["migrate", "status"], ["studio", "users", "-o", "csv"], ["studio", "users", "-o", "json"]],
)
def test_a_reader_that_goes_away_is_no_error(leadconnector: Prepared, line: list[str]) -> None:
    leadconnector.query("UPDATE users SET name = repeat('x', 100000)")
    env = environment({"DATABASE_URL": leadconnector.url})
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "leadctl", *line],
        env=env,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert done.returncode == 141  # as a shell says of what SIGPIPE ends
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("output", ["table", "json"])
def test_an_output_that_cannot_be_written(output: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "leadctl", "config", "-o", output],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "standard output: No space left on device" in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.thorough
def test_log_lines_carry_a_time(server: Server, database: str) -> None:
    done = run("migrate", "--steps", "1", env={"DATABASE_URL": server.url(database)})
    assert done.returncode == 0
    assert all(line[:2] == "20" and line[19] == "Z" for line in done.stderr.splitlines())
    quiet = run("migrate", "-q", env={"DATABASE_URL": server.url(database)})
    assert quiet.stderr == ""


def test_sigterm_while_an_error_is_written(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def error(*_: object) -> None:
        raise Terminated  # as the handler of the signal does

    monkeypatch.setattr(Console, "error", error)
    outcome = cli("stats", "--app", "nothing")
    assert (outcome.code, outcome.err) == (143, "Terminated.\n")


RENAMED = """
from typer import core

def built(param):
    vars(param).pop("_runtime_param", None)
    return core.build_runtime_param(param.type_descriptor)

def without(init):
    def made(self, **options):
        init(self, **options)
        del self._runtime_param
    return made

core._TyperParameter.get_runtime_param = built
for kind in (core.TyperOption, core.TyperArgument):
    kind.__init__ = without(kind.__init__)
from leadctl.cli.commands import app
app()
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["migrate", "up", "--steps", "1", "-q"], 0), (["migrate", "--steps", "none"], 2)],
)
def test_a_typer_that_renamed_what_is_private(
    leadconnector: Prepared, arguments: list[str], code: int
) -> None:
    """It costs time, and nothing else."""
    done = subprocess.run(
        [sys.executable, "-c", RENAMED, *arguments],
        env=environment({"DATABASE_URL": leadconnector.url}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "unexpectedly" not in done.stderr


FOREIGN = """
CREATE TABLE leads (id int PRIMARY KEY, email text, email_hash text, access_token text);
CREATE TABLE users (id int PRIMARY KEY, name text);
INSERT INTO leads VALUES (1, 'a@example.org', 'b', 'c');
"""


@pytest.mark.parametrize(
    ("code", "arguments"),
    [(0, "studio"), (0, "studio leads"), (0, "studio leads 1"), (0, "stats"), (0, "inspect tables"),
     (0, "schema show"), (0, "schema dump"), (0, "schema diagram"), (0, "history"),
     (0, "migrate history"), (0, "db environment"), (0, "db url"), (0, "health-check --skip server"),
     (0, "config"), (0, "schedule cron backup"), (3, "schedule cron cleanup"), (3, "stats leads"),
     (3, "schema validate"), (3, "schema show --models"), (3, "keys status"), (3, "cleanup --list"),
     (3, "cleanup --dry-run"), (3, "migrate status"), (3, "migrate check"), (3, "migrate drift"),
     (3, "migrate lint"), (3, "migrate diff"), (3, "migrate --plan"), (3, "migrate --sql"),
     (3, "seed --export leads")],
)  # fmt: skip
def test_what_reads_takes_nobody_for_the_app(
    code: int, arguments: str, server: Server, database: str, cli: Cli
) -> None:
    """Somebody's database that has tables of the built-in app's names, in a folder of nobody."""
    with server.connect(database) as connection:
        connection.execute(FOREIGN.encode())
    outcome = cli(*arguments.split(), url=server.url(database), env={"LEADCTL_APP": ""})
    assert outcome.code == code, outcome.err
    if code:
        assert "leadctl init" in outcome.err
        assert "--app leadconnector" in outcome.err
    elif arguments != "config":  # which lists the apps that there are
        assert "leadconnector" not in outcome.out + outcome.err
    assert list(Path.cwd().iterdir()) == []


def test_health_says_what_it_skips_without_an_app(leadconnector: Prepared, cli: Cli) -> None:
    """What was recorded is compared, whoever's it is; what only the app's code tells is not."""
    asked = (
        "health-check",
        "-o",
        "json",
        "--check",
        "migrations",
        "--check",
        "drift",
        "--check",
        "cleanup",
    )
    outcome = cli(*asked, url=leadconnector.url, env={"LEADCTL_APP": ""})
    found = {each["name"]: each for each in outcome.json["checks"]}
    assert found["drift"]["status"] == "ok"
    for name in ("migrations", "cleanup"):
        assert found[name]["status"] == "skipped"
        assert "no app is named" in found[name]["message"]
    leadconnector.query("DROP TABLE webhook_deliveries")
    assert (
        "webhook_deliveries"
        in cli("health-check", url=leadconnector.url, env={"LEADCTL_APP": ""}).out
    )
    masked = cli("studio", "users", "-o", "json", url=leadconnector.url, env={"LEADCTL_APP": ""})
    assert masked.code == 0
    assert "••••" in masked.out


@pytest.mark.few(4)
@pytest.mark.parametrize(
    "arguments",
    [
        ("migrate",), ("migrate", "new", "-m", "x"), ("migrate", "dev", "-m", "x"), ("db", "push"),
        ("seed",), ("seed", "--bulk", "10"), ("reset", "--yes"), ("cleanup",), ("keys", "rotate"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_nothing_is_written_where_no_app_is_meant(
    arguments: tuple[str, ...], server: Server, database: str, cli: Cli
) -> None:
    refused = cli(*arguments, url=server.url(database), env={"LEADCTL_APP": ""})
    assert refused.code == 3
    assert "leadctl init" in refused.err
    assert "--app leadconnector" in refused.err
    with server.connect(database) as connection:
        made = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        ).fetchall()
        assert made == [("public",)]
        assert (
            connection.execute(
                "SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            ).rowcount
            == 0
        )
    assert cli("migrate", "--app", "leadconnector", url=server.url(database)).code == 0


@pytest.mark.thorough
def test_names_of_strangers_do_not_act_on_the_terminal(leadconnector: Prepared, cli: Cli) -> None:
    """In messages as little as in results: a role that may make a table chooses its name."""
    name = "a\x1b]0;owned\x07\x9b31m\u202e\u061cb"
    leadconnector.query(
        f'CREATE TABLE "{name}" (id int); CREATE TABLE "{name}x" (id int);'
        f' ALTER TABLE alembic_version RENAME TO "{name}y"'
    )
    lines = (
        ("studio", "a"), ("studio", name), ("restore", "latest", "--table", name), ("backup",),
        ("migrate", "drift"), ("inspect", "all"), ("schema", "show"), ("stats",), ("migrate",),
        ("seed", "--scale", f"{name}=3", "--bulk", "9", "--yes"),
    )  # fmt: skip
    for line in lines:
        for output in ((), ("-o", "json")):
            outcome = cli(*line, *output, url=leadconnector.url)
            shown = outcome.out + outcome.err
            assert not set("\x1b\x07\x9b\u202e\u061c") & set(shown), (line, shown)
            for text in (outcome.out, *outcome.err.splitlines()):
                if output and text.startswith("{"):
                    json.loads(text)
