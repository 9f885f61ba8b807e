"""The encrypted columns of an app in a database, as its models have them."""

from psycopg import sql

from leadctl.apps.registry import App, load_metadata
from leadctl.errors import NoPrimaryKey
from leadctl.keys.kinds import EncryptedTable
from leadctl.models.encrypted import encrypted_columns
from leadctl.postgres.connect import Connection


def encrypted_tables(connection: Connection, app: App, schema: str) -> list[EncryptedTable]:
    """Return the tables of an app's models that have encrypted columns and exist here.

    A model that names a schema of its own is looked for there.
    """
    contexts: dict[tuple[str, str], dict[str, str]] = {}
    for column, context in encrypted_columns(load_metadata(app)):
        place = (column.table.schema or schema, column.table.name)
        contexts.setdefault(place, {})[column.name] = context
    return [
        EncryptedTable(*place, contexts=found, key=_primary_key(connection, *place))
        for place, found in contexts.items()
        if _exists(connection, *place)
    ]


def require_key(table: EncryptedTable) -> None:
    """Raise NoPrimaryKey where a table's rows cannot be told apart."""
    if not table.key:
        raise NoPrimaryKey(
            f"The table {table.schema}.{table.name} has encrypted columns and no primary key.",
            hint="Give it one: without it a row cannot be changed without changing its equals.",
        )


def _exists(connection: Connection, schema: str, name: str) -> bool:
    row = connection.execute(
        "SELECT to_regclass(%s) IS NOT NULL", (sql.Identifier(schema, name).as_string(connection),)
    ).fetchone()
    return bool(row and row[0])


def _primary_key(connection: Connection, schema: str, name: str) -> dict[str, str]:
    rows = connection.execute(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_index i"
        " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)"
        " WHERE i.indrelid = to_regclass(%s) AND i.indisprimary"
        " ORDER BY array_position(i.indkey::int2[], a.attnum)",
        (sql.Identifier(schema, name).as_string(connection),),
    )
    return dict(rows.fetchall())
