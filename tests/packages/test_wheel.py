"""The wheel carries everything: installed away from the tree, it migrates."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.servers import Server

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_an_installed_wheel_migrates(server: Server, database: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path / "dist", ROOT],
        check=True,
        env=environment,
    )
    (wheel,) = (tmp_path / "dist").glob("leadctl-*.whl")
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
            env={**environment, "DATABASE_URL": server.url(database), "ENCRYPTION_KEY": "ab" * 32},
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
