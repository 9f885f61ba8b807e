"""Making rows in processes next to the one that loads them.

Each process makes every n-th chunk and may be some megabytes ahead, no more: memory is flat.
"""

import gc
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection as Pipe

from leadctl.apps.synthetic.chunk import CHUNK_ROWS, TablePlan, World, chunk_text
from leadctl.child_processes import worker_processes
from leadctl.crypto import Key
from leadctl.errors import SeedFailed

_MOST = 4
_AHEAD_BYTES = 64 * 1024 * 1024
"""How much may be ready in all processes together: what is made while indexes are built."""
_FAILED = b"\0"

Blocks = Callable[[TablePlan], Iterator[bytes]]
"""Yields the chunks of a table; tables are asked for in the order of the plan."""


@dataclass(frozen=True)
class ChunkJob:
    """What a process is to make: every `step`-th chunk of all tables, beginning with `first`."""

    world: World
    key: Key | None
    first: int
    step: int

    def chunks(self) -> Iterator[tuple[TablePlan, int]]:
        """Return the chunks of this process, in order."""
        tables = self.world.tables.values()
        chunks = ((table, index) for table in tables for index in range(_chunks(table)))
        return islice(chunks, self.first, None, self.step)


@contextmanager
def synthetic_rows(world: World, key: Key | None, rows_a_process: int) -> Iterator[Blocks]:
    """Provide the rows of all tables, made in processes where that is worth it."""
    rows = sum(table.rows for table in world.tables.values())
    count = min(_MOST, rows // rows_a_process, max(1, (os.cpu_count() or 1) - 1))
    if not count:
        yield lambda table: (chunk_text(world, table, i, key) for i in range(_chunks(table)))
        return
    with worker_processes(
        _work, [ChunkJob(world, key, first, count) for first in range(count)]
    ) as pipes:
        source = _received(pipes)
        yield lambda table: (next(source) for _ in range(_chunks(table)))


def _received(pipes: Sequence[Pipe]) -> Iterator[bytes]:
    while True:
        for pipe in pipes:
            try:
                block = pipe.recv_bytes()
            except (EOFError, OSError):  # before a chunk, or within one
                raise SeedFailed(
                    "A process that makes rows ended early.",
                    hint="Was it killed? Nothing was changed; run it again.",
                ) from None
            if block.startswith(_FAILED):
                raise SeedFailed(
                    f"A row could not be made: {block[1:].decode()}", hint="Look at the factory."
                )
            yield block


def _work(job: ChunkJob, pipe: Pipe) -> None:
    gc.disable()  # what a chunk is made of refers to nothing that refers back
    ready = _Ahead(_AHEAD_BYTES // job.step)
    sender = threading.Thread(target=_send, args=(ready, pipe), daemon=True)
    sender.start()
    try:
        for table, index in job.chunks():
            ready.put(chunk_text(job.world, table, index, job.key))
    except Exception as error:  # noqa: BLE001 - a factory's own function may raise anything
        ready.put(_FAILED + f"{type(error).__name__}: {error}".encode())
    ready.put(None)
    sender.join()


class _Ahead:
    """Blocks that wait to be sent, up to a number of bytes; always one at least."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._blocks: deque[bytes | None] = deque()
        self._changed = threading.Condition()

    def put(self, block: bytes | None) -> None:
        """Add a block; wait while there are too many.  None is the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._bytes < self._limit)
            self._blocks.append(block)
            self._bytes += len(block or b"")
            self._changed.notify_all()

    def get(self) -> bytes | None:
        """Take the oldest block; wait for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._blocks)
            block = self._blocks.popleft()
            self._bytes -= len(block or b"")
            self._changed.notify_all()
            return block


def _send(ready: _Ahead, pipe: Pipe) -> None:
    while (block := ready.get()) is not None:
        try:
            pipe.send_bytes(block)
        except OSError:  # the one who loads is gone
            os._exit(1)


def _chunks(table: TablePlan) -> int:
    return -(-table.rows // CHUNK_ROWS)
