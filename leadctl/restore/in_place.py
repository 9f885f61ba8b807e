"""Restoring the app's own schemas in place, for a role that may not make databases.

In one transaction what this role owns there is dropped, and made again from the backup; until the
commit others see what was there, and wait where they would change it.  What belongs to nobody's
schema (extensions, settings of the database, large objects) stays as it is.
"""

from collections.abc import Collection, Sequence

import psycopg
from psycopg import sql

from leadctl.apps.registry import App
from leadctl.backup.manifest import SCHEMA
from leadctl.backup.reader import BackupReader
from leadctl.errors import DependentObjects, InsufficientPrivilege, RestoreFailed
from leadctl.journal import state
from leadctl.journal.guard import Consent, permit
from leadctl.journal.lock import schema_lock
from leadctl.postgres.connect import Connection, Timeouts, connect
from leadctl.postgres.queries import beside, written_by_server
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told
from leadctl.progress import Narrate
from leadctl.restore.archive import check_counts, rows_of
from leadctl.restore.contents import ArchiveEntry
from leadctl.restore.dropped import (
    BackAgain,
    Making,
    as_pg_restore,
    refuse_what_is_there,
)
from leadctl.restore.entries import SATELLITES, ArchiveSql, EntrySelection
from leadctl.restore.foreign_keys import ForeignKeys
from leadctl.restore.scratch_schema import ScratchTable, TableRestore

_QUERIES = beside(__file__, "restore.sql")
VERB = "restore in place"
"""What the guard calls it."""
_DROPS = {
    "TABLE": sql.SQL("DROP TABLE {}"),
    "FOREIGN TABLE": sql.SQL("DROP FOREIGN TABLE {}"),
    "VIEW": sql.SQL("DROP VIEW {}"),
    "MATERIALIZED VIEW": sql.SQL("DROP MATERIALIZED VIEW {}"),
    "SEQUENCE": sql.SQL("DROP SEQUENCE {}"),
    "ROUTINE": sql.SQL("DROP ROUTINE {}"),
    "DOMAIN": sql.SQL("DROP DOMAIN {}"),
    "TYPE": sql.SQL("DROP TYPE {}"),
    "COLLATION": sql.SQL("DROP COLLATION {}"),
    "CONVERSION": sql.SQL("DROP CONVERSION {}"),
    "TEXT SEARCH CONFIGURATION": sql.SQL("DROP TEXT SEARCH CONFIGURATION {}"),
    "TEXT SEARCH DICTIONARY": sql.SQL("DROP TEXT SEARCH DICTIONARY {}"),
    "OPERATOR CLASS": sql.SQL("DROP OPERATOR CLASS {}"),
    "OPERATOR FAMILY": sql.SQL("DROP OPERATOR FAMILY {}"),
    "OPERATOR": sql.SQL("DROP OPERATOR {}"),
}
_NOT_OF_A_SCHEMA = frozenset({"DEFAULT ACL", "EVENT TRIGGER", "SCHEMA"})
_RECORDS = ("leadctl", "migration")


def restore_in_place(
    target: Target,
    app: App,
    reader: BackupReader,
    consent: Consent,
    *,
    owners: bool,
    waits: Timeouts,
    narrate: Narrate,
) -> TableRestore:
    """Put the schemas of an app back as they are in a backup, in one transaction.

    Raises Protected and NotConfirmed, DependentObjects
    where what is not this role's rests on what would go, LockHeld, RestoreFailed, BackupDamaged,
    and what connecting raises; then nothing was changed.
    """
    wanted = [target.schema, *app.schemas]
    with (
        reader.held(),
        schema_lock(target, "restore", waits.lock_wait, narrate),
        connect(target, "restore", like_pg_dump=True) as connection,
    ):
        granted = permit(connection, target, VERB, consent)
        reader.check()
        if reader.manifest.schema != target.schema:
            raise RestoreFailed(
                f"The backup {reader.backup.id} is of the schema {reader.manifest.schema}, and "
                f"this is {target.schema}.",
                hint=f"Add --schema {reader.manifest.schema}.",
            )
        as_pg_restore(connection, waits.lock_timeout)
        archive = ArchiveSql(reader, SCHEMA, connection, owners=owners)
        own = [entry for entry in archive.entries if _is_in(entry, wanted)]
        tables = [entry for entry in own if entry.kind == "TABLE"]
        also = [e for e in own if e.kind not in {"TABLE", "FK CONSTRAINT", *SATELLITES}]
        selection = EntrySelection(archive, tables, also)
        refuse_less(reader, selection, wanted)
        with connection.transaction():
            permit(connection, target, VERB, granted)
            drop_own(connection, wanted)
            refuse_what_is_there(connection, selection)
            made = Making(connection, reader, selection, owners=owners)
            keys = ForeignKeys(connection, archive, made.foreign_keys(), selection.names.values())
            parts = "Making keys, indexes, views and triggers."
            rows = made.make_all(target.schema, keys, waits.lock_wait, narrate, parts=parts)
            refuse_partly(made.result(rows, keys))
            copy_records(connection, reader, wanted)
        narrate("The schemas are back. Validating foreign keys.")
        result = made.settle(target, app.name, keys, rows)
    return TableRestore(
        backup=reader.backup.id,
        database=target.database,
        dry_run=False,
        schema=None,
        tables=tuple(ScratchTable(name, None, count) for name, count in result.tables),
        lines=result.lines,
        made=result.made,
        orphans=result.orphans,
        left_out=result.left_out,
    )


def _is_in(entry: ArchiveEntry, schemas: Collection[str]) -> bool:
    return entry.schema in schemas and entry.kind not in _NOT_OF_A_SCHEMA


def refuse_less(reader: BackupReader, selection: EntrySelection, schemas: Collection[str]) -> None:
    """Refuse where a table of the manifest would not come back."""
    names = set(selection.names.values())
    missing = [
        table.name
        for table in reader.manifest.tables
        if table.parts[0] in schemas and table.parts not in names
    ]
    if missing:
        raise RestoreFailed(
            f"The archive does not say what {', '.join(missing)} is, so it would be lost.",
            hint="Nothing was changed. Restore the backup into another database with --into.",
        )


def refuse_partly(result: BackAgain) -> None:
    """Refuse where something would not come back.  Raises RestoreFailed."""
    if result.left_out:
        first = result.left_out[0]
        raise RestoreFailed(
            f"{first.entry} cannot be restored: {first.reason}. Nothing was changed.",
            hint="Restore as a role that may create databases, or fix the cause.",
        )


def own_objects(connection: Connection, schemas: Sequence[str]) -> list[tuple[str, sql.SQL]]:
    """Return what this role owns in schemas: its kind and its name, as DROP and ALTER take them."""
    found = _QUERIES.rows(connection, "own_objects", schemas=list(schemas))
    return [(kind, written_by_server(identity)) for kind, identity in found]


def drop_schema(connection: Connection, name: str, *, in_use: str, then: str, as_whom: str) -> None:
    """Drop a schema in the caller's transaction, and nothing that rests on it elsewhere.

    `in_use` says of a schema what stops it, `then` what helps against that, and `as_whom` what
    helps a role that does not own it.  Raises DependentObjects, InsufficientPrivilege and what
    `drop_own` raises.
    """
    try:
        drop_own(connection, [name])
        connection.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(name)))
    except psycopg.errors.DependentObjectsStillExist as error:
        detail = (error.diag.message_detail or "").replace("\n", "; ")
        raise DependentObjects(f"The schema {name} {in_use}: {detail}.", hint=then) from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise InsufficientPrivilege(
            f"The schema {name} is another role's: {told(error)}.", hint=as_whom
        ) from None


def drop_own(connection: Connection, schemas: Sequence[str]) -> None:
    """Drop what this role owns in schemas, in the caller's transaction, without CASCADE.

    Raises DependentObjects where something else needs it, and RestoreFailed where it is locked.
    """
    by_kind: dict[str, list[sql.SQL]] = {}
    for kind, name in own_objects(connection, schemas):
        by_kind.setdefault(kind, []).append(name)
    # One statement for all tables: those that refer to each other go together.
    tables = by_kind.pop("TABLE", [])
    waiting = [_DROPS["TABLE"].format(sql.SQL(", ").join(tables))] if tables else []
    waiting += [_DROPS[kind].format(name) for kind, names in by_kind.items() for name in names]
    while waiting:
        failed: list[tuple[sql.Composed, psycopg.Error]] = []
        for drop in waiting:
            try:
                with connection.transaction():
                    connection.execute(drop)
            except psycopg.errors.DependentObjectsStillExist as error:
                failed.append((drop, error))
            except psycopg.errors.UndefinedObject:
                continue  # it went with what it was a part of
            except psycopg.errors.LockNotAvailable:
                raise RestoreFailed(
                    "A table is locked by another session. Nothing was changed.",
                    hint="Stop what uses it, or wait longer with --lock-timeout.",
                ) from None
        if len(failed) == len(waiting):
            detail = (failed[0][1].diag.message_detail or "").replace("\n", "; ")
            raise DependentObjects(
                f"Objects that this role does not own depend on objects that would be dropped: "
                f"{detail}.",
                hint="Drop or change it first; nothing was changed.",
            )
        waiting = [drop for drop, _ in failed]


def copy_records(connection: Connection, reader: BackupReader, schemas: Sequence[str]) -> None:
    """Let leadctl's record of what is applied be that of the backup, for these schemas."""
    names = [table.name for table in reader.manifest.tables if table.parts == _RECORDS]
    if not (names and state.is_there(connection)):
        return
    connection.execute("CREATE TEMP TABLE leadctl_records (LIKE leadctl.migration) ON COMMIT DROP")
    read = {
        rows.table: rows.copy_into(connection, sql.Identifier("pg_temp", "leadctl_records"))
        for rows in rows_of(reader, names)
    }
    check_counts(reader, read, names)
    connection.execute("DELETE FROM leadctl.migration WHERE schema = ANY (%s)", (list(schemas),))
    connection.execute(
        "INSERT INTO leadctl.migration SELECT * FROM pg_temp.leadctl_records"
        " WHERE schema = ANY (%s)",
        (list(schemas),),
    )
