"""leadctl runs the PostgreSQL database behind a product.

    import leadctl

    database = leadctl.open("postgresql://…", app="shop")
    database.migrate()

Errors are subclasses of `leadctl.LeadctlError`, in `leadctl.errors`.  docs/python.md has it all.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leadctl.api import Database as Database
    from leadctl.api import open_database as open
    from leadctl.errors import LeadctlError as LeadctlError

    __version__: str

__all__ = ["Database", "LeadctlError", "__version__", "open"]


def __getattr__(name: str) -> Any:
    """Return a name of the public interface, loaded when it is asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    if name in {"Database", "open"}:
        from leadctl import api

        return api.open_database if name == "open" else api.Database
    if name == "LeadctlError":
        from leadctl.errors import LeadctlError

        return LeadctlError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
