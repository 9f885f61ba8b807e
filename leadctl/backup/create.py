"""Making a backup: one snapshot, dumped, compressed and encrypted as it streams."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leadctl.backup import manifest as manifests
from leadctl.backup.manifest import ARCHIVE, GLOBALS, NAME, SCHEMA, Manifest
from leadctl.backup.snapshot import Snapshot, exported
from leadctl.backup.storage import BackupFolder, write_private
from leadctl.backup.stream import Label, PackedFile, pack
from leadctl.crypto.age import fingerprint, read_recipients
from leadctl.errors import BackupFailed, LeadctlError
from leadctl.journal.state import VERSION_TABLE
from leadctl.postgres.binaries import Binaries, dump_programs
from leadctl.postgres.client import ClientProgram, running
from leadctl.postgres.target import Target
from leadctl.progress import Narrate, Progress
from leadctl.version import __version__


@dataclass(frozen=True)
class BackupOptions:
    """How a backup is made."""

    recipients: Sequence[str]
    """Public keys of age or SSH; none leaves the backup plain."""
    lock_wait: float
    """Seconds to wait for a table that is locked."""
    version_table: str = VERSION_TABLE
    """Alembic's table in the schema."""
    role_passwords: bool = False
    """Whether the roles' password hashes are in the backup, too."""


@dataclass(frozen=True)
class CreatedBackup:
    """A backup that was made."""

    id: str
    path: Path
    database: str
    revision: str | None
    encrypted: bool
    bytes: int
    raw_bytes: int
    """Of the archive, before compression."""
    rows: int
    tables: int
    globals_left_out: str | None
    duration_ms: int


def create(
    target: Target,
    folder: BackupFolder,
    options: BackupOptions,
    narrate: Narrate,
    progress: Progress,
) -> CreatedBackup:
    """Back up the target's database into the folder; nothing in the database is changed.

    Raises MissingClient, InvalidRecipient, BackupFolderUnusable, BackupFailed, and what connecting
    raises; then nothing is left under a final name.
    """
    began = time.monotonic()
    recipients = read_recipients(options.recipients)
    if not recipients:
        narrate(
            "WARNING: this backup is NOT ENCRYPTED: whoever reads the file reads the data. Set "
            "BACKUP_RECIPIENTS to an age public key."
        )
    with exported(target, options.lock_wait) as snapshot:
        programs = dump_programs(snapshot.server_major, snapshot.server_major)
        with folder.begin() as partial:
            dump = _Dump(target, programs, snapshot, partial, recipients, options, progress)
            manifest = _dumped(dump, began)
            write_private(partial / NAME, manifests.render(manifest))
    archive = manifest.file(ARCHIVE)
    assert archive is not None
    return CreatedBackup(
        id=manifest.id,
        path=folder.path / manifest.id,
        database=manifest.database,
        revision=manifest.revision,
        encrypted=bool(recipients),
        bytes=manifest.bytes,
        raw_bytes=archive.raw_bytes,
        rows=manifest.rows,
        tables=len(manifest.tables),
        globals_left_out=manifest.globals_left_out,
        duration_ms=manifest.duration_ms,
    )


@dataclass(frozen=True)
class _Dump:
    """What the programs of one backup are run with."""

    target: Target
    programs: Binaries
    snapshot: Snapshot
    partial: Path
    recipients: Sequence[Any]
    options: BackupOptions
    progress: Progress

    @property
    def id(self) -> str:
        """The backup's id."""
        return self.partial.stem

    def arguments(self, *more: str) -> list[str]:
        """Return the arguments of pg_dump."""
        wait = round(self.options.lock_wait * 1000)
        role = [f"--role={self.target.role}"] if self.target.role else []
        # Tables that are not logged cannot be read on a standby.
        unlogged = ["--no-unlogged-table-data"] if self.snapshot.standby else []
        return [
            "--format=custom",
            "--compress=0",
            f"--snapshot={self.snapshot.name}",
            f"--lock-wait-timeout={wait}",
            *role,
            *unlogged,
            *more,
        ]

    def label(self, stem: str) -> Label:
        """Return what a file says of itself; its suffixes say how it is packed."""
        return Label(self.id, f"{stem}.zst.age" if self.recipients else f"{stem}.zst")

    def pack(self, program: ClientProgram, stem: str) -> PackedFile:
        """Pack a program's output into a file of the backup.  Raises BackupFailed."""
        tick = self._progress if stem == ARCHIVE else lambda _: None
        packed = pack(program.stdout, self.partial, self.label(stem), self.recipients, tick)
        if program.wait() != 0:
            raise program.failure(self.target, BackupFailed)
        return packed

    def _progress(self, done: int) -> None:
        self.progress(done, 0, "B")


def _dumped(dump: _Dump, began: float) -> Manifest:
    """Dump everything while this thread counts rows; return what the manifest says of it."""
    snapshot = dump.snapshot
    with _in_background(dump, ARCHIVE, dump.arguments()) as archive:
        app = snapshot.applied_app()
        identity = snapshot.identity()
        schema = _pg_dump(dump, SCHEMA, dump.arguments("--schema-only"))
        globals_file, left_out = _globals(dump)
        facts: dict[str, Any] = {
            "tables": snapshot.tables(),
            "materialized_views": snapshot.materialized_views(),
            "large_objects": snapshot.large_objects(),
            "not_valid": snapshot.not_valid(),
            "extensions": snapshot.extensions(),
            "roles": snapshot.roles(),
            "keys": snapshot.keys(app),
            "settings": snapshot.database(),
            "system_identifier": snapshot.system_identifier(),
        }
        files = [archive.result(), schema, *([globals_file] if globals_file else [])]
    return Manifest(
        format=manifests.FORMAT,
        id=dump.id,
        app=app,
        schema=dump.target.schema,
        version_table=dump.options.version_table,
        revision=snapshot.revision(dump.options.version_table),
        database=snapshot.connection.info.dbname,
        identity=str(identity.id) if identity else None,
        environment=identity.environment if identity else None,
        server_version=snapshot.server_version,
        client_version=f"{dump.programs.major}.{dump.programs.minor}",
        leadctl_version=__version__,
        snapshot_at=snapshot.taken_at,
        lsn=snapshot.lsn,
        duration_ms=round((time.monotonic() - began) * 1000),
        database_bytes=snapshot.database_bytes,
        recipients=tuple(fingerprint(key) for key in dump.options.recipients),
        globals_left_out=left_out,
        files=tuple(files),
        **facts,
    )


@contextmanager
def _in_background(dump: _Dump, stem: str, arguments: list[str]) -> Iterator[Future[PackedFile]]:
    """Pack pg_dump's output in a thread; the program is ended with the block, so that it ends."""
    with ExitStack() as stack:
        thread = stack.enter_context(ThreadPoolExecutor(1))
        program = stack.enter_context(
            running(dump.target, dump.programs.path("pg_dump"), arguments, stdout=True)
        )
        yield thread.submit(dump.pack, program, stem)


def _pg_dump(dump: _Dump, stem: str, arguments: list[str]) -> PackedFile:
    path = dump.programs.path("pg_dump")
    with running(dump.target, path, arguments, stdout=True) as program:
        return dump.pack(program, stem)


def _globals(dump: _Dump) -> tuple[PackedFile | None, str | None]:
    """Dump roles and tablespaces where this role may; else return why not."""
    path = dump.programs.path("pg_dumpall")
    if not path.exists():
        return None, f"there is no pg_dumpall in {dump.programs.folder}"
    passwords = [] if dump.options.role_passwords else ["--no-role-passwords"]
    arguments = [
        "--globals-only",
        f"--database={dump.target.database}",
        *passwords,
    ]
    try:
        with running(dump.target, path, arguments, stdout=True) as program:
            return dump.pack(program, GLOBALS), None
    except LeadctlError as error:
        (dump.partial / dump.label(GLOBALS).file).unlink(missing_ok=True)
        return None, error.message
