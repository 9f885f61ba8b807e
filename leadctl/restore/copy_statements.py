"""SQL that copies rows from a scratch schema into the tables that exist."""

from collections.abc import Collection, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter

from psycopg import sql

from leadctl.catalog.relations import Relation, read_named
from leadctl.journal import records
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import parts_of, written_by_server
from leadctl.progress import Narrate


def recorded_columns(connection: Connection, app: str, schema: str) -> frozenset[tuple[str, ...]]:
    """Return the columns that the app's revisions made, as (schema, table, column)."""
    recorded = records.fingerprint(connection, app, schema) or {}
    names = (key.partition(" ") for key in recorded.get("objects", {}))
    found = (parts_of(name) for kind, _, name in names if kind == "column")
    return frozenset(parts if len(parts) > 2 else (schema, *parts) for parts in found)


def copy_statements(
    connection: Connection,
    into: str,
    scratch: str,
    columns: Sequence[str],
    recorded: Collection[tuple[str, ...]],
    narrate: Narrate,
) -> list[str]:
    """Return statements that copy what is gone from one table to another, both as SQL names them.

    A column that it lacks is made again where the app's revisions made it, and filled by the key;
    else it went on purpose, and its values stay where they are.
    """
    found = read_named(connection, [into, scratch], "columns", "indexes")
    live, source = found[into], found[scratch]
    missing = [name for name in columns if live.column(name) is None]
    again = [name for name in missing if (live.schema, live.name, name) in recorded]
    if again and not live.key:
        narrate(
            f"{live.name} lacks {', '.join(again)} and has no key, so rows cannot be matched: "
            f"the values are in {scratch}."
        )
        return []
    if again:
        narrate(
            f"{live.name} lacks {', '.join(again)}: the SQL below restores the values; for NOT "
            f"NULL, indexes and the like see: leadctl migrate drift"
        )
    gone = [name for name in missing if name not in again]
    if gone:
        narrate(f"{live.name} has no {', '.join(gone)} now: the values are in {scratch}.")
    _say_required(live, columns, narrate)
    copied = [name for name in columns if name not in gone]
    statements = [*_adding(live, source, again), _inserting(live, source, copied)]
    return [statement.as_string(connection) for statement in statements]


def _say_required(live: Relation, columns: Sequence[str], narrate: Narrate) -> None:
    required = [
        column.name
        for column in live.columns
        if column.not_null and not column.has_default and column.name not in columns
    ]
    if required:
        narrate(
            f"{live.name} requires {', '.join(required)}, which the backup lacks: give the INSERT "
            "a value."
        )


def _adding(live: Relation, source: Relation, names: Sequence[str]) -> Iterator[sql.Composed]:
    """Yield what makes columns of a table again, and fills them by its key."""
    if not names:
        return
    for column in source.columns:
        if column.name in names:
            yield sql.SQL("ALTER TABLE {} ADD COLUMN {} {};").format(
                live.identifier, sql.Identifier(column.name), written_by_server(column.type)
            )
    yield sql.SQL("UPDATE {} AS present SET {} FROM {} AS s WHERE {};").format(
        live.identifier,
        sql.SQL(", ").join(sql.SQL("{0} = s.{0}").format(sql.Identifier(name)) for name in names),
        source.identifier,
        sql.SQL(" AND ").join(
            sql.SQL("present.{0} {1} s.{0}").format(sql.Identifier(each.name), each.compared("="))
            for name in live.key
            if (each := live.column(name)) is not None
        ),
    )


def _inserting(live: Relation, source: Relation, names: Sequence[str]) -> sql.Composed:
    """Return what copies the rows that are not there."""
    listed = sql.SQL(", ").join(map(sql.Identifier, names))
    # Without a key nothing is in conflict: each row would be there twice.
    present = sql.SQL("EXCEPT ALL SELECT {} FROM {}").format(listed, live.identifier)
    return sql.SQL(
        "INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {} {};"
    ).format(
        live.identifier,
        source.identifier,
        sql.SQL("ON CONFLICT DO NOTHING") if live.key else present,
        columns=listed,
    )


def referenced_first(connection: Connection, tables: Sequence[str]) -> list[str]:
    """Return tables in the order in which rows can be inserted; as they are where there is none."""
    needs: dict[str, set[str]] = {name: set() for name in tables}
    relations = read_named(connection, tables, "references")
    names = {relation.oid: name for name, relation in relations.items()}
    for name, relation in relations.items():
        needs[name] = {names[key.parent] for key in relation.references if key.parent in names}
        needs[name].discard(name)
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError:
        return list(tables)
