"""Rotation: every value re-encrypted under the primary key, beside a running application.

A table is passed over in batches by primary key.  A row is written only if it is still the version
that was read (compare-and-set), so nothing that an application writes meanwhile is lost; what it
writes under an old key is found by the next pass.  A value that is done is not due any
more, so a run that was killed is continued by running it again.
"""

from dataclasses import dataclass

from leadctl.apps.registry import App
from leadctl.crypto import Keyring
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.keys.batches import DueRows, UnreadableValue
from leadctl.keys.status import KeysStatus, encrypted_tables, keys_status, require_key
from leadctl.keys.workers import EXAMPLES, BatchDone, TableRotation, passes
from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target
from leadctl.progress import Narrate, Progress

_PASSES = 5
"""How often values are gone after that an application wrote under an old key meanwhile."""


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
    MissingKey before anything is written, NoPrimaryKey, LockHeld, and RotationFailed.
    """
    primary = keyring.primary.fingerprint
    with connect(target, "keys rotate") as connection:
        tables = encrypted_tables(connection, app, target.schema)
        for table in tables:
            require_key(table)
    rotations = [TableRotation(target, table, keyring, encrypt_plaintext) for table in tables]
    due = {rotation: _due(rotation) for rotation in rotations}
    if dry_run:
        status = keys_status(target, app, keyring)
        return RotateResult(app.name, primary, True, sum(due.values()), 0, (), status)
    rows, unreadable = 0, 0
    examples: list[UnreadableValue] = []
    with (
        schema_lock(target, "keys rotate", lock_wait, narrate),
        journaled(target, "keys rotate", app.name) as entry,
    ):
        for rotation in (rotation for rotation in rotations if due[rotation]):
            narrate(f"{rotation.table.name}: {due[rotation]:,} rows to look at")
            done, last = _rotate_table(rotation, due[rotation], progress)
            rows += done
            unreadable += sum(batch.unreadable for batch in last)
            examples += [example for batch in last for example in batch.examples]
        entry.note(rows=rows, unreadable=unreadable, primary=primary)
    status = keys_status(target, app, keyring)
    return RotateResult(
        app.name, primary, False, rows, unreadable, tuple(examples[:EXAMPLES]), status
    )


def _rotate_table(
    rotation: TableRotation, due: int, progress: Progress
) -> tuple[int, list[BatchDone]]:
    """Pass over a table until a pass finds nothing to do; return rows done, and the last pass."""
    done = 0
    with passes(rotation, due) as batches:
        for _ in range(_PASSES):
            last = []
            for batch in batches():
                last.append(batch)
                done += batch.written
                progress(min(done, due), due, "rows")
            if not any(batch.due for batch in last) or not _due(rotation):
                break
    return done, last


def _due(rotation: TableRotation) -> int:
    with connect(rotation.target, "keys rotate") as connection:
        return DueRows(connection, rotation.table, rotation.keyring.primary.fingerprint).count()
