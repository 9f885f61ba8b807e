"""An archive of a server of its own, made once a file: setup, receiver and base backup."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from leadctl.postgres.embedded import Home
from tests.processes import run, wait_for
from tests.servers import CACHE, MAJOR, RunningServer, find_binaries

BARMAN = shutil.which("barman", path=str(Path(sys.executable).parent)) or shutil.which("barman")
SETTINGS = {"checkpoint_completion_target": "0.0", "max_prepared_transactions": "5"}
UNPACKED = CACHE / "usr" / "bin" / "rsync"
needs_barman = pytest.mark.skipif(
    BARMAN is None or not (shutil.which("rsync") or UNPACKED.exists()),
    reason="barman (pip install 'leadctl[pitr]') and rsync (tests/get_servers.sh) are needed",
)


@dataclass(frozen=True)
class Archived:
    """A server with a database, its archive, and what commands are run with."""

    server: RunningServer
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def leadctl(self, *arguments: str, code: int = 0, **env: str) -> Any:
        """Run a command of leadctl's to its end."""
        done = run(*arguments, env=self.env | env, cwd=self.folder)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def query(self, statement: str, database: str = "shop") -> list[tuple[Any, ...]]:
        """Ask the live server."""
        with self.server.info.connect(database) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def now(self) -> str:
        """Return the server's time, when it is over."""
        ((now,),) = self.query("SELECT clock_timestamp()")
        time.sleep(0.01)
        return str(now.astimezone(UTC).isoformat(" "))

    def barman(self, *arguments: str) -> str:
        """Run Barman as somebody who knows it would."""
        command = [str(BARMAN), "-c", str(self.folder / "pitr" / "barman.conf"), *arguments]
        env = {**os.environ, "PATH": self.env["PATH"]}
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, check=False, cwd=self.folder
        )
        return done.stdout + done.stderr

    def receive(self) -> None:
        """Start the receiver, and what archives, by the line that is for cron."""
        line = self.leadctl("schedule", "cron", "pitr").stdout.split(" ", 5)[5]
        subprocess.run(["/bin/sh", "-c", line], check=True, env=self.env, cwd=self.folder)
        wait_for(lambda: self.query("SELECT 1 FROM pg_stat_replication", "postgres"))

    def processes(self) -> str:
        """Return the command lines of what runs for this archive."""
        return "\n".join(line for line in _command_lines() if str(self.folder) in line)

    def left(self) -> list[str]:
        """Return what runs of a recovered server, or is left of its files."""
        folder = self.folder / "pitr" / "recovered"
        roots = [folder, Home.at(folder).root]
        running = [line for line in _command_lines() if any(str(root) in line for root in roots)]
        return running + [str(folder)] * folder.exists()


def _command_lines() -> list[str]:
    listed = subprocess.run(["ps", "-wweo", "args"], capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def with_rsync(folder: Path) -> str:
    """Return a PATH that has rsync; one that was unpacked finds its library."""
    if shutil.which("rsync"):
        return os.environ["PATH"]
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    libraries = next((CACHE / "usr" / "lib").glob("*-linux-gnu*"))
    (programs / "rsync").write_text(
        f'#!/bin/sh\nLD_LIBRARY_PATH="{libraries}" exec "{UNPACKED}" "$@"\n'
    )
    (programs / "rsync").chmod(0o755)
    return f"{programs}:{os.environ['PATH']}"


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archived]:
    """A server that is archived since its database `shop` was made."""
    folder = tmp_path_factory.mktemp("archived")
    with RunningServer(MAJOR, **SETTINGS) as server:
        path = f"{find_binaries(MAJOR)}:{with_rsync(folder)}"
        env = {"PATH": path, "DATABASE_URL": server.info.url("shop")}
        made = Archived(server, folder, env)
        made.query("CREATE DATABASE shop", "postgres")
        made.leadctl("db", "environment", "development", "--unprotect")
        made.leadctl("pitr", "setup")
        try:
            made.receive()
            made.leadctl("pitr", "backup")
            time.sleep(1)  # of the second in which it ended nothing can be had
            yield made
        finally:
            made.barman("receive-wal", "--stop", "leadctl")
