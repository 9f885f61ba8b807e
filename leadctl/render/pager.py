"""The pager: what a terminal cannot hold is shown a screen at a time, as psql and git do."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping

from leadctl.child_processes import child_environment

_PAGERS = ("less", "more")


def show(text: str, *, wide: bool) -> None:
    """Write a text to standard output; through a pager where it is a terminal that lacks the room.

    That is the program that PAGER names, else `less`; none where PAGER is empty or `cat`.  What is
    `wide` may have lines that are wider than the terminal: `less` is told to cut them, and the
    arrow keys show the rest.
    """
    pager = _pager() if sys.stdout.isatty() and _is_longer(text, wide) else []
    if not pager or not _paged(pager, text, wide):
        sys.stdout.write(text)


def _pager() -> list[str]:
    """Return the pager's command line; empty where none is wanted, or there is none."""
    if os.environ.get("TERM", "dumb") == "dumb":
        return []
    named = os.environ.get("PAGER")
    if named is None:
        return [next((found for each in _PAGERS if (found := shutil.which(each))), "")]
    try:
        words = shlex.split(named)
    except ValueError:
        return []
    return [] if words == ["cat"] else words


def _is_longer(text: str, wide: bool) -> bool:
    size = shutil.get_terminal_size()
    lines = text.splitlines()
    if wide and any(len(line) > size.columns for line in lines):
        return True
    return sum(max(0, len(line) - 1) // size.columns + 1 for line in lines) >= size.lines


def _paged(pager: list[str], text: str, wide: bool) -> bool:
    """Show a text in a pager; return whether that could be started."""
    sys.stdout.flush()
    try:
        started = subprocess.Popen(pager, stdin=subprocess.PIPE, env=_environment(wide))
    except OSError:
        return False
    # Ctrl-C is the pager's, which ends with q.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        started.communicate(text.encode(sys.stdout.encoding, sys.stdout.errors or "strict"))
    finally:
        signal.signal(signal.SIGINT, before)
    return True


def _environment(wide: bool) -> Mapping[str, str]:
    """Return the pager's environment: as git and systemd have it where the user says nothing."""
    own = {"LESS": "FRXS" if wide else "FRX"}
    if sys.stdout.encoding.lower() in {"utf-8", "utf8"}:
        own["LESSCHARSET"] = "utf-8"
    return own | child_environment()
