"""SQL that copies rows from a scratch schema into the tables that exist."""

from collections.abc import Collection, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter

from psycopg import sql

from leadctl.catalog.relations import read_named
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


def copying(
    connection: Connection,
    into: str,
    scratch: str,
    columns: Sequence[str],
    recorded: Collection[tuple[str, ...]],
    narrate: Narrate,
) -> Iterator[str]:
    """Yield statements that copy what is gone from one table to another, both as SQL names them.

    A column that it lacks is made again where the app's revisions made it, and filled by the key;
    else it went on purpose, and its values stay where they are.
    """
    found = read_named(connection, [into, scratch], "columns", "indexes")
    live, source = found[into], found[scratch]
    missing = [name for name in columns if live.column(name) is None]
    again = [name for name in missing if (live.schema, live.name, name) in recorded]
    key = [each for name in live.key if (each := live.column(name)) is not None]
    if again and not key:
        narrate(
            f"{live.name} lacks {', '.join(again)} and has no key, so rows cannot be matched: "
            f"the values are in {scratch}."
        )
        return
    for name in again:
        column = source.column(name)
        assert column is not None
        adding = sql.SQL("ALTER TABLE {} ADD COLUMN {} {};").format(
            live.identifier, sql.Identifier(name), written_by_server(column.type)
        )
        yield adding.as_string(connection)
    if again:
        filling = sql.SQL("UPDATE {} AS present SET {} FROM {} AS s WHERE {};").format(
            live.identifier,
            sql.SQL(", ").join(
                sql.SQL("{0} = s.{0}").format(sql.Identifier(name)) for name in again
            ),
            source.identifier,
            sql.SQL(" AND ").join(
                sql.SQL("present.{0} {1} s.{0}").format(
                    sql.Identifier(each.name), each.compared("=")
                )
                for each in key
            ),
        )
        yield filling.as_string(connection)
    if again:
        narrate(
            f"{live.name} lacks {', '.join(again)}: the SQL below restores the values; for NOT "
            f"NULL, indexes and the like see: leadctl migrate drift"
        )
    if gone := [name for name in missing if name not in again]:
        narrate(f"{live.name} has no {', '.join(gone)} now: the values are in {scratch}.")
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
    listed = sql.SQL(", ").join(
        sql.Identifier(name) for name in columns if name not in missing or name in again
    )
    # Without a key nothing is in conflict: each row would be there twice.
    present = sql.SQL("EXCEPT ALL SELECT {} FROM {}").format(listed, live.identifier)
    inserting = sql.SQL(
        "INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {} {};"
    ).format(
        live.identifier,
        source.identifier,
        sql.SQL("ON CONFLICT DO NOTHING") if key else present,
        columns=listed,
    )
    yield inserting.as_string(connection)


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
