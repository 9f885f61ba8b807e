"""Views: what people see of each result, as blocks.

`views.NAME` is the module of that name, loaded when it is first asked for: commands name the views
of their results at no cost to a run that shows none, such as --help.
"""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """Return the views of a command."""
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
