"""Bringing back the rows of single tables, into the tables that are there.

Rows that are gone come back, rows that were changed become what they were, rows that are newer
than the backup stay.  The tables' own triggers rest meanwhile: they would write history and totals
a second time.  Foreign keys hold.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from leadctl.backup.reader import BackupReader
from leadctl.catalog.relations import Relation, advance_sequences, read_named
from leadctl.errors import NoPrimaryKey, RestoreFailed, TableNotInBackup
from leadctl.journal.guard import Consent, permit
from leadctl.journal.runs import journaled
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target
from leadctl.progress import Narrate
from leadctl.restore.archive import rows_of

_DISABLE = sql.SQL("ALTER TABLE {} DISABLE TRIGGER {}")
_ENABLE = {
    "O": sql.SQL("ALTER TABLE {} ENABLE TRIGGER {}"),
    "A": sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}"),
    "R": sql.SQL("ALTER TABLE {} ENABLE REPLICA TRIGGER {}"),
}
"""https://www.postgresql.org/docs/current/catalog-pg-trigger.html"""


@dataclass(frozen=True)
class RestoredTable:
    """One table: rows in the backup, and what came of them."""

    table: str
    rows: int
    inserted: int
    updated: int


@dataclass(frozen=True)
class RestoredTables:
    """What came back; in a dry run, what would have."""

    backup: str
    database: str
    dry_run: bool
    tables: tuple[RestoredTable, ...]


@dataclass(frozen=True)
class _Table:
    """A table that holds rows itself, and where its rows wait."""

    relation: Relation
    staging: sql.Identifier

    @property
    def name(self) -> str:
        """Its name as the backup has it."""
        return self.relation.qualified


def restore_tables(
    target: Target,
    reader: BackupReader,
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
    with reader.held(), connect(target, "restore") as connection:
        if not dry_run:
            permit(connection, target, "restore of tables", consent)
        reader.check()
        leaves = read_named(
            connection, _leaves(connection, reader, names or _all_tables(reader)), "indexes"
        )
        for relation in leaves.values():
            _require_key(relation)
        tables = [
            _Table(relation, sql.Identifier(f"leadctl_rows_{number}"))
            for number, relation in enumerate(leaves.values())
        ]
        connection.execute(
            "SELECT set_config('lock_timeout', %s, false)", (f"{round(lock_timeout * 1000)}ms",)
        )
        with connection.transaction(force_rollback=dry_run):
            narrate("Reading the rows from the backup.")
            columns = _stage(connection, reader, tables)
            with _triggers_resting(connection, tables):
                done = _merge_all(connection, tables, columns)
            if not dry_run:  # a sequence is not rolled back
                for table in tables:
                    advance_sequences(connection, table.relation)
    result = RestoredTables(reader.backup.id, target.database, dry_run, tuple(done))
    if not dry_run:
        with journaled(target, "restore", app) as entry:
            entry.note(backup=result.backup, tables=[table.name for table in tables])
    return result


def _all_tables(reader: BackupReader) -> list[str]:
    """Return the tables of a backup but those that record what the schema is."""
    manifest = reader.manifest
    version_table = f"{manifest.schema}.{manifest.version_table}"
    return [
        table.name
        for table in manifest.tables
        if table.name != version_table and not table.name.startswith("leadctl.")
    ]


def _leaves(connection: Connection, reader: BackupReader, names: Sequence[str]) -> list[str]:
    """Return the tables that hold the rows of those that are named, partitions among them."""
    in_backup = {table.name for table in reader.manifest.tables}
    found: list[str] = []
    relations = read_named(connection, names, "descendants")
    for name in names:
        leaves = [leaf.qualified for leaf in relations[name].leaves] if name in relations else []
        missing = [leaf for leaf in leaves if leaf not in in_backup]
        if not leaves or missing:
            where = f"the backup {reader.backup.id}" if leaves else connection.info.dbname
            raise TableNotInBackup(
                f"There is no table {', '.join(missing) or name} in {where}.",
                hint="leadctl backup show lists the tables; restore a whole backup with --into.",
            )
        found += [leaf for leaf in leaves if leaf not in found]
    return found


def _require_key(relation: Relation) -> None:
    if not relation.primary_key:
        raise NoPrimaryKey(
            f"The table {relation.qualified} has no primary key, so its rows cannot be told apart.",
            hint="Restore the backup beside it with --into, and copy what is needed.",
        )


def _stage(
    connection: Connection, reader: BackupReader, tables: Sequence[_Table]
) -> dict[str, list[str]]:
    """Copy the backup's rows into temporary tables; return the columns that each has there."""
    by_name = {table.name: table for table in tables}
    found: dict[str, list[str]] = {}
    for rows in rows_of(reader, list(by_name)):
        table = by_name[rows.table]
        columns = sql.SQL(", ").join(map(sql.Identifier, rows.columns))
        try:
            connection.execute(
                sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} LIMIT 0").format(
                    table.staging, columns, table.relation.identifier
                )
            )
        except psycopg.errors.UndefinedColumn as error:
            raise RestoreFailed(
                f"{table.name} lacks a column of the backup: {error.diag.message_primary}.",
                hint="Restore the backup beside it with --into, and copy what is needed.",
            ) from None
        rows.copy_into(connection, table.staging)
        found[table.name] = list(rows.columns)
    return found


@contextmanager
def _triggers_resting(connection: Connection, tables: Sequence[_Table]) -> Iterator[None]:
    """Disable the tables' own triggers within the transaction, and give them back as they were."""
    resting = [
        (table, trigger)
        for table in tables
        for trigger in table.relation.triggers
        if trigger.enabled in _ENABLE
    ]
    for table, trigger in resting:
        _set_trigger(connection, table, _DISABLE, trigger.name)
    yield
    for table, trigger in resting:
        _set_trigger(connection, table, _ENABLE[trigger.enabled], trigger.name)


def _set_trigger(connection: Connection, table: _Table, how: sql.SQL, name: str) -> None:
    connection.execute(how.format(table.relation.identifier, sql.Identifier(name)))


def _merge_all(
    connection: Connection, tables: Sequence[_Table], columns: dict[str, list[str]]
) -> list[RestoredTable]:
    """Merge tables that may refer to each other: while one succeeds, the rest is tried again."""
    done: dict[str, RestoredTable] = {}
    waiting = [table for table in tables if table.name in columns]
    while waiting:
        failed: list[tuple[_Table, psycopg.Error]] = []
        for table in waiting:
            try:
                with connection.transaction():
                    done[table.name] = _merge(connection, table, columns[table.name])
            except psycopg.errors.ForeignKeyViolation as error:
                failed.append((table, error))
            except psycopg.errors.IntegrityError as error:
                raise RestoreFailed(
                    f"{table.name} cannot take its rows back: {error.diag.message_primary}.",
                    hint="Rows that are newer than the backup are in the way.",
                ) from None
        if len(failed) == len(waiting):
            table, why = failed[0]
            raise RestoreFailed(
                f"{table.name} cannot take its rows back: {why.diag.message_primary}.",
                hint="What they refer to is gone; name that table with --table, too.",
            )
        waiting = [table for table, _ in failed]
    return [done[table.name] for table in tables if table.name in done]


def _merge(connection: Connection, table: _Table, columns: Sequence[str]) -> RestoredTable:
    fixed = {c.name for c in table.relation.columns if not c.written or c.identity == "a"}
    key = table.relation.primary_key
    changing = [name for name in columns if name not in {*key, *fixed}]
    row = connection.execute(_merging(table, columns, changing)).fetchone()
    count = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table.staging)).fetchone()
    assert row is not None
    assert count is not None
    return RestoredTable(table.name, count[0], *row)


def _merging(table: _Table, columns: Sequence[str], changing: Sequence[str]) -> sql.Composed:
    """Compose the INSERT that brings rows back, and counts those that were gone or changed."""
    action: sql.Composable = sql.SQL("NOTHING")
    if changing:
        # As texts: not every type, such as json, knows what equal is.
        action = sql.SQL(
            "UPDATE SET {sets} WHERE ROW({old})::text IS DISTINCT FROM ROW({new})::text"
        ).format(
            sets=sql.SQL(", ").join(
                sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in changing
            ),
            old=sql.SQL(", ").join(sql.Identifier("present", name) for name in changing),
            new=sql.SQL(", ").join(sql.Identifier("excluded", name) for name in changing),
        )
    # A row that the statement itself inserted has no xmax.
    return sql.SQL(
        "WITH merged AS (INSERT INTO {table} AS present ({columns}) OVERRIDING SYSTEM VALUE"
        " SELECT {columns} FROM {staging} ON CONFLICT ({key}) DO {action}"
        " RETURNING xmax = 0 AS inserted)"
        " SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM merged"
    ).format(
        table=table.relation.identifier,
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        staging=table.staging,
        key=sql.SQL(", ").join(map(sql.Identifier, table.relation.primary_key)),
        action=action,
    )
