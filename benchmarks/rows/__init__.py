"""The rows of the benchmark: every module here has ROWS, and is found by being here."""

import importlib
import pkgutil

from benchmarks.bench import Row


def all_rows() -> list[Row]:
    """Return the rows of every module, in the order of the modules' names."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [row for name in modules for row in importlib.import_module(f"{__name__}.{name}").ROWS]
