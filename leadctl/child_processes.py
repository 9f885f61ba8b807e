"""Processes that leadctl starts: what programs may know, commands that print a secret, workers."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from leadctl.errors import LeadctlError
from leadctl.redact import Secret

if TYPE_CHECKING:
    from multiprocessing.connection import Connection as Pipe
    from multiprocessing.process import BaseProcess

_SECONDS = 60
_OWN_SECRETS = re.compile(
    r"ENCRYPTION_.*|BACKUP_IDENTITY_.*|DATABASE_URL|DIRECT_URL|LEADCTL_.*(URL|IDENTITY).*"
)
"""Variables that leadctl reads and nobody else needs: keys, and URLs with their passwords."""


def child_environment(*, libpq: bool = True) -> dict[str, str]:
    """Return the environment for a program that is not leadctl: the user's, without its secrets.

    Whoever may read a process's environment sees all of it.  Without `libpq` the variables of
    libpq are left out, too: for the embedded server, which they do not mean.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not _OWN_SECRETS.fullmatch(name) and (libpq or not name.startswith("PG"))
    }


def printed_secret(
    command: str, folder: Path, error: type[LeadctlError], *, name: str, prints: str
) -> Secret:
    """Run a command in `/bin/sh` and return what it prints, which is a secret from then on.

    `name` is what the command is called in messages, `prints` what it is to print.  Raises
    `error` where it fails, prints nothing or does not end within a minute.
    """
    import subprocess

    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            cwd=folder,
            env=child_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise error(
            f"{name} did not end within {_SECONDS} s.",
            hint="Run it by hand to see what it waits for.",
        ) from None
    printed = Secret(done.stdout.strip())
    if done.returncode or not printed.reveal():
        what = f"failed with exit code {done.returncode}" if done.returncode else "printed nothing"
        raise error(
            f"{name} {what}.", hint=f"Run it by hand; it must print {prints}, and nothing else."
        )
    return printed


_J = TypeVar("_J")


@contextmanager
def worker_processes(
    work: "Callable[[_J, Pipe], None]", jobs: Sequence[_J], *, duplex: bool = False
) -> "Iterator[list[Pipe]]":
    """Start a process a job, and yield this side of their pipes; end them with the block.

    A job is handed over in a pipe, so a key in it shows in no list of processes.  A process sees
    the end of its pipe where this one is killed.  Without `duplex` it can only send.
    """
    import multiprocessing
    import signal
    from multiprocessing import resource_tracker

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
