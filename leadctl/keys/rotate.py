"""Rotation: every value re-encrypted under the primary key, while the application runs.

A table is passed over in batches by primary key.  A row is written only if it is still the version
that was read (compare-and-set), so nothing that an application writes meanwhile is lost; what it
writes under an old key is found by the next pass.  A value that is done is not due any
more, so a run that was killed is continued by running it again.
"""

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait

from leadctl.apps.registry import App
from leadctl.child_processes import worker_processes
from leadctl.crypto import Keyring
from leadctl.errors import RotationFailed
from leadctl.journal.guard import require_identity
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.keys.encrypted_values import DueRows, EncryptedTable, Recrypt, Row, UnreadableValue
from leadctl.keys.status import KeysStatus, encrypted_tables, keys_status, require_key
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target
from leadctl.progress import Narrate, Progress
from leadctl.text import counted

_EXAMPLES = 10
"""How many of the unreadable values are told one by one."""
_WORTH_A_PROCESS = 20_000
"""Rows that take about as long as it takes to start one."""
_MOST = 4


@dataclass(frozen=True, eq=False)
class TableRotation:
    """What is re-encrypted, where, and with which keys."""

    target: Target
    table: EncryptedTable
    keyring: Keyring
    plaintext: bool
    """Whether plaintext is encrypted, too."""
    foreign: bool
    """Whether what looks like another tool's ciphertext is encrypted, too."""


@dataclass(frozen=True)
class BatchDone:
    """What was done to one batch."""

    due: int
    """Rows that had something to re-encrypt."""
    written: int
    """Those of them that nobody had changed or locked meanwhile."""
    unreadable: int
    """Values."""
    examples: tuple[UnreadableValue, ...]


_Pass = Callable[[], Iterator[BatchDone]]
"""Goes over the table once, from its first row that is due to the last."""


@contextmanager
def _passes(rotation: TableRotation, due: int) -> Iterator[_Pass]:
    """Provide what passes over a table with about `due` rows to re-encrypt.

    A pass raises what connecting and writing raise, and RotationFailed where a process dies.
    """
    count = min(_MOST, os.cpu_count() or 1, due // _WORTH_A_PROCESS)
    if count < 2 or rotation.target.log_sql:  # what others execute would not be shown
        with connect(rotation.target, "keys rotate", rows=True) as connection:
            yield lambda: _alone(_Worker(rotation, connection))
        return
    with worker_processes(_work, [rotation] * count, duplex=True) as pipes:
        yield lambda: _shared(pipes)


class _Worker:
    def __init__(self, rotation: TableRotation, connection: Connection) -> None:
        self._due = DueRows(connection, rotation.table, rotation.keyring.primary.fingerprint)
        self._recrypt = Recrypt(
            rotation.keyring, plaintext=rotation.plaintext, foreign=rotation.foreign
        )
        self._table = rotation.table
        self._rows: Sequence[Row] = ()

    def read(self, after: Row | None) -> Row | None:
        """Read the next batch, and return its last row; None where there is no more."""
        self._rows = self._due.read(after)
        return self._rows[-1] if self._rows else None

    def write(self) -> BatchDone:
        """Re-encrypt what was read, and write it."""
        unreadable: list[UnreadableValue] = []
        changes = self._recrypt.rows(self._table, self._rows, unreadable)
        written = self._due.replace(changes)
        return BatchDone(len(changes), written, len(unreadable), tuple(unreadable[:_EXAMPLES]))


def _alone(worker: _Worker) -> Iterator[BatchDone]:
    last = worker.read(None)
    while last is not None:
        yield worker.write()
        last = worker.read(last)


def _shared(pipes: Sequence[Pipe]) -> Iterator[BatchDone]:
    idle, busy = list(pipes), list[Pipe]()
    after: Row | None = None
    more, reading = True, False
    while more or busy:
        if more and not reading and idle:
            busy.append(idle.pop())
            busy[-1].send(after)
            reading = True
        for pipe in (pipe for pipe in wait(busy) if isinstance(pipe, Pipe)):
            said = _received(pipe)
            if not isinstance(said, BatchDone):
                after, more, reading = said, said is not None, False
            if said is None or isinstance(said, BatchDone):
                busy.remove(pipe)
                idle.append(pipe)
            if isinstance(said, BatchDone):
                yield said


def _received(pipe: Pipe) -> Row | BatchDone | None:
    try:
        said = pipe.recv()
    except (EOFError, OSError):
        raise RotationFailed(
            "A worker process that re-encrypts rows ended early.",
            hint="Was it killed? Every value is readable; run it again.",
        ) from None
    if isinstance(said, Exception):
        raise said
    assert said is None or isinstance(said, (tuple, BatchDone))
    return said


def _work(rotation: TableRotation, pipe: Pipe) -> None:
    gc.disable()  # what a batch is made of refers to nothing that refers back
    try:
        with connect(rotation.target, "keys rotate", rows=True) as connection:
            worker = _Worker(rotation, connection)
            while True:
                last = worker.read(pipe.recv())
                pipe.send(last)
                if last is not None:
                    pipe.send(worker.write())
    except (EOFError, OSError):  # the one who gives out batches has ended
        return
    except Exception as error:  # noqa: BLE001 - raised again where it is waited for
        with suppress(OSError):
            pipe.send(error)


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

    @property
    def ok(self) -> bool:
        """Whether nothing was left that should have been re-encrypted."""
        return self.dry_run or (self.status.ok and not self.unreadable)


def rotate(
    target: Target,
    app: App,
    read_keyring: Callable[[], Keyring],
    *,
    encrypt_plaintext: bool,
    encrypt_foreign: bool,
    dry_run: bool,
    lock_wait: float,
    narrate: Narrate,
    progress: Progress,
) -> RotateResult:
    """Re-encrypt every value that is not under the primary key.

    Plaintext is left as it is unless `encrypt_plaintext`, and what looks like another tool's
    ciphertext or hash unless `encrypt_foreign`.  `lock_wait` is in seconds.  Protection does not
    forbid it: no value is lost while there are the keys.  But no run takes it back, so it must be
    known which database this is.  Raises NoIdentity before keys are looked at, MissingKey before
    anything is written, NoPrimaryKey, LockHeld, and RotationFailed.
    """
    with connect(target, "keys rotate", rows=True) as connection:
        if not dry_run:
            require_identity(connection, "keys rotate")
        keyring = read_keyring()
        primary = keyring.primary.fingerprint
        tables = encrypted_tables(connection, app, target.schema)
        for table in tables:
            require_key(table)
    rotations = [
        TableRotation(target, table, keyring, encrypt_plaintext, encrypt_foreign)
        for table in tables
    ]
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
            narrate(f"{rotation.table.name}: {counted(due[rotation], 'row')} to look at")
            done, last = _rotate_table(rotation, due[rotation], progress)
            rows += done
            unreadable += sum(batch.unreadable for batch in last)
            examples += [example for batch in last for example in batch.examples]
        entry.note(rows=rows, unreadable=unreadable, primary=primary)
        if unreadable:
            entry.outcome = "partly" if rows else "failed"
    status = keys_status(target, app, keyring)
    return RotateResult(
        app.name, primary, False, rows, unreadable, tuple(examples[:_EXAMPLES]), status
    )


def _rotate_table(
    rotation: TableRotation, due: int, progress: Progress
) -> tuple[int, list[BatchDone]]:
    """Pass over a table until a pass finds nothing to do; return rows done, and the last pass."""
    done = 0
    with _passes(rotation, due) as batches:
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
    with connect(rotation.target, "keys rotate", rows=True) as connection:
        return DueRows(connection, rotation.table, rotation.keyring.primary.fingerprint).count()
