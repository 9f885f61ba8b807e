"""Packages of Python that psycopg imports, and a short command makes no use of, run when used.

psycopg's asynchronous half wants asyncio, of which six small modules are enough to import it;
its version wants all that reads e-mails, while the names of folders say it.  A sixth of a start.
What is loaded in the end is what Python has: only later, and never if nobody asks for it.
"""

import os
import sys
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


def _version(name: str) -> str:
    """Return the version of a package, as `importlib.metadata.version` does."""
    stem, kinds = name.replace("-", "_"), (".dist-info", ".egg-info", ".egg-link", ".egg")
    for folder in sys.path:
        try:
            names = [each.name for each in os.scandir(folder or ".")]
        except OSError:
            continue
        found = [
            each
            for each in names
            if each.endswith(kinds) and each.partition("-")[0].partition(".")[0] == stem
        ]
        if len(found) == 1 and found[0].endswith(".dist-info"):
            return found[0][len(stem) + 1 :].removesuffix(".dist-info")
        if found:
            break  # an older layout, or a second one: Python knows which counts
    whole: Callable[[str], str] = _LATE["importlib.metadata"].whole("version")
    return whole(name)


class _Late:
    """The loader of a package whose own code runs when something else than `parts` is asked for."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.parts = parts
        """Names, each with the submodule that has it, or with what stands for it."""
        self._lock = threading.RLock()
        self._runs = False

    def find(self, name: str, path: Any) -> ModuleSpec | None:
        """Find the package where Python does."""
        spec = PathFinder.find_spec(name, path)
        if spec is not None:
            self._python, spec.loader = spec.loader, self  # type: ignore[assignment]
        return spec

    def create_module(self, _spec: ModuleSpec) -> None:
        """Leave it to Python."""

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing yet."""
        self._module = module
        module.__getattr__ = self._get  # type: ignore[method-assign]

    def _get(self, name: str) -> Any:
        if name.startswith("__") and name != "__all__":
            raise AttributeError(name)
        if name in self.parts:
            part = self.parts[name]
            return getattr(import_module(part), name) if isinstance(part, str) else part
        path = f"{self._module.__name__}.{name}"
        if path in sys.modules or PathFinder.find_spec(path, self._module.__path__):
            return import_module(path)
        return self.whole(name)

    def whole(self, name: str) -> Any:
        """Run the package's own code, once, and return what it has by this name."""
        with self._lock:
            if "__getattr__" in vars(self._module) and not self._runs:
                self._runs = True
                self._python.exec_module(self._module)  # type: ignore[union-attr]
                del self._module.__getattr__
        try:
            return vars(self._module)[name]
        except KeyError:
            raise AttributeError(
                f"module {self._module.__name__!r} has no attribute {name!r}"
            ) from None


_LATE = {
    "asyncio": _Late(
        {
            "CancelledError": "asyncio.exceptions",
            "Future": "asyncio.futures",
            "Lock": "asyncio.locks",
            "Queue": "asyncio.queues",
            "Task": "asyncio.tasks",
            "get_running_loop": "asyncio.events",
            "sleep": "asyncio.tasks",
        }
    ),
    "importlib.metadata": _Late({"version": _version}),
}
"""The packages; what psycopg takes of asyncio when it is imported."""


class _Finder:
    @staticmethod
    def find_spec(name: str, path: Any = None, _target: Any = None) -> ModuleSpec | None:
        return _LATE[name].find(name, path) if name in _LATE else None


def install() -> None:
    """Import those packages late from now on, as far as they are not imported yet."""
    sys.meta_path.insert(0, _Finder)
