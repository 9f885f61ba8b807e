"""leadctl runs the PostgreSQL database behind a product."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Return the version, or say that there is no such attribute; loads what is asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    if name == "fill":
        from leadctl.operations.migrate.backfill import fill

        return fill
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
