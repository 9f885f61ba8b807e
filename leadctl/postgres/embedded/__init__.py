"""The embedded server: the PostgreSQL that leadctl runs itself when no URL is set."""

from leadctl.postgres.embedded.home import Home
from leadctl.postgres.embedded.server import (
    SUPERUSER,
    ServerStatus,
    destroy,
    start,
    status,
    stop,
    without_libpq_variables,
)

__all__ = [
    "SUPERUSER",
    "Home",
    "ServerStatus",
    "destroy",
    "start",
    "status",
    "stop",
    "without_libpq_variables",
]
