"""The composition roots: every verb has a method, and what is given is read in one way."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import leadctl
from leadctl.api.database import Database
from leadctl.api.project import Project
from leadctl.api.studio import Studio
from leadctl.api.tenants import Tenants
from leadctl.cli.commands import app
from leadctl.errors import UnknownCheck, UnknownRule
from leadctl.postgres.target import resolve
from tests.conftest import Cli, Prepared

SAME = {"backup create": "backup", "migrate up": "migrate"}
"""Commands that are another one, written out."""


def verbs(command: Any, path: str = "") -> Iterator[str]:
    subcommands = getattr(command, "commands", None)
    if subcommands is None or getattr(command, "invoke_without_command", False):
        yield path
    for name, subcommand in (subcommands or {}).items():
        yield from verbs(subcommand, f"{path} {name}".strip())


def test_every_verb_has_a_method() -> None:
    text = " ".join((inspect.getdoc(kind) or "") + inspect.getsource(kind)
                    for kind in (Project, Database, Studio, Tenants))  # fmt: skip
    named = {" ".join(found.split()) for found in re.findall(r"`leadctl ([^`]+)`", text)}
    for verb in verbs(get_command(app)):
        wanted = SAME.get(verb, verb)
        assert any(f"{name} ".startswith(f"{wanted} ") for name in named), verb


@pytest.mark.parametrize("kind", [Project, Database, Studio, Tenants])
def test_a_method_is_short(kind: type) -> None:
    tree = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(tree, ast.ClassDef)
    for method in tree.body:
        if isinstance(method, ast.FunctionDef):
            statements = [node for node in ast.walk(method) if isinstance(node, ast.stmt)]
            own = len(statements) - (2 if ast.get_docstring(method) else 1)
            assert own <= 10, f"{kind.__name__}.{method.name}"


@pytest.fixture
def rules(leadconnector: Prepared, tmp_path: Path) -> Prepared:
    """A database with two rules: `few` takes 10 rows, `many` all of 2,000, which is too many."""
    (tmp_path / "leadctl.toml").write_text(
        'app = "leadconnector"\n'
        + "".join(
            f'[[apps.leadconnector.retention]]\nname = "{name}"\ntable = "{name}"\n'
            'age_column = "at"\nolder_than = "1d"\n'
            for name in ("few", "many")
        )
    )
    for name, rows in (("few", 10), ("many", 2000)):
        leadconnector.query(
            f"CREATE TABLE {name} (id int PRIMARY KEY, at timestamptz);"
            f" INSERT INTO {name} SELECT n, now() - interval '2 days'"
            f" FROM generate_series(1, {rows}) n; CREATE INDEX ON {name} (at)"
        )
    return leadconnector


def test_a_result_is_not_lost_because_one_part_of_it_failed(rules: Prepared, cli: Cli) -> None:
    result = leadctl.database(rules.url).cleanup(["many", "few"])
    assert [(rule.rule, rule.rows) for rule in result.rules] == [("few", 10), ("many", 0)]
    assert (result.ok, result.rows) == (False, 10)
    assert result.error is not None
    assert result.error.code == "fuse_blown"
    rules.query("INSERT INTO few VALUES (1, '2020-01-01')")
    outcome = cli("cleanup", "--rule", "few", "--rule", "many", "-o", "json", url=rules.url)
    assert (outcome.code, outcome.json["rows"], "error" in outcome.json) == (5, 1, False)
    assert '"fuse_blown"' in outcome.err


def test_one_name_is_one_name(rules: Prepared) -> None:
    db = leadctl.database(rules.url)
    assert [rule.rule for rule in db.cleanup_preview("few").rules] == ["few"]
    assert db.cleanup("few").rows == 10
    assert [check.name for check in db.checks("connections").checks] == ["connections"]
    assert [check.name for check in db.health("connections").checks] == ["connections"]
    assert "connections" not in [check.name for check in db.checks(skip="connections").checks]
    assert db.plan(allow="data-loss").ok
    assert db.lint("leadconnector_0001") == db.lint(["leadconnector_0001"])
    with pytest.raises(UnknownRule, match="'fewer'"):
        db.cleanup_preview("fewer")
    with pytest.raises(UnknownCheck, match="'connection'"):
        db.checks("connection")


@pytest.mark.parametrize("given", ["out", "~/out"])
def test_a_path_is_from_the_current_folder(
    given: str, rules: Prepared, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether an option or an argument gives it; `~` is a home, also where no shell says so."""
    below, home = tmp_path / "sub", tmp_path / "home"
    below.mkdir()
    home.mkdir()
    monkeypatch.chdir(below)
    monkeypatch.setenv("HOME", str(home))
    place = (home if given.startswith("~") else below) / "out"
    assert cli("cleanup", "--rule", "few", "--archive", given, url=rules.url).code == 0
    assert len(list(place.iterdir())) == 1
    rules.query("INSERT INTO few VALUES (1, '2020-01-01')")
    leadctl.database(rules.url).cleanup("few", archive=given)
    assert len(list(place.iterdir())) == 2
    assert cli("backup", "--to", given, url=rules.url).code == 0
    assert len(leadctl.database(rules.url).backups().backups) == 0
    assert len(list(place.iterdir())) == 3
    assert cli("inspect", "connections", "--to", given, url=rules.url).code == 0
    assert (place / "connections.txt").exists()
    assert {each.name for each in tmp_path.iterdir()} == {"sub", "home", "leadctl.toml"}


COUNTED = ["cleanup", "cleanup --list", "migrate", "migrate status", "seed", "stats",
           "health-check", "inspect connections", "history", "schema show", "keys status",
           "studio", "reset --yes", "health-check --fix --yes", "db url"]  # fmt: skip


@pytest.mark.thorough
def test_a_target_is_found_once_a_run(
    leadconnector: Prepared, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[object] = []

    def counted(*args: Any, **options: Any) -> Any:
        found.append(args)
        return resolve(*args, **options)

    monkeypatch.setattr("leadctl.postgres.target.resolve", counted)
    env = {"DIRECT_URL": leadconnector.url}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in env.items()))
    for line in COUNTED:
        found.clear()
        outcome = cli(*line.split(), url=leadconnector.url)
        assert outcome.code in {0, 1}, (line, outcome.err)
        assert len(found) == 1, line
        assert outcome.err.count("DIRECT_URL") == 1, line


def test_a_project_needs_no_database(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = leadctl.project(shop)
    assert project.app.name == "shop"
    assert {setting.name for setting in project.config().settings} >= {"url", "backup_dir"}
    assert project.model_schema("orders").tables[0].name == "orders"
    assert "CREATE TABLE orders" in project.dump_models().sql
    assert project.lint(everything=True).revisions
    assert project.generate_key().key != project.generate_key().key
    assert "cleanup" in project.cron().files["crontab"]
    assert project.systemd("backup", write=".").files.keys() == {
        path.name for path in Path().glob("leadctl-shop-backup.*")
    }
    assert not project.server_status().exists
    assert project.backups().backups == ()
    assert not (shop / ".leadctl").exists()
