"""Python processes next to the one that runs the command, each with a pipe to it."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from typing import TypeVar

_J = TypeVar("_J")


@contextmanager
def worker_processes(
    work: Callable[[_J, Pipe], None], jobs: Sequence[_J], *, duplex: bool = False
) -> Iterator[list[Pipe]]:
    """Start a process a job, and yield this side of their pipes; end them with the block.

    A job is handed over in a pipe, so a key in it shows in no list of processes.  A process sees
    the end of its pipe where this one is killed.  Without `duplex` it can only send.
    """
    context = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = []
    pipes: list[Pipe] = []
    # Ctrl-C reaches all processes of a terminal: only this one is to answer.  Python's own process
    # for shared resources comes first: when it is started, SIGINT is unblocked.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for job in jobs:
            here, there = context.Pipe(duplex=duplex)
            process: BaseProcess = context.Process(target=work, args=(job, there), daemon=True)
            process.start()
            there.close()
            processes.append(process)
            pipes.append(here)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        yield pipes
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.terminate()
            process.join()
