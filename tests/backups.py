"""Databases to back up, and ways to compare what came back."""

import fcntl
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pyrage
from psycopg import sql

from leadctl.postgres.binaries import dump_programs
from tests.conftest import Cli, Outcome, Prepared
from tests.servers import Server

WEIRD = 'we"ird näme'
EVERYTHING = (Path(__file__).parent / "data" / "everything.sql").read_text()
NOISE = ("-- Dumped", "\\restrict", "\\unrestrict")


def create(server: Server, name: str, script: str = EVERYTHING) -> str:
    """Make a database from a script, and return its name."""
    server.drop(name)
    with server.connect() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with server.connect(name) as connection:
        connection.execute(script)
        if connection.execute(
            "SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'"
        ).fetchone():
            connection.execute("CREATE SCHEMA ext; CREATE EXTENSION pg_trgm SCHEMA ext")
    return name


class Place:
    """A database, and the folder of its backups."""

    def __init__(self, server: Server, name: str, cli: Cli, folder: Path) -> None:
        self.server, self.name, self._cli = server, name, cli
        self.url = server.url(name)
        self._env = encrypted_backups(folder)
        self.backups = Path(self._env["BACKUP_DIR"])
        self.identity = Path(self._env["BACKUP_IDENTITY_FILE"])

    def leadctl(self, *arguments: str) -> Outcome:
        return self._cli(*arguments, url=self.url, env=self._env)

    def connect(self, name: str) -> psycopg.Connection[Any]:
        return self.server.connect(name)

    def query(self, statement: str, name: str | None = None) -> list[Any]:
        with self.connect(name or self.name) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def alone(server: Server, name: str) -> Iterator[None]:
    """Let no other worker use databases of a fixed name within the block."""
    with (Path(server.socket) / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def plain_dump(server: Server, name: str, by: int | None = None, *options: str) -> list[str]:
    """Return what pg_dump says of a database, rows in an order of their own.

    `by` is the major version of pg_dump, else it is the server's; `options` are more of pg_dump's.
    """
    program = dump_programs(server.major, by or server.major).path("pg_dump")
    done = subprocess.run(
        [
            program,
            "-h",
            server.socket,
            "-p",
            str(server.port),
            "-U",
            "postgres",
            *options,
            "--",
            name,
        ],
        capture_output=True,
        check=True,
    )
    lines = done.stdout.decode().splitlines()
    return sorted(line for line in lines if not line.startswith(NOISE))


def key_pair(folder: Path) -> tuple[str, Path]:
    """Make an age key; return the public one, and the file of the private one."""
    identity = pyrage.x25519.Identity.generate()
    path = folder / "identity.txt"
    path.write_text(f"# made by a test\n{identity}\n")
    path.chmod(0o600)
    return str(identity.to_public()), path


def encrypted_backups(folder: Path) -> dict[str, str]:
    """Return the variables of backups in a folder, encrypted with a key of their own."""
    recipient, identity = key_pair(folder)
    return {
        "BACKUP_DIR": str(folder / "backups"),
        "BACKUP_RECIPIENTS": recipient,
        "BACKUP_IDENTITY_FILE": str(identity),
    }


def left_by_restores(database: Prepared) -> list[str]:
    """Return the databases that restores of this one left."""
    scratch = f"leadctl_restore_{zlib.crc32(database.name.encode()):08x}"
    with database.server.connect() as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE %s OR datname = %s",
            (f"{database.name}_before%", scratch),
        )
        return [name for (name,) in rows]
