"""An archive of pg_dump: its entries as pg_restore lists them, its rows as COPY has them."""

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from psycopg import sql

from leadctl.backup.contents import ENCODING, ArchiveEntry, codec_of
from leadctl.backup.manifest import ARCHIVE
from leadctl.backup.reader import BackupReader
from leadctl.errors import RestoreFailed, UnknownEntry
from leadctl.postgres import exact
from leadctl.postgres.client import feeding, running
from leadctl.postgres.connect import Connection, set_session
from leadctl.postgres.queries import parts_of, queries_of
from leadctl.restore.properties import IDENTIFIER
from leadctl.restore.restorable import USER_MAPPING, LeftOutEntry, Loading
from leadctl.text import counted

_QUERIES = queries_of(__file__, "restore.sql")
_COPY = re.compile(
    rf"COPY (?P<table>{IDENTIFIER}\.{IDENTIFIER}) "
    rf"(?:\((?P<columns>{IDENTIFIER}(?:, {IDENTIFIER})*)\))? FROM stdin;\n"
)
_COLUMN = re.compile(IDENTIFIER)
_BEGIN, _END = b"COPY ", b"\\.\n"
_CHUNK = 256 * 1024


def owner_of_rows(connection: Connection, table: str) -> str | None:
    """Return the role that rows of a table, quoted, are to be loaded as; None for this one.

    Where this role is a superuser and the table's owner is none, nothing of the owner's may run
    with a superuser's rights.
    """
    found = _QUERIES.one(connection, "loaded_as", name=table)
    return found[0] if found else None


@contextmanager
def _loading_as(connection: Connection, table: sql.Identifier, role: str | None) -> Iterator[None]:
    """Load rows with a role's rights; what it lacks for that it has meanwhile."""
    if role is None:
        yield
        return
    name = table.as_string(connection)
    ((schema, enters, writes),) = _QUERIES.rows(connection, "may_load", name=name, role=role)
    usage = sql.SQL("USAGE ON SCHEMA {}").format(sql.Identifier(schema))
    lacking = [usage] * (not enters) + [sql.SQL("INSERT ON {}").format(table)] * (not writes)
    with connection.transaction():
        for right in lacking:
            connection.execute(sql.SQL("GRANT {} TO {}").format(right, sql.Identifier(role)))
        with exact.as_owner(connection, role):
            yield
        for right in lacking:
            connection.execute(sql.SQL("REVOKE {} FROM {}").format(right, sql.Identifier(role)))


@dataclass(frozen=True)
class TableRows:
    """The rows of one table: its quoted name, its columns, and chunks of COPY's text.

    `into` is the table that pg_dump copies them into, by schema and name: that of the table, or of
    the root of its partition tree, where its rows may belong to another partition than before.
    `encoding` is that of the text.  The chunks must be read before the next table is asked for.
    """

    table: str
    into: tuple[str, ...]
    columns: tuple[str, ...]
    encoding: str
    chunks: Iterator[bytes]

    def copy_into(self, connection: Connection, table: sql.Identifier, owner: str | None) -> int:
        """Copy the rows into a table that has the columns; return how many they are.

        `owner` is as `owner_of_rows` says: checks, domains and generated columns call functions.
        Raises what psycopg does; then the transaction is over, and the encoding is as it was.
        """
        ours = connection.info.parameter_status("client_encoding") or "UTF8"
        set_session(connection, {"client_encoding": self.encoding})
        with _loading_as(connection, table, owner):
            number = self._copied(connection, table)
        set_session(connection, {"client_encoding": ours})
        return number

    def _copied(self, connection: Connection, table: sql.Identifier) -> int:
        listed = sql.SQL(", ").join(map(sql.Identifier, self.columns))
        columns = sql.SQL("({})").format(listed) if self.columns else sql.SQL("")
        query = sql.SQL("COPY {} {} FROM STDIN").format(table, columns)
        with connection.cursor() as cursor:
            with cursor.copy(query) as copy:
                for chunk in self.chunks:
                    copy.write(chunk)
            return cursor.rowcount


def pg_restore_output(
    program: Path,
    arguments: Sequence[str],
    write: Callable[[IO[bytes]], object],
    entries: Sequence[str] = (),
) -> bytes:
    """Return what pg_restore prints of the archive of a backup that `write` writes.

    `entries` are the ids of those that are wanted; all by default.  Raises BackupDamaged, and what
    `write` raises.
    """
    with tempfile.TemporaryFile() as output, use_list(entries) as (wanted, keep):
        with feeding(program, [*arguments, *wanted], "the backup", output, keep) as sink:
            write(sink)
        output.seek(0)
        return output.read()


@contextmanager
def use_list(entries: Sequence[str]) -> Iterator[tuple[list[str], list[int]]]:
    """Yield the option of pg_restore that names entries, and the open file that it reads.

    Without entries there is neither, which wants all.
    """
    if not entries:
        yield [], []
        return
    with tempfile.TemporaryFile() as listed:
        listed.writelines(f"{entry};\n".encode() for entry in entries)
        listed.seek(0)
        yield [f"--use-list=/dev/fd/{listed.fileno()}"], [listed.fileno()]


def without_skipped(
    entries: Sequence[ArchiveEntry], loading: Loading, known: Iterable[ArchiveEntry] = ()
) -> list[ArchiveEntry]:
    """Return the entries but those to be skipped and what needs them, which are told as left out.

    `known` are more in which one to be skipped may be.  Raises UnknownEntry where it is in none.
    """
    for wanted in loading.skip:
        called = {e.parts for e in (*entries, *known) if _is_called(e, wanted)}
        if len(called) > 1:
            raise UnknownEntry(
                f"There are {len(called)} entries that are called {wanted!r}.",
                hint="Restore all with --into, and drop what is not wanted.",
            )
        if not called:
            raise UnknownEntry(
                f"There is no entry {wanted!r} to skip.",
                hint="Write it as pg_restore --list shows it, without the numbers, e.g. "
                "EXTENSION - postgis, TABLE DATA public logs.",
            )
    skipped: dict[str, str] = {}
    servers = {entry.name: entry.id for entry in entries if entry.kind == "SERVER"}
    for entry in entries:
        named = next((each for each in loading.skip if _is_called(entry, each)), None)
        needs = sorted(entry.needs)
        if of := USER_MAPPING.match(entry.definition):  # pg_dump does not say what it needs
            needs.append(servers.get(parts_of(of["server"])[0], ""))
        needed = next((need for need in needs if need in skipped), None)
        if named or needed:
            skipped[entry.id] = named or skipped[str(needed)]
            reason = "skipped" if named else f"needs {skipped[entry.id]}, which is skipped"
            left = LeftOutEntry(entry.label, reason)
            if entry.kind not in {"ACL", "COMMENT"} and left not in loading.left_out:
                loading.left_out.append(left)
    return [entry for entry in entries if entry.id not in skipped]


def _is_called(entry: ArchiveEntry, name: str) -> bool:
    """Whether somebody means an entry: by its label, or with its owner behind it."""
    label, wanted = " ".join(entry.label.split()), " ".join(name.split())
    return wanted in {label, f"{label} {' '.join(entry.owner.split())}".rstrip()}


def rows_of(reader: BackupReader, tables: Sequence[str]) -> Iterator[TableRows]:
    """Read the rows of tables from a backup, the names as quote_ident writes them.

    Which entries of the archive they are, its table of contents says.  The rows of each begin
    behind a COPY that is read as SQL and end where COPY's format ends, so that no row counts as
    anything else.  A table that the archive has no rows of is passed over: compare what was read by
    `check_counts`.  Raises BackupDamaged, InvalidIdentity, MissingClient, RestoreFailed.
    """
    wanted = {parts_of(table): table for table in tables}
    entries = [
        entry
        for entry in reader.contents.entries
        if entry.kind == "TABLE DATA" and entry.parts in wanted
    ]
    if not entries:
        return
    with use_list([entry.id for entry in entries]) as (listed, keep):
        arguments = ["--data-only", "--file=-", *listed]
        pg_restore = reader.backup.programs().path("pg_restore")
        with (
            ThreadPoolExecutor(1) as thread,
            running(None, pg_restore, arguments, stdin=True, stdout=True, keep=keep) as program,
        ):
            fed = thread.submit(_feed, reader, program.stdin)
            for rows, entry in zip(_tables(program.stdout, len(entries)), entries, strict=False):
                yield replace(rows, table=wanted[entry.parts])
                for _ in rows.chunks:
                    pass
            fed.result()
            if program.wait() != 0:
                raise RestoreFailed(f"pg_restore cannot read the backup: {program.first_message()}")


def check_counts(reader: BackupReader, read: Mapping[str, int], tables: Iterable[str]) -> None:
    """Compare how many rows were read of each table with the manifest.  Raises RestoreFailed.

    A table of which the archive has none, and the manifest has some, is such a difference, too.
    """
    in_manifest = {table.name: table.rows for table in reader.manifest.tables}
    for table in tables:
        if table not in read or read[table] != in_manifest[table]:
            raise RestoreFailed(
                f"The archive has {counted(read.get(table, 0), 'row')} of {table}, and the "
                f"manifest of the backup {reader.backup.id} says {in_manifest[table]:,}.",
                hint=f"Try: leadctl backup verify {reader.backup.id} --restore",
            )


def _feed(reader: BackupReader, pipe: IO[bytes]) -> None:
    """Write the archive to pg_restore; it may end before, when it has what it needs."""
    with suppress(BrokenPipeError), pipe:
        reader.unpack(ARCHIVE, pipe)


def _tables(output: IO[bytes], number: int) -> Iterator[TableRows]:
    """Return the rows of so many tables, the chunks of each to be read to their end."""
    encoding = "UTF8"
    for line in output:
        if found := ENCODING.match(line):
            encoding = found[1].decode()
        if number and line.startswith(_BEGIN):
            number -= 1
            yield _block(line, output, encoding)


def _block(line: bytes, output: IO[bytes], encoding: str) -> TableRows:
    """Read the rest of a COPY that begins in a line, up to its rows."""
    while line.count(b'"') % 2:  # the line break is part of a name
        more = output.readline()
        if not more:
            break
        line += more
    header = _COPY.fullmatch(line.decode(codec_of(encoding), errors="surrogateescape"))
    if header is None:
        raise RestoreFailed("pg_restore does not write the rows of the backup as expected.")
    columns = _COLUMN.findall(header["columns"] or "")
    return TableRows(
        header["table"],
        parts_of(header["table"]),
        tuple(name for (name,) in map(parts_of, columns)),
        encoding,
        _chunks(output),
    )


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
