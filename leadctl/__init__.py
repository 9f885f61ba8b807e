"""leadctl runs the PostgreSQL database behind a product.

    import leadctl

    shop = leadctl.database("postgresql://…", app="shop")
    shop.migrate()

Errors are subclasses of `leadctl.LeadctlError`, in `leadctl.errors`.  docs/python.md has it all.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leadctl.api.database import Database as Database
    from leadctl.api.database import database as database
    from leadctl.errors import LeadctlError as LeadctlError

    __version__: str

__all__ = ["Database", "LeadctlError", "__version__", "database"]


def __getattr__(name: str) -> Any:
    """Return a name of the public interface, loaded when it is asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    if name in {"Database", "database"}:
        from leadctl.api.database import database as api

        return getattr(api, name)
    if name == "LeadctlError":
        from leadctl.errors import LeadctlError

        return LeadctlError
    if name == "fill":
        from leadctl.migrate.backfill import fill

        return fill
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
