"""What the archived server says: whether it is that one, and how its replication slot is."""

from dataclasses import dataclass

from leadctl.errors import PitrFolderTaken
from leadctl.pitr.wal_archive import BaseBackup, WalArchive
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import queries_of

QUERIES = queries_of(__file__, "pitr.sql")


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
