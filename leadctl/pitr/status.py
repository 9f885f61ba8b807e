"""The state of an archive: what it can restore, how far behind it is, and a rehearsal."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg

from leadctl.backup.create import BackupOptions
from leadctl.backup.manifest import BackupManifest
from leadctl.errors import BarmanFailed, ConnectionFailed, LeadctlError, PitrFolderTaken
from leadctl.pitr.recover import mark, plan, recovered, whole_backup
from leadctl.pitr.setup import (
    QUERIES,
    SlotState,
    new_tablespaces,
    problem_of,
    programs_for,
    require_archived,
    slot_state,
)
from leadctl.pitr.wal_archive import BaseBackup, RehearsalRecord, WalArchive, require_rsync
from leadctl.postgres.binaries import BARMAN_SERVER
from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target
from leadctl.progress import Narrate, Progress

_FIRST_WAL_SECONDS = 60
_PAUSE_SECONDS = 1
_BACKUP_SECONDS = 600
"""For the WAL that a base backup ends with to arrive."""


@dataclass(frozen=True)
class PitrStatus:
    """What an archive has, and how its server and its receiver are."""

    folder: str
    server: str
    begins_at: datetime | None
    """The first moment that can be restored; None before the first base backup."""
    ends_at: datetime | None
    """The end of the newest transaction that is in the archive."""
    bytes: int
    backups: tuple[BaseBackup, ...]
    slot: str
    slot_state: SlotState | None
    """None where the server has no such slot, or does not answer."""
    problem: str | None
    """What is wrong with the receiver, the slot or the server; None where all is well."""
    rehearsal: RehearsalRecord | None


@dataclass(frozen=True)
class PitrCheck:
    """One thing that was looked at."""

    check: str
    ok: bool
    message: str


@dataclass(frozen=True)
class PitrChecks:
    """What Barman found, and leadctl."""

    ok: bool
    checks: tuple[PitrCheck, ...]


@dataclass(frozen=True)
class PitrBackup:
    """A base backup that was made."""

    id: str
    bytes: int
    ended_at: datetime
    whole: bool
    """Whether the WAL that it needs has arrived."""
    verified: bool
    """Whether pg_verifybackup found every file as the manifest says."""
    duration_ms: int


@dataclass(frozen=True)
class PitrRehearsal:
    """A recovery that was tried."""

    ok: bool
    moment: datetime
    base_backup: str
    database: str
    rows: int
    tables: int
    last_commit: bool | None
    """Whether what was committed just before is in it; None where the server was not there."""
    duration_ms: int


def status(archive: WalArchive) -> PitrStatus:
    """Say what can be restored and how the archive keeps up; changes nothing.

    Raises PitrNotSetUp, BarmanFailed, MissingClient.
    """
    server, state = archive.server, None
    backups = archive.base_backups()
    complete = [backup for backup in backups if backup.whole]
    try:
        with connect(archive.target, "pitr status", read_only=True) as connection:
            require_archived(connection, archive)
            state = slot_state(connection, server.slot)
            problem = problem_of(state, server.slot)
            if problem is None and complete:
                problem = new_tablespaces(connection, archive, complete[-1])
    except ConnectionFailed as error:
        problem = error.message
    except PitrFolderTaken:
        problem = f"{server.address} is another server now"
    newest = archive.newest_commit(programs_for(server))
    return PitrStatus(
        folder=str(archive.folder),
        server=server.address,
        begins_at=complete[0].ended_at if complete else None,
        ends_at=newest.at if newest and complete else None,
        bytes=archive.size(),
        backups=backups,
        slot=server.slot,
        slot_state=state,
        problem=problem,
        rehearsal=archive.rehearsal,
    )


def check(archive: WalArchive) -> PitrChecks:
    """Let Barman check itself, its server and its receiver; and look for what a recovery needs.

    Raises PitrNotSetUp and BarmanFailed.
    """
    found = [
        PitrCheck(name.replace("_", " "), each["status"] == "OK", each["hint"])
        for name, each in archive.ask("check").items()
    ]
    for name, needed in (
        ("rsync", require_rsync),
        ("programs to recover with", lambda: programs_for(archive.server)),
    ):
        try:
            needed()
            found.append(PitrCheck(name, True, ""))
        except LeadctlError as error:
            found.append(PitrCheck(name, False, f"{error.message} {error.hint}"))
    return PitrChecks(all(each.ok for each in found), tuple(found))


def back_up(archive: WalArchive, narrate: Narrate) -> PitrBackup:
    """Make a base backup and compare its files with its manifest.

    Raises PitrNotSetUp, PitrFolderTaken, BarmanFailed, and what connecting raises.
    """
    began = time.monotonic()
    server = archive.server
    with connect(archive.target, "pitr backup", read_only=True) as connection:
        require_archived(connection, archive)
        state = slot_state(connection, server.slot)
    if (problem := problem_of(state, server.slot)) is not None:
        raise BarmanFailed(
            f"No base backup was made: {problem}.",
            hint="The receiver is started by what leadctl schedule cron pitr, or systemd, prints.",
        )
    _have_wal(archive)
    narrate(
        f"Copying {server.address}, which continues to work: it writes a checkpoint first, which "
        "may take minutes."
    )
    before = {backup.id for backup in archive.base_backups()}
    archive.run("backup", "--wait", "--wait-timeout", str(_BACKUP_SECONDS), BARMAN_SERVER)
    new = [backup for backup in archive.base_backups() if backup.id not in before]
    if not new:
        raise BarmanFailed(
            "Barman made no base backup, and did not say why.",
            hint=f"Its log is {archive.folder / 'barman.log'}.",
        )
    archive.run("verify-backup", BARMAN_SERVER, new[-1].id)
    return PitrBackup(
        id=new[-1].id,
        bytes=new[-1].bytes,
        ended_at=new[-1].ended_at,
        whole=new[-1].whole,
        verified=True,
        duration_ms=round((time.monotonic() - began) * 1000),
    )


def _have_wal(archive: WalArchive) -> None:
    """Make sure that a segment of WAL is archived: Barman copies nothing before the first.

    Of what the receiver has got it leaves the last segment alone, so that the next must have begun.
    """
    deadline = time.monotonic() + _FIRST_WAL_SECONDS
    while not archive.has_wal:
        if time.monotonic() > deadline:
            raise BarmanFailed(
                f"No WAL of {archive.server.address} arrived within {_FIRST_WAL_SECONDS} s.",
                hint=f"Look at the receiver: leadctl pitr check; {archive.folder / 'barman.log'}.",
            )
        archive.run("switch-wal", "--force", BARMAN_SERVER)
        mark(archive)
        time.sleep(_PAUSE_SECONDS)
        archive.run("archive-wal", BARMAN_SERVER)


def rehearse(
    archive: WalArchive, options: BackupOptions, narrate: Narrate, progress: Progress
) -> PitrRehearsal:
    """Recover the newest moment into a server of its own, and read all of its database.

    What was committed just before must be there.  How it went is written down.  Raises what `plan`
    and `recovered` raise.
    """
    began, at, database = time.monotonic(), datetime.now(UTC), archive.server.database
    moment: datetime | None = None
    marked: str | None = None
    try:
        marked, _ = mark(archive)
        _, moment = mark(archive)
    except ConnectionFailed as error:
        narrate(f"The newest commit cannot be checked: {error.message}")
    manifest: BackupManifest | None = None
    there: bool | None = None
    known = moment or at
    try:
        recovery = plan(archive, moment, narrate)
        known = recovery.moment
        with recovered(recovery, database, narrate) as copy:
            if marked is not None:
                there = _has_committed(copy.target, marked)
            with whole_backup(copy, archive, options, narrate, progress) as (backups, _):
                manifest = backups.find("latest").manifest
    finally:
        ok = manifest is not None and there is not False
        seconds = time.monotonic() - began
        rows = manifest.rows if manifest else 0
        archive.write_rehearsal(RehearsalRecord(at, ok, known, rows, round(seconds, 1)))
    assert manifest is not None
    return PitrRehearsal(
        ok=ok,
        moment=known,
        base_backup=recovery.base.id,
        database=database,
        rows=manifest.rows,
        tables=len(manifest.tables),
        last_commit=there,
        duration_ms=round(seconds * 1000),
    )


def _has_committed(target: Target, transaction: str) -> bool:
    """Whether a transaction of the archived server has committed in a recovered one."""
    with connect(target, "pitr rehearse", read_only=True) as connection:
        try:
            return bool(QUERIES.value(connection, "is_committed", xid=transaction))
        except psycopg.errors.InvalidParameterValue:  # it is in the future there
            return False
