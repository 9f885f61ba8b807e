"""The tables of a schema at a glance: rows as estimated, and who refers to whom."""

from dataclasses import dataclass, replace

import psycopg

from leadctl.postgres.connect import Connection
from leadctl.sql.fragment import build, name
from leadctl.studio.session import Access, looking
from leadctl.studio.shape import QUERIES

_COUNTED_BYTES = 128 * 1024
"""A table up to this size is counted: that takes less than a millisecond."""
_COUNTED_TABLES = 500


@dataclass(frozen=True)
class TableEntry:
    """A table or view; `rows` is None where nothing is known of it.

    `exact` says that rows were counted and not estimated; `bytes` is without indexes.
    """

    name: str
    kind: str
    rows: int | None
    exact: bool
    bytes: int | None
    refers_to: tuple[str, ...]
    referred_by: tuple[str, ...]
    comment: str | None


@dataclass(frozen=True)
class TableList:
    """The tables and views of a schema."""

    database: str
    schema: str
    tables: tuple[TableEntry, ...]


@dataclass(frozen=True)
class _Found:
    name: str
    kind: str
    estimate: int | None
    bytes: int | None
    refers_to: list[str]
    referred_by: list[str]
    comment: str | None


def list_tables(access: Access) -> TableList:
    """List the tables and views of the target's schema, in one query but for small tables."""
    schema = access.target.schema
    with looking(access) as session:
        connection = session.connection
        found = QUERIES.rows(connection, "relations", _Found, schema=schema)
        entries = [_entry(each) for each in found]
        if len(entries) <= _COUNTED_TABLES:
            entries = [_counted(connection, schema, entry) for entry in entries]
        return TableList(connection.info.dbname, schema, tuple(entries))


def _entry(found: _Found) -> TableEntry:
    return TableEntry(
        name=found.name,
        kind=found.kind,
        rows=found.estimate,
        exact=False,
        bytes=found.bytes,
        refers_to=tuple(found.refers_to),
        referred_by=tuple(found.referred_by),
        comment=found.comment,
    )


def _counted(connection: Connection, schema: str, entry: TableEntry) -> TableEntry:
    """Count a small table, whose estimate is often missing; not where this role may not."""
    small = entry.bytes is not None and entry.bytes <= _COUNTED_BYTES
    if not small or entry.kind == "foreign table":
        return entry
    try:
        with connection.transaction():
            query = build("SELECT count(*) FROM {}", name(schema, entry.name))
            row = query.run(connection).fetchone()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState):
        return entry
    return replace(entry, rows=int(row[0]) if row else None, exact=True)
