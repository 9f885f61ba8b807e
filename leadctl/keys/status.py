"""Making a key, and counting what each key encrypts, without decrypting anything."""

import secrets
from dataclasses import dataclass

from leadctl.apps.metadata import load_metadata
from leadctl.apps.registry import App
from leadctl.catalog.relations import read_tables
from leadctl.crypto import KEY_BYTES, Key, Keyring
from leadctl.errors import NoPrimaryKey
from leadctl.keys.encrypted_values import ColumnKeys, EncryptedTable, count_values, encrypted_table
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target


@dataclass(frozen=True)
class NewKey:
    """A key that was made just now; it is kept nowhere."""

    key: str
    """64 hexadecimal digits."""
    fingerprint: str


def generate() -> NewKey:
    """Make a random key."""
    digits = secrets.token_hex(KEY_BYTES)
    return NewKey(digits, Key.from_hex("new", digits).fingerprint)


@dataclass(frozen=True)
class KeyInfo:
    """A key of the keyring; never the key itself."""

    label: str
    fingerprint: str
    primary: bool
    legacy: bool


@dataclass(frozen=True)
class KeysStatus:
    """The keyring, and what of an app's values each key encrypts."""

    app: str
    database: str
    schema: str
    ok: bool
    """Whether every value is ciphertext that a key of the ring can read."""
    keys: tuple[KeyInfo, ...]
    columns: tuple[ColumnKeys, ...]


def keys_status(target: Target, app: App, keyring: Keyring) -> KeysStatus:
    """Count values per column and key; each table is read once, nothing is decrypted."""
    with connect(target, "keys status", rows=True, read_only=True) as connection:
        columns = [
            column
            for table in encrypted_tables(connection, app, target.schema)
            for column in count_values(connection, table, keyring)
        ]
    legacy_readable = bool(keyring.legacy) or not any(column.legacy for column in columns)
    return KeysStatus(
        app=app.name,
        database=target.database,
        schema=target.schema,
        ok=legacy_readable and not any(column.bad for column in columns),
        keys=tuple(_infos(keyring)),
        columns=tuple(columns),
    )


def _infos(keyring: Keyring) -> list[KeyInfo]:
    return [
        KeyInfo(key.label, key.fingerprint, number == 0 and not key.legacy, key.legacy)
        for number, key in enumerate([*keyring.keys, *keyring.legacy])
    ]


def encrypted_tables(connection: Connection, app: App, schema: str) -> list[EncryptedTable]:
    """Return the tables of an app's models that have encrypted columns and exist here.

    A model that names a schema of its own is looked for there.
    """
    from leadctl.models.values import encrypted_columns  # it loads SQLAlchemy

    contexts: dict[tuple[str, str], dict[str, str]] = {}
    for column, context in encrypted_columns(load_metadata(app)):
        table = (column.table.schema or schema, column.table.name)
        contexts.setdefault(table, {})[column.name] = context
    relations = {
        (schema, name): relation
        for schema in dict.fromkeys(schema for schema, _ in contexts)
        for name, relation in read_tables(
            connection,
            schema,
            [name for found_in, name in contexts if found_in == schema],
            "columns",
            "indexes",
        ).items()
    }
    return [
        encrypted_table(relations[table], found)
        for table, found in contexts.items()
        if table in relations
    ]


def require_key(table: EncryptedTable) -> None:
    """Raise NoPrimaryKey where a table's rows cannot be told apart."""
    if not table.key:
        raise NoPrimaryKey(
            f"The table {table.schema}.{table.name} has encrypted columns and no primary key.",
            hint="Add a primary key: without one, leadctl cannot change a single row.",
        )
