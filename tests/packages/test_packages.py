"""Models that others wrote: packages of PyPI, from `init` to a database that equals the models."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.processes import ROOT
from tests.servers import Server

PACKAGES = {
    # Galaxy's 183 tables: dataclasses on a registry, cycles of foreign keys.
    "galaxy-data": ("galaxy.model:Base", 180),
    # Buildbot's 42: tables without classes, foreign keys that are made afterwards.
    "buildbot": ("buildbot.db.model:Model", 40),
    # Barbican's 26: declarative, with mixins.
    "barbican": ("barbican.model.models:BASE", 20),
}
_COMPARE = """\
import sys
from leadctl.apps.metadata import load_metadata
from leadctl.apps.registry import find_app
from leadctl.catalog.definitions import compare, read_catalog
from leadctl.postgres.connect import connect
from leadctl.postgres.engine import run_engine
from leadctl.postgres.target import resolve
from leadctl.settings import load_settings

settings = load_settings()
migrated = resolve(settings, app=settings.app)
fresh = migrated.on(sys.argv[1])
with run_engine(fresh, "test").connect() as connection, connection.begin():
    load_metadata(find_app(settings)).create_all(connection)
with connect(fresh, rows=True) as one, connect(migrated, rows=True) as other:
    for difference in compare(read_catalog(one, "public"), read_catalog(other, "public")):
        print(difference)
"""


@pytest.fixture
def installed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with a package and what it needs, installed from PyPI."""
    home = tmp_path / "environment"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", request.param],
        check=True,
        capture_output=True,
    )
    (packages,) = home.glob("lib/python*/site-packages")
    return packages


@pytest.mark.slow
@pytest.mark.parametrize("installed", PACKAGES, indirect=True)
def test_a_package(
    installed: Path, request: pytest.FixtureRequest, server: Server, database: str, tmp_path: Path
) -> None:
    models, tables = PACKAGES[request.node.callspec.params["installed"]]
    project = tmp_path / "project"
    project.mkdir()
    # Its own SQLAlchemy comes first, as in a project's environment that leadctl is installed in.
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}:{installed}",
        "DATABASE_URL": server.url(database),
    }

    def python(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=project, env=env, capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    found = python("-m", "leadctl", "init", "--app", "theirs", "--models", models, "-o", "json")
    assert len(json.loads(found)["tables"]) >= tables
    python("-m", "leadctl", "migrate", "new", "-m", "first tables")
    applied = json.loads(python("-m", "leadctl", "migrate", "-o", "json"))
    assert len(applied["applied"]) == 1
    fresh = server.create()
    try:
        assert python("-c", _COMPARE, fresh) == ""
    finally:
        server.drop(fresh)
    # And back: models read from the database of models that others wrote.
    (project / "leadctl.toml").rename(tmp_path / "leadctl.toml.old")
    (project / "migrations").rename(tmp_path / "migrations.old")
    with server.connect(database) as connection:
        connection.execute("DROP TABLE alembic_version")
        connection.execute("DROP SCHEMA leadctl CASCADE")
    arguments = ("init", "--from-database", "--app", "back", "-o", "json")
    assert json.loads(python("-m", "leadctl", *arguments))["unrepresented"] == []
