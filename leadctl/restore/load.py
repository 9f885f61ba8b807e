"""Loading a backup into an empty database, with no plaintext of its rows on disk.

Tables and their rows come first, streamed from the archive.  Indexes are made from the small
schema-only archive: those of a table as soon as it has its rows, on other connections.  Foreign
keys, triggers and the rest follow when all rows are there, in parallel.
"""

import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

from psycopg import errors, sql

from leadctl.backup.archive import Nothing
from leadctl.backup.manifest import SCHEMA
from leadctl.backup.storage import StoredBackup, reading
from leadctl.backup.stream import Label, is_encrypted, unpack
from leadctl.backup.verify import check_bytes
from leadctl.errors import BackupDamaged, InvalidIdentity, RestoreFailed
from leadctl.postgres.binaries import dump_programs
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target
from leadctl.restore.archive import list_archive, parse_entries
from leadctl.restore.backups import compare
from leadctl.restore.connections import Connections
from leadctl.restore.extract import rows_of
from leadctl.restore.indexes import IndexBuilder
from leadctl.restore.pg_restore import SHARES_OPEN_FILES, PgRestore
from leadctl.restore.restorable import Comparison, Loading, Origin
from leadctl.restore.rows import TableLoader


@dataclass(frozen=True)
class Source:
    """A backup of leadctl's, and the private keys that read it."""

    backup: StoredBackup
    identities: Sequence[Any]

    def unpack(self, stem: str, sink: Any) -> None:
        """Write a file of the backup, decrypted and decompressed, to a sink.

        Raises BackupDamaged and InvalidIdentity.
        """
        file = self.backup.manifest.file(stem)
        if file is None:
            raise BackupDamaged(f"The backup {self.backup.id} has no {stem}.")
        path = self.backup.path / file.name
        if is_encrypted(path) and not self.identities:
            raise InvalidIdentity(
                f"The backup {self.backup.id} is encrypted, and no private key is set here.",
                hint="Set BACKUP_IDENTITY_FILE or --identity to the file of the private key.",
            )
        found = unpack(path, self.identities, Label(self.backup.id, file.name), sink)
        if found != file.raw_bytes:
            raise BackupDamaged(
                f"{path} holds {found:,} bytes, and the manifest says {file.raw_bytes:,}."
            )

    def origin(self) -> Origin:
        """Return what the manifest says.  Raises BackupDamaged."""
        manifest = self.backup.manifest
        return Origin(
            name=manifest.id,
            made_at=manifest.snapshot_at,
            database=manifest.database,
            schema=manifest.schema,
            revision=manifest.revision,
            server_major=int(manifest.server_version.partition(".")[0]),
            rows=manifest.rows,
            bytes=manifest.database_bytes,
            extensions=tuple(extension.name for extension in manifest.extensions),
            roles=(manifest.settings.owner, *manifest.roles),
            settings=manifest.settings,
        )

    def held(self) -> AbstractContextManager[None]:
        """Keep prune from the backup."""
        return reading(self.backup)

    def check(self) -> None:
        """Compare every byte with its hash, and look for the key and the program that read it.

        Raises BackupDamaged, InvalidIdentity, MissingClient.
        """
        for check in check_bytes(self.backup):
            if not check.ok:
                raise BackupDamaged(
                    f"The backup {self.backup.id} is damaged: {check.what}: {check.message}.",
                    hint="Take another: leadctl backup list",
                )
        self.backup.programs()
        self.unpack(SCHEMA, Nothing())

    def load(self, target: Target, loading: Loading) -> None:
        """Load the backup into the target's database, which is empty."""
        load(self, target, loading)

    def compare(self, connection: Connection, *, rows: bool) -> Comparison:
        """Compare rows, large objects, validity and revision with the manifest."""
        manifest = self.backup.manifest
        checks = tuple(compare(connection, manifest, rows=rows))
        return Comparison(
            rows=manifest.rows if rows else 0,
            tables=len(manifest.tables),
            revision=manifest.revision,
            checks=checks,
        )


def load(source: Source, target: Target, loading: Loading) -> None:
    """Load a backup into the target's database, which is empty.

    Raises RestoreFailed, BackupDamaged, InvalidIdentity, MissingClient, and what connecting
    raises.
    """
    jobs = loading.jobs if SHARES_OPEN_FILES else 1
    # Without a name from the start, so that a killed run leaves nothing.
    with tempfile.TemporaryFile() as schema:
        source.unpack(SCHEMA, schema)
        schema.flush()
        restore = _program(source, target, owners=loading.owners)
        if loading.rows:
            left = _load_rows(restore, source, schema, loading, jobs)
        else:
            left = []
            with restore.on_file(schema, "--section=pre-data") as program:
                restore.check(program)
            _copy_records(source, target)
        loading.narrate("Making indexes, constraints and triggers.")
        arguments = ("--section=post-data", f"--jobs={jobs}")
        with restore.on_file(schema, *arguments, entries=left) as program:
            restore.check(program)
    if loading.rows:
        with connect(target, "restore") as connection:
            _refresh(connection, source.backup.manifest.materialized_views)


def _load_rows(
    restore: PgRestore, source: Source, schema: IO[bytes], loading: Loading, jobs: int
) -> list[str]:
    """Load tables and rows, and make indexes meanwhile; return the entries that are left."""
    program = restore.programs.path("pg_restore")
    listing = list_archive(program, "the backup", partial(source.unpack, SCHEMA))
    sizes = {table.name: table.bytes for table in source.backup.manifest.tables}
    with Connections(jobs) as connections:
        builder = IndexBuilder(restore, schema, parse_entries(listing), sizes, connections)
        loading.narrate("Loading the rows.")
        tables = TableLoader(
            restore, source, sizes, connections, loading.loaded, builder.table_loaded
        )
        tables.load()
        return builder.finish()


def _copy_records(source: Source, target: Target) -> None:
    """Copy what leadctl and Alembic record of the schema: it goes with the schema."""
    manifest = source.backup.manifest
    records = {"leadctl.identity", "leadctl.migration"}
    found = [
        table.name
        for table in manifest.tables
        if table.name in records or table.name == f"{manifest.schema}.{manifest.version_table}"
    ]
    if not found:
        return
    with connect(target, "restore") as connection:
        for rows in rows_of(source, found):
            rows.copy_into(connection, sql.SQL(rows.table))


def _program(source: Source, target: Target, *, owners: bool) -> PgRestore:
    with connect(target, "restore") as connection:
        major = connection.info.server_version // 10000
    # An archive is read by the version that wrote it and by newer ones.
    made_by = source.backup.client_major
    return PgRestore(target, dump_programs(made_by, max(made_by, major)), major, owners)


def _refresh(connection: Connection, views: Sequence[str]) -> None:
    """Refresh materialized views, each after those that it reads."""
    waiting = list(views)
    while waiting:
        again: list[str] = []
        for view in waiting:
            try:
                # The name is as the server quoted it when the catalog was read.
                connection.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}").format(sql.SQL(view)))
            except errors.ObjectNotInPrerequisiteState:
                again.append(view)
        if len(again) == len(waiting):
            raise RestoreFailed(f"The materialized view {again[0]} cannot be refreshed.")
        waiting = again
