"""The command line: each file here is one command, and short.

Arguments in, one method of the API, its result out.  `app` has all commands.  A run needs the one
that it names: to read and build the others takes as long as a short run itself.
"""

from collections.abc import Callable, Iterable, Sequence
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

    It has one command where they begin with its name.  For the help of the whole it has commands
    without parameters and subcommands, which that help does not show.
    """
    first, files = next(iter(arguments), ""), _files()
    if first in files:
        return _with(file for file in files if f"{file}-".startswith(f"{first}-"))
    found = _with(files)
    if first in _HELP:
        for group_entry in found.registered_groups:
            tree = group_entry.typer_instance
            assert tree is not None
            tree.registered_commands.clear()
            if tree.registered_callback is not None:
                tree.registered_callback.callback = _named(tree.registered_callback.callback)
        for entry in found.registered_commands:
            entry.callback = _named(entry.callback)
    return found


def _named(callback: Callable[..., Any] | None) -> Callable[[], None]:
    """Return a function that is documented as another one, and has no parameters to be read."""

    def named() -> None:
        """Stand for a command."""

    named.__doc__ = callback.__doc__
    return named


def _files() -> list[str]:
    """Return the names of the files as a user types them; one may continue another."""
    files = sorted(file.stem for file in Path(__path__[0]).glob("[!_]*.py"))
    return [file.replace("_", "-") for file in files]


def _with(files: Iterable[str]) -> group.Tree:
    for file in files:
        import_module(f"{__name__}.{file.replace('-', '_')}")
    return group.app
