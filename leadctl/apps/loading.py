"""Loading a team's own code: where it is imported from, and where what it prints goes."""

import contextlib
import ctypes
import importlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

_STDOUT = 1
_STDERR = 2
_VARIABLE = "DATABASE_URL"
_NO_SERVER = "postgresql+psycopg://leadctl.invalid/leadctl"
"""A name that is never resolved (RFC 2606), with the driver that is both sync and async."""


@contextlib.contextmanager
def user_code() -> Iterator[None]:
    """Run a team's code: what it writes to standard output goes to standard error.

    That is what Python prints, and what writes to the descriptor: C libraries, child processes.
    It finds a `DATABASE_URL` also where leadctl has its URL from `.env`, a flag or its own server.
    Both are the whole process's; with several threads in here the last one to leave restores them.
    """
    _surroundings.enter()
    try:
        yield
    finally:
        _surroundings.leave()


class _Surroundings:
    """What a team's code finds, as long as any of it runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._restore = contextlib.ExitStack()

    def enter(self) -> None:
        with self._lock:
            if self._users == 0:
                self._restore.enter_context(_descriptor_to_stderr())
                self._restore.enter_context(contextlib.redirect_stdout(sys.stderr))
                self._restore.enter_context(_database_url())
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._restore.close()


_surroundings = _Surroundings()


@contextlib.contextmanager
def _descriptor_to_stderr() -> Iterator[None]:
    _flush()
    try:
        kept = os.dup(_STDOUT)
    except OSError:  # it is closed: nothing can be written to it
        yield
        return
    try:
        os.dup2(_STDERR, _STDOUT)
        yield
        _flush()
    finally:
        os.dup2(kept, _STDOUT)
        os.close(kept)


@contextlib.contextmanager
def _database_url() -> Iterator[None]:
    """Let an engine be made of `DATABASE_URL` where that is not set.

    Who is to connect is handed a connection, so it names no server.
    """
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = before or _NO_SERVER
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = before


def _flush() -> None:
    """Write out what is buffered, by Python and by C, while it goes where it belongs."""
    sys.stdout.flush()
    ctypes.CDLL(None).fflush(None)


def make_importable(root: Path) -> None:
    """Let modules be imported from a folder, also later: inside of functions, say."""
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
        importlib.invalidate_caches()
