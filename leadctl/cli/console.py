"""Standard error: narration, progress, errors, and the one place that speaks them."""

import codecs
import io
import os
import sys
import time
from datetime import UTC, datetime
from typing import ClassVar

from leadctl.errors import Declined, LeadctlError
from leadctl.hints import repeated
from leadctl.redact import scrub
from leadctl.text import plain, size

_RED = ";31"
_TERMINAL_SECONDS = 0.1
_LOG_SECONDS = 10.0
_TELLING = 0.02
"""Before this share is done, its pace says nothing of the rest."""
_PLAINLY = "leadctl: plainly"
_FOR_PEOPLE = {"table", "nagios"}
"""Formats that a stream shows as well as it can; the others are data, and UTF-8."""
_PLAIN = dict(zip("─│…→≥↵█▉▊▋▌▍▎▏▇▆▅▄▃▂▁", "-|~>>\\" + "####||||" + "===--__", strict=True))
"""What stands for characters of ours where a stream has none of them: as wide as they are."""


def let_write(output: str) -> None:
    """Let the standard streams take what a format has, whatever encoding the terminal has.

    What a table cannot show is written otherwise: a command that has done its work does not fail
    at its last line.
    """
    codecs.register_error(_PLAINLY, _plainly)
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        if stream is sys.stdout and output not in _FOR_PEOPLE:
            stream.reconfigure(encoding="utf-8")
        elif stream.encoding.lower() not in {"utf-8", "utf8"}:
            stream.reconfigure(errors=_PLAINLY)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    plain = (_PLAIN.get(each) or ascii(each)[1:-1] for each in text)
    return "".join(plain), error.end


class Console:
    """The messages of a command besides its result."""

    _line_is_open: ClassVar[bool] = False
    """Whether progress stands in the terminal's line, which all consoles have in common."""
    given: ClassVar[dict[str, str]] = {}
    """What this command line says about where to work, for the commands that hints name."""

    def __init__(self, *, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet = quiet
        self.as_json = as_json
        self._began: float | None = None
        self._spoke = 0.0

    def narrate(self, message: str) -> None:
        """Say what is being done: plain on a terminal, with a UTC time in a log."""
        if self.quiet:
            return
        self._close_line()
        stamp = "" if sys.stderr.isatty() else f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} "
        _say(f"{stamp}{_shown(repeated(message, self.given))}\n")

    def progress(self, done: int, total: int, unit: str) -> None:
        """Say how far it is: a line that changes on a terminal, one every ten seconds in a log."""
        now = time.monotonic()
        if self._began is None or done == 0:
            self._began = self._spoke = now
        interval = _TERMINAL_SECONDS if sys.stderr.isatty() else _LOG_SECONDS
        if self.quiet or now - self._spoke < interval:
            return
        self._spoke = now
        text = _progress_text(done, total, unit, now - self._began)
        if sys.stderr.isatty():
            _say(f"\r\x1b[K{text}")
            Console._line_is_open = True
        else:
            self.narrate(text)

    def error(self, error: LeadctlError) -> None:
        """Say what went wrong and what to do next; one JSON object where JSON was asked for."""
        self._close_line()
        hint = error.hint and repeated(error.hint, self.given)
        if self.as_json:
            from leadctl.render.json import dumps_line

            said = {"message": scrub(error.message), "hint": scrub(hint)}
            _say(dumps_line({"code": error.code, **said}) + "\n")
        else:
            label = "" if isinstance(error, Declined) else f"{_bold('Error:', _RED)} "
            after = f"{_bold('Hint:')} {_shown(hint)}\n" if hint else ""
            _say(f"{label}{_shown(error.message)}\n{after}")

    def finish(self) -> None:
        """End a progress line, before the result is written."""
        self._close_line()

    def _close_line(self) -> None:
        if self._line_is_open:
            _say("\r\x1b[K")
            Console._line_is_open = False


def _say(text: str) -> None:
    """Write to standard error; where nobody reads it any more, or it is full, go on without.

    What is being done to a database is not ended in the middle for that.
    """
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _shown(message: str) -> str:
    """Return a message as it may be shown: names in it may be those of strangers."""
    return plain(scrub(message))


def _bold(word: str, colour: str = "") -> str:
    """Return a word in bold on a terminal that shows it, and not with NO_COLOR."""
    plain = not sys.stderr.isatty() or os.environ.get("NO_COLOR")
    return word if plain or os.environ.get("TERM") == "dumb" else f"\x1b[1{colour}m{word}\x1b[0m"


def _progress_text(done: int, total: int, unit: str, seconds: float) -> str:
    def shown(count: float) -> str:
        return size(count) if unit == "B" else f"{count:,.0f}"

    rate = done / seconds if seconds > 0 else 0.0
    text = shown(done) + (f" of {shown(total)}" if total else "")
    text += f"{'' if unit == 'B' else f' {unit}'}, {shown(rate)} a second"
    if rate and total > done >= total * _TELLING:
        left = int((total - done) / rate)
        text += f", {left // 60}:{left % 60:02d} left"
    return text
