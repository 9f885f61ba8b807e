"""What other tools applied: their tables are recognised and checked, never touched."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path

from psycopg import sql

from leadctl.errors import UnreadableFile
from leadctl.postgres.connect import Connection

PRISMA = "_prisma_migrations"


@dataclass(frozen=True)
class ForeignHistory:
    """The history of another tool."""

    tool: str
    tables: tuple[str, ...]


def foreign_histories(tables: Mapping[str, Collection[str]]) -> list[ForeignHistory]:
    """Return the histories among some tables, given with their columns.

    Rails and dbmate call their table alike; Rails has a second one beside it.
    """
    found = [
        ForeignHistory(tool, (table,))
        for table, (tool, columns) in _KNOWN.items()
        if set(columns) <= set(tables.get(table, ()))
    ]
    if "version" in tables.get("schema_migrations", ()):
        if "ar_internal_metadata" in tables:
            found.append(ForeignHistory("Rails", ("schema_migrations", "ar_internal_metadata")))
        elif "dirty" in tables["schema_migrations"]:
            found.append(ForeignHistory("golang-migrate", ("schema_migrations",)))
        else:
            found.append(ForeignHistory("dbmate", ("schema_migrations",)))
    return sorted(found, key=lambda each: each.tool)


_KNOWN: Mapping[str, tuple[str, tuple[str, ...]]] = {
    PRISMA: ("Prisma", ("checksum", "migration_name", "rolled_back_at")),
    "django_migrations": ("Django", ("app", "name", "applied")),
    "flyway_schema_history": ("Flyway", ("installed_rank", "checksum", "success")),
    "databasechangelog": ("Liquibase", ("author", "md5sum")),
    "goose_db_version": ("goose", ("version_id", "is_applied")),
    "knex_migrations": ("Knex", ("batch", "migration_time")),
}
"""The tool of each table, and columns that tell it from a table of the same name."""


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
