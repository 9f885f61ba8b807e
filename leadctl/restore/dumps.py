"""Restoring what anyone's pg_dump made: an archive, a folder or a script; packed or not."""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from leadctl.backup.snapshot import count_tables, not_valid
from leadctl.backup.verify import VerifyCheck
from leadctl.errors import BackupDamaged, OptionNotForScripts
from leadctl.journal import state
from leadctl.postgres.binaries import dump_programs
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target
from leadctl.restore.archive import (
    extensions_of,
    list_archive,
    owners_of,
    parse_entries,
)
from leadctl.restore.dump_file import Packed
from leadctl.restore.pg_restore import PgRestore
from leadctl.restore.restorable import Comparison, Loading, Origin
from leadctl.restore.script import load_script

_TABLE_OF_CONTENTS = "toc.dat"
_HEAD = 512
_END_OF_TAR = 1024
"""Bytes that are zero at the end of a tar archive."""
_NEWEST = 99
"""A major version that no server has: the newest programs are the nearest to it."""
_SCRIPT_VERSION = re.compile(rb"^-- Dumped from database version (\d+)", re.MULTILINE)
_VERSION = re.compile(r"^; +Dumped from database version: (\d+)", re.MULTILINE)
_DATABASE = re.compile(r"^; +dbname: (.+)$", re.MULTILINE)


class Format(Enum):
    """How pg_dump wrote an archive."""

    CUSTOM = "custom"
    TAR = "tar"
    DIRECTORY = "directory"


def is_foreign(path: Path) -> bool:
    """Whether a path is a file, or a folder that pg_dump made."""
    return path.is_file() or (path / _TABLE_OF_CONTENTS).is_file()


def open_foreign(path: Path, identities: Sequence[Any], schema: str) -> "Dump | Script":
    """Return what a file or folder is.  `schema` is the one whose revision is looked at.

    Raises BackupDamaged and InvalidIdentity.
    """
    packed = Packed(path, identities)
    if path.is_dir():
        return Dump(packed, schema, Format.DIRECTORY)
    head = packed.head(_HEAD)
    if head.startswith(b"PGDMP"):
        return Dump(packed, schema, Format.CUSTOM)
    if head[257:262] == b"ustar":
        return Dump(packed, schema, Format.TAR)
    return Script(packed, schema)


@dataclass(frozen=True)
class Script:
    """SQL, as `pg_dump` without an option writes it."""

    packed: Packed
    schema: str

    def origin(self) -> Origin:
        """Return next to nothing: a script says what it holds when it runs."""
        version = _SCRIPT_VERSION.search(self.packed.head(_HEAD))
        return _origin(self.packed, server_major=int(version[1]) if version else None)

    def held(self) -> AbstractContextManager[None]:
        """Do nothing: what belongs to others cannot be kept from them."""
        return nullcontext()

    def check(self) -> None:
        """Do nothing: there is no hash, and its end is looked at before it is committed."""

    def load(self, target: Target, loading: Loading) -> None:
        """Run it on the target's database, which is empty, up to the first error.

        Raises RestoreFailed, BackupDamaged, MissingClient, OptionNotForScripts.
        """
        if not (loading.owners and loading.rows):
            raise OptionNotForScripts(
                f"{self.packed.path} is a script, which runs as it is written.",
                hint="Leave out --no-owner and --schema-only, or dump with --format=custom.",
            )
        load_script(target, self.packed, loading)

    def compare(self, connection: Connection, *, rows: bool) -> Comparison:  # noqa: ARG002
        """Count what is there: a script does not say how much it holds."""
        return _counted(connection, self.schema)


@dataclass(frozen=True)
class Dump:
    """An archive of pg_dump: a file of its custom or tar format, or a folder."""

    packed: Packed
    schema: str
    format: Format

    def origin(self) -> Origin:
        """Return what the table of contents says.  Raises BackupDamaged, MissingClient."""
        listing = self._listing()
        entries = parse_entries(listing)
        database, version = _DATABASE.search(listing), _VERSION.search(listing)
        return _origin(
            self.packed,
            database=database[1] if database else None,
            server_major=int(version[1]) if version else None,
            extensions=extensions_of(entries),
            roles=owners_of(entries),
        )

    def held(self) -> AbstractContextManager[None]:
        """Do nothing: what belongs to others cannot be kept from them."""
        return nullcontext()

    def check(self) -> None:
        """Look for the end of a tar, which pg_restore would seek for ever.  Raises BackupDamaged.

        Of the others pg_restore itself finds the end missing.
        """
        if self.format is Format.TAR and any(self.packed.tail(_END_OF_TAR)):
            raise BackupDamaged(f"{self.packed.path} is cut short: it has no end of a tar archive.")

    def load(self, target: Target, loading: Loading) -> None:
        """Load it into the target's database, which is empty, up to the first error.

        Raises RestoreFailed, BackupDamaged, MissingClient.
        """
        with connect(target, "restore") as connection:
            major = connection.info.server_version // 10000
        restore = PgRestore(target, dump_programs(1, _NEWEST), major, loading.owners)
        schema_only = [] if loading.rows else ["--schema-only"]
        loading.narrate("Loading the archive.")
        if self.format is not Format.TAR and self.packed.is_plain:
            jobs = f"--jobs={loading.jobs}"
            with restore.on_file(self.packed.path, jobs, *schema_only) as program:
                restore.check(program)
            return
        with restore.reading(*schema_only) as program:
            restore.feed(program, self.packed.unpack, loading.loaded)

    def compare(self, connection: Connection, *, rows: bool) -> Comparison:  # noqa: ARG002
        """Count what is there: an archive does not say how much it holds."""
        return _counted(connection, self.schema)

    def _listing(self) -> str:
        program = dump_programs(1, _NEWEST).path("pg_restore")
        write = None if self.packed.path.is_dir() else self.packed.unpack
        return list_archive(program, str(self.packed.path), write)


def _origin(
    packed: Packed,
    server_major: int | None,
    database: str | None = None,
    extensions: tuple[str, ...] = (),
    roles: tuple[str, ...] = (),
) -> Origin:
    return Origin(
        name=str(packed.path),
        made_at=packed.made_at,
        database=database,
        schema=None,
        revision=None,
        server_major=server_major,
        rows=None,
        bytes=packed.size,
        extensions=extensions,
        roles=roles,
        settings=None,
    )


def _counted(connection: Connection, schema: str) -> Comparison:
    tables = count_tables(connection)
    rows = sum(table.rows for table in tables)
    invalid = not_valid(connection)
    current = state.current_revisions(connection, schema)
    counted = f"{rows:,} in {len(tables)} tables; it does not say how many there should be"
    validity = f"not valid: {', '.join(invalid)}" if invalid else "valid"
    return Comparison(
        rows=rows,
        tables=len(tables),
        revision=", ".join(current) if current else None,
        checks=(
            VerifyCheck("loading", True, "to its end, without an error"),
            VerifyCheck("rows", None, counted),
            VerifyCheck("constraints and indexes", None if invalid else True, validity),
        ),
    )
