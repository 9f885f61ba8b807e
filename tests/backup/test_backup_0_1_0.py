"""A backup that leadctl 0.1.0 made, encrypted, of a PostgreSQL 15: it goes on being restored."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import Cli, Prepared

MADE = Path(__file__).parents[1] / "data" / "backup_0_1_0"
ID = "20261128T184818-885Z"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "backups"
    shutil.copytree(MADE, folder)
    identity = folder / "identity.txt"
    identity.chmod(0o600)
    return {"BACKUP_DIR": str(folder), "BACKUP_IDENTITY_FILE": str(identity)}


def test_it_is_known_and_whole(cli: Cli, env: dict[str, str]) -> None:
    [listed] = cli("backup", "list", "-o", "json", env=env).json["backups"]
    assert (listed["id"], listed["rows"], listed["damage"]) == (ID, 10, None)
    assert (listed["verified"]["ok"], listed["verified"]["depth"]) == (True, "content")
    verified = cli("backup", "verify", "latest", "-o", "json", env=env)
    assert (verified.code, verified.json["depth"]) == (0, "content"), verified.err


def test_it_is_restored(leadconnector: Prepared, cli: Cli, env: dict[str, str]) -> None:
    name = f"{leadconnector.name}_of_0_1_0"
    try:
        restored = cli("restore", ID, "--into", name, "-o", "json", url=leadconnector.url, env=env)
        assert (restored.code, restored.json["rows"]) == (0, 10), restored.err
        assert all(check["ok"] for check in restored.json["checks"])
        assert "Migrations of leadconnector: 2 applied." in restored.err
        with leadconnector.server.connect(name) as connection:
            found = connection.execute("SELECT count(*) FROM public.users").fetchall()
        assert found == [(1,)]
    finally:
        leadconnector.server.drop(name)


def test_rows_of_it_come_back(leadconnector: Prepared, cli: Cli, env: dict[str, str]) -> None:
    leadconnector.query("DELETE FROM users")
    rows = ("--table", "users", "--data-only", "--yes")
    refused = cli("restore", *rows, url=leadconnector.url, env=env)
    assert (refused.code, ID in refused.err) == (1, True), refused.err  # it is of another database
    restored = cli("restore", ID, *rows, url=leadconnector.url, env=env)
    assert restored.code == 0, restored.err
    assert leadconnector.query("SELECT count(*) FROM users") == [(1,)]
