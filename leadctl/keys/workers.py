"""Passing over a table's batches, in several processes where that is worth it.

A process reads a batch and says where it ended, so that the next one reads on from there while the
first re-encrypts what it has read and writes it.
"""

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait

from leadctl.crypto import Keyring
from leadctl.errors import RotationFailed
from leadctl.keys.batches import DueRows, Recrypt, Row, UnreadableValue
from leadctl.keys.encrypted_values import EncryptedTable
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target
from leadctl.worker_processes import worker_processes

EXAMPLES = 10
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


Pass = Callable[[], Iterator[BatchDone]]
"""Goes over the table once, from its first row that is due to the last."""


@contextmanager
def passes(rotation: TableRotation, due: int) -> Iterator[Pass]:
    """Provide what passes over a table with about `due` rows to re-encrypt.

    A pass raises what connecting and writing raise, and RotationFailed where a process dies.
    """
    count = min(_MOST, os.cpu_count() or 1, due // _WORTH_A_PROCESS)
    if count < 2 or rotation.target.log_sql:  # what others execute would not be shown
        with connect(rotation.target, "keys rotate") as connection:
            yield lambda: _alone(_Worker(rotation, connection))
        return
    with worker_processes(_work, [rotation] * count, duplex=True) as pipes:
        yield lambda: _shared(pipes)


class _Worker:
    def __init__(self, rotation: TableRotation, connection: Connection) -> None:
        self._due = DueRows(connection, rotation.table, rotation.keyring.primary.fingerprint)
        self._recrypt = Recrypt(rotation.keyring, plaintext=rotation.plaintext)
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
        return BatchDone(len(changes), written, len(unreadable), tuple(unreadable[:EXAMPLES]))


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
            "A process that re-encrypts ended early.",
            hint="Was it killed? Every value is readable; run it again.",
        ) from None
    if isinstance(said, Exception):
        raise said
    assert said is None or isinstance(said, (tuple, BatchDone))
    return said


def _work(rotation: TableRotation, pipe: Pipe) -> None:
    gc.disable()  # what a batch is made of refers to nothing that refers back
    try:
        with connect(rotation.target, "keys rotate") as connection:
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
