"""Signals while the command line does not listen: an exit code, and never a traceback."""

import os
import signal
from types import FrameType

_SAID = {signal.SIGINT: b"Interrupted.\n", signal.SIGTERM: b"Terminated.\n"}


def end(number: int, _frame: FrameType | None) -> None:
    """End the process as a shell expects it: 130 for SIGINT, 143 for SIGTERM."""
    os.write(2, _SAID[signal.Signals(number)])
    os._exit(128 + number)


def quit_quietly() -> None:
    """Let signals end the process, while modules are loaded and when all is done.

    Nothing is begun then, or it is done.  A signal that is ignored, as under nohup, stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)
