"""The rehearsal: a backup restored into a database that is dropped afterwards."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from leadctl.db.connect import connect
from leadctl.errors import BackupDamaged, RestoreFailed
from leadctl.operations.backup.folder import StoredBackup
from leadctl.operations.backup.verify import Rehearsal, VerifyCheck
from leadctl.operations.restore.compare import check_indexes, compare
from leadctl.operations.restore.database import create_database, drop_database, maintenance
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
    with maintenance(rehearsal.target) as connection:
        drop_database(connection, name)
        create_database(connection, name, backup.manifest.settings, rehearsal.narrate)
        try:
            load(
                Source(backup, identities),
                scratch,
                owners=False,
                narrate=rehearsal.narrate,
                progress=rehearsal.progress,
            )
            with connect(scratch, "verify") as restored:
                return [
                    VerifyCheck("restore", True, "restored without an error"),
                    *compare(restored, backup.manifest),
                    check_indexes(restored),
                ]
        except (RestoreFailed, BackupDamaged) as error:
            return [VerifyCheck("restore", False, error.message)]
        finally:
            drop_database(connection, name)
