"""Commands that hints name work as they are typed: what was given to this run is repeated."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.main import get_command

from leadctl.cli.commands import app
from leadctl.hints import commands, given_in, repeated
from tests.conftest import Cli
from tests.servers import Server


def test_it_knows_every_command() -> None:
    """They are read from the files' text, and are those of the command line."""
    tree = get_command(app).commands  # type: ignore[attr-defined]
    alone = [name for name in tree if getattr(tree[name], "invoke_without_command", True)]
    groups = {name: getattr(command, "commands", {}) for name, command in tree.items()}
    below = [f"{name} {leaf}" for name, leaves in groups.items() for leaf in leaves]
    assert sorted(commands()) == sorted([*alone, *below])


@pytest.mark.parametrize(
    ("said", "given", "expected"),
    [
        (
            "Apply with: leadctl migrate. Then leadctl migrate new -m NAME",
            {"--env": "eu"},
            "Apply with: leadctl migrate --env eu. Then leadctl migrate new --env eu -m NAME",
        ),
        (
            "See: leadctl inspect blocking, leadctl inspect locks",
            {"--app": "shop", "--env": "eu"},
            "See: leadctl inspect --app shop --env eu blocking, "
            "leadctl inspect --app shop --env eu locks",
        ),
        ("leadctl migrate again", {"--schema": "a b"}, "leadctl migrate --schema 'a b' again"),
        ("See: leadctl migrate --help", {"--env": "eu"}, "See: leadctl migrate --help"),
        ("leadctl seed --app shop", {"--app": "shop"}, "leadctl seed --app shop"),
        ("leadctl migrate --url URL", {"--env": "eu"}, "leadctl migrate --url URL"),
        ("leadctl tenants list --fleet F", {"--env": "eu"}, "leadctl tenants list --fleet F"),
        (
            "See: leadctl backup list; leadctl backup verify ID --restore; make one: leadctl backup",
            {"--from": "/mnt/b", "--to": "/mnt/b", "--identity": "k"},
            "See: leadctl backup list --from /mnt/b; leadctl backup verify --from /mnt/b --identity k"
            " ID --restore; make one: leadctl backup --to /mnt/b",
        ),
        (
            "leadctl backup copy x --to y, leadctl backup list --from y, leadctl stats",
            {"--from": "f", "--tenant": "t"},
            "leadctl backup copy --from f --tenant t x --to y, leadctl backup list --tenant t --from y,"
            " leadctl stats",
        ),
        ("leadctl waited; leadctl schedule says how", {"--env": "eu"}, None),
        ("leadctl health-checks", {"--env": "eu"}, None),
    ],
)
def test_what_was_given_is_repeated(
    said: str, given: Mapping[str, str], expected: str | None
) -> None:
    assert repeated(said, given) == (expected or said)
    assert repeated(said, {}) == said


def test_what_is_given() -> None:
    line = ["migrate", "--env=eu", "down", "--app", "shop", "--", "--schema", "x"]
    assert given_in(line) == {"--env": "eu", "--app": "shop"}
    assert given_in(["stats", "--url", "postgresql://h/d"]) == {"--url": "postgresql://h/d"}
    assert given_in(["stats", "--url", "postgresql://u:secret@h/d"]) == {"--url": "URL"}
    assert given_in(["stats", "--app"]) == {}
    assert given_in(["restore", "--from", "f", "--tenant", "t"]) == {"--from": "f", "--to": "f"}
    folder = {"--from": "s3://b/p", "--to": "s3://b/p"}
    assert given_in(["backup", "--tenant=t", "--to", "s3://b/p"]) == {"--tenant": "t", **folder}
    assert given_in(["backup", "copy", "x", "--to", "y"]) == {}
    assert given_in(["health-check", "--to", "FILE"]) == {}


def test_the_next_command_reaches_the_same_database(
    cli: Cli, database: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed as it is written, it brings the environment that was asked about up to date."""
    (tmp_path / "leadctl.toml").write_text(f'[env.eu]\nurl = "{server.url(database)}"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    line = ("migrate", "status", "--env", "eu", "--app", "leadconnector")
    command = "leadctl migrate --env eu --app leadconnector"
    found = cli(*line)
    assert command in found.out
    assert cli(*shlex.split(command)[1:]).code == 0
    assert "Everything is applied." in cli(*line).out
    refused = cli("studio", "leads", "no-such-row", "--env", "eu", "--app", "leadconnector")
    assert "leadctl studio --env eu --app leadconnector leads --where" in refused.err
    as_json = cli("studio", "leads", "no-such-row", "--env", "eu", "-o", "json")
    assert "leadctl studio --env eu leads" in json.loads(as_json.err)["hint"]
