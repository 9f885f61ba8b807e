"""Undoing a deletion: archived rows are put back, soft-deleted ones lose their mark."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from leadctl.apps.registry import App
from leadctl.backup.decompression import unpack_opened
from leadctl.backup.stream import is_encrypted, sha256_of
from leadctl.catalog.relations import Relation, read_named, read_table
from leadctl.cleanup.archive_files import (
    LINES,
    ArchivedBatch,
    ArchiveFolder,
    ArchiveManifest,
    archive_at,
    final_name,
    read_archive_manifest,
)
from leadctl.errors import ArchiveDamaged, InvalidIdentity, NoPrimaryKey, RowNotFound
from leadctl.files import ObjectUrl
from leadctl.journal.runs import journaled
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.queries import written_by_server
from leadctl.postgres.target import Target
from leadctl.progress import Progress

_SOFT_DELETED = "deleted_at"
"""What the mixin SoftDelete calls the column."""


@dataclass(frozen=True)
class UnarchiveResult:
    """How many rows of an archive were put back, and how many were there already, by table."""

    archive: Path
    database: str
    schema: str
    restored: Mapping[str, int]
    there: Mapping[str, int]


@dataclass(frozen=True)
class UndeleteResult:
    """The row that is back."""

    table: str
    key: str
    deleted_at: datetime


def unarchive(
    target: Target, app: App, path: Path | ObjectUrl, identities: Sequence[Any], progress: Progress
) -> UnarchiveResult:
    """Put the rows of an archive back: of all of it, or of the one file of it that `path` is.

    A row that exists is left as it is.  A file is put back as a whole or not at all.  Raises
    ArchiveDamaged, InvalidIdentity, and StatementFailed where a row does not fit any more.
    """
    folder, file = archive_at(path)
    manifest = read_archive_manifest(folder)
    segments = _segments(manifest, path, file)
    total = sum(sum(segment.rows.values()) for segment in segments)
    restored, there, done = Counter[str](), Counter[str](), 0
    with connect(target, "cleanup unarchive", rows=True) as connection:
        tables = {table: _live_table(connection, manifest, table) for table in manifest.columns}
        with journaled(target, "cleanup unarchive", app.name) as entry:
            for segment in segments:
                inserted = _put_back(connection, folder, segment, tables, identities)
                for table, rows in segment.rows.items():
                    restored[table] += inserted[table]
                    there[table] += rows - inserted[table]
                    done += rows
                progress(done, total, "rows")
            entry.note(archive=str(folder.path), rows=restored.total())
    return UnarchiveResult(folder.path, target.database, target.schema, restored, there)


def undelete(target: Target, app: App, table: str, key: str) -> UndeleteResult:
    """Take the mark of deletion from the row with a primary key.

    Raises RowNotFound where there is none, or it is not marked, and NoPrimaryKey where the table
    has no primary key of one column.
    """
    with connect(target, "cleanup undelete", rows=True) as connection:
        relation = read_table(connection, target.schema, table, "columns", "indexes")
        if relation is None:
            raise RowNotFound(
                f"There is no table {target.schema}.{table}.", hint="See: leadctl stats"
            )
        if relation.column(_SOFT_DELETED) is None:
            raise RowNotFound(
                f"{table} has no column {_SOFT_DELETED}: rows of this table are not soft-deleted.",
                hint="If they were archived: leadctl cleanup unarchive FILE",
            )
        if len(relation.primary_key) != 1:
            raise NoPrimaryKey(
                f"{table} has no primary key of one column.",
                hint="Write an UPDATE in: leadctl db shell",
            )
        with journaled(target, "cleanup undelete", app.name) as entry:
            # The server reads the key as the column's type.
            parts = {
                "mark": sql.Identifier(_SOFT_DELETED),
                "table": relation.identifier,
                "row": sql.SQL("{} {} {}").format(
                    sql.Identifier(*relation.primary_key), _equal(relation), key
                ),
            }
            find = sql.SQL(
                "SELECT {mark} FROM {table} WHERE {row} AND {mark} IS NOT NULL FOR UPDATE"
            )
            restore = sql.SQL("UPDATE {table} SET {mark} = NULL WHERE {row}")
            try:
                with connection.transaction(), exact.as_owner(connection, relation.touched_as):
                    found = connection.execute(find.format(**parts)).fetchone()
                    if found is None:
                        raise _not_found(table, key)
                    connection.execute(restore.format(**parts))
            except psycopg.DataError:
                raise _not_found(table, key) from None
            entry.note(table=table, key=key)
    return UndeleteResult(table, key, found[0])


def _equal(relation: Relation) -> sql.Composable:
    """Return the operator by which values of the primary key are equal."""
    column = relation.column(relation.primary_key[0])
    assert column is not None
    return column.compared("=")


def _segments(
    manifest: ArchiveManifest, path: Path | ObjectUrl, file: str | None
) -> tuple[ArchivedBatch, ...]:
    """Return the files that are meant: all, or the one that was named."""
    if file is None or file.endswith(".json"):
        return manifest.segments
    name = final_name(file)
    named = tuple(segment for segment in manifest.segments if segment.file == name)
    if not named:
        raise ArchiveDamaged(
            f"{path} is not listed in its archive's manifest.",
            hint="Name a file of the archive, its manifest or its folder.",
        )
    return named


def _put_back(
    connection: Connection,
    folder: ArchiveFolder,
    segment: ArchivedBatch,
    tables: Mapping[str, "_LiveTable"],
    identities: Sequence[Any],
) -> Counter[str]:
    name = _checked_file(folder, segment)
    path = folder.path / name
    if is_encrypted(segment.file) and not identities:
        raise InvalidIdentity(
            f"{path} is encrypted, and no private key is set to read it.",
            hint="Set BACKUP_IDENTITY_FILE to the file of the private key.",
        )
    inserted: Counter[str] = Counter()
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE leadctl_lines (n bigint GENERATED ALWAYS AS IDENTITY, line json)"
            " ON COMMIT DROP"
        )
        copy_in = sql.SQL("COPY pg_temp.leadctl_lines (line) FROM STDIN {}").format(LINES)
        encrypted = is_encrypted(segment.file)
        with cursor.copy(copy_in) as copy, _reading(path), folder.open(name) as file:
            unpack_opened(file, path, identities, copy, encrypted=encrypted)
        for table in segment.rows:
            table_now = tables[table]
            if table_now.relation.touched_as is not None:
                reader = sql.Identifier(table_now.relation.touched_as)
                cursor.execute(
                    sql.SQL("GRANT SELECT ON pg_temp.leadctl_lines TO {}").format(reader)
                )
            with exact.as_owner(connection, table_now.relation.touched_as):
                cursor.execute(_insert(table, table_now))
                inserted[table] = cursor.rowcount
    return inserted


def _checked_file(folder: ArchiveFolder, segment: ArchivedBatch) -> str:
    """Return the name of a segment's file, whose content is what the manifest says.

    Where a run was killed before it gave the file its name, it has the name of its transaction; in
    object storage some of it may have the one, and some the other.
    """
    path = folder.path / segment.file
    names = [name for name in folder.names() if final_name(name) == segment.file]
    for name in names:
        with _reading(path), suppress(FileNotFoundError), folder.open(name) as file:
            if sha256_of(file) == (segment.bytes, segment.sha256):
                return name
    if not names:
        raise ArchiveDamaged(f"{path} is missing.", hint="Use another copy of the archive.")
    raise ArchiveDamaged(
        f"{path} was changed: its hash differs from the manifest's.",
        hint="Use another copy of the file. No row of this file was inserted.",
    )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise ArchiveDamaged for what the disk or the storage does not give."""
    try:
        yield
    except OSError as error:
        raise ArchiveDamaged(
            f"{path} cannot be read: {error.strerror or error}.",
            hint="No row of this file was inserted; rows of earlier files stay. Fix the cause, "
            "then run it again.",
        ) from None


@dataclass(frozen=True)
class _LiveTable:
    """A table that rows are put back into; the columns that can be, with the types of now."""

    relation: Relation
    columns: Mapping[str, str]


def _live_table(connection: Connection, manifest: ArchiveManifest, table: str) -> _LiveTable:
    """Return the table that archived rows are put back into."""
    relation = read_named(connection, [table], "columns").get(table)
    if relation is None:
        raise ArchiveDamaged(
            f"The archive has rows of {table}, which the schema does not have.",
            hint="Name the schema by --schema, or apply the migrations first.",
        )
    found = {column.name: column for column in relation.columns}
    missing = [name for name in manifest.columns[table] if name not in found]
    if missing:
        raise ArchiveDamaged(
            f"The archive has columns that {table} does not have any more: {', '.join(missing)}.",
            hint="Unarchive into a database at an older revision, then copy the rows from there.",
        )
    types = {name: found[name].type for name in manifest.columns[table] if found[name].written}
    return _LiveTable(relation, types)


def _insert(table: str, table_now: _LiveTable) -> sql.Composed:
    names = sql.SQL(", ").join(sql.Identifier(name) for name in table_now.columns)
    values = sql.SQL(", ").join(
        sql.SQL("(line OPERATOR(pg_catalog.->) 'row' OPERATOR(pg_catalog.->>) {})::{}").format(
            name, written_by_server(kind)
        )
        for name, kind in table_now.columns.items()
    )
    return sql.SQL(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM pg_temp.leadctl_lines"
        " WHERE (line OPERATOR(pg_catalog.->>) 'table') OPERATOR(pg_catalog.=) {}"
        " ORDER BY n ON CONFLICT DO NOTHING"
    ).format(table_now.relation.identifier, names, values, table)


def _not_found(table: str, key: str) -> RowNotFound:
    return RowNotFound(
        f"{table} has no row {key!r} that is marked as deleted.",
        hint="It was never deleted, or cleanup has purged it: see leadctl cleanup --list",
    )
