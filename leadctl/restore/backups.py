"""Restoring a backup of leadctl's own, which is compared with its manifest; rehearsing it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import psycopg

from leadctl.backup.manifest import BackupManifest
from leadctl.backup.reader import BackupReader, VerifyCheck
from leadctl.backup.snapshot import count_rows, not_valid, revision
from leadctl.errors import BackupDamaged, RestoreFailed
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.queries import beside
from leadctl.postgres.target import Target
from leadctl.progress import Narrate, Progress
from leadctl.restore.database import drop_database, scratch_database
from leadctl.restore.load import load
from leadctl.restore.restorable import Comparison, Loading, Origin

_QUERIES = beside(__file__, "restore.sql")
_SHOWN = 5


@dataclass(frozen=True)
class RestorableBackup(BackupReader):
    """A backup of leadctl's, and the private keys that read it."""

    def origin(self) -> Origin:
        """Return what the manifest says.  Raises BackupDamaged."""
        manifest = self.manifest
        return Origin(
            name=manifest.id,
            made_at=manifest.snapshot_at,
            bytes=manifest.database_bytes,
            database=manifest.database,
            schema=manifest.schema,
            revision=manifest.revision,
            server_major=int(manifest.server_version.partition(".")[0]),
            rows=manifest.rows,
            extensions=tuple(extension.name for extension in manifest.extensions),
            roles=(manifest.settings.owner, *manifest.roles),
            settings=manifest.settings,
        )

    def load(self, target: Target, loading: Loading) -> None:
        """Load the backup into the target's database, which is empty."""
        load(self, target, loading)

    def compare(self, connection: Connection, *, rows: bool) -> Comparison:
        """Compare rows, large objects, validity and revision with the manifest."""
        manifest = self.manifest
        return Comparison(
            rows=manifest.rows if rows else 0,
            tables=len(manifest.tables),
            revision=manifest.revision,
            checks=tuple(_compared(connection, manifest, rows=rows)),
        )


def rehearse(
    reader: BackupReader, target: Target, narrate: Narrate, progress: Progress
) -> list[VerifyCheck]:
    """Restore a backup into a scratch database and compare that with its manifest.

    The scratch database is on the target's server, and named after the backup, so that the next
    rehearsal removes what a killed one left.  Raises what connecting raises.
    """
    manifest = reader.manifest
    name = f"leadctl_verify_{manifest.id}"
    scratch = replace(target.on(name), schema=manifest.schema)
    try:
        with scratch_database(target, name, manifest.settings, narrate) as connection:
            load(reader, scratch, Loading(narrate, progress, owners=False))
            with connect(scratch, "verify") as restored:
                checks = [
                    VerifyCheck("restore", True, "restored without an error"),
                    *_compared(restored, manifest, rows=True),
                    _check_indexes(restored),
                ]
            drop_database(connection, name)
    except (RestoreFailed, BackupDamaged) as error:
        return [VerifyCheck("restore", False, error.message)]
    return checks


def _compared(
    connection: Connection, manifest: BackupManifest, *, rows: bool
) -> Iterator[VerifyCheck]:
    """Compare rows, large objects, validity and revision with the manifest.

    Without `rows` only the schema is compared.
    """
    new = sorted(set(not_valid(connection)) - set(manifest.not_valid))
    message = f"not valid: {', '.join(new)}" if new else "valid"
    yield VerifyCheck("constraints and indexes", not new, message)
    if not rows:
        return
    yield _rows(connection, manifest)
    ((objects,),) = connection.execute("SELECT count(*) FROM pg_largeobject_metadata")
    yield VerifyCheck(
        "large objects",
        objects == manifest.large_objects,
        f"{objects:,} of {manifest.large_objects:,}",
    )
    found = revision(connection, manifest.schema, manifest.version_table)
    yield VerifyCheck(
        "revision",
        found == manifest.revision,
        f"{found or 'none'}, and the manifest says {manifest.revision or 'none'}",
    )


def _rows(connection: Connection, manifest: BackupManifest) -> VerifyCheck:
    wrong = []
    for table in manifest.tables:
        try:
            found = count_rows(connection, table.name)
        except psycopg.errors.UndefinedTable:
            wrong.append(f"{table.name} is missing")
            continue
        if found != table.rows:
            wrong.append(f"{table.name} {found:,} of {table.rows:,}")
    if wrong:
        more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        return VerifyCheck("rows", False, ", ".join(wrong[:_SHOWN]) + more)
    message = f"{manifest.rows:,} rows in {len(manifest.tables)} tables, as in the manifest"
    return VerifyCheck("rows", True, message)


def _check_indexes(connection: Connection) -> VerifyCheck:
    """Check every B-tree index against its table with amcheck, where that can be had."""
    what = "amcheck"
    if not _QUERIES.value(connection, "amcheck_available"):
        return VerifyCheck(what, None, "the server does not have the extension amcheck")
    try:
        connection.execute("CREATE SCHEMA leadctl_amcheck")
        connection.execute("CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA leadctl_amcheck")
        names = _QUERIES.column(connection, "btree_indexes")
        for name in names:
            connection.execute("SELECT leadctl_amcheck.bt_index_check(%s::regclass, true)", (name,))
    except psycopg.errors.InsufficientPrivilege as error:
        return VerifyCheck(what, None, f"{error.diag.message_primary}")
    except psycopg.errors.IndexCorrupted as error:
        return VerifyCheck(what, False, f"{error.diag.message_primary}")
    return VerifyCheck(what, True, f"{len(names)} indexes agree with their tables")
