"""The entry point: `leadctl`, and `python -m leadctl`."""

import gc
import sys

from leadctl.cli import exit_codes

_ALLOCATIONS = 200_000


def main() -> None:
    """Run the command line.

    A short command spends a quarter of its time on collecting garbage that is none: importing
    frees nothing.  So the collector looks seldom, and not at all when the process ends.
    """
    exit_codes.quit_quietly()
    gc.set_threshold(_ALLOCATIONS, 20, 100)
    try:
        from leadctl.cli.commands import app_for

        app_for(sys.argv[1:])()
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
