"""Making a backup: one snapshot, dumped, compressed and encrypted as it streams; then its hooks."""

import io
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from psycopg import sql
from psycopg.conninfo import make_conninfo

from leadctl.backup import manifest as manifests
from leadctl.backup.contents import RowCounter
from leadctl.backup.manifest import ARCHIVE, GLOBALS, NAME, RECORDS, SCHEMA, BackupManifest
from leadctl.backup.snapshot import LeftOutTables, Snapshot, exported, left_out, require_readable
from leadctl.backup.storage import BackupFolder, NewBackup, new_id
from leadctl.backup.stream import (
    Label,
    PackedFile,
    Readable,
    key_fingerprint,
    pack,
    read_recipients,
)
from leadctl.child_processes import child_environment
from leadctl.errors import BackupFailed, HookFailed, LeadctlError
from leadctl.journal.records import VERSION_TABLE, VersionTable
from leadctl.postgres.binaries import Binaries, dump_programs
from leadctl.postgres.client import ClientProgram, running
from leadctl.postgres.target import Target
from leadctl.progress import Narrate, Progress
from leadctl.redact import scrub
from leadctl.version import __version__

_HOOK_SECONDS = 3600
_STDERR = 2
_AT_ONCE = 2
"""Connections of pg_dump besides that of the snapshot."""
_STATISTICS_SINCE = 18
_SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class BackupOptions:
    """How a backup is made."""

    recipients: Sequence[str]
    """Public keys of age or SSH; none leaves the backup plain."""
    lock_wait: float
    """Seconds to wait for a table that is locked."""
    version_table: VersionTable = VERSION_TABLE
    """Alembic's table in the schema."""
    role_passwords: bool = False
    """Whether the roles' password hashes are in the backup, too."""
    exclude: Sequence[str] = ()
    """Tables to leave out."""
    exclude_data: Sequence[str] = ()
    """Tables to leave the rows out of."""
    tenant: str | None = None
    """The schema to back up alone, which is the target's; None for all of the database."""
    as_of: datetime | None = None
    """The moment that a recovered database is as of; None for one that is as of now."""


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
    excluded: tuple[str, ...]
    """Tables that were left out."""
    excluded_data: tuple[str, ...]
    """Tables whose rows were left out."""
    duration_ms: int
    tenant: str | None
    """The schema that alone is in it; None where all of the database is."""
    one_moment: bool | None
    """Whether all nodes of a Citus cluster are in it as of one moment; None for rows of one."""


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
    with exported(target, options.lock_wait, options.tenant, narrate) as snapshot:
        programs = dump_programs(snapshot.server_major, snapshot.server_major)
        excluded = left_out(
            snapshot.connection, target.schema, options.exclude, options.exclude_data
        )
        require_readable(snapshot.connection, excluded, options.tenant)
        _look_at_clocks(snapshot, folder, narrate)
        name = new_id(options.as_of) if options.as_of else None
        with folder.begin(name) as new:
            dump = _Dumper(target, programs, snapshot, excluded, new, recipients, options, progress)
            manifest = _dumped(dump, began)
            with new.create(NAME) as file:
                file.write(manifests.render(manifest).encode())
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
        excluded=manifest.excluded,
        excluded_data=manifest.excluded_data,
        duration_ms=manifest.duration_ms,
        tenant=manifest.tenant,
        one_moment=manifest.one_moment,
    )


@dataclass(frozen=True)
class _Counting:
    """A program's output, whose rows are counted as it is read."""

    output: Readable
    counter: RowCounter

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes; none at the end."""
        data = self.output.read(size)
        self.counter.take(data)
        return data


@dataclass(frozen=True)
class _Dumper:
    """What the programs of one backup are run with."""

    target: Target
    programs: Binaries
    snapshot: Snapshot
    excluded: LeftOutTables
    new: NewBackup
    recipients: Sequence[Any]
    options: BackupOptions
    progress: Progress

    @cached_property
    def counter(self) -> RowCounter:
        """What counts the rows that are dumped."""
        return RowCounter(f"The backup {self.new.id}")

    def pg_dump(self, stem: str, *more: str) -> PackedFile:
        """Dump into a file of the backup.  Raises BackupFailed."""
        with self.running("pg_dump", *self._arguments(), *more) as program:
            return self.pack(program, stem)

    @contextmanager
    def in_background(self, stem: str) -> Iterator[Future[PackedFile]]:
        """Dump in a thread; the program is ended with the block, so that the thread ends."""
        with (
            ThreadPoolExecutor(1) as thread,
            self.running("pg_dump", *self._arguments(), *self._statistics()) as program,
        ):
            yield thread.submit(self.pack, program, stem)

    def running(self, name: str, *arguments: str) -> AbstractContextManager[ClientProgram]:
        """Run a program, whose output is packed."""
        target = self.snapshot.dumped_by(self.target)
        return running(target, self.programs.path(name), arguments, stdout=True)

    def pack(self, program: ClientProgram, stem: str) -> PackedFile:
        """Pack a program's output into a file of the backup.  Raises BackupFailed."""
        tick = self._tick if stem == ARCHIVE else lambda _: None
        label = self.label(stem)
        output: Readable = program.stdout
        if stem == ARCHIVE:
            output = _Counting(program.stdout, self.counter)
        with self.new.create(label.file) as file:
            packed = pack(output, file, label, self.recipients, tick)
        if program.wait() != 0:
            raise program.failure(self.target, BackupFailed)
        return packed

    def _tick(self, done: int) -> None:
        self.progress(done, 0, "B")

    def label(self, stem: str) -> Label:
        """Return what a file says of itself; its suffixes say how it is packed."""
        return Label(self.new.id, f"{stem}.zst.age" if self.recipients else f"{stem}.zst")

    def _statistics(self) -> list[str]:
        """Return the option that dumps the planner's statistics, which spares ANALYZE.

        They quote values, also of rows that are left out; and an older server cannot take them.
        """
        able = min(self.programs.major, self.snapshot.server_major) >= _STATISTICS_SINCE
        return ["--statistics"] if able and not self.excluded.data else []

    def _arguments(self) -> list[str]:
        wait = round(self.options.lock_wait * 1000)
        role = [f"--role={self.target.role}"] if self.target.role else []
        # Tables that are not logged cannot be read on a standby.
        unlogged = ["--no-unlogged-table-data"] if self.snapshot.standby else []
        return [
            "--format=custom",
            "--compress=0",
            # That of the database, whatever the role or the environment sets for its sessions.
            f"--encoding={self.snapshot.encoding}",
            f"--snapshot={self.snapshot.name}",
            f"--lock-wait-timeout={wait}",
            *role,
            *unlogged,
            *self._tenant(),
            *self.excluded.options,
        ]

    def _tenant(self) -> list[str]:
        """Return the options that leave all but a tenant's schema out."""
        if self.options.tenant is None:
            return []
        quoted = sql.Identifier(self.options.tenant).as_string()
        return [f"--schema={quoted}", "--strict-names"]


def _dumped(dump: _Dumper, began: float) -> BackupManifest:
    """Dump everything, and count the rows that pass; return what the manifest says of it."""
    tenant = dump.options.tenant
    free = dump.snapshot.require_connections()
    with dump.in_background(ARCHIVE) as archive:
        if dump.snapshot.moment:
            dump.snapshot.moment.await_dump(archive.done)
        if free < _AT_ONCE or dump.snapshot.clustered:
            archive.result()

        def counted() -> Mapping[tuple[str, ...], int]:
            archive.result()
            return dump.counter.rows()

        schema = dump.pg_dump(SCHEMA, "--schema-only")
        more, no_globals = _globals(dump) if tenant is None else _records(dump, tenant)
        facts = dump.snapshot.facts(
            dump.target.schema, dump.options.version_table, dump.excluded, tenant, counted
        )
        if dump.options.as_of:
            facts["snapshot_at"] = dump.options.as_of
        files = [archive.result(), schema, *([more] if more else [])]
    return BackupManifest(
        format=manifests.FORMAT,
        id=dump.new.id,
        client_version=f"{dump.programs.major}.{dump.programs.minor}",
        leadctl_version=__version__,
        duration_ms=round((time.monotonic() - began) * 1000),
        recipients=tuple(key_fingerprint(key) for key in dump.options.recipients),
        globals_left_out=no_globals,
        files=tuple(files),
        **facts,
    )


def _records(dump: _Dumper, tenant: str) -> tuple[PackedFile, str]:
    """Keep what leadctl has recorded of a tenant; return why there are no roles."""
    label = dump.label(RECORDS)
    lines = io.BytesIO(dump.snapshot.records(tenant))
    with dump.new.create(label.file) as file:
        packed = pack(lines, file, label, dump.recipients, lambda _: None)
    return packed, "it is the backup of a tenant"


def _look_at_clocks(snapshot: Snapshot, folder: BackupFolder, narrate: Narrate) -> None:
    """Say where a clock is wrong: by its time a backup is the latest one, and is kept or not."""
    now = datetime.now(UTC)
    if abs(now - snapshot.taken_at) > _SKEW:
        narrate(
            f"WARNING: it is {now:%Y-%m-%d %H:%M} UTC on this machine and "
            f"{snapshot.taken_at.astimezone(UTC):%Y-%m-%d %H:%M} on the server. Synchronise both "
            "clocks (NTP): backups are named and kept by the time."
        )
    if future := [backup for backup in folder.backups() if backup.from_future]:
        narrate(
            f"WARNING: the backup {future[0].id} is from the future: a clock was wrong. It is "
            "not used as the latest; remove it if you do not need it."
        )


def _globals(dump: _Dumper) -> tuple[PackedFile | None, str | None]:
    """Dump roles and tablespaces where this role may; else return why not."""
    if not dump.programs.path("pg_dumpall").exists():
        return None, f"there is no pg_dumpall in {dump.programs.folder}"
    passwords = [] if dump.options.role_passwords else ["--no-role-passwords"]
    # What has a = in it would be taken as a connection string.
    database = make_conninfo(dbname=dump.target.database)
    arguments = ["--globals-only", f"--database={database}", *passwords]
    try:
        with dump.running("pg_dumpall", *arguments) as program:
            return dump.pack(program, GLOBALS), None
    except LeadctlError as error:
        dump.new.discard(dump.label(GLOBALS).file)
        return None, error.message


@dataclass(frozen=True)
class Hooks:
    """Shell commands, and the folder that they run in."""

    on_success: str | None
    on_failure: str | None
    folder: Path

    @contextmanager
    def failure(self, database: str, narrate: Narrate) -> Iterator[None]:
        """Run `on_failure` if the block ends with an error or a signal, then raise that again."""
        try:
            yield
        except BaseException as error:
            if self.on_failure:
                reason = scrub(str(error)) or type(error).__name__
                facts = {"DATABASE": database, "OUTCOME": "failed", "ERROR": reason}
                code = self._run(self.on_failure, facts)
                if code:
                    narrate(f"The hook on_failure failed with exit code {code}.")
            raise

    def success(self, made: CreatedBackup) -> None:
        """Run `on_success`.  Raises HookFailed."""
        if self.on_success is None:
            return
        facts = {
            "ID": made.id,
            "PATH": str(made.path),
            "DATABASE": made.database,
            "OUTCOME": "done",
            "BYTES": str(made.bytes),
            "ROWS": str(made.rows),
            "ENCRYPTED": "1" if made.encrypted else "0",
            "SECONDS": f"{made.duration_ms / 1000:.1f}",
        }
        code = self._run(self.on_success, facts)
        if code:
            raise HookFailed(
                f"The backup {made.id} is complete, but the hook on_success failed with exit code "
                f"{code}.",
                hint="Run the command of the hook by hand; the backup needs nothing more.",
            )

    def _run(self, command: str, facts: Mapping[str, str]) -> int:
        """Run a hook; what it prints goes to standard error.  Returns its exit code."""
        variables = {f"LEADCTL_BACKUP_{name}": value for name, value in facts.items()}
        try:
            return subprocess.run(
                ["/bin/sh", "-c", command],
                env=child_environment() | variables,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=_STDERR,
                timeout=_HOOK_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return 124  # as timeout(1) has it
