"""The command line with all of its commands: each file of `leadctl.cli.commands` is one."""

from importlib import import_module
from pathlib import Path

from leadctl.cli import commands
from leadctl.cli.group import app

__all__ = ["app"]

for file in sorted(Path(commands.__path__[0]).glob("[!_]*.py")):
    import_module(f"{commands.__name__}.{file.stem}")
