"""The entry point: `leadctl`, and `python -m leadctl`."""

import gc
import os
import signal
import sys
from types import FrameType

_ALLOCATIONS = 200_000


def _end_at_once(number: int, _frame: FrameType | None) -> None:
    """End without a traceback, until what knows better is loaded."""
    os._exit(128 + number)


def main() -> None:
    """Run the command line.

    A short command spends a quarter of its time on collecting garbage that is none: importing
    frees nothing.  So the collector looks seldom, and not at all when the process ends.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)
    from leadctl.cli import exit_codes

    exit_codes.quit_quietly()
    gc.set_threshold(_ALLOCATIONS, 20, 100)
    try:
        from leadctl.cli.commands import app_for

        app_for(sys.argv[1:])()
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
