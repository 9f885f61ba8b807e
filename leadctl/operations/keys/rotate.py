"""Rotation: every value re-encrypted under the primary key, beside a running application.

A table is passed over in batches by primary key.  A row is written only if its values are still
the ones that were read (compare-and-set), so nothing that an application writes meanwhile is lost;
what it writes under an old key is found by the next pass.  A value that is done is not due any
more, so a run that was killed is continued by running it again.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from leadctl.apps.registry import App
from leadctl.crypto import Keyring
from leadctl.db.connect import connect
from leadctl.db.journal import journaled
from leadctl.db.lock import schema_lock
from leadctl.db.target import Target
from leadctl.operations.keys.batches import Batches
from leadctl.operations.keys.columns import encrypted_tables, require_key
from leadctl.operations.keys.kinds import EncryptedTable
from leadctl.operations.keys.recrypt import Change, Recrypt, Row, UnreadableValue
from leadctl.operations.keys.status import KeysStatus, keys_status
from leadctl.operations.progress import Progress

_PASSES = 5
"""How often values are gone after that an application wrote under an old key meanwhile."""
_EXAMPLES = 10

Narrate = Callable[[str], None]


@dataclass(frozen=True)
class RotateResult:
    """What a rotation did, or would do on a dry run."""

    app: str
    primary: str
    """The fingerprint of the key that everything is encrypted with."""
    dry_run: bool
    rows: int
    """Rows that were re-encrypted, or that are due on a dry run."""
    unreadable: int
    """Values that no key reads; they were left as they are."""
    examples: tuple[UnreadableValue, ...]
    """The first of the unreadable ones."""
    status: KeysStatus


def rotate(
    target: Target,
    app: App,
    keyring: Keyring,
    *,
    encrypt_plaintext: bool,
    dry_run: bool,
    lock_wait: float,
    narrate: Narrate,
    progress: Progress,
) -> RotateResult:
    """Re-encrypt every value that is not under the primary key.

    Plaintext is left as it is unless `encrypt_plaintext`.  `lock_wait` is in seconds.  Raises
    MissingKey before anything is written, NoPrimaryKey, and LockHeld.
    """
    primary = keyring.primary.fingerprint
    recrypt = Recrypt(keyring, plaintext=encrypt_plaintext)
    with connect(target, "keys rotate") as connection:
        tables = encrypted_tables(connection, app, target.schema)
        for table in tables:
            require_key(table)
        due = {table: Batches(connection, table, primary).count() for table in tables}
    if dry_run:
        status = keys_status(target, app, keyring)
        return RotateResult(app.name, primary, True, sum(due.values()), 0, (), status)
    rows, unreadable = 0, 0
    examples: list[UnreadableValue] = []
    with (
        schema_lock(target, "keys rotate", lock_wait, narrate),
        journaled(target, "keys rotate", app.name) as entry,
    ):
        for table in (table for table in tables if due[table]):
            narrate(f"{table.name}: {due[table]:,} rows to look at")
            done, left = _rotate_table(target, table, recrypt, primary, due[table], progress)
            rows += done
            unreadable += len(left)
            examples += left[: _EXAMPLES - len(examples)]
        entry.note(rows=rows, unreadable=unreadable, primary=primary)
    status = keys_status(target, app, keyring)
    return RotateResult(app.name, primary, False, rows, unreadable, tuple(examples), status)


def _rotate_table(
    target: Target,
    table: EncryptedTable,
    recrypt: Recrypt,
    primary: str,
    due: int,
    progress: Progress,
) -> tuple[int, list[UnreadableValue]]:
    """Pass over a table until a pass finds nothing to do; return rows done, and what is left.

    While a batch is written, the next one is read and re-encrypted.
    """
    done = 0
    unreadable: list[UnreadableValue] = []
    with (
        connect(target, "keys rotate") as reading,
        connect(target, "keys rotate") as writing,
        ThreadPoolExecutor(1) as ahead,
    ):
        reader, writer = Batches(reading, table, primary), Batches(writing, table, primary)

        def prepare(after: Row | None) -> tuple[Row | None, list[Change]]:
            rows = reader.read(after)
            return rows[-1] if rows else None, recrypt.rows(table, rows, unreadable)

        for _ in range(_PASSES):
            changed = 0
            unreadable.clear()
            last, changes = prepare(None)
            while last is not None:
                upcoming = ahead.submit(prepare, last)
                changed += len(changes)
                done += writer.replace(changes)
                progress(min(done, due), due, "rows")
                last, changes = upcoming.result()
            if not changed:
                break
    return done, unreadable
