"""Taking the rows of single tables out of a backup, as COPY has them."""

import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from psycopg import sql

from leadctl.backup.manifest import ARCHIVE
from leadctl.errors import RestoreFailed
from leadctl.postgres.connect import Connection

if TYPE_CHECKING:
    from leadctl.restore.load import Source

_COPY = re.compile(rb"COPY (?P<table>.+) \((?P<columns>.*)\) FROM stdin;\n")
_END = b"\\.\n"
_CHUNK = 256 * 1024


@dataclass(frozen=True)
class TableRows:
    """The rows of one table: its quoted name, its quoted columns, and chunks of COPY's text.

    The chunks must be read before the next table is asked for.
    """

    table: str
    columns: str
    chunks: Iterator[bytes]

    def copy_into(self, connection: Connection, table: sql.Composable) -> int:
        """Copy the rows into a table that has the columns; return how many they are."""
        # The columns are as pg_dump quoted them.
        query = sql.SQL("COPY {} ({}) FROM STDIN").format(table, sql.SQL(self.columns))
        with connection.cursor() as cursor:
            with cursor.copy(query) as copy:
                for chunk in self.chunks:
                    copy.write(chunk)
            return cursor.rowcount


def rows_of(source: "Source", tables: Sequence[str]) -> Iterator[TableRows]:
    """Read the rows of tables from a backup; what others it reads over is not decoded.

    Raises BackupDamaged, InvalidIdentity, MissingClient, RestoreFailed.
    """
    program = source.backup.programs().path("pg_restore")
    # By the bare name; which schema it is, the COPY says.
    names = {_bare(table) for table in tables}
    arguments = [f"--table={name}" for name in sorted(names)]
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(
            [program, "--data-only", "--file=-", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=messages,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        feeder = _Feeder(source, process.stdin)
        feeder.start()
        try:
            yield from _tables(process.stdout, set(tables))
            feeder.join()
            if feeder.error is not None:
                raise feeder.error
            if process.wait() != 0:
                messages.seek(0)
                first = messages.read(400).decode(errors="replace").partition("\n")[0]
                raise RestoreFailed(f"pg_restore cannot read the backup: {first}")
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            feeder.join()


class _Feeder(threading.Thread):
    """Writes the archive to pg_restore, while its output is read."""

    def __init__(self, source: "Source", pipe: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self._source = source
        self._pipe = pipe
        self.error: Exception | None = None

    def run(self) -> None:
        """Write all of it; pg_restore may end before, when it has what it needs."""
        try:
            with suppress(BrokenPipeError):
                self._source.unpack(ARCHIVE, self._pipe)
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            self.error = error
        finally:
            with suppress(BrokenPipeError):
                self._pipe.close()


def _tables(output: IO[bytes], wanted: set[str]) -> Iterator[TableRows]:
    for line in output:
        header = _COPY.fullmatch(line)
        if header is None:
            continue
        table = header["table"].decode()
        chunks = _chunks(output)
        if table in wanted:
            yield TableRows(table, header["columns"].decode(), chunks)
        for _ in chunks:
            pass


def _chunks(output: IO[bytes]) -> Iterator[bytes]:
    """Return the lines up to the end of a COPY, many at once."""
    lines: list[bytes] = []
    size = 0
    for line in output:
        if line == _END:
            break
        lines.append(line)
        size += len(line)
        if size >= _CHUNK:
            yield b"".join(lines)
            lines, size = [], 0
    yield b"".join(lines)


def _bare(table: str) -> str:
    """Return a table's name without schema and quotes."""
    found = re.fullmatch(r'(?:"(?:[^"]|"")*"|[^".]+)\.(?:"(?P<q>(?:[^"]|"")*)"|(?P<p>.+))', table)
    assert found is not None
    return found["p"] or found["q"].replace('""', '"')
