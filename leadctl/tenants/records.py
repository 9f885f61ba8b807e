"""What leadctl has recorded of a tenant's schema: migrations, seed files and fills."""

from collections.abc import Iterable, Mapping
from typing import Any

from psycopg.types.json import Jsonb

from leadctl.errors import BackupDamaged
from leadctl.postgres.connect import Connection
from leadctl.seed.seed import record_files_in
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


def put_records(connection: Connection, name: str, records: Iterable[Mapping[str, Any]]) -> None:
    """Put records of a backup in, as those of a schema.  Raises BackupDamaged for what is none."""
    record_files_in(connection)
    for record in records:
        kind = record.get("of")
        if kind not in {"migrations", "seed_files"}:
            raise BackupDamaged(f"The backup has a record of {kind!r}, which is not a record.")
        QUERIES.run(connection, f"put_{kind}", record=Jsonb({**record, "schema": name}))
