"""Loading a backup into an empty database, with no plaintext of its rows on disk.

Tables and their rows first, streamed from the archive; then, from the small schema-only archive
and in parallel, indexes, constraints and triggers, so that none of them acts on the rows.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from psycopg import errors, sql

from leadctl.db.binaries import Binaries, dump_programs
from leadctl.db.client import ClientProgram, running
from leadctl.db.connect import Connection, connect
from leadctl.db.target import Target
from leadctl.errors import BackupDamaged, InvalidIdentity, RestoreFailed
from leadctl.operations.backup.folder import StoredBackup
from leadctl.operations.backup.manifest import ARCHIVE, SCHEMA
from leadctl.operations.backup.stream import Label, is_encrypted, unpack
from leadctl.operations.progress import Progress

_JOBS = 2 if sys.platform == "linux" else 1
"""Each job opens the file anew; only Linux gives an open file without a name a position each."""
_TRANSACTION_TIMEOUT_SINCE = 17
_HARMLESS = 'unrecognized configuration parameter "transaction_timeout"'
"""What a pg_restore of 17 or newer sets, and an older server does not know."""

Narrate = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """A backup of leadctl's, and the private keys that read it."""

    backup: StoredBackup
    identities: Sequence[Any]

    def unpack(self, stem: str, sink: Any) -> None:
        """Write a file of the backup, decrypted and decompressed, to a sink.

        Raises BackupDamaged and InvalidIdentity.
        """
        file = self.backup.manifest.file(stem)
        if file is None:
            raise BackupDamaged(f"The backup {self.backup.id} has no {stem}.")
        path = self.backup.path / file.name
        if is_encrypted(path) and not self.identities:
            raise InvalidIdentity(
                f"The backup {self.backup.id} is encrypted, and no private key is set here.",
                hint="Set BACKUP_IDENTITY_FILE or --identity to the file of the private key.",
            )
        found = unpack(path, self.identities, Label(self.backup.id, file.name), sink)
        if found != file.raw_bytes:
            raise BackupDamaged(
                f"{path} holds {found:,} bytes, and the manifest says {file.raw_bytes:,}."
            )


def load(
    source: Source,
    target: Target,
    *,
    owners: bool,
    narrate: Narrate,
    progress: Progress,
) -> None:
    """Load a backup into the target's database, which is empty.

    `owners` sets owners and grants as they were; their roles must exist.  Raises RestoreFailed,
    BackupDamaged, InvalidIdentity, MissingClient, and what connecting raises.
    """
    # Without a name from the start, so that a killed run leaves nothing.
    with tempfile.TemporaryFile() as schema:
        source.unpack(SCHEMA, schema)
        schema.flush()
        with connect(target, "restore") as connection:
            major = connection.info.server_version // 10000
        loader = _Loader(target, _programs(source, major), major, owners)
        narrate("Loading the rows.")
        loader.stream(source, progress)
        narrate("Making indexes, constraints and triggers.")
        loader.finish(schema)
    with connect(target, "restore") as connection:
        _refresh(connection, source.backup.manifest.materialized_views)


def _programs(source: Source, server_major: int) -> Binaries:
    # An archive is read by the version that wrote it and by newer ones.
    made_by = source.backup.client_major
    return dump_programs(made_by, max(made_by, server_major))


@dataclass(frozen=True)
class _Loader:
    """pg_restore on one database."""

    target: Target
    programs: Binaries
    server_major: int
    owners: bool

    def stream(self, source: Source, progress: Progress) -> None:
        """Load tables and rows from the archive.  Raises RestoreFailed, or why it is unreadable."""
        path = self.programs.path("pg_restore")
        arguments = [*self._arguments(), "--section=pre-data", "--section=data"]
        with running(self.target, path, arguments, stdin=True) as program:
            with suppress(BrokenPipeError):  # pg_restore ended early, and says why
                source.unpack(ARCHIVE, _Pipe(program.stdin, progress))
                program.stdin.close()
            self._check(program)

    def finish(self, schema: IO[bytes]) -> None:
        """Make what follows the rows, from the schema-only archive.  Raises RestoreFailed."""
        path, handle = self.programs.path("pg_restore"), schema.fileno()
        arguments = [
            *self._arguments(),
            "--section=post-data",
            f"--jobs={_JOBS}",
            f"/dev/fd/{handle}",
        ]
        with running(self.target, path, arguments, keep=(handle,)) as program:
            self._check(program)

    def _arguments(self) -> list[str]:
        owners = [] if self.owners else ["--no-owner", "--no-privileges"]
        role = [f"--role={self.target.role}"] if self.target.role else []
        return [*owners, *role, *([] if self._tolerates else ["--exit-on-error"])]

    @property
    def _tolerates(self) -> bool:
        newer = self.programs.major >= _TRANSACTION_TIMEOUT_SINCE
        return newer and self.server_major < _TRANSACTION_TIMEOUT_SINCE

    def _check(self, program: ClientProgram) -> None:
        if program.wait() == 0:
            return
        harmless = self._tolerates and all(_HARMLESS in error for error in program.errors())
        if not harmless:
            raise program.failure(self.target, RestoreFailed)


class _Pipe:
    """The standard input of pg_restore, with progress."""

    def __init__(self, pipe: Any, progress: Progress) -> None:
        self._pipe = pipe
        self._progress = progress
        self._bytes = 0

    def write(self, data: bytes) -> int:
        self._pipe.write(data)
        self._bytes += len(data)
        self._progress(self._bytes // 2**20, 0, "MiB")
        return len(data)


def _refresh(connection: Connection, views: Sequence[str]) -> None:
    """Refresh materialized views, each after those that it reads."""
    waiting = list(views)
    while waiting:
        again: list[str] = []
        for view in waiting:
            try:
                # The name is as the server quoted it when the catalog was read.
                connection.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}").format(sql.SQL(view)))
            except errors.ObjectNotInPrerequisiteState:
                again.append(view)
        if len(again) == len(waiting):
            raise RestoreFailed(f"The materialized view {again[0]} cannot be refreshed.")
        waiting = again
