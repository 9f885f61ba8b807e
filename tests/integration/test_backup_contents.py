"""What comes back from a backup is what was there: everything that PostgreSQL has."""

from collections.abc import Callable
from pathlib import Path

import pytest

from leadctl.db.target import resolve
from leadctl.operations.backup.age import read_identities
from leadctl.operations.backup.create import BackupOptions
from leadctl.operations.backup.create import create as back_up
from leadctl.operations.backup.folder import BackupFolder
from leadctl.operations.restore.load import Source, load
from leadctl.settings import load_settings
from tests.backups import EVERYTHING, WEIRD, create, key_pair, plain_dump
from tests.conftest import KEY, Prepared
from tests.postgres import Server
from tests.processes import run

CHINOOK = Path(__file__).parents[1] / "data" / "chinook" / "chinook.sql"


def target(server: Server, name: str):  # type: ignore[no-untyped-def]
    from urllib.parse import quote

    settings = load_settings({}, environ={"DATABASE_URL": server.url(quote(name))})
    return resolve(settings, app="leadconnector")


def there_and_back(server: Server, name: str, folder: Path) -> None:
    """Back a database up, load it into a new one, and compare the two."""
    recipient, identity = key_pair(folder)
    store = BackupFolder(folder / "backups")
    quiet = lambda *_: None  # noqa: E731
    back_up(target(server, name), store, BackupOptions([recipient], lock_wait=5), quiet, quiet)
    copy = server.create()
    try:
        source = Source(store.find("latest"), read_identities(identity))
        load(source, target(server, copy), owners=True, narrate=quiet, progress=quiet)
        assert plain_dump(server, copy) == plain_dump(server, name)
    finally:
        server.drop(copy)


def test_everything_comes_back(server: Server, tmp_path: Path) -> None:
    name = create(server, f"{WEIRD} {tmp_path.name}", EVERYTHING)
    try:
        there_and_back(server, name, tmp_path)
    finally:
        server.drop(name)


def test_chinook_comes_back(server: Server, tmp_path: Path) -> None:
    name = create(server, f"chinook_{tmp_path.name}", CHINOOK.read_text())
    try:
        there_and_back(server, name, tmp_path)
    finally:
        server.drop(name)


@pytest.mark.parametrize("app", ["leadconnector", "salesagent", "viralmommy", "whatsapp", "cleack"])
def test_every_app_comes_back(
    app: str, prepared: Callable[[str], Prepared], tmp_path: Path
) -> None:
    database = prepared(app)
    env = {"DATABASE_URL": database.url, "ENCRYPTION_KEY": KEY}
    filled = run("seed", "--app", app, "--bulk", "20000", env=env)
    assert filled.returncode == 0, filled.stderr
    there_and_back(database.server, database.name, tmp_path)
