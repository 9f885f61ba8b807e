"""Packages that only the extra `apps` installs, imported when one is needed."""

import importlib
from typing import Any

from leadctl.errors import MissingExtra


def imported(package: str, purpose: str) -> Any:
    """Import a package of the extra `apps`; `purpose` begins the message, as "Hashing passwords".

    Raises MissingExtra where it is missing.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise MissingExtra(
            f"{purpose} needs the package {package}.",
            hint="Install it with: pip install 'leadctl[apps]'",
        ) from None
