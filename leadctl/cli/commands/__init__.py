"""The command line with all of its commands: each file here is one, and short.

Arguments in, one method of the API, its result out.
"""

from importlib import import_module
from pathlib import Path

from leadctl.cli.group import app

__all__ = ["app"]

for file in sorted(Path(__path__[0]).glob("[!_]*.py")):
    import_module(f"{__name__}.{file.stem}")
