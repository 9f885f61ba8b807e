"""Barman's command line: its programs are run, and nothing of it is imported."""

import shutil
import sys
from pathlib import Path

from leadctl.errors import MissingExtra

SERVER = "leadctl"
"""What Barman calls the server: a folder is the archive of one."""
_CONFIGURATION = "barman.conf"


def configuration(folder: Path) -> Path:
    """Return Barman's configuration file in the folder of an archive."""
    return folder / _CONFIGURATION


def barman_command(folder: Path, *arguments: str) -> list[str]:
    """Return a command line for the archive in a folder.  Raises MissingExtra.

    `barman` is taken from beside this Python, else along PATH.
    """
    scripts = str(Path(sys.executable).parent)
    found = shutil.which("barman", path=scripts) or shutil.which("barman")
    if found is None:
        raise MissingExtra(
            "Barman, which keeps the archive for point in time, is not installed.",
            hint="Install it with: pip install 'barman>=3.19' (the extra pitr)",
        )
    return [found, "-c", str(configuration(folder)), *arguments]
