"""The packages carry what they must, and nothing else; installed away from the tree, one migrates."""

import email
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.servers import Server

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """The wheel that `make package` built, else one that is built now."""
    if not DIST.is_dir():
        command = ["-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path / "dist"), str(ROOT)]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        subprocess.run([sys.executable, *command], check=True, env=environment)
    (found,) = (DIST if DIST.is_dir() else tmp_path / "dist").glob("leadctl-*.whl")
    return found


@pytest.mark.slow
def test_an_installed_wheel_migrates(
    wheel: Path, server: Server, database: str, tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", f"{wheel}[apps]"], check=True, env=environment
    )
    away = tmp_path / "away"
    away.mkdir()

    def leadctl(*arguments: str) -> str:
        done = subprocess.run(
            [tmp_path / "venv" / "bin" / "leadctl", *arguments],
            cwd=away,
            env={
                **environment,
                "DATABASE_URL": server.url(database),
                "ENCRYPTION_KEY": "ab" * 32,
                "LEADCTL_APP": "leadconnector",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "leadconnector_0002" in leadctl("migrate")
    assert "users" in leadctl("seed")
    assert "Everything is applied" in leadctl("migrate", "status")
    module = subprocess.run(
        [python, "-m", "leadctl", "--version"], cwd=away, capture_output=True, check=True
    )
    assert module.stdout.startswith(b"leadctl ")
    assert not list(away.iterdir())


@pytest.mark.slow
def test_what_the_wheel_holds(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tracked = subprocess.run(
        ["git", "ls-files", "leadctl", "migrations"], cwd=ROOT, capture_output=True, text=True
    , check=True).stdout.split()  # fmt: skip
    expected = {
        name.replace("migrations/", "leadctl/_migrations/", 1)
        if name.startswith("migrations/")
        else name
        for name in tracked
    }
    packed = {name for name in names if ".dist-info/" not in name}
    assert packed == expected
    assert {"leadctl/py.typed", "leadctl/products/products.toml"} <= packed
    (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    said = email.message_from_bytes(zipfile.ZipFile(wheel).read(metadata))
    assert said["License-Expression"] == "MIT"
    assert set(said.get_all("Provides-Extra") or []) >= {"embedded", "apps", "lint", "all"}
    assert not {"test", "check", "matrix", "package"} & set(said.get_all("Provides-Extra") or [])
    needed = [each for each in said.get_all("Requires-Dist") or [] if "extra ==" not in each]
    assert not [each for each in needed if each.startswith(("cuid2", "bcrypt", "phonenumbers"))]


@pytest.mark.slow
@pytest.mark.skipif(not DIST.is_dir(), reason="make package builds it")
def test_what_the_source_holds() -> None:
    (source,) = DIST.glob("leadctl-*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "Makefile"} <= names
    assert {
        "leadctl/__main__.py",
        "migrations/leadconnector/alembic.ini",
        "tests/conftest.py",
    } <= names
    assert not [
        name for name in names if name.startswith((".ci", ".github", ".venv", ".leadctl", "dist"))
    ]
