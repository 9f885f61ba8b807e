"""An archive of pg_dump: its entries as pg_restore lists them, its rows as COPY has them."""

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from psycopg import sql

from leadctl.backup.manifest import ARCHIVE
from leadctl.backup.reader import BackupReader
from leadctl.errors import RestoreFailed
from leadctl.postgres.client import feeding, running
from leadctl.postgres.connect import Connection

_ENTRY = re.compile(r"(?P<id>\d+); \d+ \d+ (?P<what>.*)")
_DEPENDS = ";\tdepends on:"
_TABLE = re.compile(r"TABLE (?P<schema>\S+) (?P<name>\S+) (?P<owner>\S+)")
_ROWS = re.compile(r"TABLE DATA (?P<schema>\S+) (?P<name>\S+) (?P<owner>\S+)")
_EXTENSION = re.compile(r"EXTENSION - (\S+) ")
_INDEX = re.compile(r"(INDEX \S+|CONSTRAINT \S+ \S+) \S+ \S+")
"""An index, or a constraint that is one; where a name has a space, it is not taken for one."""
_COPY = re.compile(rb"COPY (?P<table>.+) \((?P<columns>.*)\) FROM stdin;\n")
_END = b"\\.\n"
_CHUNK = 256 * 1024


@dataclass(frozen=True)
class ArchiveEntry:
    """One object of an archive: its number, what it is, and the numbers of what it needs."""

    id: str
    what: str
    needs: frozenset[str]


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


def list_archive(
    program: Path, what: str, write: Callable[[IO[bytes]], object] | None = None
) -> str:
    """Return pg_restore's list of what `write` writes; without it `what` is a folder.

    No more is written than the table of contents, which is at the beginning.  Raises
    BackupDamaged, and what `write` raises.
    """
    folder = [] if write else [what]
    return pg_restore_output(program, ["--list", "--verbose", *folder], what, write)


def pg_restore_output(
    program: Path,
    arguments: Sequence[str],
    what: str,
    write: Callable[[IO[bytes]], object] | None = None,
) -> str:
    """Return what pg_restore prints of the archive that `write` writes, called `what`.

    Raises BackupDamaged, and what `write` raises.
    """
    with tempfile.TemporaryFile() as output:
        with feeding(program, arguments, what, output) as sink:
            if write:
                write(sink)
        output.seek(0)
        return output.read().decode(errors="replace")


def parse_entries(listing: str) -> list[ArchiveEntry]:
    """Return the entries of a listing, in its order."""
    entries: list[ArchiveEntry] = []
    for line in listing.splitlines():
        if found := _ENTRY.fullmatch(line):
            entries.append(ArchiveEntry(found["id"], found["what"], frozenset()))
        elif entries and line.startswith(_DEPENDS):
            needs = frozenset(line.removeprefix(_DEPENDS).split())
            entries[-1] = replace(entries[-1], needs=needs)
    return entries


def indexes_of_tables(entries: Sequence[ArchiveEntry]) -> dict[str, list[str]]:
    """Return the indexes that need nothing but the rows of one table, by `schema.table`.

    Tables whose names have a space are not among them.
    """
    tables = {entry.id: found for entry in entries if (found := _TABLE.fullmatch(entry.what))}
    indexes = {entry.id for entry in entries if _INDEX.fullmatch(entry.what)}
    result: dict[str, list[str]] = {}
    for entry in entries:
        needed = [tables[need] for need in entry.needs if need in tables]
        if entry.id in indexes and len(needed) == 1 and not entry.needs & indexes:
            result.setdefault(f"{needed[0]['schema']}.{needed[0]['name']}", []).append(entry.id)
    return result


def rows_of_tables(entries: Sequence[ArchiveEntry]) -> dict[str, str]:
    """Return the entries that are the rows of a table, with its `schema.table`.

    Tables whose names have a space are not among them.
    """
    found = {entry.id: _ROWS.fullmatch(entry.what) for entry in entries}
    return {entry: f"{rows['schema']}.{rows['name']}" for entry, rows in found.items() if rows}


def extensions_of(entries: Sequence[ArchiveEntry]) -> tuple[str, ...]:
    """Return the extensions that an archive makes."""
    found = (_EXTENSION.fullmatch(entry.what) for entry in entries)
    return tuple(match[1] for match in found if match)


def owners_of(entries: Sequence[ArchiveEntry]) -> tuple[str, ...]:
    """Return the roles that own tables, as far as names without spaces tell."""
    found = (_TABLE.fullmatch(entry.what) for entry in entries)
    return tuple(sorted({match["owner"] for match in found if match}))


def rows_of(reader: BackupReader, tables: Sequence[str]) -> Iterator[TableRows]:
    """Read the rows of tables from a backup; what others it reads over is not decoded.

    Raises BackupDamaged, InvalidIdentity, MissingClient, RestoreFailed.
    """
    pg_restore = reader.backup.programs().path("pg_restore")
    # By the bare name; which schema it is, the COPY says.
    names = sorted({_bare(table) for table in tables})
    arguments = ["--data-only", "--file=-", *(f"--table={name}" for name in names)]
    with (
        ThreadPoolExecutor(1) as thread,
        running(None, pg_restore, arguments, stdin=True, stdout=True) as program,
    ):
        fed = thread.submit(_feed, reader, program.stdin)
        yield from _tables(program.stdout, set(tables))
        fed.result()
        if program.wait() != 0:
            raise RestoreFailed(f"pg_restore cannot read the backup: {program.first_message()}")


def _feed(reader: BackupReader, pipe: IO[bytes]) -> None:
    """Write the archive to pg_restore; it may end before, when it has what it needs."""
    with suppress(BrokenPipeError), pipe:
        reader.unpack(ARCHIVE, pipe)


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
