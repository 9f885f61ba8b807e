"""Comparing a restored database with the manifest of its backup."""

from collections.abc import Iterator

import psycopg
from psycopg import sql

from leadctl.backup.manifest import Manifest
from leadctl.backup.snapshot import not_valid
from leadctl.backup.verify import VerifyCheck
from leadctl.journal import state
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import beside

_QUERIES = beside(__file__, "restore.sql")
_SHOWN = 5


def compare(
    connection: Connection, manifest: Manifest, *, rows: bool = True
) -> Iterator[VerifyCheck]:
    """Compare rows, large objects, validity and revision with the manifest.

    Without `rows` only the schema is compared.
    """
    yield _validity(connection, manifest)
    if not rows:
        return
    yield _rows(connection, manifest)
    found = connection.execute("SELECT count(*) FROM pg_largeobject_metadata").fetchone()
    objects = found[0] if found else 0
    yield VerifyCheck(
        "large objects",
        objects == manifest.large_objects,
        f"{objects:,} of {manifest.large_objects:,}",
    )
    current = state.current_revisions(connection, manifest.schema, manifest.version_table)
    revision = ", ".join(current) if current else None
    yield VerifyCheck(
        "revision",
        revision == manifest.revision,
        f"{revision or 'none'}, and the manifest says {manifest.revision or 'none'}",
    )


def _validity(connection: Connection, manifest: Manifest) -> VerifyCheck:
    new = sorted(set(not_valid(connection)) - set(manifest.not_valid))
    message = f"not valid: {', '.join(new)}" if new else "valid"
    return VerifyCheck("constraints and indexes", not new, message)


def check_indexes(connection: Connection) -> VerifyCheck:
    """Check every B-tree index against its table with amcheck, where that can be had."""
    what = "amcheck"
    row = connection.execute(_sql(connection, "amcheck_available")).fetchone()
    if not (row and row[0]):
        return VerifyCheck(what, None, "the server does not have the extension amcheck")
    try:
        connection.execute("CREATE SCHEMA leadctl_amcheck")
        connection.execute("CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA leadctl_amcheck")
        names = [name for (name,) in connection.execute(_sql(connection, "btree_indexes"))]
        for name in names:
            connection.execute("SELECT leadctl_amcheck.bt_index_check(%s::regclass, true)", (name,))
    except psycopg.errors.InsufficientPrivilege as error:
        return VerifyCheck(what, None, f"{error.diag.message_primary}")
    except psycopg.errors.IndexCorrupted as error:
        return VerifyCheck(what, False, f"{error.diag.message_primary}")
    return VerifyCheck(what, True, f"{len(names)} indexes agree with their tables")


def _rows(connection: Connection, manifest: Manifest) -> VerifyCheck:
    wrong = []
    for table in manifest.tables:
        # The name is as the server quoted it when the catalog was read.
        query = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.SQL(table.name))
        try:
            row = connection.execute(query).fetchone()
        except psycopg.errors.UndefinedTable:
            wrong.append(f"{table.name} is missing")
            continue
        if row is None or row[0] != table.rows:
            wrong.append(f"{table.name} {row[0] if row else 0:,} of {table.rows:,}")
    if wrong:
        more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        return VerifyCheck("rows", False, ", ".join(wrong[:_SHOWN]) + more)
    message = f"{manifest.rows:,} rows in {len(manifest.tables)} tables, as in the manifest"
    return VerifyCheck("rows", True, message)


def _sql(connection: Connection, name: str) -> str:
    return _QUERIES.get(name, connection.info.server_version)
