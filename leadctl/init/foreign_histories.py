"""Tables in which other tools keep what they applied: recognised and named, never touched."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

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
