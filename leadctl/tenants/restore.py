"""Putting one tenant back: loaded, compared and swapped in one transaction, while others work on.

In the transaction the tenant's schema gets another name, and is made again under its own from the
backup.  Until the commit every other session sees what was there, and works on it; at the commit
the new schema takes its place, and the old one is kept.  Whatever happens before changes nothing.
"""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from leadctl.backup.contents import SATELLITES, ArchiveEntry
from leadctl.backup.manifest import RECORDS, SCHEMA
from leadctl.backup.reader import BackupReader
from leadctl.backup.snapshot import count_rows, id_of
from leadctl.backup.storage import LATEST, BackupFolder, StoredBackup
from leadctl.errors import BackupDamaged, DependentObjects, RestoreFailed, UnknownBackup
from leadctl.journal import records, state
from leadctl.journal.guard import permit, require_identity
from leadctl.journal.kept_names import record_kept
from leadctl.journal.lock import schema_lock
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.provision import has_schema
from leadctl.postgres.target import Target
from leadctl.postgres.translate import needs_privileges, told
from leadctl.progress import Narrate
from leadctl.restore.dropped import (
    NOT_THE_OWNER,
    Making,
    as_pg_restore,
    refuse_what_is_there,
)
from leadctl.restore.entries import ArchiveSql, EntrySelection
from leadctl.restore.foreign_keys import ForeignKeys, Orphans
from leadctl.restore.in_place import copy_records, refuse_less, refuse_partly
from leadctl.restore.restorable import LeftOutEntry
from leadctl.seed.seed import record_files_in
from leadctl.tenants.citus import refuse_spread
from leadctl.tenants.schemas import (
    QUERIES,
    TenantRun,
    forget_records,
    kept_name,
    move_records,
)
from leadctl.text import counted

RESTORE = "restore of the tenant"
"""What the guard calls it, before the tenant's name."""
_SAYS = frozenset({"SCHEMA", "DEFAULT ACL"})


@dataclass(frozen=True)
class RestoredTenant:
    """A tenant that is back; in a dry run, that would be."""

    tenant: str
    database: str
    backup: str
    made_at: datetime
    dry_run: bool
    revision: str | None
    """What it is at."""
    tables: int
    rows: int
    """As counted in the restored schema, and as the manifest says."""
    kept_as: str | None
    """The schema that was replaced, under its new name; None where there was none."""
    lines: tuple[str, ...]
    """SQL for what is left to do: it validates foreign keys."""
    orphans: tuple[Orphans, ...]
    left_out: tuple[LeftOutEntry, ...]
    """Foreign keys that could not be added or validated."""
    changed: tuple[LeftOutEntry, ...]
    """Functions, types and extensions that it needs, and that the database has otherwise."""

    @property
    def ok(self) -> bool:
        """Whether nothing was left out."""
        return not self.left_out


def restore_tenant(
    run: TenantRun, reader: BackupReader, *, owners: bool, dry_run: bool
) -> RestoredTenant:
    """Put a tenant back from a backup of its own, or of the whole database.

    `owners` sets owners and grants as they were; their roles must exist.  A dry run rolls all back.
    Raises Protected and NotConfirmed, DependentObjects where something elsewhere needs what would
    be replaced, LockHeld, RestoreFailed, BackupDamaged, and what connecting raises; then nothing
    was changed.
    """
    name, tenant = run.name, replace(run.target, schema=run.name)
    with (
        reader.held(),
        schema_lock(tenant, "restore", run.timeouts.lock_wait, run.narrate),
        connect(tenant, "restore", like_pg_dump=True) as connection,
    ):
        exists = has_schema(connection, name)
        if exists and not dry_run:
            consent = permit(connection, tenant, f"{RESTORE} {name}", run.consent)
        require_identity(connection, RESTORE)
        refuse_spread(connection, name, reader.manifest.distribution)
        reader.check()
        as_pg_restore(connection, run.timeouts.lock_timeout)
        loading = TenantLoading(connection, reader, name, owners=owners)
        state.ensure(connection, tenant)
        with connection.transaction(force_rollback=dry_run):
            if exists and not dry_run:
                permit(connection, tenant, f"{RESTORE} {name}", consent)
            kept = _make_way(connection, name) if exists else None
            made, keys, rows = loading.load(run.timeouts.lock_wait, run.narrate)
            revisions = records.current_revisions(connection, name, run.app.version_table)
            made_result = made.result(rows, keys)
        if not dry_run:
            run.narrate("The tenant is back. Validating foreign keys.")
            made_result = made.settle(tenant, run.app.name, keys, rows, run.narrate)
    return RestoredTenant(
        tenant=run.name,
        database=run.target.database,
        backup=reader.backup.id,
        made_at=reader.manifest.snapshot_at,
        dry_run=dry_run,
        revision=", ".join(revisions or []) or None,
        tables=len(made_result.tables),
        rows=sum(rows for _, rows in made_result.tables),
        kept_as=kept,
        lines=made_result.lines,
        orphans=made_result.orphans,
        left_out=made_result.left_out,
        changed=made_result.changed,
    )


class TenantLoading:
    """Loads a tenant's schema from a backup, in the caller's transaction."""

    def __init__(
        self, connection: Connection, reader: BackupReader, name: str, *, owners: bool
    ) -> None:
        self._connection, self._reader, self._name, self._owners = connection, reader, name, owners
        archive = self._archive = ArchiveSql(reader, SCHEMA, connection, owners=owners)
        self._schema = [e for e in archive.entries if e.kind == "SCHEMA" and e.name == name]
        own = [e for e in archive.entries if e.schema == name and e.kind not in _SAYS]
        if not (self._schema and own):
            raise RestoreFailed(
                f"The backup {reader.backup.id} has no tenant {name}.",
                hint=f"Its tables: leadctl backup show {reader.backup.id}",
            )
        ids = {entry.id for entry in own}
        # What others have that needs the tenant is theirs, and stays as it is.
        archive.entries = tuple(
            e for e in archive.entries if e.schema in {name, None} or not e.needs & ids
        )
        self._tables = [entry for entry in own if entry.kind == "TABLE"]
        self._also = [e for e in own if e.kind not in {"TABLE", "FK CONSTRAINT", *SATELLITES}]

    def load(
        self, lock_wait: float, narrate: Narrate
    ) -> tuple[Making, ForeignKeys, dict[str, int]]:
        """Make the schema with all that is in it; compare it with the backup.

        Raises RestoreFailed where not all of it comes back as it was.
        """
        connection, archive, name = self._connection, self._archive, self._name
        says = [e for e in archive.entries if e.schema == name and e.kind == "DEFAULT ACL"]
        ids = {entry.id for entry in self._schema}
        self._run(self._schema)
        # Who owns a table may need a grant on the schema to write its rows.
        self._run([e for e in archive.entries if e.kind in SATELLITES and e.needs & ids])
        selection = EntrySelection(archive, self._tables, self._also)
        refuse_less(self._reader, selection, [name])
        refuse_what_is_there(connection, selection)
        made = Making(connection, self._reader, selection, self._owners)
        keys = ForeignKeys(connection, archive, made.foreign_keys(), selection.names.values())
        parts = "Making keys, indexes, views and triggers."
        rows = made.make_all(name, keys, lock_wait, narrate, parts=parts)
        refuse_partly(made.result(rows, keys))
        self._run(says)
        self._put_records()
        self._compare(rows)
        return made, keys, rows

    def _run(self, entries: Sequence[ArchiveEntry]) -> None:
        cannot = f"The schema {self._name} cannot be made"
        try:
            with needs_privileges(cannot, NOT_THE_OWNER):
                for script in self._archive.scripts(entries).values():
                    self._archive.run(script)
        except psycopg.errors.UndefinedObject as error:
            raise RestoreFailed(
                f"{cannot}: {told(error)}.",
                hint="Make the role, or restore with --no-owner. Nothing was changed.",
            ) from None

    def _put_records(self) -> None:
        """Let leadctl's records of the tenant be those of the backup."""
        if self._reader.manifest.tenant is None:
            copy_records(self._connection, self._reader, [self._name])
            return
        forget_records(self._connection, self._name)
        lines = BytesIO()
        self._reader.unpack(RECORDS, lines)
        records: list[dict[str, Any]] = [json.loads(line) for line in lines.getvalue().splitlines()]
        _put_records(self._connection, self._name, records)

    def _compare(self, rows: dict[str, int]) -> None:
        """Count what is in the schema now.  Raises RestoreFailed where that is not the backup."""
        for table, expected in rows.items():
            found = count_rows(self._connection, table)
            if found != expected:
                raise RestoreFailed(
                    f"{table} has {counted(found, 'row')} after loading, and the backup has "
                    f"{expected:,}. Nothing was changed.",
                    hint=f"Try: leadctl backup verify {self._reader.backup.id}",
                )


def find_backup(
    target: Target, name: str, backup: str, own: BackupFolder, of_database: BackupFolder
) -> StoredBackup:
    """Return a backup of a tenant by its id, the beginning of it, `latest`, or its path.

    The latest is the newest that has the tenant of this database: one of the same name elsewhere
    is another customer's.  Raises UnknownBackup.
    """
    if backup != LATEST:
        try:
            return own.find(backup)
        except UnknownBackup:
            return of_database.find(backup)
    found = sorted([*own.backups(), *of_database.backups()], key=lambda each: each.id, reverse=True)
    database, other = id_of(target), None
    for each in (each for each in found if not each.from_future):
        try:
            manifest = each.manifest
        except BackupDamaged:
            continue  # the next one is older, and whole
        if manifest.tenant == name or any(table.parts[0] == name for table in manifest.tables):
            if each.is_of(database):
                return each
            other = other or each
    if other is not None:
        raise UnknownBackup(
            f"There is no backup of {target.database} with the tenant {name}: {other.id} is of "
            f"{other.manifest.database}.",
            hint=f"To take that one, run the command again with its id, {other.id}.",
        )
    raise UnknownBackup(
        f"There is no backup with the tenant {name} in {own.path} or {of_database.path}.",
        hint=f"Make one: leadctl backup --tenant {shlex.quote(name)}",
    )


def _make_way(connection: Connection, name: str) -> str:
    """Give a tenant's schema another name, in the caller's transaction; return it.

    Raises DependentObjects where something elsewhere would go on with the old one.
    """
    if outside := QUERIES.column(connection, "needed_elsewhere", name=name):
        more = f" (with {len(outside) - 1} more) " if len(outside) > 1 else " "
        raise DependentObjects(
            f"{outside[0]}{more}needs what is in the schema {name}, and would keep using the old "
            "one.",
            hint="Drop it, and make it again afterwards. Nothing was changed.",
        )
    kept = kept_name(connection, name, "before")
    rename = sql.SQL("ALTER SCHEMA {} RENAME TO {}")
    with needs_privileges(
        f"The schema {name} is another role's",
        "Connect as its owner, who may create schemas. Nothing was changed.",
    ):
        connection.execute(rename.format(sql.Identifier(name), sql.Identifier(kept)))
    move_records(connection, name, kept)
    record_kept(connection, kept, name)
    return kept


def _put_records(connection: Connection, name: str, records: Iterable[Mapping[str, Any]]) -> None:
    """Put records of a backup in, as those of a schema.  Raises BackupDamaged for what is none."""
    record_files_in(connection)
    for record in records:
        kind = record.get("of")
        if kind not in {"migrations", "seed_files"}:
            raise BackupDamaged(f"The backup has a record of {kind!r}, which is not a record.")
        QUERIES.run(connection, f"put_{kind}", record=Jsonb({**record, "schema": name}))
