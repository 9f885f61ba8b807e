"""An archive of pg_dump: its entries as pg_restore lists them, its rows as COPY has them."""

import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO

from psycopg import sql

from leadctl.backup.manifest import ARCHIVE
from leadctl.backup.reader import BackupReader
from leadctl.errors import RestoreFailed, UnknownEntry
from leadctl.postgres.client import feeding, running
from leadctl.postgres.connect import Connection, set_session
from leadctl.postgres.queries import parts_of
from leadctl.restore.properties import ENCODING, IDENTIFIER, codec_of
from leadctl.restore.restorable import LeftOut, Loading

_ENTRY = re.compile(r"(?P<id>\d+); (?P<catalog>\d+) \d+ (?P<what>.*)")
_RELATION_CATALOG = "1259"
"""The oid of pg_class."""
_KINDS = (
    "ACCESS METHOD", "CHECK CONSTRAINT", "DEFAULT ACL", "EVENT TRIGGER", "FK CONSTRAINT",
    "FOREIGN DATA WRAPPER", "FOREIGN TABLE", "INDEX ATTACH", "MATERIALIZED VIEW DATA",
    "MATERIALIZED VIEW", "OPERATOR CLASS", "OPERATOR FAMILY", "PROCEDURAL LANGUAGE",
    "PUBLICATION TABLES IN SCHEMA", "PUBLICATION TABLE", "ROW SECURITY", "SECURITY LABEL",
    "SEQUENCE OWNED BY", "SEQUENCE SET", "SHELL TYPE", "STATISTICS DATA", "SUBSCRIPTION TABLE",
    "TABLE ATTACH", "TABLE DATA", "TEXT SEARCH CONFIGURATION", "TEXT SEARCH DICTIONARY",
    "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE", "USER MAPPING",
)  # fmt: skip
"""Kinds of entries of more than one word."""
_DEPENDS = ";\tdepends on:"
_TABLE = re.compile(r"TABLE (?P<schema>\S+) (?P<name>\S+) (?P<owner>\S+)")
_ATTACHED = re.compile(r"TABLE ATTACH (?P<schema>\S+) (?P<name>\S+) (?P<owner>\S+)")
_ROWS = re.compile(r"TABLE DATA (?P<schema>\S+) (?P<name>\S+) (?P<owner>\S+)")
_OWNED = re.compile(
    r"(?:TABLE|VIEW|MATERIALIZED VIEW|SEQUENCE|FUNCTION|TYPE|DOMAIN|SCHEMA|EVENT TRIGGER)"
    r" \S+ \S+ (?P<owner>\S+)"
)
_INDEX = re.compile(r"(INDEX \S+|CONSTRAINT \S+ \S+) \S+ \S+")
"""An index, or a constraint that is one; where a name has a space, it is not taken for one."""
_COPY = re.compile(
    rf"COPY (?P<table>{IDENTIFIER}\.{IDENTIFIER}) "
    rf"(?:\((?P<columns>{IDENTIFIER}(?:, {IDENTIFIER})*)\))? FROM stdin;\n"
)
_COLUMN = re.compile(IDENTIFIER)
_BEGIN, _END = b"COPY ", b"\\.\n"
_CHUNK = 256 * 1024


@dataclass(frozen=True)
class ArchiveEntry:
    """One object of an archive: its number, what it is, and the numbers of what it needs."""

    id: str
    what: str
    needs: frozenset[str]
    catalog: str = "0"
    """The oid of the catalog that it is in."""

    @property
    def kind(self) -> str:
        """What it is, such as TABLE or FK CONSTRAINT."""
        first = self.what.partition(" ")[0]
        if self.catalog == _RELATION_CATALOG and first in {"TABLE", "SEQUENCE"}:
            return first  # a schema may be called DATA
        return next((kind for kind in _KINDS if self.what.startswith(f"{kind} ")), first)

    @property
    def label(self) -> str:
        """What people call it: all but its owner."""
        return self.what.strip().rpartition(" ")[0]


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

    def copy_into(self, connection: Connection, table: sql.Identifier) -> int:
        """Copy the rows into a table that has the columns; return how many they are.

        Raises what psycopg does; then the transaction is over, and the encoding is as it was.
        """
        ours = connection.info.parameter_status("client_encoding") or "UTF8"
        set_session(connection, {"client_encoding": self.encoding})
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


def list_archive(
    program: Path, what: str, write: Callable[[IO[bytes]], object] | None = None
) -> str:
    """Return pg_restore's list of what `write` writes; without it `what` is a folder.

    No more is written than the table of contents, which is at the beginning.  Raises
    BackupDamaged, and what `write` raises.
    """
    folder = [] if write else [what]
    listed = pg_restore_output(program, ["--list", "--verbose", "--create", *folder], what, write)
    return listed.decode(errors="replace")


def pg_restore_output(
    program: Path,
    arguments: Sequence[str],
    what: str,
    write: Callable[[IO[bytes]], object] | None = None,
    entries: Sequence[str] = (),
) -> bytes:
    """Return what pg_restore prints of the archive that `write` writes, called `what`.

    `entries` are the ids of those that are wanted; all by default.  Raises BackupDamaged, and what
    `write` raises.
    """
    with tempfile.TemporaryFile() as output, use_list(entries) as (wanted, keep):
        with feeding(program, [*arguments, *wanted], what, output, keep) as sink:
            if write:
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


def parse_entries(listing: str) -> list[ArchiveEntry]:
    """Return the entries of a listing, in its order."""
    entries: list[ArchiveEntry] = []
    for line in listing.split("\n"):  # what else ends a line for Python may be part of a name
        if found := _ENTRY.fullmatch(line):
            entries.append(ArchiveEntry(found["id"], found["what"], frozenset(), found["catalog"]))
        elif entries and line.startswith(_DEPENDS):
            needs = frozenset(line.removeprefix(_DEPENDS).split())
            entries[-1] = replace(entries[-1], needs=needs)
    return entries


def without_skipped(
    entries: Sequence[ArchiveEntry], loading: Loading, known: Iterable[ArchiveEntry] = ()
) -> list[ArchiveEntry]:
    """Return the entries but those to be skipped and what needs them, which are told as left out.

    `known` are more in which one to be skipped may be.  Raises UnknownEntry where it is in none.
    """
    for wanted in loading.skip:
        if not any(_is_called(entry, wanted) for entry in (*entries, *known)):
            raise UnknownEntry(
                f"There is no entry {wanted!r} to skip.",
                hint="It is as pg_restore --list has it, without the numbers, such as: "
                "EXTENSION - postgis, TABLE DATA public logs.",
            )
    skipped: dict[str, str] = {}
    for entry in entries:
        named = next((each for each in loading.skip if _is_called(entry, each)), None)
        needed = next((need for need in sorted(entry.needs) if need in skipped), None)
        if named or needed:
            skipped[entry.id] = named or skipped[str(needed)]
            reason = "skipped" if named else f"needs {skipped[entry.id]}, which is skipped"
            left = LeftOut(entry.label, reason)
            if entry.kind not in {"ACL", "COMMENT"} and left not in loading.left_out:
                loading.left_out.append(left)
    return [entry for entry in entries if entry.id not in skipped]


def _is_called(entry: ArchiveEntry, name: str) -> bool:
    what, wanted = " ".join(entry.what.split()), " ".join(name.split())
    return what == wanted or what.startswith(f"{wanted} ")


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


def ancestors_of(
    entries: Sequence[ArchiveEntry],
) -> dict[tuple[str, ...], list[tuple[str, ...]]]:
    """Return of each partition the tables that it is a partition of, the nearest first.

    Tables whose names have a space are not among them.
    """
    tables = {e.id: (m["schema"], m["name"]) for e in entries if (m := _TABLE.fullmatch(e.what))}
    parents: dict[tuple[str, ...], tuple[str, ...]] = {}
    for entry in entries:
        if found := _ATTACHED.fullmatch(entry.what):
            child: tuple[str, ...] = (found["schema"], found["name"])
            for parent in {tables[need] for need in entry.needs if need in tables} - {child}:
                parents[child] = parent
    above: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for child in parents:
        above[child] = [parents[child]]
        while above[child][-1] in parents:
            above[child].append(parents[above[child][-1]])
    return above


def named(entries: Sequence[ArchiveEntry], kind: str) -> tuple[str, ...]:
    """Return the objects of a kind that is in no schema, such as extensions, without spaces."""
    found = (re.fullmatch(rf"{kind} - (\S+) \S*", entry.what) for entry in entries)
    return tuple(match[1] for match in found if match)


def owners_of(entries: Sequence[ArchiveEntry]) -> tuple[str, ...]:
    """Return the roles that own something, as far as names without spaces tell."""
    found = (_OWNED.fullmatch(entry.what) for entry in entries)
    return tuple(sorted({match["owner"] for match in found if match}))


def rows_of(reader: BackupReader, tables: Sequence[str]) -> Iterator[TableRows]:
    """Read the rows of tables from a backup, the names as quote_ident writes them.

    Which entries of the archive they are, its table of contents says.  The rows of each begin
    behind a COPY that is read as SQL and end where COPY's format ends, so that no row is taken for
    anything else.  A table that the archive has no rows of is passed over: compare what was read by
    `check_counts`.  Raises BackupDamaged, InvalidIdentity, MissingClient, RestoreFailed.
    """
    pg_restore = reader.backup.programs().path("pg_restore")
    listing = list_archive(pg_restore, "the backup", partial(reader.unpack, ARCHIVE))
    wanted = {parts_of(table): table for table in tables}
    entries = _entries_of_rows(parse_entries(listing), wanted)
    if not entries:
        return
    with use_list([entry.id for entry in entries]) as (listed, keep):
        arguments = ["--data-only", "--file=-", *listed]
        with (
            ThreadPoolExecutor(1) as thread,
            running(None, pg_restore, arguments, stdin=True, stdout=True, keep=keep) as program,
        ):
            fed = thread.submit(_feed, reader, program.stdin)
            for rows, entry in zip(_tables(program.stdout, len(entries)), entries, strict=False):
                # The entry says whose rows they are; but where names have spaces, entries of
                # others may be listed just like those.
                listed_as = _ROWS.fullmatch(entry.what)
                owner = (listed_as["schema"], listed_as["name"]) if listed_as else rows.into
                if asked := wanted.get(owner):
                    yield replace(rows, table=asked)
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
                f"The archive has {read.get(table, 0):,} rows of {table}, and the manifest of the "
                f"backup {reader.backup.id} says {in_manifest[table]:,}.",
                hint=f"Try: leadctl backup verify {reader.backup.id} --restore",
            )


def _entries_of_rows(
    entries: Sequence[ArchiveEntry], wanted: Collection[tuple[str, ...]]
) -> list[ArchiveEntry]:
    """Return the entries that may be the rows of tables, in the archive's order."""
    # pg_restore lists a line break as a space.
    names = [re.sub(r"[\r\n]", " ", " ".join(parts)) for parts in wanted]
    begins = tuple(f"TABLE DATA {name} " for name in names)
    return [entry for entry in entries if entry.what.startswith(begins)]


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
