"""Bringing back the rows of single tables, into the tables that exist.

Rows that are gone come back, rows that were changed become what they were, rows that are newer
than the backup stay.  The tables' own triggers rest meanwhile: they would write history and totals
a second time.  Foreign keys hold.
"""

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import psycopg
from psycopg import sql

from leadctl.backup.contents import ancestors_of
from leadctl.backup.reader import BackupReader
from leadctl.catalog.citus import distributes, has_citus
from leadctl.catalog.relations import Relation, advance_sequences, read_named, read_numbered
from leadctl.errors import NoPrimaryKey, NotOnCitus, RestoreFailed, TableNotInBackup
from leadctl.journal.guard import Consent, permit
from leadctl.journal.runs import journaled
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, connect, set_session
from leadctl.postgres.queries import parts_of, queries_of
from leadctl.postgres.target import Target
from leadctl.postgres.translate import needs_privileges, told
from leadctl.progress import Narrate
from leadctl.restore.backups import RestorableBackup
from leadctl.restore.dump_archive import check_counts, owner_of_rows, rows_of

_AS_OWNER = "Restore as the owner of the table, or name others with --table. Nothing was changed."
_DISABLE = sql.SQL("ALTER TABLE ONLY {} DISABLE TRIGGER {}")
_ENABLE = {
    "O": sql.SQL("ALTER TABLE ONLY {} ENABLE TRIGGER {}"),
    "A": sql.SQL("ALTER TABLE ONLY {} ENABLE ALWAYS TRIGGER {}"),
    "R": sql.SQL("ALTER TABLE ONLY {} ENABLE REPLICA TRIGGER {}"),
}
"""https://www.postgresql.org/docs/current/catalog-pg-trigger.html"""

_QUERIES = queries_of(__file__, "restore.sql")


@dataclass(frozen=True)
class RestoredTable:
    """One table: rows in the backup, and what came of them."""

    table: str
    rows: int
    inserted: int
    updated: int


@dataclass(frozen=True)
class RestoredTables:
    """The restored rows by table; in a dry run, those that would be restored."""

    backup: str
    database: str
    dry_run: bool
    tables: tuple[RestoredTable, ...]
    gone: tuple[str, ...]
    """Partitions that had rows and do not exist any more: theirs did not come back."""


@dataclass(frozen=True)
class StagedTable:
    """A table that rows go back into, and where they wait: it, or the root of its partitions."""

    relation: Relation
    staging: sql.Identifier
    columns: tuple[str, ...]
    """Those that the backup has."""

    @property
    def name(self) -> str:
        """Its name as SQL has it."""
        return self.relation.qualified

    @contextmanager
    def as_owner(self, connection: Connection) -> Iterator[None]:
        """Let the block's statements touch its rows as `Relation.touched_as` says."""
        role = self.relation.touched_as
        if role is not None:
            grant = sql.SQL("GRANT SELECT ON {} TO {}")
            connection.execute(grant.format(self.staging, sql.Identifier(role)))
        with exact.as_owner(connection, role):
            yield


def restore_tables(
    target: Target,
    reader: RestorableBackup,
    names: Sequence[str],
    consent: Consent,
    *,
    app: str,
    dry_run: bool,
    lock_timeout: float,
    narrate: Narrate,
) -> RestoredTables:
    """Bring back the rows of tables from a backup, in one transaction; without names of all.

    Sequences go on after the highest number that came back.  A dry run does it all, and rolls
    back.  `lock_timeout` is in seconds.  Raises TableNotInBackup, NoPrimaryKey, RestoreFailed,
    BackupDamaged, and what the guard and connecting raise.
    """
    with reader.held(), connect(target, "restore", rows=True, like_pg_dump=True) as connection:
        if not dry_run:
            permit(connection, target, "restore of tables", consent)
        reader.check()
        without = reader.manifest.left_out
        if without and not names:
            narrate(
                f"The backup does not have the rows of {', '.join(without)}: those of now stay as "
                "they are."
            )
        wanted, gone = _leaves(connection, reader, names or _all_tables(reader))
        for relation in wanted.values():
            _require_key(relation)
        _refuse_ruled(connection, wanted.values())
        _refuse_distributed(connection, reader, wanted.values())
        set_session(connection, {"lock_timeout": f"{round(lock_timeout * 1000)}ms"})
        journal = nullcontext() if dry_run else journaled(target, "restore", app)
        with journal as entry, connection.transaction(force_rollback=dry_run):
            narrate("Reading the rows from the backup.")
            tables = stage(connection, reader, wanted)
            if entry is not None:
                entry.note(backup=reader.backup.id, tables=[table.name for table in tables])
            with triggers_resting(connection, tables):
                done = _merge_all(connection, tables)
            if not dry_run:  # a sequence is not rolled back
                for table in tables:
                    advance_sequences(connection, table.relation)
    return RestoredTables(reader.backup.id, target.database, dry_run, tuple(done), gone)


def _refuse_distributed(
    connection: Connection, reader: RestorableBackup, relations: Iterable[Relation]
) -> None:
    """Raise NotOnCitus where rows are on other nodes: it takes no such ON CONFLICT there."""
    schemas = sorted({relation.schema for relation in relations})
    if has_citus(connection) and distributes(connection, schemas):
        raise NotOnCitus(
            f"Rows of {', '.join(schemas)} cannot be merged: a Citus cluster distributes its "
            "tables. Nothing was changed.",
            hint=f"Restore the whole tenant: leadctl restore --tenant NAME {reader.backup.id}",
        )


def _all_tables(reader: BackupReader) -> list[str]:
    """Return the tables of a backup but those that record what the schema is."""
    manifest = reader.manifest
    version_table = (manifest.version_schema or manifest.schema, manifest.version_table)
    return [
        table.name
        for table in manifest.tables
        if table.parts != version_table and table.parts[0] != "leadctl"
    ]


def _leaves(
    connection: Connection, reader: RestorableBackup, names: Sequence[str]
) -> tuple[dict[str, Relation], tuple[str, ...]]:
    """Return the tables that hold the rows of those that are named, partitions among them.

    They are by the names that the manifest has them under.  Partitions that are newer than the
    backup are passed over; those of the backup that do not exist any more are returned, too.
    """
    above = ancestors_of(reader.entries)
    relations = read_named(connection, names, "descendants")
    found: dict[int, str] = {}
    gone: set[str] = set()
    for name in names:
        if name not in relations:
            gone.add(_gone_partition(connection, reader, name, above))
            continue
        relation = relations[name]
        leaves = {parts_of(leaf.qualified): leaf for leaf in relation.leaves}
        kept = _in_backup(reader, name, leaves)
        found |= {leaves[parts].oid: kept[parts] for parts in kept}
        itself = (relation.schema, relation.name)
        gone |= {
            table.name
            for table in reader.manifest.tables
            if table.rows and table.parts not in leaves and itself in above.get(table.parts, ())
        }
    tables = read_numbered(connection, found, "indexes", "triggers")
    return {found[oid]: relation for oid, relation in tables.items()}, tuple(sorted(gone))


def _in_backup(
    reader: BackupReader, name: str, leaves: Collection[tuple[str, ...]]
) -> dict[tuple[str, ...], str]:
    """Return those of a table's leaves that the backup has, by the manifest's names.

    Raises TableNotInBackup where that is none.
    """
    manifest = reader.manifest
    kept = {table.parts: table.name for table in manifest.tables if table.parts in leaves}
    manifest.require_rows(leaves.__contains__)
    if not kept:
        raise TableNotInBackup(
            f"There is no table {name} in the backup {manifest.id}.",
            hint=manifest.table_hint(name),
        )
    return kept


def _gone_partition(
    connection: Connection,
    reader: BackupReader,
    name: str,
    above: Mapping[tuple[str, ...], Sequence[tuple[str, ...]]],
) -> str:
    """Return the name of a table that does not exist any more, but what it was a partition of does.

    Raises TableNotInBackup for any other.
    """
    tables = {table.name: table for table in reader.manifest.tables}
    if name in tables:
        over = [sql.Identifier(*parts).as_string() for parts in above.get(tables[name].parts, ())]
        if read_named(connection, over):
            return name
    if any(name in {table.name, table.parts[-1]} for table in tables.values()):
        raise TableNotInBackup(
            f"There is no table {name} in {connection.info.dbname}, and --data-only creates none.",
            hint=f"Leave out --data-only: leadctl restore {reader.manifest.id} --table "
            f"{shlex.quote(name)}",
        )
    raise TableNotInBackup(
        f"There is no table {name} in {connection.info.dbname}, nor in the backup.",
        hint=reader.manifest.table_hint(name),
    )


def _require_key(relation: Relation) -> None:
    if not relation.primary_key:
        raise NoPrimaryKey(
            f"The table {relation.qualified} has no primary key, so its rows cannot be matched "
            f"with the backup.",
            hint="Restore the backup into another database with --into, and copy what is needed.",
        )


def _refuse_ruled(connection: Connection, tables: Iterable[Relation]) -> None:
    """Refuse tables whose rules would write something else than what is in the backup."""
    ruled = _QUERIES.column(connection, "ruled", oids=[table.oid for table in tables])
    if ruled:
        raise RestoreFailed(
            f"{', '.join(ruled)} has rules that change what is written. Nothing was changed.",
            hint=f"Disable the rules first: ALTER TABLE {ruled[0]} DISABLE RULE NAME; or restore "
            "into another database with --into, and copy what is needed.",
        )


def stage(
    connection: Connection,
    reader: BackupReader,
    wanted: Mapping[str, Relation],
    *,
    lacking: bool = False,
) -> list[StagedTable]:
    """Copy the backup's rows of tables into temporary tables, one for each that they go into.

    `wanted` are by the names of the manifest.  With `lacking` a table may lack columns of the
    backup, which are texts then.  Raises RestoreFailed, and what reading the backup raises.
    """
    staged: dict[tuple[str, ...], StagedTable] = {}
    read: dict[str, int] = {}
    for rows in rows_of(reader, list(wanted)):
        if rows.into not in staged:
            relation = _taking(connection, wanted[rows.table], rows.into)
            staging = sql.Identifier("pg_temp", f"leadctl_rows_{len(staged)}")
            staged[rows.into] = StagedTable(relation, staging, rows.columns)
            _make_staging(connection, staged[rows.into], lacking=lacking)
        table = staged[rows.into]
        owner = owner_of_rows(connection, table.relation.qualified)
        read[rows.table] = rows.copy_into(connection, table.staging, owner)
    check_counts(reader, read, wanted)
    return list(staged.values())


def _taking(connection: Connection, leaf: Relation, into: tuple[str, ...]) -> Relation:
    """Return the relation that rows of a leaf go into: it, or the root of its partitions."""
    if (leaf.schema, leaf.name) == into:
        return leaf
    name = sql.Identifier(*into).as_string(connection)
    found = read_named(connection, [name], "indexes", "triggers").get(name)
    if found is None:
        raise RestoreFailed(
            f"{leaf.qualified} was a partition of {name}, which does not exist any more.",
            hint="Restore the backup into another database with --into, and copy what is needed.",
        )
    _require_key(found)
    return found


def _make_staging(connection: Connection, table: StagedTable, *, lacking: bool) -> None:
    present = {column.name for column in table.relation.columns}
    columns = sql.SQL(", ").join(
        sql.SQL("NULL::pg_catalog.text AS {}" if lacking and name not in present else "{}").format(
            sql.Identifier(name)
        )
        for name in table.columns
    )
    try:
        connection.execute(
            sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} LIMIT 0").format(
                table.staging, columns, table.relation.identifier
            )
        )
    except psycopg.errors.UndefinedColumn as error:
        raise RestoreFailed(
            f"{table.name} lacks a column of the backup: {told(error)}.",
            hint="Restore the backup into another database with --into, and copy what is needed.",
        ) from None


@contextmanager
def triggers_resting(connection: Connection, tables: Sequence[StagedTable]) -> Iterator[None]:
    """Disable the tables' own triggers within the transaction, and give them back as they were.

    Those of a partition are told one by one: they may be set otherwise than the root's.
    """
    leaves = [leaf.oid for table in tables for leaf in table.relation.leaves]
    relations = {table.relation.oid: table.relation for table in tables}
    relations |= read_numbered(connection, leaves, "triggers")
    resting = [
        (relation, trigger)
        for relation in relations.values()
        for trigger in relation.triggers
        if trigger.enabled in _ENABLE
    ]
    for relation, trigger in resting:
        _set_trigger(connection, relation, _DISABLE, trigger.name)
    yield
    for relation, trigger in resting:
        _set_trigger(connection, relation, _ENABLE[trigger.enabled], trigger.name)


def _set_trigger(connection: Connection, relation: Relation, how: sql.SQL, name: str) -> None:
    with needs_privileges(
        f"The trigger {name} of {relation.schema}.{relation.name} cannot be disabled", _AS_OWNER
    ):
        connection.execute(how.format(relation.identifier, sql.Identifier(name)))


def _merge_all(connection: Connection, tables: Sequence[StagedTable]) -> list[RestoredTable]:
    """Merge tables that may refer to each other: while one succeeds, the rest is tried again."""
    done: dict[str, RestoredTable] = {}
    waiting = list(tables)
    while waiting:
        failed: list[tuple[StagedTable, psycopg.Error]] = []
        for table in waiting:
            try:
                with connection.transaction():
                    done[table.name] = _merge(connection, table)
            except psycopg.errors.ForeignKeyViolation as error:
                failed.append((table, error))
            except psycopg.errors.IntegrityError as error:
                raise RestoreFailed(
                    f"{table.name} cannot take its rows back: {told(error)}.",
                    hint="Rows that are newer than the backup conflict with them.",
                ) from None
        if len(failed) == len(waiting):
            table, why = failed[0]
            raise RestoreFailed(
                f"{table.name} cannot take its rows back: {told(why)}.",
                hint="They refer to rows that do not exist; add that table with --table, too.",
            )
        waiting = [table for table, _ in failed]
    return [done[table.name] for table in tables]


def _merge(connection: Connection, table: StagedTable) -> RestoredTable:
    fixed = {c.name for c in table.relation.columns if not c.written or c.identity == "a"}
    key = table.relation.primary_key
    changing = [name for name in table.columns if name not in {*key, *fixed}]
    if table.relation.kind == "p":  # what is gone is looked up, and must stay so
        lock = sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE")
        connection.execute(lock.format(table.relation.identifier))
    with table.as_owner(connection):
        row = connection.execute(_merging(table, changing)).fetchone()
    counting = sql.SQL("SELECT pg_catalog.count(*) FROM {}").format(table.staging)
    count = connection.execute(counting).fetchone()
    assert row is not None
    assert count is not None
    return RestoredTable(table.name, count[0], *row)


def _merging(table: StagedTable, changing: Sequence[str]) -> sql.Composed:
    """Compose the INSERT that brings rows back, and counts those that were gone or changed."""
    action: sql.Composable = sql.SQL("NOTHING")
    if changing:
        # As texts: not every type, such as json, knows what equal is.
        action = sql.SQL(
            "UPDATE SET {sets} WHERE ROW({old})::pg_catalog.text"
            " OPERATOR(pg_catalog.<>) ROW({new})::pg_catalog.text"
        ).format(
            sets=sql.SQL(", ").join(
                sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in changing
            ),
            old=sql.SQL(", ").join(sql.Identifier("present", name) for name in changing),
            new=sql.SQL(", ").join(sql.Identifier("excluded", name) for name in changing),
        )
    columns = {column.name: column for column in table.relation.columns}
    parts = {
        "table": table.relation.identifier,
        "columns": sql.SQL(", ").join(map(sql.Identifier, table.columns)),
        "staging": table.staging,
        "key": sql.SQL(", ").join(map(sql.Identifier, table.relation.primary_key)),
        "same": sql.SQL(" AND ").join(
            sql.SQL("present.{0} {1} s.{0}").format(
                sql.Identifier(name), columns[name].compared("=")
            )
            for name in table.relation.primary_key
        ),
        "action": action,
    }
    merging = sql.SQL(
        "INSERT INTO {table} AS present ({columns}) OVERRIDING SYSTEM VALUE"
        " SELECT {columns} FROM {staging} ON CONFLICT ({key}) DO {action}"
    ).format(**parts)
    if table.relation.kind == "p":  # which has no xmax to tell by
        return sql.SQL(
            "WITH gone AS (SELECT pg_catalog.count(*) AS rows FROM {staging} AS s WHERE NOT EXISTS"
            " (SELECT FROM {table} AS present WHERE {same})),"
            " merged AS ({merging} RETURNING 1)"
            " SELECT rows,"
            " (SELECT pg_catalog.count(*) FROM merged) OPERATOR(pg_catalog.-) rows FROM gone"
        ).format(**parts, merging=merging)
    # A row that the statement itself inserted has no xmax.
    return sql.SQL(
        "WITH merged AS ({merging} RETURNING xmax OPERATOR(pg_catalog.=) 0 AS inserted)"
        " SELECT pg_catalog.count(*) FILTER (WHERE inserted),"
        " pg_catalog.count(*) FILTER (WHERE NOT inserted) FROM merged"
    ).format(merging=merging)
