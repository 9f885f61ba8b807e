"""Restoring what anyone's pg_dump made: an archive, a folder or a script; packed or not."""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from leadctl.backup.contents import ArchiveEntry, Contents, named, owners_of, read_contents
from leadctl.backup.decompression import begins_encrypted, begins_packed, unpack_file
from leadctl.backup.reader import VerifyCheck
from leadctl.backup.snapshot import count_tables, not_valid, revision
from leadctl.errors import (
    BackupDamaged,
    InvalidIdentity,
    OptionNotForScripts,
    OutsideStatement,
    UnreadableDump,
)
from leadctl.postgres.binaries import dump_programs
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target
from leadctl.restore.dump_archive import without_skipped
from leadctl.restore.pg_restore import PgRestore
from leadctl.restore.restorable import (
    Load,
    LoadComparison,
    Loading,
    Origin,
    ServerNeeds,
    needs_of,
    nothing_more,
)
from leadctl.restore.script import StatementReader
from leadctl.restore.statements import run_script
from leadctl.text import counted

_HEAD = 512
_SHOWN = 16
_NO_SQL = (b"<", b"{", b"[")
"""How a page or a message begins that was stored instead of a dump."""
_END_OF_TAR = 1024
"""Bytes that are zero at the end of a tar archive."""
_NEWEST = 99
"""A major version that no server has: the newest programs are the nearest to it."""
_SCRIPT_VERSION = re.compile(rb"^-- Dumped from database version (\d+)", re.MULTILINE)
_VERSION = re.compile(r"(\d+)")


def open_dump(
    path: Path, identities: Sequence[Any], schema: str, *, trusted: bool = False
) -> "ArchiveDump | ScriptDump":
    """Return what a file or folder is.  `schema` is the one whose revision is looked at.

    `trusted` lets a script end its transaction and reach out of its database.  Raises BackupDamaged
    and InvalidIdentity.
    """
    head = b"" if path.is_dir() else _Dump(path, identities, schema).head()
    is_tar = head[257:262] == b"ustar"
    if path.is_dir() or is_tar or head.startswith(b"PGDMP"):
        return ArchiveDump(path, identities, schema, is_tar)
    return ScriptDump(path, identities, schema, trusted)


@dataclass(frozen=True)
class _Dump:
    """A file or folder: plain, or compressed and encrypted as its first bytes say."""

    path: Path
    identities: Sequence[Any]
    """The private keys that read it, where it is encrypted."""
    schema: str

    def held(self) -> AbstractContextManager[object]:
        """Do nothing: what belongs to others cannot be kept from them."""
        return nullcontext()

    def properties(self, *, owners: bool) -> None:
        """Return nothing: a file of others becomes the database that it replaces."""

    def compare(self, connection: Connection, *, rows: bool) -> LoadComparison:  # noqa: ARG002
        """Count the loaded rows: a dump does not say how many it holds."""
        tables = count_tables(connection)
        rows_found = sum(table.rows for table in tables)
        invalid = not_valid(connection)
        found = (
            f"{rows_found:,} in {counted(len(tables), 'table')}; "
            "it does not say how many there should be"
        )
        if not tables:
            return LoadComparison(
                0, 0, None, (VerifyCheck("tables", False, "there is none in it"),)
            )
        validity = f"not valid: {', '.join(invalid)}" if invalid else "valid"
        return LoadComparison(
            rows=rows_found,
            tables=len(tables),
            revision=revision(connection, self.schema),
            checks=(
                VerifyCheck("loading", True, "to its end, without an error"),
                VerifyCheck("rows", None, found),
                VerifyCheck("constraints and indexes", None if invalid else True, validity),
            ),
        )

    def head(self) -> bytes:
        """Return its first bytes, unpacked.  Raises as `unpack` does."""
        taken = _Head()
        with suppress(_EnoughError):
            self.unpack(taken)
        return taken.data

    def unpack(self, sink: Any) -> None:
        """Write it, decrypted and decompressed, to a sink.

        Raises BackupDamaged and InvalidIdentity.
        """
        if begins_encrypted(self.path) and not self.identities:
            raise InvalidIdentity(
                f"{self.path} is encrypted, and no private key is set here.",
                hint="Set BACKUP_IDENTITY_FILE or --identity to the file of the private key.",
            )
        unpack_file(self.path, self.identities, sink)

    def _origin(self, version: Any, **known: Any) -> Origin:
        files = self.path.iterdir() if self.path.is_dir() else [self.path]
        return Origin(
            name=str(self.path),
            made_at=datetime.fromtimestamp(self.path.stat().st_mtime, UTC),
            bytes=sum(file.stat().st_size for file in files),
            server_major=int(version[1]) if version else None,
            **known,
        )


@dataclass(frozen=True)
class ScriptDump(_Dump):
    """SQL, as `pg_dump` without an option writes it."""

    trusted: bool
    """Whether it may end its transaction, and reach out of its database."""

    def origin(self) -> Origin:
        """Return what its statements need; what it holds it says when it runs.

        Raises BackupDamaged and InvalidIdentity.
        """
        read = self._statements
        return self._origin(
            _SCRIPT_VERSION.search(self.head()),
            roles=tuple(sorted(read.roles)),
            extensions=tuple(sorted(read.extensions)),
            event_triggers=tuple(sorted(read.event_triggers)),
            subscriptions=tuple(sorted(read.subscriptions)),
            needs=ServerNeeds(roles=tuple(sorted(read.named_roles))),
        )

    @cached_property
    def _statements(self) -> StatementReader:
        """Its statements, read to the end once."""
        read = StatementReader()
        self.unpack(read)
        read.close()
        return read

    def check(self) -> None:
        """Read its statements before any of them runs; its end is looked at while it runs.

        Raises BackupDamaged where it has none or is cut short, OutsideStatement where one ends the
        transaction that the script runs in or reaches out of its database, or is a command of
        psql's, UnreadableDump where it is no SQL.
        """
        head = self.head()
        if b"\0" in head or head.lstrip().startswith(_NO_SQL):
            raise UnreadableDump(
                f"{self.path} is not SQL: it begins with {head[:_SHOWN]!r}.",
                hint="Dump again, or convert the file: leadctl reads pg_dump's formats, packed or "
                "not, and SQL in an encoding that PostgreSQL has.",
            )
        read = self._statements
        if not read.number:
            raise BackupDamaged(
                f"{self.path} has no SQL statement in it.",
                hint="pg_dump failed when it wrote the file: make another dump.",
            )
        if read.is_cut_short:
            raise BackupDamaged(
                f"{self.path} is cut short: it ends within rows, a string or a comment.",
                hint=r"Make another dump; if rows are complete, add as last line: \.",
            )
        refused = read.commands or ([] if self.trusted else read.outside)
        if refused:
            first = refused[0]
            more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
            raise OutsideStatement(
                f"{self.path}, line {first.line}: {first.text} {first.reason}{more}. "
                "Nothing of it was run.",
                hint="It may act on this machine or on another database: dump a single database "
                "without --create, or remove it."
                if read.commands
                else "Dump a single database without --create, or remove the statement; if all of "
                "the script is meant, rerun with --trust-script.",
            )

    def loader(self, _loading: Loading, /) -> AbstractContextManager[Load]:
        """Yield what runs it."""
        return nullcontext(self._load)

    def _load(self, target: Target, server_major: int, loading: Loading) -> Callable[[], None]:
        """Run it on the target's database, which is empty, up to the first error, or on after it.

        Raises RestoreFailed, BackupDamaged, MissingClient, OptionNotForScripts.
        """
        if loading.skip or not loading.rows:
            raise OptionNotForScripts(
                f"{self.path} is a script: of the options that leave something out, only "
                f"--no-owner works.",
                hint="Leave out --skip and --schema-only, or dump with --format=custom.",
            )
        if self._statements.makes_public:
            _drop_public(target)
        run_script(
            target,
            self.path,
            self.unpack,
            loading,
            server_major,
            commits=self._statements.commits,
            trusted=self.trusted,
        )
        return nothing_more


@dataclass(frozen=True)
class ArchiveDump(_Dump):
    """An archive of pg_dump: a file of its custom or tar format, or a folder."""

    is_tar: bool

    def origin(self) -> Origin:
        """Return what the table of contents says.  Raises BackupDamaged."""
        contents = self._contents
        entries = contents.entries
        return self._origin(
            _VERSION.match(contents.server_version),
            database=contents.database or None,
            extensions=named(entries, "EXTENSION"),
            roles=tuple(sorted({*owners_of(entries), *_granted(entries)})),
            event_triggers=named(entries, "EVENT TRIGGER"),
            subscriptions=named(entries, "SUBSCRIPTION"),
            needs=needs_of(entries),
        )

    @cached_property
    def _contents(self) -> Contents:
        return read_contents(str(self.path), self.path if self.path.is_dir() else self.unpack)

    def check(self) -> None:
        """Look for the end of a tar, which pg_restore would seek for ever.  Raises BackupDamaged.

        Of the others pg_restore itself finds the end missing.
        """
        if self.is_tar:
            end = _Tail()
            self.unpack(end)
            if any(end.data):
                raise BackupDamaged(f"{self.path} is cut short: it has no end of a tar archive.")

    def loader(self, _loading: Loading, /) -> AbstractContextManager[Load]:
        """Yield what loads it."""
        return nullcontext(self._load)

    def _load(self, target: Target, server_major: int, loading: Loading) -> Callable[[], None]:
        """Load it into the target's database, which is empty, up to the first error.

        Raises RestoreFailed, BackupDamaged, MissingClient.
        """
        programs = dump_programs(1, _NEWEST)
        restore = PgRestore(target, programs, server_major, loading)
        schema_only = [] if loading.rows else ["--schema-only"]
        known: list[ArchiveEntry] = []
        if loading.partly:
            known = without_skipped(self._contents.entries, loading)
        entries = [entry.id for entry in known] if loading.skip else []
        listed = known if loading.skip else self._contents.entries
        if self._contents.makes_public and any(e.label == "SCHEMA - public" for e in listed):
            _drop_public(target)
        loading.narrate("Loading the archive.")
        if self.path.is_dir() or not (self.is_tar or begins_packed(self.path)):
            jobs = 1 if loading.partly else loading.jobs  # several mix what they say of errors
            restore.run(self.path, f"--jobs={jobs}", *schema_only, entries=entries, known=known)
            return nothing_more
        with restore.running(None, *schema_only, entries=entries) as program:
            restore.feed(program, self.unpack, loading.loaded, known)
        return nothing_more


def _granted(entries: Iterable[ArchiveEntry]) -> set[str]:
    """Return the roles that entries grant something to, or revoke it from."""
    read = StatementReader()
    for entry in entries:
        if entry.kind in {"ACL", "DEFAULT ACL"} and not entry.is_of_database:
            read.write(entry.definition.encode("utf-8", "surrogateescape"))
    read.close()
    return read.roles


def _drop_public(target: Target) -> None:
    """Make room for the schema public of a dump by --schema=public: a new database has one."""
    with connect(target, "restore", like_pg_dump=True) as connection:
        connection.execute("DROP SCHEMA public")


class _EnoughError(Exception):
    """The head is there."""


class _Head:
    """Takes a file's first bytes."""

    data = b""

    def write(self, data: bytes) -> int:
        self.data = (self.data + data)[:_HEAD]
        if len(self.data) == _HEAD:
            raise _EnoughError
        return len(data)


class _Tail:
    """Takes a file to its end, and keeps the last bytes."""

    data = b""

    def write(self, data: bytes) -> int:
        self.data = (self.data + data)[-_END_OF_TAR:]
        return len(data)
