"""Targets: which database a command acts on, and from where it was named."""

from pathlib import Path

import pytest

from leadctl.errors import CommandOfUrlFailed, InvalidSchema, InvalidUrl, NoTarget
from leadctl.postgres.target import Target, resolve
from leadctl.settings import load_settings
from tests.conftest import Cli


def target(environ: dict[str, str], flags: dict[str, str | None] | None = None) -> Target:
    return resolve(load_settings(flags, environ=environ), app="leadconnector")


def test_direct_url_is_used_where_it_comes_from_the_same_place() -> None:
    found = target(
        {"DATABASE_URL": "postgresql://pool:6432/shop", "DIRECT_URL": "postgresql://db/shop"}
    )
    assert found.url.params["host"] == "db"


def test_a_weaker_direct_url_does_not_win_over_a_stronger_url(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DIRECT_URL=postgresql://local/dev\n")
    notes: list[str] = []
    settings = load_settings(environ={"DATABASE_URL": "postgresql://production/shop"})
    found = resolve(settings, app="leadconnector", narrate=notes.append)
    assert found.url.params["host"] == "production"
    assert "DIRECT_URL" in notes[0]


@pytest.mark.parametrize(
    ("environ", "flags", "schema"),
    [
        ({}, {}, "public"),
        ({"DATABASE_URL": "postgresql://db/x?schema=app"}, {}, "app"),
        ({"DATABASE_URL": "postgresql://db/x?schema=app", "LEADCTL_SCHEMA": "mine"}, {}, "mine"),
        ({"LEADCTL_SCHEMA": "mine"}, {"url": "postgresql://db/x?schema=app"}, "app"),
        ({"DATABASE_URL": "postgresql://db/x?schema=app"}, {"schema": "flag"}, "flag"),
    ],
)
def test_schema(environ: dict[str, str], flags: dict[str, str | None], schema: str) -> None:
    environ = {"DATABASE_URL": "postgresql://db/x", **environ}
    assert target(environ, flags).schema == schema


@pytest.mark.parametrize("schema", ["leadctl", "pg_temp", "information_schema", "ö" * 32])
def test_a_schema_that_no_app_may_have(schema: str) -> None:
    with pytest.raises(InvalidSchema, match="cannot be the schema of an app"):
        target({"DATABASE_URL": "postgresql://db/x", "LEADCTL_SCHEMA": schema})


def test_libpq_variables_count_as_a_url(tmp_path: Path) -> None:
    found = target({"PGHOST": "db", "PGDATABASE": "shop"})
    assert (found.url.params["host"], found.database) == ("db", "shop")
    (tmp_path / ".env").write_text("PGHOST=from_file\nPGPASSWORD=hunter22\n")
    found = target({})
    assert found.url.params["host"] == "from_file"
    assert found.url.password is not None
    assert "hunter22" not in repr(found)


def test_no_url_and_no_embedded_server_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NoTarget):
        target({})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [["studio"], ["stats"], ["db", "url"], ["db", "shell"], ["health-check"], ["history"],
     ["schema", "show"], ["inspect", "tables"], ["cleanup", "--dry-run"], ["backup"]],
    ids=" ".join,
)  # fmt: skip
def test_what_reads_makes_no_server(tmp_path: Path, cli: Cli, arguments: list[str]) -> None:
    refused = cli(*arguments)
    assert (refused.code, refused.out) == (3, "") or "UNKNOWN" in refused.out
    assert "leadctl" in refused.err
    assert list(tmp_path.iterdir()) == []


def test_environment(tmp_path: Path) -> None:
    (tmp_path / "leadctl.toml").write_text(
        '[env.prod]\nurl = "postgresql://prod/shop"\nprotected = true\nrole = "owner"\n'
        '[env.cloud]\nurl = "postgresql://ada@cloud/shop"\nurl_command = "printf tok3n-of-today"\n'
        "[env.vault]\nurl_command = \"printf 'postgresql://ada:pw@vault/shop?schema=s'\"\n"
        '[env.broken]\nurl_command = "echo secret-on-stderr >&2; exit 3"\n'
        '[env.silent]\nurl_command = "true"\n'
        "[env.empty]\n"
    )
    environ = {"DATABASE_URL": "postgresql://local/dev"}
    prod = target(environ, {"env": "prod"})
    assert (prod.url.params["host"], prod.protected, prod.role) == ("prod", True, "owner")
    cloud = target(environ, {"env": "cloud"})
    assert cloud.url.password is not None
    assert cloud.url.password.reveal() == "tok3n-of-today"
    assert target(environ, {"env": "vault"}).schema == "s"
    for name in ("broken", "silent"):
        with pytest.raises(CommandOfUrlFailed) as caught:
            target(environ, {"env": name})
        assert "secret-on-stderr" not in caught.value.message
    with pytest.raises(NoTarget):
        target({}, {"env": "empty"})


def test_a_wrong_url_names_its_source() -> None:
    with pytest.raises(InvalidUrl, match="DATABASE_URL in environment"):
        target({"DATABASE_URL": "mysql://x"})
