"""What a restore or a move of leadctl's keeps under another name, or brings under one.

Names say when; that it was leadctl who kept a schema, leadctl.kept_schema says, in which it is
recorded in the transaction that names the schema.  A customer may have a schema of any name.
"""

import re
import zlib
from contextlib import suppress
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from leadctl.errors import PreparedSchema
from leadctl.journal import state
from leadctl.postgres import LONGEST_NAME
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import queries_of

_QUERIES = queries_of(__file__, "state.sql")
_BEFORE, _AT = "_before_", "%Y%m%dT%H%M%SZ"
_MOVED, _MOVED_AT = "_moved_", "%Y%m%dt%H%M%Sz"
_TIMES = (
    (re.compile(r".+_(?:before|moved|arriving)_(\d{8}t\d{6}z)", re.DOTALL), _MOVED_AT),
    (re.compile(r".+_before_(\d{8}T\d{6}Z)", re.DOTALL), _AT),
    (re.compile(r"(?:restored|orphans)_(\d{8}_\d{6})"), "%Y%m%d_%H%M%S"),
)
"""How the names say when: of schemas, of databases, and of schemas with rows of a backup."""


def kept_since(name: str) -> datetime | None:
    """Return when a name says that it was kept; None where it is no such name."""
    for pattern, form in _TIMES:
        if found := pattern.fullmatch(name):
            try:
                return datetime.strptime(found[1], form).replace(tzinfo=UTC)
            except ValueError:
                return None
    return None


def kept_prefix(database: str) -> str:
    """Return what the names begin with under which the replaced ones of a database are kept."""
    return _prefix(database, _BEFORE, _AT)


def kept_database(database: str) -> str:
    """Return the name under which a database is kept that is replaced now."""
    return f"{kept_prefix(database)}{datetime.now(UTC):{_AT}}"


def moved_prefix(database: str) -> str:
    """Return what the names begin with under which moves keep a database."""
    return _prefix(database, _MOVED, _MOVED_AT)


def moved_database(database: str) -> str:
    """Return the name under which a database is kept that is moved now."""
    return f"{moved_prefix(database)}{datetime.now(UTC):{_MOVED_AT}}"


def _prefix(database: str, word: str, form: str) -> str:
    """Return a database's name, or as much of it as leaves room for a word and a time.

    One that is cut has a checksum of the whole: others may begin as it does.
    """
    room = LONGEST_NAME - len(word) - len(f"{datetime.now(UTC):{form}}")
    name = database.encode()
    if len(name) > room:
        checksum = f"_{zlib.crc32(name):08x}"
        return name[: room - len(checksum)].decode(errors="ignore") + checksum + word
    return database + word


def record_kept(connection: Connection, name: str, was: str) -> None:
    """Record that a schema is kept, in the caller's transaction; `was` is its name before.

    The schema `leadctl` is there.
    """
    _QUERIES.run(connection, "create_kept")
    _QUERIES.run(connection, "keep", name=name, was=was)


def make_schema_for_rows(connection: Connection, name: str) -> None:
    """Make a schema for rows of a backup where there is none, recorded where this role may.

    Raises psycopg.errors.InsufficientPrivilege.
    """
    make = sql.SQL("CREATE SCHEMA IF NOT EXISTS {}")
    with connection.transaction():
        connection.execute(make.format(sql.Identifier(name)))
        with (
            suppress(psycopg.errors.InsufficientPrivilege, PreparedSchema),
            connection.transaction(),
        ):
            if state.is_there(connection):
                record_kept(connection, name, name)


def kept_schemas(connection: Connection) -> set[str]:
    """Return the schemas that leadctl keeps, of those that exist.

    Raises PreparedSchema and NewerState.
    """
    if not state.is_there(connection):
        return set()
    state.check_version(connection)
    if not _QUERIES.value(connection, "has_kept"):
        return set()
    return set(_QUERIES.column(connection, "kept"))
