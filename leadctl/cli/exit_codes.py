"""How the process ends: exit codes, which a script can rely on, also where a signal ends it."""

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import FrameType

from leadctl import errors


class ExitCode(IntEnum):
    """How a command ends.  `health-check` alone speaks Nagios instead: 0, 1, 2, 3."""

    DONE = 0
    NO = 1
    """The answer is "no" (pending, different, failed verification), or the operation failed."""
    USAGE = 2
    CONFIGURATION = 3
    CONNECTION = 4
    REFUSED = 5
    LOCKED = 6
    PARTLY = 7
    """Done in part; what was left is named."""
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    """Whoever read the output has ended, as `head` does; a shell says 141 of others, too."""
    TERMINATED = 143


_FAMILIES: tuple[tuple[type[errors.LeadctlError], ExitCode], ...] = (
    (errors.UsageError, ExitCode.USAGE),
    (errors.ConfigurationError, ExitCode.CONFIGURATION),
    (errors.ConnectionFailed, ExitCode.CONNECTION),
    (errors.Refused, ExitCode.REFUSED),
    (errors.LockHeld, ExitCode.LOCKED),
)


def exit_code(error: errors.LeadctlError) -> ExitCode:
    """Return the exit code of an error's family."""
    for family, code in _FAMILIES:
        if isinstance(error, family):
            return code
    return ExitCode.NO


NAGIOS_CRITICAL, NAGIOS_UNKNOWN = 2, 3
NAGIOS = {"ok": 0, "warning": 1, "critical": NAGIOS_CRITICAL, "unknown": NAGIOS_UNKNOWN}
"""How `health-check` ends, by the status that it found."""


def nagios_code(error: errors.LeadctlError) -> int:
    """Return the exit code of a health check that could not be made.

    A server that cannot be reached is critical; a wrong flag or setting is unknown.
    """
    return NAGIOS_CRITICAL if exit_code(error) is ExitCode.CONNECTION else NAGIOS_UNKNOWN


_SAID = {signal.SIGINT: b"Interrupted.\n", signal.SIGTERM: b"Terminated.\n"}


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived."""


_REASONS: dict[int, type[BaseException]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: Terminated,
    signal.SIGHUP: Terminated,
}


def cut_off(seconds: float) -> None:
    """Let a server or a network that goes silent hold up the end for so many seconds at most."""
    # While that module is still loading there is no connection to be cut off.
    connections = sys.modules.get("leadctl.postgres.connect")
    if cut_off_all := getattr(connections, "cut_off_all", None):
        cut_off_all(seconds)


@contextmanager
def ending_in_order(
    request: Callable[[int], None],
    within: float | None = None,
    at_once: Callable[[int], None] | None = None,
) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM ask the run to end in order; a second one ends it at once.

    `request` is told the signal.  `at_once` ends the process where an error would not: it waits for
    threads.  What has not ended `within` so many seconds is cut off, and then
    the signal is why it failed.  In another thread than the main one signals are another's affair.
    """
    asked: list[tuple[int, float]] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        if asked:
            if at_once is not None:
                at_once(number)
            raise _REASONS[number]
        asked.append((number, time.monotonic()))
        request(number)
        if within is not None:
            cut_off(within)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except Exception:
        for number, at in asked:
            if within is not None and time.monotonic() - at >= within:
                raise _REASONS[number] from None
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def last_words() -> Iterator[None]:
    """Hold signals back while one is told of that ends the process; others then end it silently."""
    own = [each for each in _SAID if signal.getsignal(each) is end_process]
    for each in own:
        signal.signal(each, signal.SIG_IGN)
    yield
    for each in own:
        signal.signal(each, lambda number, _: os._exit(128 + number))


def end_process(number: int, _frame: FrameType | None) -> None:
    """End the process as a shell expects it: 130 for SIGINT, 143 for SIGTERM."""
    with last_words():
        os.write(2, _SAID[signal.Signals(number)])
    os._exit(128 + number)


def quit_quietly() -> None:
    """Let signals end the process, while modules are loaded and when all is done.

    Nothing is begun then, or it is done.  A signal that is ignored, as under nohup, stays so.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end_process)
            # Python itself gives signals back at the very end: one would be the exit code then.
            atexit.register(signal.signal, number, signal.SIG_IGN)
