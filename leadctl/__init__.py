"""leadctl runs the PostgreSQL database behind a product.

    import leadctl

    shop = leadctl.database("postgresql://…", app="shop")
    shop.migrate()

Errors are subclasses of `leadctl.LeadctlError`, in `leadctl.errors`.  docs/python.md has it all.
"""

from leadctl.version import __version__

TYPE_CHECKING = False
"""Type checkers know this name; to import it would take the time in which Ctrl-C is not heard."""

if TYPE_CHECKING:
    from leadctl.api.database import Database as Database
    from leadctl.api.database import database as database
    from leadctl.api.fleet import Fleet as Fleet
    from leadctl.api.project import Project as Project
    from leadctl.api.project import project as project
    from leadctl.errors import LeadctlError as LeadctlError
    from leadctl.migrate.backfill import fill as fill
else:
    # Hidden from type checkers: to them, this function would be a type for any misspelt name.
    _HOMES = {
        "Database": "leadctl.api.database",
        "Fleet": "leadctl.api.fleet",
        "LeadctlError": "leadctl.errors",
        "Project": "leadctl.api.project",
        "database": "leadctl.api.database",
        "fill": "leadctl.migrate.backfill",
        "project": "leadctl.api.project",
    }

    def __getattr__(name: str) -> object:
        """Return a name of the public interface, loaded when it is first asked for."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)


__all__ = [
    "Database",
    "Fleet",
    "LeadctlError",
    "Project",
    "__version__",
    "database",
    "fill",
    "project",
]
