"""Recovering a server as of a moment, into a server of its own that goes with its use."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from leadctl.backup.create import BackupOptions, create
from leadctl.backup.storage import BackupFolder
from leadctl.backup.stream import new_identity
from leadctl.child_processes import child_environment
from leadctl.errors import (
    BarmanFailed,
    ConnectionFailed,
    MomentOutOfReach,
    NoSpace,
    PitrFolderTaken,
    RecoveryFailed,
    UnknownDatabase,
    UnknownRun,
)
from leadctl.journal import state
from leadctl.pitr.setup import (
    QUERIES,
    problem_of,
    programs_for,
    require_archived,
    slot_state,
)
from leadctl.pitr.wal_archive import BaseBackup, Commit, WalArchive, require_rsync
from leadctl.postgres.binaries import BARMAN_SERVER, Binaries
from leadctl.postgres.connect import MAINTENANCE, connect
from leadctl.postgres.embedded import Home
from leadctl.postgres.embedded.temporary_server import free_bytes, recover, scratch_server
from leadctl.postgres.target import Target
from leadctl.progress import Narrate, Progress
from leadctl.settings.url import DatabaseUrl
from leadctl.text import size

_WAIT_SECONDS = 120.0
"""For the archive to have what the server has just committed; a receiver tells every 10 s."""
_POLL_SECONDS = 0.5
_COPY = "recovered"
_LOCK = "recovered.lock"
_SETTINGS = {
    # Nothing of it reaches anybody else: no archive, no subscription, no job of an extension.
    "listen_addresses": "",
    "archive_mode": "off",
    "max_worker_processes": "0",
    "max_logical_replication_workers": "0",
    "max_wal_senders": "0",
    "autovacuum": "off",
    # It is thrown away.
    "fsync": "off",
    "full_page_writes": "off",
    # For pg_dump, which locks every table.
    "max_connections": "50",
    "max_locks_per_transaction": "1024",
    "lc_messages": "C",
    "hot_standby": "off",
    "restore_command": 'cp "barman_wal/%f" "%p"',
    "recovery_target_timeline": "latest",
    "recovery_target_action": "promote",
}
_OF_TABLESPACE = re.compile(r'symbolic link "pg_tblspc/|directory ".+" does not exist')
"""What a server says, in English, that may not or cannot replay a CREATE TABLESPACE."""
_CONTROL = "max_prepared_xacts setting:"
"""In what pg_controldata prints: a server with fewer does not recover prepared transactions."""


@dataclass(frozen=True)
class Recovered:
    """A server that was recovered."""

    target: Target
    """A database on it."""
    moment: datetime
    base: BaseBackup


@dataclass(frozen=True)
class Recovery:
    """What is going to be recovered, and where that is: a moment, or the newest one there is."""

    archive: WalArchive
    programs: Binaries
    base: BaseBackup
    moment: datetime
    lsn: str | None
    """Where the WAL ends, if the moment is the last one in it."""


def moment_before_run(target: Target, run: int) -> datetime:
    """Return the moment at which a run of the target's journal began.

    Raises UnknownRun, and what connecting raises.
    """
    with connect(target, "restore", read_only=True) as connection:
        found: tuple[datetime, bool] | None = None
        if state.is_there(connection):
            found = QUERIES.one(connection, "run_began", id=run)
    if found is None:
        raise UnknownRun(
            f"The journal of {target.database} has no run {run}.",
            hint="leadctl history -o json shows the runs with their ids.",
        )
    began, when_done = found
    if when_done:
        raise UnknownRun(
            f"The run {run} is a restore; its beginning is not in the journal.",
            hint="Give a moment before it with --at. For the database that it replaced, see: "
            "leadctl db kept",
        )
    return began


def mark(archive: WalArchive) -> tuple[str, datetime]:
    """Commit a transaction on the archived server; return its id, and a time before its end.

    Raises PitrFolderTaken, and what connecting raises.
    """
    with connect(archive.target, "pitr") as connection:
        require_archived(connection, archive)
        (row,) = QUERIES.rows(connection, "marked")
        return row[0], row[1]


def plan(archive: WalArchive, moment: datetime | None, narrate: Narrate) -> Recovery:
    """Find what leads to a moment, None for the newest; wait for the archive where it is not there.

    Raises MomentOutOfReach, MissingProgram, MissingClient, PitrNotSetUp and BarmanFailed.
    """
    require_rsync()
    programs = programs_for(archive.server)
    with suppress(BarmanFailed):  # another run of it is at work
        archive.run("archive-wal", BARMAN_SERVER)
    lsn: str | None = None
    if moment is None:
        newest = archive.newest_commit(programs)
        if newest is None:
            raise MomentOutOfReach("There is no transaction in the archive yet.", hint=_BACKUP)
        moment, lsn = newest.at, newest.lsn
    elif moment > datetime.now(UTC):
        raise MomentOutOfReach(
            f"{_shown(moment)} is in the future: it is {_shown(datetime.now(UTC))}.",
            hint="A time without a zone is UTC; 2026-11-28 14:02 Europe/Berlin has one.",
        )
    else:
        lsn = _reach(archive, programs, moment, narrate)
    return Recovery(archive, programs, _base(archive, moment), moment, lsn)


_BACKUP = "Make a base backup: leadctl pitr backup; see: leadctl pitr status"


def _base(archive: WalArchive, moment: datetime) -> BaseBackup:
    backups = [backup for backup in archive.base_backups() if backup.whole]
    before = [backup for backup in backups if backup.ended_at < moment]
    if not before:
        if not backups:
            raise MomentOutOfReach(
                "The archive has no base backup with all of its WAL yet.", hint=_BACKUP
            )
        raise MomentOutOfReach(
            f"The archive does not reach back to {_shown(moment)}: its first base backup ended at "
            f"{_shown(backups[0].ended_at)}.",
            hint="Take a later moment, or an older backup: leadctl backup list",
        )
    return before[-1]


def _reach(
    archive: WalArchive, programs: Binaries, moment: datetime, narrate: Narrate
) -> str | None:
    """Make sure that the archive goes on behind a moment, which then is recovered exactly.

    What is committed last says that nothing more came before; where that is at the moment itself,
    its place in the WAL is returned.  The archived server is made to commit, if it can be reached.
    """
    newest = archive.newest_commit(programs)
    if newest and newest.at >= moment:
        return newest.lsn if newest.at == moment else None
    try:
        problem = _made_to_commit(archive)
    except ConnectionFailed as error:
        problem = error.message
    if problem is None:
        narrate(f"Waiting until the archive has all WAL before {_shown(moment)}.")
        newest = _waited(lambda: archive.newest_commit(programs), moment)
        if newest and newest.at > moment:
            return None
        problem = "no more WAL arrives; see leadctl pitr check"
    until = f"ends at {_shown(newest.at)}" if newest else "has no transaction"
    raise MomentOutOfReach(
        f"The archive {until}, before {_shown(moment)}: {problem}",
        hint=f'Take that moment: --at "{newest.at.astimezone(UTC).isoformat(" ")}"'
        if newest
        else _BACKUP,
    )


def _made_to_commit(archive: WalArchive) -> str | None:
    """Let the archived server commit; say why that does not reach the archive, where it does not.

    Raises what connecting raises.
    """
    with connect(archive.target, "pitr", read_only=True) as connection:
        try:
            require_archived(connection, archive)
        except PitrFolderTaken as error:
            return error.message
        problem = problem_of(slot_state(connection, archive.server.slot), archive.server.slot)
    if problem is None:
        mark(archive)
    return problem


def _waited(find: Callable[[], Commit | None], moment: datetime) -> Commit | None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        found = find()
        if (found and found.at > moment) or time.monotonic() > deadline:
            return found
        time.sleep(_POLL_SECONDS)


@contextmanager
def recovered(recovery: Recovery, database: str, narrate: Narrate) -> Iterator[Recovered]:
    """Recover into a server of its own, on a socket only; it is gone with the block.

    What a killed run left is removed first.  Raises NoSpace, BarmanFailed, RecoveryFailed,
    UnknownDatabase, LockHeld.
    """
    archive, server = recovery.archive, recovery.archive.server
    home = Home.at(archive.folder / _COPY)
    with scratch_server(home, archive.folder, _LOCK, "recovering a server"):
        _require_space(home, recovery)
        narrate(
            f"Recovering {server.address} as of {_shown(recovery.moment)}, from the base backup "
            f"{recovery.base.id} ({size(recovery.base.bytes)})."
        )
        # What Barman leaves where it is killed is a part of the copy, and goes with it.
        archive.run(*_restore(recovery, home), temporary=home.root)
        settings = _SETTINGS | _target_of(recovery)
        settings["max_prepared_transactions"] = _max_prepared(recovery.programs, home.data)
        narrate("Replaying the WAL.")
        try:
            running = recover(home, recovery.programs, settings)
        except RecoveryFailed as error:
            if _OF_TABLESPACE.search(error.message):
                raise MomentOutOfReach(
                    f"A tablespace was created between the base backup {recovery.base.id} and "
                    f"{_shown(recovery.moment)}. Replaying that could write among the files of a "
                    f"running server, so nothing was recovered.",
                    hint="Choose an earlier moment. For later ones, make a base backup that has "
                    "the tablespace: leadctl pitr backup",
                ) from None
            raise RecoveryFailed(
                error.message,
                hint="Try an earlier moment, or an older base backup's: leadctl pitr status",
            ) from None
        maintenance = _superuser(
            Target(
                DatabaseUrl(
                    params={"host": str(running.socket), "port": "5432", "dbname": "postgres"}
                ),
                "public",
                source="the recovered server",
                connect_timeout=10,
                embedded=True,
            ),
            archive,
        )
        with connect(maintenance, "restore", read_only=True) as connection:
            names = QUERIES.column(connection, "databases")
        if database not in names:
            raise UnknownDatabase(
                f"At {_shown(recovery.moment)} the server had no database {database}.",
                hint=f"It had: {', '.join(names)}.",
            )
        yield Recovered(maintenance.on(database), recovery.moment, recovery.base)


def _restore(recovery: Recovery, home: Home) -> list[str]:
    """Return Barman's command; every tablespace goes into the copy, never to where it was."""
    lsn = recovery.lsn
    until = ["--target-lsn", lsn] if lsn else ["--target-time", recovery.moment.isoformat(" ")]
    spaces = [
        part
        for name in recovery.archive.tablespaces(recovery.base).values()
        for part in ("--tablespace", f"{name}:{home.root / 'tablespaces' / name}")
    ]
    return [
        "restore", *until, *spaces, "--target-action", "promote", "--no-get-wal", "--partial-wal",
        BARMAN_SERVER, recovery.base.id, str(home.data),
    ]  # fmt: skip


def _target_of(recovery: Recovery) -> dict[str, str]:
    if recovery.lsn:
        return {"recovery_target_lsn": recovery.lsn}
    return {"recovery_target_time": recovery.moment.astimezone(UTC).isoformat(" ")}


def _require_space(home: Home, recovery: Recovery) -> None:
    free, needed = free_bytes(home), recovery.base.bytes * 5 // 4
    if free < needed:
        raise NoSpace(
            f"Recovering takes about {size(needed)}, and the disk of {home.root} has {size(free)}.",
            hint="Make room there, or move the archive to a larger disk (PITR_DIR).",
        )


def _max_prepared(programs: Binaries, data: Path) -> str:
    done = subprocess.run(
        [programs.path("pg_controldata"), data],
        env=child_environment(libpq=False) | {"LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(_CONTROL)]
    if not lines:
        raise RecoveryFailed(f"pg_controldata cannot read the copy: {done.stderr.strip()}")
    return lines[0].removeprefix(_CONTROL).strip()


def _superuser(target: Target, archive: WalArchive) -> Target:
    """Return the target for a role that may read all; its roles are those of the moment."""
    user = archive.server.connection.get("user", "")
    for name in dict.fromkeys([archive.server.superuser, "postgres", user]):
        as_role = replace(
            target, url=target.url._replace(params={**target.url.params, "user": name})
        )
        for database in MAINTENANCE:
            with (
                suppress(ConnectionFailed),
                connect(as_role.on(database), "restore", read_only=True) as c,
            ):
                found = QUERIES.value(c, "superuser")
                params = {**target.url.params, "dbname": database, "user": found or name}
                return replace(target, url=target.url._replace(params=params))
    raise RecoveryFailed("No superuser can log in to the recovered server.")


@contextmanager
def whole_backup(
    recovered: Recovered,
    archive: WalArchive,
    options: BackupOptions,
    narrate: Narrate,
    progress: Progress,
) -> Iterator[tuple[BackupFolder, Any]]:
    """Yield a folder with a backup of a recovered database, as of its moment, and its private key.

    The key is in memory only; the folder is next to the recovered server, and goes with it.  Raises
    what `create` raises.
    """
    backups = BackupFolder(archive.folder / _COPY / "backups")
    narrate(f"Reading {recovered.target.database} out of it.")
    recipient, identity = new_identity()
    options = replace(options, recipients=(recipient,), as_of=recovered.moment)
    create(recovered.target, backups, options, narrate, progress)
    yield backups, identity


@contextmanager
def backup_as_of(
    archive: WalArchive,
    moment: datetime | None,
    target: Target,
    options: BackupOptions,
    narrate: Narrate,
    progress: Progress,
) -> Iterator[tuple[BackupFolder, Any]]:
    """Yield a backup of a database as of a moment, None for the newest, and its private key.

    It is the database of the target's name, wherever the target is.  A moment without a zone is
    UTC.  Raises what `plan`, `recovered` and `create` raise.
    """
    if moment is not None and moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    recovery = plan(archive, moment, narrate)
    with recovered(recovery, target.database, narrate) as found:
        copy = replace(found, target=replace(found.target, schema=target.schema))
        with whole_backup(copy, archive, options, narrate, progress) as backup:
            yield backup


def _shown(moment: datetime) -> str:
    """Return a moment in UTC, and as the clock of this machine has it where that differs."""
    shown = moment.astimezone(UTC)
    fraction = f".{shown.microsecond:06d}" if shown.microsecond else ""
    text = f"{shown:%Y-%m-%d %H:%M:%S}{fraction} UTC"
    here = moment.astimezone()
    return text if not here.utcoffset() else f"{text} ({here:%H:%M:%S %Z} here)"
