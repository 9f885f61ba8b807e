"""What the server says while a revision runs: its notices and warnings, each text once."""

import psycopg

from leadctl.progress import Narrate
from leadctl.redact import scrub, without_values
from leadctl.text import counted, plain

_SHOWN = {"INFO", "NOTICE", "WARNING"}
_MOST = 20
"""Texts of one revision that are shown: a loop over rows may raise a thousand different ones."""
_LENGTH = 300


class Notices:
    """Narrates what the server says of its own accord, without what it quotes of rows."""

    def __init__(self, narrate: Narrate) -> None:
        self._narrate = narrate
        self._revision: str | None = None
        self._counts: dict[str, int] = {}

    def begin(self, revision: str) -> None:
        """Listen: a revision begins."""
        self._revision, self._counts = revision, {}

    def hear(self, message: psycopg.errors.Diagnostic) -> None:
        """Narrate a message where it is the first of its text."""
        severity = message.severity_nonlocalized or ""
        if self._revision is None or severity not in _SHOWN:
            return
        text = " ".join(scrub(without_values(message.message_primary or "")).split())
        text = f"{severity}: {plain(text[:_LENGTH])}"
        self._counts[text] = self._counts.get(text, 0) + 1
        if self._counts[text] == 1 and len(self._counts) <= _MOST:
            self._narrate(f"{self._revision}: {text}")

    def end(self) -> None:
        """Say how many there were that were not shown; listen no more."""
        shown = min(len(self._counts), _MOST)
        left = sum(self._counts.values()) - shown
        if self._revision and left:
            self._narrate(f"{self._revision}: and {counted(left, 'message')} like these.")
        self._revision = None
