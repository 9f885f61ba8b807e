"""The entry point: `leadctl`, and `python -m leadctl`."""

# `_signal` is the part of `signal` that Python has loaded; the rest brings enum, and Ctrl-C while
# that is loaded would print a traceback.
import _signal  # type: ignore[import-not-found]
import gc
import os
import sys

_ALLOCATIONS = 200_000


def _end_at_once(number: int, _frame: object) -> None:
    """End without a traceback, until what knows better is loaded."""
    os._exit(128 + number)


def main() -> None:
    """Run the command line.

    A short command spends a quarter of its time on collecting garbage that is none: importing
    frees nothing.  So the collector looks seldom, and not at all when the process ends.
    """
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _end_at_once)
    from leadctl.cli import exit_codes, late_imports

    exit_codes.quit_quietly()
    late_imports.install()
    gc.set_threshold(_ALLOCATIONS, 20, 100)
    try:
        from leadctl.cli.commands import app_for

        app_for(sys.argv[1:])()
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
