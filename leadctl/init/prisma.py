"""Prisma's history: what `_prisma_migrations` says, held against a `prisma/migrations` folder.

`prisma migrate status` says nothing of edited, missing, failed and rolled back ones.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path

from psycopg import sql

from leadctl.errors import UnreadableFile
from leadctl.init.foreign_histories import PRISMA
from leadctl.postgres.connect import Connection

_FILE = "migration.sql"


class PrismaState(Enum):
    """How a migration stands."""

    APPLIED = "applied"
    EDITED = "edited"
    """The file is not what was applied."""
    MISSING = "missing"
    """It was applied, and the folder does not have it."""
    FAILED = "failed"
    """It began and did not end: the database has a part of it, or nothing."""
    ROLLED_BACK = "rolled back"
    PENDING = "pending"
    """The folder has it, and it was not applied."""
    UNCHECKED = "applied, unchecked"
    """It was applied, and there is no folder to check it against."""


@dataclass(frozen=True)
class PrismaMigration:
    """One migration of Prisma."""

    name: str
    state: PrismaState
    finished_at: datetime | None = None


def prisma_migrations(
    connection: Connection, schema: str, folder: Path | None
) -> list[PrismaMigration]:
    """Return the migrations that the table or the folder has, in Prisma's order.

    Each file is checked by its SHA-256, whose line endings may have been changed by git since.
    Of one that was tried several times the last try counts.  Raises UnreadableFile.
    """
    files = _checksums(folder) if folder else {}
    query = sql.SQL(
        "SELECT DISTINCT ON (migration_name) migration_name, checksum, finished_at, rolled_back_at"
        " FROM {} ORDER BY migration_name, started_at DESC"
    ).format(sql.Identifier(schema, PRISMA))
    found: dict[str, PrismaMigration] = {}
    for name, checksum, finished_at, rolled_back_at in connection.execute(query):
        if rolled_back_at is not None:
            state = PrismaState.ROLLED_BACK
        elif finished_at is None:
            state = PrismaState.FAILED
        elif folder is None:
            state = PrismaState.UNCHECKED
        elif name not in files:
            state = PrismaState.MISSING
        else:
            state = PrismaState.APPLIED if checksum in files[name] else PrismaState.EDITED
        found[name] = PrismaMigration(name, state, finished_at)
    for name in files.keys() - found.keys():
        found[name] = PrismaMigration(name, PrismaState.PENDING)
    return [found[name] for name in sorted(found)]


def _checksums(folder: Path) -> dict[str, set[str]]:
    """Return the SHA-256 of each migration.sql as it is, with LF and with CRLF."""
    found = {}
    try:
        for path in folder.glob(f"*/{_FILE}"):
            content = path.read_bytes()
            unix = content.replace(b"\r\n", b"\n")
            forms = {content, unix, unix.replace(b"\n", b"\r\n")}
            found[path.parent.name] = {hashlib.sha256(form).hexdigest() for form in forms}
    except OSError as error:
        raise UnreadableFile(
            f"Cannot read {error.filename}: {error.strerror}.", hint="Make it readable."
        ) from None
    return found
