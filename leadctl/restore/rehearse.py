"""The rehearsal: a backup restored into a database that is dropped afterwards."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from leadctl.backup.storage import StoredBackup
from leadctl.backup.verify import Rehearsal, VerifyCheck
from leadctl.errors import BackupDamaged, RestoreFailed
from leadctl.postgres.connect import connect
from leadctl.restore.backups import check_indexes, compare
from leadctl.restore.database import drop_database, scratch_database
from leadctl.restore.load import Source, load
from leadctl.restore.restorable import Loading


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
            loading = Loading(rehearsal.narrate, rehearsal.progress, owners=False)
            load(Source(backup, identities), scratch, loading)
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
