"""Sequences behind keys that were given: the next generated key must be none of those."""

from collections.abc import Iterable

from psycopg import sql
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Table

from leadctl.postgres.connect import Connection


def advance_sequences(connection: SqlConnection, tables: Iterable[Table]) -> None:
    """Let the generated keys of tables go on behind the largest that is there."""
    driver: Connection | None = connection.connection.driver_connection
    assert driver is not None
    for table in tables:
        column = table.autoincrement_column
        if column is None:
            continue
        place = sql.Identifier(*filter(None, (table.schema, table.name)))
        driver.execute(
            sql.SQL(
                "SELECT setval(sequence::regclass, largest)"
                " FROM pg_get_serial_sequence(%s, %s) AS sequence,"
                " (SELECT max({}) FROM {}) AS there (largest)"
                " WHERE largest > coalesce(pg_sequence_last_value(sequence::regclass), 0)"
            ).format(sql.Identifier(column.name), place),
            (place.as_string(driver), column.name),
        )
