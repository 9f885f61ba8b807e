"""Making, starting and stopping the embedded server."""

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from leadctl.errors import EmbeddedServerFailed, EmbeddedServerUnusable, LockHeld
from leadctl.postgres import OLDEST_MAJOR
from leadctl.postgres.binaries import (
    Binaries,
    server_binaries,
    server_in,
    server_with,
)
from leadctl.postgres.embedded.home import Home
from leadctl.progress import Narrate

SUPERUSER = "postgres"
_PORT = 5432
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
_LOCK_SECONDS = 120.0
_POLL_SECONDS = 0.05
_STILL_IN_USE = "is still in use"
"""A killed server's processes may need a moment to go; PostgreSQL then refuses with these words."""


class ServerStatus(NamedTuple):
    """The state of a project's embedded server."""

    exists: bool
    running: bool
    folder: Path
    data: Path
    socket: Path
    pid: int | None = None
    version: str | None = None


def status(home: Home) -> ServerStatus:
    """Say whether the server exists and runs; touches nothing."""
    pid = _postmaster(home)
    return ServerStatus(
        exists=home.exists,
        running=pid is not None,
        folder=home.folder,
        data=home.data,
        socket=home.sockets,
        pid=pid,
        version=(home.data / "PG_VERSION").read_text().strip() if home.exists else None,
    )


def start(home: Home, narrate: Narrate, extensions: Collection[str] = ()) -> ServerStatus:
    """Start the server, making it first where it does not exist.  Safe to call from many processes.

    A new one is made with programs that bring the `extensions`, where some here do.  Raises
    EmbeddedServerUnusable or EmbeddedServerFailed, and LockHeld where another process has been
    starting or stopping it for two minutes.
    """
    if home.exists and _accepts(home):
        return status(home)
    home.create()
    with locked_folder(home.folder):
        binaries = _programs(home, extensions, narrate)
        folder = home.install(binaries)
        if not home.exists:
            narrate("Making the embedded PostgreSQL server…")
            home.programs.write_text(str(binaries.folder))
            initialise(home, folder, binaries.major)
            home.write_key()
        if not _accepts(home):
            _check_version(home, binaries)
            launch(home, folder)
    return status(home)


def _programs(home: Home, extensions: Collection[str], narrate: Narrate) -> Binaries:
    """Return what a server is run with: what it was made with, or brings what a new one needs."""
    usual = server_binaries()
    if home.exists:
        made_with = home.programs.read_text() if home.programs.exists() else ""
        return server_in(made_with) or usual
    found = server_with(extensions, OLDEST_MAJOR, lambda: None) if extensions else usual
    if found is None or found.folder == usual.folder:
        return usual
    narrate(f"PostgreSQL {found.major} of {found.folder} has {', '.join(sorted(extensions))}.")
    return found


def stop(home: Home) -> ServerStatus:
    """Stop the server if it runs: sessions are ended, data is flushed.

    Raises EmbeddedServerFailed where it does not stop within a minute.
    """
    if not home.exists:
        return status(home)
    home.create()  # git clean may have taken the project's folder, and root's data is elsewhere
    with locked_folder(home.folder):
        halt(home)
    return status(home)


def halt(home: Home) -> None:
    """Stop the server if it runs, whoever holds the lock.  Raises EmbeddedServerFailed."""
    pid = _postmaster(home)
    if pid is not None:
        os.kill(pid, signal.SIGINT)  # "fast" shutdown
        _wait(lambda: _postmaster(home) is None, _STOP_SECONDS, home, "did not stop")


def destroy(home: Home) -> None:
    """Stop the server and remove it with all of its data and its encryption key.

    So goes what a killed rehearsal left.
    """
    stop(home)
    rehearsal = home.sibling("rehearsal")
    halt(rehearsal)
    rehearsal.remove()
    home.remove()


def initialise(home: Home, folder: Path, major: int, libraries: Path | None = None) -> None:
    """Make the data of a new server.  Raises EmbeddedServerFailed."""
    locale = (
        ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        if major >= 17
        else ["--no-locale"]
    )
    with home.private(home.data) as data:
        done = subprocess.run(
            [
                folder / "initdb",
                f"--pgdata={data}",
                f"--username={SUPERUSER}",
                "--encoding=UTF8",
                "--auth=trust",  # the socket's folder is closed to everybody else
                *locale,
            ],
            capture_output=True,
            text=True,
            check=False,
            **_as_account(home, libraries),
        )
        if done.returncode:
            raise EmbeddedServerFailed(
                f"initdb could not make the embedded server: {last_line(done.stderr)}",
                hint=f"Look at the free space and the permissions of {home.root}.",
            )


def _check_version(home: Home, binaries: Binaries) -> None:
    made_with = int((home.data / "PG_VERSION").read_text().split(".")[0])
    if made_with != binaries.major:
        raise EmbeddedServerUnusable(
            f"The data in {home.data} is of PostgreSQL {made_with}; the programs here are of "
            f"PostgreSQL {binaries.major}. Nothing was changed.",
            hint=f"Install PostgreSQL {made_with} to get at it, or move {home.folder} away "
            "and run the command again for a new, empty server.",
        )


def launch(home: Home, folder: Path, libraries: Path | None = None) -> None:
    """Start a server and wait until it accepts connections.  Raises EmbeddedServerFailed."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        _remove_stale_files(home)
        size_before = home.log.stat().st_size if home.log.exists() else 0
        pid = spawn(home, folder, libraries)
        while program(pid) and time.monotonic() < deadline:
            if _accepts(home):
                return
            time.sleep(_POLL_SECONDS)
        message = last_line(log_since(home, size_before))
        if program(pid) or _STILL_IN_USE not in message or time.monotonic() > deadline:
            raise EmbeddedServerFailed(
                f"The embedded server did not start: {message or 'no answer'}",
                hint=f"Its log is {home.log}.",
            )
        time.sleep(_POLL_SECONDS * 4)


_DETACHED = '"$@" >>"$0" 2>&1 </dev/null & echo $!'
"""A shell starts the server and ends at once, so that the server is nobody's child: a long-lived
caller would have to wait for it, and until then a dead server would look alive.
"""


def spawn(home: Home, folder: Path, libraries: Path | None) -> int:
    """Start the server process in a session of its own: Ctrl-C here is not for it."""
    server = [str(folder / "postgres"), "-D", str(home.data), "-p", str(_PORT)]
    server += ["-k", str(home.sockets), "-c", "listen_addresses="]
    server += ["-c", "max_locks_per_transaction=256"]  # a thousand tables in one transaction
    done = subprocess.run(
        ["/bin/sh", "-c", _DETACHED, str(home.log), *server],
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
        **_as_account(home, libraries),
    )
    if done.returncode:
        raise EmbeddedServerUnusable(
            f"Cannot start the embedded server: {done.stderr.strip()}",
            hint=f"Look at the permissions of {home.root}, or set DATABASE_URL.",
        )
    return int(done.stdout)


def _postmaster(home: Home) -> int | None:
    """Return the process id of the running server, None where the pid file is stale or missing."""
    try:
        lines = (home.data / "postmaster.pid").read_text().splitlines()
        pid = int(lines[0])
        os.kill(pid, 0)
    except (OSError, ValueError, IndexError):
        return None
    copied = len(lines) > 1 and Path(lines[1]).resolve() != home.data.resolve()
    return None if copied or program(pid) != "postgres" else pid


def program(pid: int) -> str:
    """Return the name of the program that a process runs; empty where the process is dead.

    It tells a server from a process that got a dead server's number.
    """
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        if Path("/proc/self").exists():
            return ""
        printed = subprocess.run(
            ["/bin/ps", "-p", str(pid), "-o", "comm="], capture_output=True, text=True, check=False
        ).stdout
        return Path(printed.strip()).name
    return "" if rest.split()[0] == "Z" else name


def _remove_stale_files(home: Home) -> None:
    """Remove what a killed server left; the caller holds the lock, so nobody else starts one.

    PostgreSQL does so itself, unless a process has got the dead server's number.  It still refuses
    to start with survivors of the old one: it knows them by their shared memory.
    """
    if _postmaster(home) is None:
        for path in (home.data / "postmaster.pid", *home.sockets.glob(".s.PGSQL.*")):
            path.unlink(missing_ok=True)


_libpq = threading.Lock()


@contextmanager
def without_libpq_variables() -> Iterator[None]:
    """Hide libpq's variables within the block: PGPORT and the like mean another server.

    libpq reads them from the environment of the process, some of them only there.
    """
    with _libpq:
        hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PG")}
        try:
            yield
        finally:
            os.environ.update(hidden)


def _accepts(home: Home) -> bool:
    import psycopg

    if _postmaster(home) is None:
        return False
    try:
        with without_libpq_variables():
            psycopg.connect(
                host=str(home.sockets), user=SUPERUSER, dbname="postgres", connect_timeout=5
            ).close()
    except psycopg.OperationalError:
        return False
    return True


def _wait(done: Callable[[], bool], seconds: float, home: Home, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise EmbeddedServerFailed(
                f"The embedded server {what} within {seconds:.0f} s.",
                hint=f"Its log is {home.log}.",
            )
        time.sleep(_POLL_SECONDS)


@contextmanager
def locked_folder(
    folder: Path, name: str = "lock", doing: str = "starting or stopping the server"
) -> Iterator[None]:
    """Hold the file lock that keeps two commands from starting or stopping a server at once.

    `doing` is what the other one does meanwhile.  Raises LockHeld.
    """
    deadline = time.monotonic() + _LOCK_SECONDS
    lock = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with os.fdopen(lock, "w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LockHeld(
                        f"Another leadctl has been {doing} in {folder} for {_LOCK_SECONDS:.0f} s.",
                        hint="Wait for it to finish, or stop it.",
                    ) from None
                time.sleep(_POLL_SECONDS)
        yield


def _as_account(home: Home, libraries: Path | None = None) -> dict[str, Any]:
    # Nothing of who happened to start it: it runs for days, as another user for root.
    env = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
    if libraries:
        env["LD_LIBRARY_PATH"] = str(libraries)
    if home.account.uid is None:
        return {"cwd": home.root, "env": env}
    return {
        "env": env,
        "user": home.account.uid,
        "group": home.account.gid,
        "extra_groups": [],
        "cwd": home.root,
        "umask": 0o077,
    }


def log_since(home: Home, position: int) -> str:
    """Return what the server has logged since its log had so many bytes."""
    with home.log.open(errors="replace") as file:
        file.seek(position)
        return file.read()


def last_line(text: str) -> str:
    """Return the last line that tells of an error, else the last one."""
    lines = [line for line in text.splitlines() if "FATAL" in line or "error" in line.lower()]
    return (lines or text.strip().splitlines() or [""])[-1].strip()
