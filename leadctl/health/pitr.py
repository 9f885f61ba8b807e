"""Checks of the archive for point in time, on the machine that has it."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from leadctl.errors import PitrFolderTaken
from leadctl.health.check import Evidence, Facts, Skip, check, critical, graded, warning
from leadctl.text import counted, size

if TYPE_CHECKING:
    from leadctl.pitr.wal_archive import WalArchive

_GB = 10**9
_SILENT_SECONDS = 120
"""A receiver says something every ten seconds."""
_BARMAN_SECONDS = 10
_SLOT = "Make it again: leadctl pitr setup. If it is off for good, move the archive away"
_RECEIVER = "Start the receiver (leadctl schedule cron pitr); see: leadctl pitr check"


@check(warning=2 * _GB, critical=20 * _GB, unit="B")
def pitr_archive(facts: Facts) -> Evidence:
    """The archive for point in time gets all WAL; the server keeps little for it."""
    archive = _archive(facts)
    from leadctl.pitr.setup import problem_of, require_archived, slot_state

    try:
        require_archived(facts.connection, archive)
    except PitrFolderTaken:
        raise Skip(f"{archive.folder} is the archive of another server") from None
    state = slot_state(facts.connection, archive.server.slot)
    problem = problem_of(state, archive.server.slot)
    retained = state.retained_bytes if state else None
    if problem is None and state and (state.silent_seconds or 0) > _SILENT_SECONDS:
        problem = f"the receiver has not reported for {state.silent_seconds:.0f} s"
    if problem is not None or state is None:
        kept = f"; the server keeps {size(retained)} for it" if retained else ""
        hint = _RECEIVER if state else _SLOT
        return critical(f"{problem}{kept}", hint, retained, "B")
    behind = "" if state.lag_bytes is None else f"the receiver is {size(state.lag_bytes)} behind, "
    message = f"{behind}the server keeps {size(retained or 0)} for it"
    return graded(retained or 0, message, _RECEIVER)


@check(warning=35, critical=100, unit="days")
def pitr_rehearsal(facts: Facts) -> Evidence:
    """The archive for point in time has a base backup, and a rehearsal of it went well."""
    archive = _archive(facts)
    from leadctl.pitr.setup import new_tablespaces

    hint, make = "Run: leadctl pitr rehearse", "Make one: leadctl pitr backup"
    backups = archive.base_backups(seconds=_BARMAN_SECONDS)
    whole = [backup for backup in backups if backup.whole]
    if not whole:
        return critical(
            f"there is no base backup in {archive.folder}: nothing can be restored from it", make
        )
    if problem := new_tablespaces(facts.connection, archive, whole[-1], _BARMAN_SECONDS):
        return critical(f"{problem}: later changes cannot be restored", make)
    last = archive.rehearsal
    if last is None:
        return warning("no recovery was rehearsed yet", hint)
    days = (datetime.now(UTC) - last.at).total_seconds() / 86400
    if not last.ok:
        return critical(
            f"the last rehearsal, {days:.0f} days ago, failed", hint, round(days, 1), "days"
        )
    return graded(
        round(days, 1), f"{counted(last.rows, 'row')} came back {days:.0f} days ago", hint
    )


def _archive(facts: Facts) -> "WalArchive":
    """Return the archive.  Raises Skip where none is kept here, and PitrNotSetUp."""
    if facts.archive is None:
        raise Skip("point-in-time recovery is not set up here")
    return facts.archive
