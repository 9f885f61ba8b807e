"""What is applied to a schema: Alembic's table, and what leadctl recorded of each revision.

What is recorded is in the schema `leadctl`, of `journal/state.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Self

import psycopg
from psycopg.types.json import Jsonb

from leadctl.journal.state import check_version, is_there
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, whoami
from leadctl.postgres.queries import queries_of

_QUERIES = queries_of(__file__, "state.sql")


class VersionTable(str):
    """The name of Alembic's table, the truth of what is applied: it is a text that says its schema.

    `schema` is None where the table is in the schema that the app is in.
    """

    DEFAULT = "alembic_version"
    schema: str | None
    __slots__ = ("schema",)

    def __new__(cls, name: str = DEFAULT, schema: str | None = None) -> Self:
        """Name the table."""
        made = super().__new__(cls, name)
        made.schema = schema
        return made

    def within(self, schema: str) -> psycopg.sql.Identifier:
        """Return it as SQL names it, for an app in this schema."""
        return psycopg.sql.Identifier(self.schema or schema, self)


VERSION_TABLE = VersionTable()
"""What Alembic calls it where nothing else is said."""
ROOM_FOR_IDS = 32
"""The characters of a revision's id for which Alembic makes its table."""


class AppliedRevision(NamedTuple):
    """A revision as it was recorded when it was applied."""

    app: str
    revision: str
    checksum: str
    applied_at: datetime
    applied_by: str
    duration_ms: int
    message: str = ""
    """What its file says it does, where that was read; empty where there is no such file."""


def current_revisions(
    connection: Connection, schema: str, version_table: VersionTable = VERSION_TABLE
) -> list[str] | None:
    """Return what Alembic's table says is applied; None where the table does not exist."""
    found = revisions_of_schemas(connection, [schema], version_table).get(schema)
    return list(found.revisions) if found else None


class SchemaRevisions(NamedTuple):
    """What Alembic's table in a schema says is applied."""

    revisions: tuple[str, ...]
    reader: str | None
    """The role with whose rights it is read; None for those of the session."""


def revisions_of_schemas(
    connection: Connection, schemas: Sequence[str], version_table: VersionTable
) -> dict[str, SchemaRevisions]:
    """Return what is applied to each of some schemas, of those that have Alembic's table.

    All tables are read at once: each is a lock, and a part of one statement.
    """
    tables = [version_table.within(schema) for schema in schemas]
    names = [table.as_string(connection) for table in tables]
    readers: dict[int, str | None] = dict(_QUERIES.rows(connection, "version_tables", names=names))
    found: dict[int, list[str]] = {number: [] for number in readers}
    for role in dict.fromkeys(readers.values()):
        query = psycopg.sql.SQL(" UNION ALL ").join(
            psycopg.sql.SQL("SELECT {}, version_num FROM {}").format(number, tables[number])
            for number, reader in readers.items()
            if reader == role
        )
        with exact.as_owner(connection, role):
            for number, revision in connection.execute(query):
                found[number].append(revision)
    return {
        schemas[number]: SchemaRevisions(tuple(sorted(revisions)), readers[number])
        for number, revisions in found.items()
    }


def write_current(
    connection: Connection, schema: str, revisions: Sequence[str], version_table: VersionTable
) -> None:
    """Make Alembic's table say what is applied, within the caller's transaction.

    The table is made as Alembic makes it, where it is missing.
    """
    table = version_table.within(schema)
    room = psycopg.sql.Literal(max([ROOM_FOR_IDS, *map(len, revisions)]))
    connection.execute(
        psycopg.sql.SQL(
            "CREATE TABLE IF NOT EXISTS {} (version_num varchar({}) NOT NULL,"
            " CONSTRAINT {} PRIMARY KEY (version_num))"
        ).format(table, room, psycopg.sql.Identifier(f"{version_table}_pkc"))
    )
    make_room_for_ids(connection, table, revisions)
    names = [table.as_string(connection)]
    ((_, role),) = _QUERIES.rows(connection, "version_tables", names=names)
    with exact.as_owner(connection, role), connection.cursor() as cursor:
        cursor.execute(psycopg.sql.SQL("DELETE FROM {}").format(table))
        cursor.executemany(
            psycopg.sql.SQL("INSERT INTO {} VALUES (%s)").format(table),
            [(revision,) for revision in revisions],
        )


def make_room_for_ids(
    connection: Connection, version_table: psycopg.sql.Identifier, revisions: Iterable[str]
) -> None:
    """Let Alembic's table hold ids longer than the 32 characters for which Alembic makes it.

    That changes no row.  Raises what psycopg does.
    """
    longest = max(map(len, revisions), default=0)
    if longest <= ROOM_FOR_IDS:
        return
    room = room_for_ids(connection, version_table)
    if room is not None and room < longest:
        connection.execute(
            psycopg.sql.SQL("ALTER TABLE {} ALTER COLUMN version_num TYPE varchar({})").format(
                version_table, psycopg.sql.Literal(longest)
            )
        )


def room_for_ids(connection: Connection, version_table: psycopg.sql.Identifier) -> int | None:
    """Return how long an id may be in Alembic's table; None without a limit, or a table."""
    name = version_table.as_string(connection)
    room: int | None = _QUERIES.value(connection, "room_for_ids", name=name)
    return room


def applied_revisions(connection: Connection, schema: str) -> list[AppliedRevision]:
    """Return what was recorded as applied to a schema, by any app, in the order of applying."""
    if not is_there(connection):
        return []
    check_version(connection)
    return _QUERIES.rows(connection, "migrations", AppliedRevision, schema=schema)


class Fingerprint(NamedTuple):
    """What a schema should look like, and after which revision that was recorded."""

    content: Mapping[str, Any]
    revision: str
    applied_at: datetime


def read_fingerprint(
    connection: Connection, app: str, schema: str, version_table: VersionTable = VERSION_TABLE
) -> Fingerprint | None:
    """Return what was recorded after the revision that the schema is at.

    None where nothing was recorded for that revision: a run was killed before its last one.
    """
    revisions = current_revisions(connection, schema, version_table)
    return fingerprint_after(connection, app, schema, revisions or [])


def fingerprint_after(
    connection: Connection, app: str, schema: str, revisions: Sequence[str]
) -> Fingerprint | None:
    """Return what was recorded after revisions that the schema is at, as `read_fingerprint`."""
    if not revisions or not is_there(connection):
        return None
    row = _QUERIES.one(connection, "fingerprint", app=app, schema=schema, revisions=revisions)
    if not row:
        return None
    content, *rest = row
    return Fingerprint(_without_versions(content), *rest)


def _without_versions(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out what servers of November 2026 and later write into each column for themselves."""
    if not any(key.startswith(_VERSION) for key in content.get("objects", ())):
        return content
    objects = {k: v for k, v in content["objects"].items() if not k.startswith(_VERSION)}
    own = [key for key in content.get("own", ()) if not key.startswith(_VERSION)]
    return {**content, "objects": objects, "own": own}


_VERSION = "property pg_attver of "


def fingerprint(
    connection: Connection, app: str, schema: str, version_table: VersionTable = VERSION_TABLE
) -> Mapping[str, Any] | None:
    """Return what the schema should look like; None as `read_fingerprint` does."""
    found = read_fingerprint(connection, app, schema, version_table)
    return found.content if found else None


def made_by(connection: Connection, app: str, schema: str) -> set[str]:
    """Return what an app's revisions made in a schema, as `kind name`, there or not."""
    if not is_there(connection):
        return set()
    return set(_QUERIES.column(connection, "made", app=app, schema=schema))


class RevisionRecord(NamedTuple):
    """What is recorded of a revision when it is applied."""

    revision: str
    checksum: str
    sql: str
    duration_ms: int
    made: Sequence[str]


def tables_among(keys: Iterable[str]) -> list[str]:
    """Return the tables among objects, `kind name`, as the server quotes them."""
    return [key.removeprefix("table ") for key in keys if key.startswith("table ")]


def record_migration(
    connection: Connection, *, app: str, schema: str, record: RevisionRecord
) -> None:
    """Record an applied revision, within the caller's transaction."""
    _QUERIES.run(
        connection, "record_migration", app=app, schema=schema, who=whoami(), **record._asdict()
    )


def forget_migration(connection: Connection, *, app: str, schema: str, revision: str) -> None:
    """Record that a revision is no longer applied, within the caller's transaction."""
    _QUERIES.run(connection, "forget_migration", app=app, schema=schema, revision=revision)


def accept_edit(
    connection: Connection, *, app: str, schema: str, revision: str, checksum: str
) -> None:
    """Record a revision's file as it is now, within the caller's transaction."""
    key = {"app": app, "schema": schema, "revision": revision}
    _QUERIES.run(connection, "accept_edit", **key, checksum=checksum)


def applied_sql(connection: Connection, *, app: str, schema: str, revision: str) -> str:
    """Return what an applied revision executed; empty where that was not recorded."""
    key = {"app": app, "schema": schema, "revision": revision}
    return str(_QUERIES.value(connection, "applied_sql", **key) or "")


def renumber(
    connection: Connection, *, app: str, schema: str, revision: str, now: str, checksum: str
) -> None:
    """Record an applied revision under another id, within the caller's transaction."""
    key = {"app": app, "schema": schema, "revision": revision}
    _QUERIES.run(connection, "renumber", **key, now=now, checksum=checksum)


def forget_app(connection: Connection, *, app: str, schema: str) -> None:
    """Record that nothing of an app is applied to a schema, within the caller's transaction."""
    _QUERIES.run(connection, "forget_app", app=app, schema=schema)


def record_fingerprint(
    connection: Connection, *, app: str, schema: str, revision: str, content: Mapping[str, Any]
) -> None:
    """Record what the schema looks like after a revision, within the caller's transaction."""
    key = {"app": app, "schema": schema, "revision": revision}
    _QUERIES.run(connection, "record_fingerprint", **key, fingerprint=Jsonb(content))
