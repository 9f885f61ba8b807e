"""The tables of a schema at a glance: rows as estimated, and who refers to whom."""

from dataclasses import dataclass, replace

import psycopg

from leadctl.catalog.relations import Relation, read_schema
from leadctl.journal.state import VERSION_TABLE
from leadctl.postgres.connect import Connection
from leadctl.sql.fragment import build, name
from leadctl.studio.session import Access, looking

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


def list_tables(access: Access) -> TableList:
    """List the tables and views of the target's schema, in one query but for small tables."""
    schema = access.target.schema
    with looking(access) as session:
        connection = session.connection
        found = read_schema(connection, schema, "references", "sizes")
        entries = [
            _entry(each) for each in found if not each.of_extension and each.name != VERSION_TABLE
        ]
        if len(entries) <= _COUNTED_TABLES:
            entries = [_counted(connection, schema, entry) for entry in entries]
        return TableList(connection.info.dbname, schema, tuple(entries))


def _entry(relation: Relation) -> TableEntry:
    return TableEntry(
        name=relation.name,
        kind=relation.label,
        rows=relation.size.rows,
        exact=False,
        bytes=None if relation.kind == "v" else relation.size.heap_bytes,
        refers_to=tuple(sorted({key.parent_table for key in relation.references})),
        referred_by=tuple(sorted({key.child_table for key in relation.referrers})),
        comment=relation.comment,
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
