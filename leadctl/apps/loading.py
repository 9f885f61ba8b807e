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


@contextlib.contextmanager
def to_stderr() -> Iterator[None]:
    """Send what is written to standard output to standard error, while a team's code runs.

    That is what Python prints, and what writes to the descriptor: C libraries, child processes.
    Both are the whole process's; with several threads in here the last one to leave restores them.
    """
    _diversion.enter()
    try:
        yield
    finally:
        _diversion.leave()


class _Diversion:
    """Standard output, diverted as long as anybody needs it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._restore = contextlib.ExitStack()

    def enter(self) -> None:
        with self._lock:
            if self._users == 0:
                self._restore.enter_context(_descriptor_to_stderr())
                self._restore.enter_context(contextlib.redirect_stdout(sys.stderr))
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._restore.close()


_diversion = _Diversion()


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


def _flush() -> None:
    """Write out what is buffered, by Python and by C, while it goes where it belongs."""
    sys.stdout.flush()
    ctypes.CDLL(None).fflush(None)


def make_importable(root: Path) -> None:
    """Let modules be imported from a folder, also later: inside of functions, say."""
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
        importlib.invalidate_caches()
