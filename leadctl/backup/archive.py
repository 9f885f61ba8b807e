"""Reading an archive of pg_dump to its end, into nothing."""

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO

from leadctl.errors import BackupDamaged
from leadctl.postgres.binaries import Binaries


class Nothing:
    """Takes bytes, and keeps none."""

    def write(self, data: bytes) -> int:
        """Take the data."""
        return len(data)


def reading_to_its_end(programs: Binaries) -> AbstractContextManager[IO[bytes]]:
    """Yield where an archive is written to, for pg_restore to read all of it.

    `pg_restore -l` would not do: it accepts an archive that was cut short.  Raises BackupDamaged
    with the block's end where pg_restore cannot read it.
    """
    return feeding([programs.path("pg_restore"), "--file=/dev/null"], "it", subprocess.DEVNULL)


@contextmanager
def feeding(
    command: Sequence[str | Path], what: str, output: int | IO[bytes]
) -> Iterator[IO[bytes]]:
    """Run pg_restore on what the block writes to it; `output` is where its own goes.

    Raises BackupDamaged with the block's end where pg_restore cannot read `what`.
    """
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=messages)
        assert process.stdin is not None
        try:
            with suppress(BrokenPipeError):  # it ended early, and says why, or has what it needs
                yield process.stdin
                process.stdin.close()
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            with suppress(BrokenPipeError):
                process.stdin.close()
        if code != 0:
            messages.seek(0)
            first = messages.read(400).decode(errors="replace").partition("\n")[0]
            raise BackupDamaged(f"pg_restore cannot read {what}: {first or f'exit code {code}'}")
