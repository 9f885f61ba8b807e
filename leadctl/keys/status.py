"""Counting what each key encrypts, without decrypting anything."""

from dataclasses import dataclass

from leadctl.apps.registry import App
from leadctl.crypto import Keyring
from leadctl.keys.columns import encrypted_tables
from leadctl.keys.kinds import ColumnKeys, count_values
from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target


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
    with connect(target, "keys status", read_only=True) as connection:
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
