"""Restoring the app's own schemas in place, for a role that may not make databases.

In one transaction what this role owns there is dropped, and made again from the backup; until the
commit others see what was there, and wait where they would change it.  What belongs to nobody's
schema (extensions, settings of the database, large objects) stays as it is.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import psycopg
from psycopg import sql

from leadctl.apps.registry import App
from leadctl.backup.contents import SATELLITES, ArchiveEntry
from leadctl.backup.manifest import SCHEMA
from leadctl.backup.reader import BackupReader
from leadctl.errors import DependentObjects, RestoreFailed
from leadctl.journal import state
from leadctl.journal.guard import Consent, permit
from leadctl.journal.lock import schema_lock
from leadctl.postgres.connect import Connection, Timeouts, connect
from leadctl.postgres.queries import parts_of, queries_of, written_by_server
from leadctl.postgres.target import Target
from leadctl.postgres.translate import needs_privileges, told
from leadctl.progress import Narrate
from leadctl.restore.copied_tables import TableRestore
from leadctl.restore.dropped import (
    ROUTINES,
    Making,
    RecreatedTables,
    as_pg_restore,
    refuse_what_is_there,
    routines,
)
from leadctl.restore.dump_archive import check_counts, rows_of
from leadctl.restore.entries import ArchiveSql, EntrySelection
from leadctl.restore.foreign_keys import ForeignKeys
from leadctl.restore.properties import IDENTIFIER

_QUERIES = queries_of(__file__, "restore.sql")
VERB = "restore in place"
"""What the guard calls it."""
_DROPS = {
    "TABLE": sql.SQL("DROP TABLE IF EXISTS {}"),
    "FOREIGN TABLE": sql.SQL("DROP FOREIGN TABLE IF EXISTS {}"),
    "VIEW": sql.SQL("DROP VIEW IF EXISTS {}"),
    "MATERIALIZED VIEW": sql.SQL("DROP MATERIALIZED VIEW IF EXISTS {}"),
    "SEQUENCE": sql.SQL("DROP SEQUENCE IF EXISTS {}"),
    "ROUTINE": sql.SQL("DROP ROUTINE IF EXISTS {}"),
    "DOMAIN": sql.SQL("DROP DOMAIN IF EXISTS {}"),
    "TYPE": sql.SQL("DROP TYPE IF EXISTS {}"),
    "COLLATION": sql.SQL("DROP COLLATION IF EXISTS {}"),
    "CONVERSION": sql.SQL("DROP CONVERSION IF EXISTS {}"),
    "TEXT SEARCH CONFIGURATION": sql.SQL("DROP TEXT SEARCH CONFIGURATION IF EXISTS {}"),
    "TEXT SEARCH DICTIONARY": sql.SQL("DROP TEXT SEARCH DICTIONARY IF EXISTS {}"),
    "OPERATOR CLASS": sql.SQL("DROP OPERATOR CLASS IF EXISTS {}"),
    "OPERATOR FAMILY": sql.SQL("DROP OPERATOR FAMILY IF EXISTS {}"),
    "OPERATOR": sql.SQL("DROP OPERATOR IF EXISTS {}"),
}
_NOT_OF_A_SCHEMA = frozenset({"DEFAULT ACL", "EVENT TRIGGER", "SCHEMA"})
_PUBLISHED = re.compile(rf"ALTER PUBLICATION (?P<name>{IDENTIFIER}) ADD TABLE ")
_NEEDS_ITS_TABLE = frozenset({"INDEX", "PUBLICATION TABLE", "SEQUENCE OWNED BY", "STATISTICS"})
_BEGINS_WITH_ITS_TABLE = frozenset(
    {"CHECK CONSTRAINT", "CONSTRAINT", "DEFAULT", "FK CONSTRAINT", "POLICY", "ROW SECURITY", "RULE",
     "TRIGGER"}
)  # fmt: skip
"""Which table's part an entry is, is in its name; it may need others, too."""
_RECORDS = ("leadctl", "migration")
_ROWS_ALONE = (
    "Or restore rows alone, which drops nothing: --table TABLE --data-only. Nothing was changed."
)
_PARTS = "Making keys, indexes, views and triggers."


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
        _require_schema(reader, target.schema)
        as_pg_restore(connection, waits.lock_timeout)
        archive = ArchiveSql(reader, SCHEMA, connection, owners=owners)
        others = _of_other_publications(connection, archive.entries, wanted)
        staying = {*_QUERIES.rows(connection, "tables_of_others", schemas=wanted)}
        left = {*others, *_with_parts(archive.entries, staying)}
        archive.entries = tuple(entry for entry in archive.entries if entry not in left)
        selection = _selected(archive, wanted)
        refuse_less(reader, selection, wanted, staying)
        with connection.transaction():
            permit(connection, target, VERB, granted)
            present = own_objects(connection, wanted)
            replicated = _replicated(connection, present)
            kept = _kept(connection, present, selection)
            dropped = [each for each in present if each not in kept.values()]
            _drop_all(connection, dropped)
            newer = _not_known(dropped, selection.names.values())
            refuse_what_is_there(connection, selection)
            made = Making(connection, reader, selection, owners, replaced=kept)
            keys = ForeignKeys(connection, archive, made.foreign_keys(), selection.names.values())
            rows = made.make_all(target.schema, keys, waits.lock_wait, narrate, parts=_PARTS)
            refuse_partly(made.result(rows, keys))
            _publish_again(connection, replicated, selection.names.values())
            copy_records(connection, reader, wanted)
        for each in _told(kept.values(), newer, staying, others):
            narrate(each)
        narrate("The schemas are back. Validating foreign keys.")
        result = made.settle(target, app.name, keys, rows, narrate)
    restored = TableRestore(reader.backup.id, target.database, False, None, (), ())
    return restored.with_recreated(result)


def _selected(archive: ArchiveSql, schemas: Collection[str]) -> EntrySelection:
    """Return the tables of schemas in an archive, and what else is made there."""
    own = [e for e in archive.entries if e.schema in schemas and e.kind not in _NOT_OF_A_SCHEMA]
    tables = [entry for entry in own if entry.kind == "TABLE"]
    also = [e for e in own if e.kind not in {"TABLE", "FK CONSTRAINT", *SATELLITES}]
    return EntrySelection(archive, tables, also)


def _told(
    kept: "Iterable[OwnObject]",
    newer: Sequence[str],
    staying: Iterable[tuple[str, ...]],
    others: Iterable[ArchiveEntry],
) -> Iterator[str]:
    """Yield what is not simply back: what stayed or went against the backup, and others' parts."""
    if names := sorted(each.name.as_string() for each in kept):
        yield f"Replaced, since others need it and it could not be dropped: {', '.join(names)}."
    if newer:
        yield f"Dropped, since the backup does not have it: {', '.join(newer)}."
    if tables := [sql.Identifier(*name).as_string() for name in sorted(staying)]:
        yield f"Left as it is, since another role owns it: {', '.join(tables)}."
    for entry in others:
        yield f"Not restored, for the publication's owner to run: {entry.definition.strip()}"


def _with_parts(
    entries: Sequence[ArchiveEntry], names: Collection[tuple[str, ...]]
) -> Iterator[ArchiveEntry]:
    """Yield the entries of tables and of their parts, such as constraints and triggers."""
    known = {e.id: e.name for e in entries if e.kind == "TABLE" and e.parts in names}
    for entry in entries:
        of = [known[each] for each in entry.needs if each in known]
        of_table = any(f"{entry.name} ".startswith(f"{table} ") for table in of)
        if entry.kind == "SEQUENCE" and of:
            known[entry.id] = entry.name  # which what says that a column owns it needs
        if (
            entry.id in known
            or (of and entry.kind in _NEEDS_ITS_TABLE)
            or (of_table and entry.kind in _BEGINS_WITH_ITS_TABLE)
        ):
            yield entry


def _require_schema(reader: BackupReader, schema: str) -> None:
    if reader.manifest.schema != schema:
        raise RestoreFailed(
            f"The backup {reader.backup.id} is of the schema {reader.manifest.schema}, and "
            f"this is {schema}.",
            hint=f"Add --schema {reader.manifest.schema}.",
        )


def _kept(
    connection: Connection, own: Sequence["OwnObject"], selection: EntrySelection
) -> "dict[ArchiveEntry, OwnObject]":
    """Return the routines that others need and the backup has, without what was said of them.

    CREATE OR REPLACE keeps what needs them: triggers and policies of other schemas, say.
    """
    entries = {entry.parts: entry for entry in selection.entries if entry.kind in ROUTINES}
    named = routines(connection, entries)
    known = {oid: entries[parts] for parts, oid in named.items() if parts in entries}
    kept: dict[ArchiveEntry, OwnObject] = {}
    while True:
        needed = _outside(connection, [each for each in own if each not in kept.values()])
        as_it_is = {each.routine for each in needed if not each.replaceable}
        oids = {each.routine for each in needed} & known.keys() - as_it_is
        found = [each for each in own if each.kind == "ROUTINE" and each.oid in oids]
        if not found:
            break
        kept |= {known[each.oid]: each for each in found}  # what they need stays, too
    for each in kept.values():
        connection.execute(sql.SQL("COMMENT ON ROUTINE {} IS NULL").format(each.name))
    return kept


def _drop_all(connection: Connection, own: Sequence["OwnObject"]) -> None:
    try:
        drop_own(connection, own)
    except DependentObjects as error:
        error.hint = f"Drop it first, and make it again afterwards. {_ROWS_ALONE}"
        raise


def _not_known(dropped: "Sequence[OwnObject]", known: Collection[tuple[str, ...]]) -> list[str]:
    """Return the tables that were dropped, but for those that are known."""
    tables = [each.name.as_string() for each in dropped if each.kind == "TABLE"]
    return [name for name in tables if parts_of(name) not in known]


def _of_other_publications(
    connection: Connection, entries: Sequence[ArchiveEntry], schemas: Collection[str]
) -> list[ArchiveEntry]:
    """Return the entries that add a table to a publication which this role may not change."""
    names = set(_QUERIES.column(connection, "own_publications"))
    here = (entry for entry in entries if entry.schema in schemas)
    said = ((entry, _PUBLISHED.match(entry.definition)) for entry in here)
    return [entry for entry, found in said if found and parts_of(found["name"])[0] not in names]


class _Replicated(NamedTuple):
    """A table in a publication or subscription, which forgets it when the table is dropped.

    `adds` is the statement by which a publication takes it.
    """

    by: str
    table: str
    may_add: bool
    adds: str


def _replicated(connection: Connection, own: Sequence["OwnObject"]) -> list[_Replicated]:
    """Return what replicates this role's tables.

    Raises DependentObjects where this role could not add them again.
    """
    oids = [each.oid for each in own if each.kind == "TABLE"]
    found = _QUERIES.rows(connection, "replicated", _Replicated, oids=oids)
    if lost := [f"the {each.by} has {each.table}" for each in found if not each.may_add]:
        raise DependentObjects(
            "Tables that would be dropped are replicated, and this role could not add them again: "
            f"{'; '.join(lost)}.",
            hint=f"Have its owner take them out, and add them afterwards. {_ROWS_ALONE}",
        )
    return found


def _publish_again(
    connection: Connection, replicated: Sequence[_Replicated], names: Collection[tuple[str, ...]]
) -> None:
    """Add the tables to the publications that had them, unless the backup did.

    Raises RestoreFailed where the table of the backup does not fit.
    """
    for each in (each for each in replicated if parts_of(each.table) in names):
        try:
            with connection.transaction():
                connection.execute(written_by_server(each.adds))
        except psycopg.errors.DuplicateObject:
            continue
        except psycopg.errors.ProgrammingError as error:
            raise RestoreFailed(
                f"The {each.by} cannot have {each.table} as it is in the backup: {told(error)}.",
                hint="Take the table out of it first. Nothing was changed.",
            ) from None


def refuse_less(
    reader: BackupReader,
    selection: EntrySelection,
    schemas: Collection[str],
    staying: Collection[tuple[str, ...]] = (),
) -> None:
    """Refuse where a table, or its rows, would not come back, but for those that stay."""
    reader.manifest.require_rows(lambda table: table[0] in schemas and table not in staying)
    names = {*selection.names.values(), *staying}
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


def refuse_partly(result: RecreatedTables) -> None:
    """Refuse where something would not come back.  Raises RestoreFailed."""
    if result.left_out:
        first = result.left_out[0]
        raise RestoreFailed(
            f"{first.entry} cannot be restored: {first.reason}. Nothing was changed.",
            hint="Restore as a role that may create databases, or fix the cause.",
        )


@dataclass(frozen=True)
class OwnObject:
    """What a role owns: its kind and name, as DROP and ALTER take them, and its catalog entry."""

    kind: str
    name: sql.SQL
    catalog: int
    oid: int


def own_objects(connection: Connection, schemas: Sequence[str]) -> list[OwnObject]:
    """Return what this role owns in schemas."""
    found = _QUERIES.rows(connection, "own_objects", schemas=list(schemas))
    return [OwnObject(kind, written_by_server(name), *ids) for kind, name, *ids in found]


def drop_schema(connection: Connection, name: str, *, in_use: str, then: str, as_whom: str) -> None:
    """Drop a schema in the caller's transaction, and nothing that rests on it elsewhere.

    `in_use` says of a schema what stops it, `then` what helps against that, and `as_whom` what
    helps a role that does not own it.  Raises DependentObjects, InsufficientPrivilege and what
    `drop_own` raises.
    """
    try:
        with needs_privileges(f"The schema {name} is another role's", as_whom):
            drop_own(connection, own_objects(connection, [name]))
            connection.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(name)))
    except psycopg.errors.DependentObjectsStillExist as error:
        detail = (error.diag.message_detail or "").replace("\n", "; ")
        raise DependentObjects(f"The schema {name} {in_use}: {detail}.", hint=then) from None


def drop_own(connection: Connection, own: Sequence[OwnObject]) -> None:
    """Drop what this role owns, in the caller's transaction, and nothing else.

    Raises DependentObjects where something else needs it, and RestoreFailed where it is locked.
    """
    # One statement for all tables: those that refer to each other go together.
    tables = sql.SQL(", ").join(each.name for each in own if each.kind == "TABLE")
    drop_tables = _DROPS["TABLE"].format(tables)
    waiting = [drop_tables] if tables.as_string() else []
    waiting += [_DROPS[each.kind].format(each.name) for each in own if each.kind != "TABLE"]
    try:
        while waiting:
            left = [drop for drop in waiting if not _dropped(connection, drop)]
            if len(left) == len(waiting):
                # They need each other, such as a policy a function that takes a row of its table.
                if left[0] is drop_tables:
                    connection.execute(sql.SQL("LOCK TABLE {}").format(tables))
                _refuse_outside(connection, own)
                connection.execute(left.pop(0) + sql.SQL(" CASCADE"))
            waiting = left
    except psycopg.errors.LockNotAvailable:
        raise RestoreFailed(
            "A table is locked by another session. Nothing was changed.",
            hint="Stop what uses it, or wait longer with --lock-timeout.",
        ) from None


def _dropped(connection: Connection, drop: sql.Composed) -> bool:
    """Drop something, unless another object needs it."""
    try:
        with connection.transaction():
            connection.execute(drop)
    except psycopg.errors.DependentObjectsStillExist:
        return False
    return True


class _Outside(NamedTuple):
    """Something else that needs what this role owns, and the routine that it needs, if it is one.

    `replaceable` is whether it stays right where that routine does something else.
    """

    what: str
    routine: int | None
    replaceable: bool


def _outside(connection: Connection, own: Sequence[OwnObject]) -> list[_Outside]:
    ids = {"classes": [each.catalog for each in own], "oids": [each.oid for each in own]}
    return _QUERIES.rows(connection, "outside", _Outside, **ids)


def _refuse_outside(connection: Connection, own: Sequence[OwnObject]) -> None:
    """Refuse where something else needs what this role owns.  Raises DependentObjects."""
    if outside := _outside(connection, own):
        raise DependentObjects(
            "Objects of other roles or schemas depend on objects that would be dropped: "
            f"{'; '.join(each.what for each in outside)}.",
            hint="Drop or change it first; nothing was changed.",
        )


def copy_records(connection: Connection, reader: BackupReader, schemas: Sequence[str]) -> None:
    """Let leadctl's record of what is applied be that of the backup, for these schemas."""
    names = [table.name for table in reader.manifest.tables if table.parts == _RECORDS]
    if not (names and state.is_there(connection)):
        return
    connection.execute("CREATE TEMP TABLE leadctl_records (LIKE leadctl.migration) ON COMMIT DROP")
    staged = sql.Identifier("pg_temp", "leadctl_records")
    read = {
        rows.table: rows.copy_into(connection, staged, owner=None)
        for rows in rows_of(reader, names)
    }
    check_counts(reader, read, names)
    connection.execute("DELETE FROM leadctl.migration WHERE schema = ANY (%s)", (list(schemas),))
    connection.execute(
        "INSERT INTO leadctl.migration SELECT * FROM pg_temp.leadctl_records"
        " WHERE schema = ANY (%s)",
        (list(schemas),),
    )
