"""The entries of an archive of pg_dump, as pg_restore lists them."""

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from leadctl.backup.archive import feeding

_ENTRY = re.compile(r"(?P<id>\d+); \d+ \d+ (?P<what>.*)")
_DEPENDS = ";\tdepends on:"
_TABLE = re.compile(r"TABLE (?P<schema>\S+) (?P<name>\S+) (?P<owner>\S+)")
_ROWS = re.compile(r"TABLE DATA (?P<schema>\S+) (?P<name>\S+) (?P<owner>\S+)")
_EXTENSION = re.compile(r"EXTENSION - (\S+) ")
_INDEX = re.compile(r"(INDEX \S+|CONSTRAINT \S+ \S+) \S+ \S+")
"""An index, or a constraint that is one; where a name has a space, it is not taken for one."""


@dataclass(frozen=True)
class Entry:
    """One object of an archive: its number, what it is, and the numbers of what it needs."""

    id: str
    what: str
    needs: frozenset[str]


def list_archive(
    program: Path, what: str, write: Callable[[IO[bytes]], object] | None = None
) -> str:
    """Return pg_restore's list of what `write` writes; without it `what` is a folder.

    No more is written than the table of contents, which is at the beginning.  Raises
    BackupDamaged, and what `write` raises.
    """
    with tempfile.TemporaryFile() as listing:
        folder = [] if write else [what]
        with feeding([program, "--list", "--verbose", *folder], what, listing) as sink:
            if write:
                write(sink)
        listing.seek(0)
        return listing.read().decode(errors="replace")


def parse_entries(listing: str) -> list[Entry]:
    """Return the entries of a listing, in its order."""
    return list(_entries(listing.splitlines()))


def indexes_of_tables(entries: Sequence[Entry]) -> dict[str, list[str]]:
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


def rows_of_tables(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the entries that are the rows of a table, with its `schema.table`.

    Tables whose names have a space are not among them.
    """
    found = {entry.id: _ROWS.fullmatch(entry.what) for entry in entries}
    return {entry: f"{rows['schema']}.{rows['name']}" for entry, rows in found.items() if rows}


def extensions_of(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Return the extensions that an archive makes."""
    found = (_EXTENSION.fullmatch(entry.what) for entry in entries)
    return tuple(match[1] for match in found if match)


def owners_of(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Return the roles that own tables, as far as names without spaces tell."""
    found = (_TABLE.fullmatch(entry.what) for entry in entries)
    return tuple(sorted({match["owner"] for match in found if match}))


def _entries(lines: Sequence[str]) -> Iterator[Entry]:
    current: Entry | None = None
    for line in lines:
        if found := _ENTRY.fullmatch(line):
            if current:
                yield current
            current = Entry(found["id"], found["what"], frozenset())
        elif current and line.startswith(_DEPENDS):
            current = Entry(
                current.id, current.what, frozenset(line.removeprefix(_DEPENDS).split())
            )
    if current:
        yield current
