"""Programs that work on the database at the same time, and end together."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from leadctl.postgres.client import ClientProgram


class Connections:
    """So many threads at most, each of which runs a program at a time.

    Used as a context: with its block what runs is ended, and what waits is not begun.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._threads = ThreadPoolExecutor(number)
        self._running: set[ClientProgram] = set()
        self._ended = False

    def __enter__(self) -> "Connections":
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for program in list(self._running):
            program.stop()
        self._threads.shutdown(wait=True)

    def submit(self, work: Callable[..., None], *arguments: object) -> Future[None]:
        """Let a thread do the work when one is free: the first in the line first."""
        return self._threads.submit(work, *arguments)

    def finish(self) -> None:
        """Wait for what runs; what waits is not begun any more."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    @contextmanager
    def running(self, program: ClientProgram) -> Iterator[None]:
        """Let the program be ended with the others while the block is at work with it."""
        self._running.add(program)
        try:
            if self._ended:
                program.stop()
            yield
        finally:
            self._running.discard(program)
