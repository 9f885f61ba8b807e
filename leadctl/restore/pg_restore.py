"""pg_restore on one database."""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from leadctl.errors import RestoreFailed
from leadctl.postgres.binaries import Binaries
from leadctl.postgres.client import ClientProgram, running
from leadctl.postgres.target import Target

SHARES_OPEN_FILES = sys.platform == "linux"
"""Whether several programs can read an open file without a name: each needs a position of its own,
and elsewhere /dev/fd hands out the same one."""
_TRANSACTION_TIMEOUT_SINCE = 17
_HARMLESS = 'unrecognized configuration parameter "transaction_timeout"'
"""What a pg_restore of 17 or newer sets, and an older server does not know."""


@dataclass(frozen=True)
class PgRestore:
    """pg_restore of one version, and what each run on a database is called with."""

    target: Target
    programs: Binaries
    server_major: int
    owners: bool
    """Whether owners and grants are set as they were."""

    @contextmanager
    def reading(self, *arguments: str, entries: Sequence[str] = ()) -> Iterator[ClientProgram]:
        """Run it on an archive that is written to its standard input.

        `entries` are the ids of those that are wanted, in the archive's order; all by default.
        """
        with _listed(entries) as (wanted, keep):
            every = self._arguments(*arguments, *wanted)
            with running(self.target, self._path, every, stdin=True, keep=keep) as program:
                yield program

    @contextmanager
    def on_file(
        self, archive: IO[bytes] | Path, *arguments: str, entries: Sequence[str] = ()
    ) -> Iterator[ClientProgram]:
        """Run it on a file or folder; `entries` are the ids of those that are wanted."""
        with _listed(entries) as (wanted, keep):
            if isinstance(archive, Path):
                name = str(archive)
            else:
                name = f"/dev/fd/{archive.fileno()}"
                keep.append(archive.fileno())
                archive.seek(0)
            every = self._arguments(*arguments, *wanted, name)
            with running(self.target, self._path, every, keep=keep) as program:
                yield program

    def feed(
        self, program: ClientProgram, unpack: Callable[[Any], object], tick: Callable[[int], None]
    ) -> None:
        """Let `unpack` write the archive to a program of `reading`, and check its end.

        `tick` is called with the bytes that it took so far.  Raises as `unpack` and `check` do.
        """
        with suppress(BrokenPipeError):  # it has what it wants, or says why it ended
            unpack(_Pipe(program.stdin, tick))
            program.stdin.close()
        self.check(program)

    def check(self, program: ClientProgram) -> None:
        """Wait for the program's end.  Raises RestoreFailed, or what the connection failed of."""
        if program.wait() == 0:
            return
        errors = [error for error in program.errors() if _HARMLESS not in error]
        if errors or not self._tolerates:
            raise program.failure(self.target, RestoreFailed, errors)

    def _arguments(self, *more: str) -> list[str]:
        owners = [] if self.owners else ["--no-owner", "--no-privileges"]
        role = [f"--role={self.target.role}"] if self.target.role else []
        return [*owners, *role, *([] if self._tolerates else ["--exit-on-error"]), *more]

    @property
    def _path(self) -> Path:
        return self.programs.path("pg_restore")

    @property
    def _tolerates(self) -> bool:
        newer = self.programs.major >= _TRANSACTION_TIMEOUT_SINCE
        return newer and self.server_major < _TRANSACTION_TIMEOUT_SINCE


@contextmanager
def _listed(entries: Sequence[str]) -> Iterator[tuple[list[str], list[int]]]:
    """Yield the argument that picks entries, and the open file that it names."""
    with tempfile.TemporaryFile() as listed:
        listed.writelines(f"{entry};\n".encode() for entry in entries)
        listed.seek(0)
        yield [f"--use-list=/dev/fd/{listed.fileno()}"] if entries else [], [listed.fileno()]


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
