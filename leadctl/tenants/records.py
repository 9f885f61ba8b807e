"""What leadctl has recorded of a tenant's schema: migrations, seed files and fills."""

from leadctl.postgres.connect import Connection
from leadctl.tenants.schemas import QUERIES


def forget_records(connection: Connection, name: str) -> None:
    """Forget what is recorded of a schema, in the caller's transaction."""
    for table in QUERIES.column(connection, "kept_records"):
        QUERIES.run(connection, f"forget_{table}", name=name)


def move_records(connection: Connection, name: str, new: str) -> None:
    """Let what is recorded of a schema be recorded of it under its new name.

    What a schema of that name left, which was dropped by hand, is forgotten.
    """
    forget_records(connection, new)
    for table in QUERIES.column(connection, "kept_records"):
        QUERIES.run(connection, f"move_{table}", name=name, new=new)
