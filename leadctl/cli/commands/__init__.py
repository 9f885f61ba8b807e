"""The command line: each file here is one command, and short.

Arguments in, one method of the API, its result out.  `app` has all commands.  A run needs the one
that it names: to read and build the others takes as long as a short run itself.
"""

from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadctl.cli import group

if TYPE_CHECKING:
    from leadctl.cli.group import app

__all__ = ["app", "app_for"]

_HELP = ("-h", "--help")


def __getattr__(name: str) -> Any:
    """Return `app`, when it is first asked for."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _with(_files())


def app_for(arguments: Sequence[str]) -> group.Tree:
    """Return the command line with what these arguments need.

    It has one command where they begin with its name, and no subcommands for the help of the whole,
    which shows none.
    """
    first, files = next(iter(arguments), ""), _files()
    if first in files:
        return _with(file for file in files if f"{file}-".startswith(f"{first}-"))
    found = _with(files)
    if first in _HELP:
        for entry in found.registered_groups:
            assert entry.typer_instance is not None
            entry.typer_instance.registered_commands.clear()
    return found


def _files() -> list[str]:
    """Return the names of the files as a user types them; one may continue another."""
    files = sorted(file.stem for file in Path(__path__[0]).glob("[!_]*.py"))
    return [file.replace("_", "-") for file in files]


def _with(files: Iterable[str]) -> group.Tree:
    for file in files:
        import_module(f"{__name__}.{file.replace('-', '_')}")
    return group.app
