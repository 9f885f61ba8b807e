"""pg_restore on one database: one run, or several at the same time."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from leadctl.backup.contents import ArchiveEntry
from leadctl.errors import InsufficientPrivilege, RestoreFailed
from leadctl.postgres.binaries import Binaries
from leadctl.postgres.client import ClientProgram, running
from leadctl.postgres.target import Target
from leadctl.restore.dump_archive import use_list
from leadctl.restore.properties import NO_OWNERS
from leadctl.restore.restorable import LeftOutEntry, Loading

_T = TypeVar("_T")
SHARES_OPEN_FILES = sys.platform == "linux"
"""Whether several programs can read an open file without a name: each needs a position of its own,
and elsewhere /dev/fd hands out the same one."""


TRANSACTION_TIMEOUT_SINCE = 17


_HARMLESS = "SET transaction_timeout = 0;"
"""What a pg_restore of 17 or newer sends, and an older server does not know."""


FOUND_BY_PATH = re.compile(
    r'(?:relation|type|function) "?[^".( ]+"?(?:\([^)]*\))? does not exist'
    r"|operator does not exist"
)
"""What a server says where a function finds something by search_path only."""
FOUND_BY_PATH_HINT = (
    "A function that is called while rows are loaded finds this by search_path only, which is "
    "empty then. In the database that is backed up: ALTER FUNCTION name SET search_path = "
    "public; then back up again."
)


_MISSING_ROLE = re.compile(r"\brole \S+ does not exist")
_MISSING_ROLE_HINT = (
    "Make the role first, by CREATE ROLE: policies and user mappings name it, and --no-owner does "
    "not leave them out."
)


_NO_PROVIDER = re.compile(r"security label provider \S+ is not loaded")
_NO_PROVIDER_HINT = (
    "Let sessions of this server load the module that provides the labels, by "
    "session_preload_libraries."
)
_NOT_BUILT = re.compile(r"cannot restore from compressed archive")
_NOT_BUILT_HINT = (
    "Dump again with --compress=gzip, or make a script of the archive by a pg_restore that has the "
    "compression: pg_restore --file=dump.sql ARCHIVE"
)


def pg_restore_hint(message: str) -> str:
    """Return what to do where something of a dump could not be loaded."""
    if _NOT_BUILT.search(message):
        return _NOT_BUILT_HINT
    hints = (
        (FOUND_BY_PATH, FOUND_BY_PATH_HINT),
        (_MISSING_ROLE, _MISSING_ROLE_HINT),
        (_NO_PROVIDER, _NO_PROVIDER_HINT),
    )
    found = [hint for cause, hint in hints if cause.search(message)]
    otherwise = "Rerun with --keep-going to load everything else; it lists what fails."
    return " ".join([*found, otherwise])


@dataclass(frozen=True)
class PgRestore:
    """pg_restore of one version, and what each run on a database is called with."""

    target: Target
    programs: Binaries
    server_major: int
    loading: Loading

    @contextmanager
    def running(
        self, archive: IO[bytes] | Path | None, *arguments: str, entries: Sequence[str] = ()
    ) -> Iterator[ClientProgram]:
        """Run it on a file or folder, or, with None, on what is written to its standard input.

        `entries` are the ids of those that are wanted, in the archive's order; all by default.
        """
        with use_list(entries) as (wanted, keep):
            read = []
            if isinstance(archive, Path):
                read.append(str(archive))
            elif archive is not None:
                archive.seek(0)
                keep.append(archive.fileno())
                read.append(f"/dev/fd/{archive.fileno()}")
            every = [*self._arguments(), *arguments, *wanted, *read]
            path = self.programs.path("pg_restore")
            with running(self.target, path, every, stdin=archive is None, keep=keep) as program:
                yield program

    def run(
        self,
        archive: IO[bytes] | Path,
        *arguments: str,
        entries: Sequence[str] = (),
        known: Iterable[ArchiveEntry] = (),
    ) -> None:
        """Run it on a file or folder to its end.  Raises as `check` does."""
        with self.running(archive, *arguments, entries=entries) as program:
            self.check(program, known)

    def feed(
        self,
        program: ClientProgram,
        unpack: Callable[[Any], object],
        tick: Callable[[int], None],
        known: Iterable[ArchiveEntry] = (),
    ) -> None:
        """Let `unpack` write the archive to a program's standard input, and check its end.

        `tick` is called with the bytes that it took so far.  Raises as `unpack` and `check` do.
        """
        with suppress(BrokenPipeError):  # it has what it wants, or says why it ended
            unpack(_Pipe(program.stdin, tick))
            program.stdin.close()
        self.check(program, known)

    def check(self, program: ClientProgram, known: Iterable[ArchiveEntry] = ()) -> None:
        """Wait for the program's end; `known` are the entries that failures are told by.

        Raises RestoreFailed, or what the connection failed of.
        """
        if program.wait() == 0:
            return
        if self.loading.keep_going and (failed := program.failed_entries(_HARMLESS)):
            labels = {entry.id: entry.label for entry in known}
            self.loading.left_out.extend(
                LeftOutEntry(labels.get(entry, "a statement"), reason) for entry, reason in failed
            )
            return
        errors = program.errors(_HARMLESS if self._tolerates else None)
        if errors or not self._tolerates:
            failure = program.failure(self.target, RestoreFailed, errors)
            if isinstance(failure, RestoreFailed):
                failure.hint = pg_restore_hint(failure.message)
                failure.command = program.failed_command()
            elif isinstance(failure, InsufficientPrivilege):
                failure.hint += f" {pg_restore_hint(failure.message)}"
            raise failure

    def _arguments(self) -> list[str]:
        left_out = [
            *([] if self.loading.owners else NO_OWNERS),
            *([] if self.loading.subscriptions else ["--no-subscriptions"]),
            *([] if self.loading.tablespaces else ["--no-tablespaces"]),
        ]
        role = [f"--role={self.target.role}"] if self.target.role else []
        told = ["--verbose"] if self.loading.keep_going else []  # which entry failed
        return [*left_out, *role, *told, *([] if self._goes_on else ["--exit-on-error"])]

    @property
    def _goes_on(self) -> bool:
        return self._tolerates or self.loading.keep_going

    @property
    def _tolerates(self) -> bool:
        newer = self.programs.major >= TRANSACTION_TIMEOUT_SINCE
        return newer and self.server_major < TRANSACTION_TIMEOUT_SINCE


class _Pipe:
    """The standard input of pg_restore, whose bytes are counted."""

    def __init__(self, pipe: Any, tick: Callable[[int], None]) -> None:
        self._pipe = pipe
        self._tick = tick
        self._bytes = 0

    def write(self, data: bytes) -> int:
        """Take all of the data."""
        self._pipe.write(data)
        self._bytes += len(data)
        self._tick(self._bytes)
        return len(data)


class ProgramPool:
    """So many threads at most, each of which runs a program at a time.

    Used as a context: with its block what runs is ended, and what waits is not begun.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._threads = ThreadPoolExecutor(number)
        self._running: set[ClientProgram] = set()
        self._ended = False

    def __enter__(self) -> "ProgramPool":
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for program in list(self._running):
            program.stop()
        self._threads.shutdown(wait=True)

    def submit(self, work: Callable[..., _T], *arguments: object) -> Future[_T]:
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


_TABLE_BEGINS = re.compile(r'processing data for table "(.+)"')
