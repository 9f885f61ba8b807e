"""The rehearsal: a backup restored into a database that is dropped afterwards."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from leadctl.db.connect import connect
from leadctl.errors import BackupDamaged, RestoreFailed
from leadctl.operations.backup.folder import StoredBackup
from leadctl.operations.backup.verify import Rehearsal, VerifyCheck
from leadctl.operations.restore.compare import check_indexes, compare
from leadctl.operations.restore.database import drop_database, scratch_database
from leadctl.operations.restore.load import Source, load


def rehearse(
    backup: StoredBackup, identities: Sequence[Any], rehearsal: Rehearsal
) -> list[VerifyCheck]:
    """Restore a backup into a scratch database and compare that with its manifest.

    The scratch database is named after the backup, so that the next rehearsal removes what a
    killed one left.  Raises what connecting raises.
    """
    name = f"leadctl_verify_{backup.id}"
    scratch = replace(rehearsal.target.on(name), schema=backup.manifest.schema)
    try:
        with scratch_database(
            rehearsal.target, name, backup.manifest.settings, rehearsal.narrate
        ) as connection:
            load(
                Source(backup, identities),
                scratch,
                owners=False,
                narrate=rehearsal.narrate,
                progress=rehearsal.progress,
            )
            with connect(scratch, "verify") as restored:
                checks = [
                    VerifyCheck("restore", True, "restored without an error"),
                    *compare(restored, backup.manifest),
                    check_indexes(restored),
                ]
            drop_database(connection, name)
    except (RestoreFailed, BackupDamaged) as error:
        return [VerifyCheck("restore", False, error.message)]
    return checks
