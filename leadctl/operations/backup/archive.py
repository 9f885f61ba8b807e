"""Reading an archive of pg_dump to its end, into nothing."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from leadctl.db.binaries import Binaries
from leadctl.errors import BackupDamaged


class Nothing:
    """Takes bytes, and keeps none."""

    def write(self, data: bytes) -> int:
        """Take the data."""
        return len(data)


@contextmanager
def reading_to_its_end(programs: Binaries) -> Iterator[IO[bytes]]:
    """Yield where an archive is written to, for pg_restore to read all of it.

    `pg_restore -l` would not do: it accepts an archive that was cut short.  Raises BackupDamaged
    with the block's end where pg_restore cannot read it.
    """
    arguments = [str(programs.path("pg_restore")), "--file=/dev/null"]
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=messages
        )
        assert process.stdin is not None
        try:
            with suppress(BrokenPipeError):  # pg_restore ended early, and says why
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
            raise BackupDamaged(f"pg_restore cannot read it: {first or f'exit code {code}'}")
