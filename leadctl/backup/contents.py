"""The table of contents of an archive of pg_dump's: what is in it, and what needs what.

It is read from the archive's own head.  `pg_restore --list` prints the same, in which nobody can
tell a space within a name from one between two.
https://github.com/postgres/postgres/blob/master/src/bin/pg_dump/pg_backup_archiver.c
"""

import codecs
import mmap
import re
import struct
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from leadctl.errors import BackupDamaged

ENCODING = re.compile(rb"^SET client_encoding = '(\w+)';", re.MULTILINE)
_MAGIC = b"PGDMP"
_CUSTOM, _TAR, _DIRECTORY = 1, 3, 5
_SINCE, _UNTIL = (1, 12), (1, 16)
"""The formats that are read: those of pg_dump 9.0 to 18."""
_FIRST_TRY = 64 * 1024
_TOC_MAX = 1 << 30
_NUMBER_MAX = 1 << 30
_TAR_HEADER = 512
_TAR_MAGIC = slice(257, 262)
_TOC = "toc.dat"
_ROWS, _LARGE_OBJECTS = 1, 3
_NOT_SET, _SET = 1, 2
_PIECES_MAX = 300_000
"""pg_dump writes one for each row."""
_LAST_LINES = 3
"""pg_dump ends the rows of a table by an end-of-data marker and two empty lines."""
_BLOCK, _OBJECT, _PIECE = range(3)
"""What comes next: a block of an entry, a large object of one, a piece of either."""
_LENGTH, _LENGTH_BYTES = struct.Struct("<xI").unpack_from, 5
SATELLITES = frozenset({"ACL", "COMMENT", "SECURITY LABEL"})
"""What says something of another entry, and is nothing itself."""
_NO_ROWS_OF_OTHERS = frozenset({"DATABASE", "DATABASE PROPERTIES"})


def codec_of(encoding: str) -> str:
    """Return Python's name of one of PostgreSQL's encodings; UTF-8 where it has none.

    https://www.postgresql.org/docs/current/multibyte.html
    """
    name = re.sub(r"^WIN(?=\d)", "cp", re.sub(r"^KOI8(?=[RU])", "koi8_", encoding))
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "utf-8"


def label_of(kind: str, schema: str | None, name: str) -> str:
    """Return what an object is called, as pg_restore lists it."""
    return re.sub(r"[\r\n]", " ", f"{kind} {schema or '-'} {name}")


@dataclass(frozen=True)
class ArchiveEntry:
    """One object of an archive: its number, what it is, and the numbers of what it needs.

    `kind` is such as TABLE or FK CONSTRAINT; `name` that of the object, behind that of its table
    where it is a part of one, and with the types of its arguments where it is a function.
    """

    id: str
    kind: str
    schema: str | None
    name: str
    owner: str
    needs: frozenset[str] = frozenset()
    definition: str = ""
    """The statement that makes it; none of rows and statistics."""

    @property
    def label(self) -> str:
        """What people call it, as pg_restore lists it, but for its owner."""
        return label_of(self.kind, self.schema, self.name)

    @property
    def parts(self) -> tuple[str, ...]:
        """Its schema and name."""
        return (self.schema or "", self.name)

    @property
    def is_of_database(self) -> bool:
        """Whether it is the database itself, or says something of it."""
        return self.kind in _NO_ROWS_OF_OTHERS or (
            self.kind in SATELLITES and self.schema is None and self.name.startswith("DATABASE ")
        )


@dataclass(frozen=True)
class Contents:
    """The header and the entries of an archive."""

    database: str
    server_version: str
    entries: tuple[ArchiveEntry, ...]
    makes_public: bool = False
    """Whether it makes the schema public, which a new database has."""


def read_contents(what: str, source: Path | Callable[[IO[bytes]], object]) -> Contents:
    """Read the table of contents of an archive, which messages call `what`.

    `source` is a folder, or writes the archive to a sink, which takes no more of it than is needed.
    Raises BackupDamaged, and what `source` raises.
    """
    sink = _Head(what)
    if isinstance(source, Path):
        sink.data += (source / _TOC).read_bytes()
    else:
        with suppress(_EnoughError):
            source(sink)  # type: ignore[arg-type]
    if sink.found is None:
        sink.parse()
    return sink.whole()


def write_offsets(archive: IO[bytes]) -> None:
    """Write into an archive of the custom format where the rows of each table begin.

    pg_dump does so where it can seek in its output.  From it pg_restore knows which table is the
    largest, and begins with that.
    """
    archive.flush()
    with mmap.mmap(archive.fileno(), 0) as data, suppress(LookupError, struct.error, BackupDamaged):
        for position, offset in _Reader("the archive", data).offsets().items():
            data[position : position + 9] = bytes([_SET]) + offset.to_bytes(8, "little")


class RowCounter:
    """Counts the rows of each table in an archive of the custom format that is not compressed.

    It is given the archive's bytes as they come, and keeps none.
    """

    def __init__(self, what: str) -> None:
        self._lines: dict[int, int] = {}
        self._head = _Head(what)
        self._rest = b""
        self._left = 0
        """Bytes that come of the piece that has begun."""
        self._step = _BLOCK
        self._table: int | None = None
        """Whose pieces come; None for those of large objects."""

    def take(self, data: bytes) -> None:
        """Take the next bytes."""
        if self._head.found:
            self._count(data)
            return
        try:
            self._head.write(data)
        except _EnoughError:
            self._begin()

    def contents(self) -> Contents:
        """Return the archive's table of contents, when all was taken.  Raises BackupDamaged."""
        if not self._head.found:
            self._head.parse()
            self._begin()
        return self._head.whole()

    def rows(self) -> dict[tuple[str, ...], int]:
        """Return the rows of each table by its schema and name, when all was taken."""
        tables = rows_of_tables(self.contents().entries)
        return {name: self._lines[int(n)] for n, name in tables.items() if int(n) in self._lines}

    def _begin(self) -> None:
        rest, self._head.rest = self._head.rest, b""
        self._count(rest)

    def _count(self, data: bytes) -> None:
        data, at = self._rest + data, 0
        while True:
            if self._left:
                end = min(at + self._left, len(data))
                if self._table is not None:
                    self._lines[self._table] += data.count(b"\n", at, end)
                self._left, at = self._left - (end - at), end
            if self._step == _PIECE and self._table is not None:
                at = self._pass_whole_pieces(self._table, data, at)
            kind = int(self._step == _BLOCK)  # a byte more
            if len(data) - at < kind + _LENGTH_BYTES:
                self._rest = data[at:]
                return
            (number,) = _LENGTH(data, at + kind)
            self._follow(data[at], number)
            at += kind + _LENGTH_BYTES

    def _pass_whole_pieces(self, table: int, data: bytes, at: int) -> int:
        """Pass over the pieces of rows that are here; return where the empty or the cut one begins.

        There is one for each row.
        """
        lines, size, last = 0, len(data), len(data) - _LENGTH_BYTES
        while at <= last:
            (length,) = _LENGTH(data, at)
            end = at + _LENGTH_BYTES + length
            if not length or end > size:
                break
            lines += data.count(b"\n", at + _LENGTH_BYTES, end)
            at = end
        self._lines[table] += lines
        return at

    def _follow(self, kind: int, number: int) -> None:
        """Go on behind a number: of a block's entry, of a large object, of a piece's bytes."""
        if self._step == _BLOCK:
            self._table = number if kind == _ROWS else None
            self._step = _PIECE if kind == _ROWS else _OBJECT
            if kind == _ROWS:
                self._lines[number] = -_LAST_LINES
        elif self._step == _OBJECT:
            self._step = _PIECE if number else _BLOCK
        elif number:
            self._left = number
        else:
            self._step = _OBJECT if self._table is None else _BLOCK


class _EnoughError(BrokenPipeError):
    """The table of contents is there."""


class _Head:
    """Takes an archive's head, until its table of contents is whole."""

    def __init__(self, what: str) -> None:
        self.data = bytearray()
        self.found: Contents | None = None
        self.rest = b""
        """What came behind it."""
        self._what = what
        self._try = _FIRST_TRY

    def write(self, data: bytes) -> int:
        """Take a piece; raises BrokenPipeError when it is enough."""
        self.data += data
        if len(self.data) >= self._try:
            self._try *= 2
            self.parse()
            if self.found:
                raise _EnoughError
            if len(self.data) > _TOC_MAX:
                raise BackupDamaged(
                    f"{self._what} is cut short: its table of contents does not end."
                )
        return len(data)

    def parse(self) -> None:
        """Parse the table of contents, unless there must be more of it."""
        data = bytes(self.data)
        if data[_TAR_MAGIC] == b"ustar":  # toc.dat is the first file
            data = data[_TAR_HEADER:]
        reader = _Reader(self._what, data)
        with suppress(IndexError):
            self.found = reader.contents()
            self.rest = data[reader.at :]
            self.data.clear()

    def whole(self) -> Contents:
        """Return what was parsed.  Raises BackupDamaged where there should be more of it."""
        if self.found is None:
            raise BackupDamaged(f"{self._what} is cut short within its table of contents.")
        return self.found

    def flush(self) -> None:
        """Do nothing: it is in memory."""


class _Reader:
    """Reads the numbers and texts of an archive's head.  Raises IndexError behind its end."""

    def __init__(self, what: str, data: bytes | mmap.mmap) -> None:
        self._what = what
        self._data = data
        self.at = 0
        self._integer, self._offset, self._format = 4, 8, _CUSTOM
        self._positions: dict[int, int] = {}
        """Of each entry with data the byte that says whether the offset behind it is known."""

    def offsets(self) -> dict[int, int]:
        """Return, by where it is to be said, at which offset each table's rows begin.

        None of what pg_dump said itself.  Raises IndexError for an archive in too many pieces to
        look at each.
        """
        self.contents()
        unknown = {n: at for n, at in self._positions.items() if self._data[at] == _NOT_SET}
        found: dict[int, int] = {}
        left = _PIECES_MAX
        while unknown:
            began = self.at
            kind, position = self._byte(), unknown.pop(self._number())
            while kind == _ROWS or self._number():  # else the next large object
                left = self._pass_over_pieces(left)
                if kind == _ROWS:
                    break
            found[position] = began
        return found

    def _pass_over_pieces(self, most: int) -> int:
        """Pass over pieces up to the empty one; return how many fewer they are than `most`."""
        at, data = self.at, self._data
        for left in range(most, 0, -1):
            (length,) = _LENGTH(data, at)
            at += _LENGTH_BYTES + length
            if not length:
                self.at = at
                return left
        raise IndexError

    def contents(self) -> Contents:
        """Read it.  Raises BackupDamaged where it is of another kind or version."""
        if self._bytes(len(_MAGIC)) != _MAGIC:
            raise BackupDamaged(f"{self._what} is not an archive of pg_dump.")
        version = (self._byte(), self._byte())
        self._byte()  # the revision changes nothing
        if not _SINCE <= version <= _UNTIL:
            raise BackupDamaged(
                f"{self._what} has the archive format {version[0]}.{version[1]}, and this leadctl "
                f"reads {_SINCE[0]}.{_SINCE[1]} to {_UNTIL[0]}.{_UNTIL[1]}.",
                hint="Make it with the pg_dump of a supported PostgreSQL, or use a newer leadctl.",
            )
        self._integer, self._offset, self._format = self._byte(), self._byte(), self._byte()
        if self._format not in {_CUSTOM, _TAR, _DIRECTORY}:
            raise BackupDamaged(f"{self._what} is an archive of an unknown kind.")
        if version >= (1, 15):
            self._byte()  # how it is compressed
        else:
            self._number()
        for _ in range(7):  # when it was made
            self._number()
        database, server_version, _ = self._text(), self._text(), self._text()
        found = [self._entry(version) for _ in range(self._number())]
        codec = "utf-8"
        for kind, definition in ((each[1], each[-1]) for each in found):
            if kind == b"ENCODING" and (match := ENCODING.search(definition or b"")):
                codec = codec_of(match[1].decode())

        def text(raw: bytes | None) -> str:
            return (raw or b"").decode(codec, "surrogateescape")

        return Contents(
            text(database),
            text(server_version),
            tuple(
                ArchiveEntry(
                    number,
                    text(kind),
                    text(schema) or None,
                    text(name),
                    text(owner),
                    needs,
                    "" if kind == b"STATISTICS DATA" else text(definition),
                )
                for number, kind, schema, name, owner, needs, definition in found
            ),
            any(
                (each[1], each[3]) == (b"SCHEMA", b"public")
                and (each[-1] or b"").startswith(b"CREATE SCHEMA")
                for each in found
            ),
        )

    def _entry(
        self, version: tuple[int, int]
    ) -> tuple[
        str, bytes | None, bytes | None, bytes | None, bytes | None, frozenset[str], bytes | None
    ]:
        number = str(self._number())
        self._number()  # whether there is data
        self._text(), self._text()  # the oids of its catalog and of itself
        name, kind = self._text(), self._text()
        self._number()  # the section
        definition, _, _ = self._text(), self._text(), self._text()  # with DROP and COPY
        schema, _ = self._text(), self._text()  # and the tablespace
        if version >= (1, 14):
            self._text()  # the access method
        if version >= (1, 16):
            self._number()  # the kind of relation
        owner, _ = self._text(), self._text()  # and whether rows have OIDs
        needs = []
        while (need := self._text()) is not None:
            needs.append(need.decode(errors="replace"))
        if self._format == _CUSTOM:
            self._positions[int(number)] = self.at
            self._byte()
            self._bytes(self._offset)
        else:
            self._text()  # its file
        return number, kind, schema, name, owner, frozenset(needs), definition

    def _byte(self) -> int:
        value = self._data[self.at]
        self.at += 1
        return value

    def _bytes(self, number: int) -> bytes:
        if self.at + number > len(self._data):
            raise IndexError
        self.at += number
        return self._data[self.at - number : self.at]

    def _number(self) -> int:
        sign = self._byte()
        value = int.from_bytes(self._bytes(self._integer), "little")
        if sign > 1 or value > _NUMBER_MAX:
            raise BackupDamaged(f"{self._what} has a damaged table of contents.")
        return -value if sign else value

    def _text(self) -> bytes | None:
        length = self._number()
        return self._bytes(length) if length >= 0 else None


def named(entries: Sequence[ArchiveEntry], kind: str) -> tuple[str, ...]:
    """Return the names of objects of a kind, such as extensions."""
    return tuple(entry.name for entry in entries if entry.kind == kind)


def owners_of(entries: Sequence[ArchiveEntry]) -> tuple[str, ...]:
    """Return the roles that own something."""
    return tuple(
        sorted({entry.owner for entry in entries if entry.owner and not entry.is_of_database})
    )


def rows_of_tables(entries: Sequence[ArchiveEntry]) -> dict[str, tuple[str, ...]]:
    """Return the entries that are the rows of a table, with its schema and name."""
    return {entry.id: entry.parts for entry in entries if entry.kind == "TABLE DATA"}


def indexes_of_tables(entries: Sequence[ArchiveEntry]) -> dict[tuple[str, ...], list[str]]:
    """Return the indexes that need nothing but the rows of one table, by its schema and name."""
    tables = {entry.id: entry.parts for entry in entries if entry.kind == "TABLE"}
    indexes = {entry.id for entry in entries if entry.kind in {"INDEX", "CONSTRAINT"}}
    result: dict[tuple[str, ...], list[str]] = {}
    for entry in entries:
        needed = [tables[need] for need in entry.needs if need in tables]
        if entry.id in indexes and len(needed) == 1 and not entry.needs & indexes:
            result.setdefault(needed[0], []).append(entry.id)
    return result


def ancestors_of(
    entries: Collection[ArchiveEntry],
) -> dict[tuple[str, ...], list[tuple[str, ...]]]:
    """Return of each partition the tables that it is a partition of, the nearest first."""
    tables = {entry.id: entry.parts for entry in entries if entry.kind == "TABLE"}
    parents: dict[tuple[str, ...], tuple[str, ...]] = {}
    for entry in entries:
        if entry.kind == "TABLE ATTACH":
            for parent in {tables[need] for need in entry.needs if need in tables} - {entry.parts}:
                parents[entry.parts] = parent
    above: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for child in parents:
        above[child] = [parents[child]]
        while above[child][-1] in parents:
            above[child].append(parents[above[child][-1]])
    return above
