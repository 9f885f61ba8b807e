"""The backups that have a tenant: its own, and those of the whole database."""

import shlex

from leadctl.backup.snapshot import id_of
from leadctl.backup.storage import LATEST, BackupFolder, StoredBackup
from leadctl.errors import BackupDamaged, UnknownBackup
from leadctl.postgres.target import Target


def find_backup(
    target: Target, name: str, backup: str, own: BackupFolder, of_database: BackupFolder
) -> StoredBackup:
    """Return a backup of a tenant by its id, the beginning of it, `latest`, or its path.

    The latest is the newest that has the tenant of this database: one of the same name elsewhere
    is another customer's.  Raises UnknownBackup.
    """
    if backup != LATEST:
        try:
            return own.find(backup)
        except UnknownBackup:
            return of_database.find(backup)
    found = sorted([*own.backups(), *of_database.backups()], key=lambda each: each.id, reverse=True)
    database, other = id_of(target), None
    for each in (each for each in found if not each.from_future):
        try:
            manifest = each.manifest
        except BackupDamaged:
            continue  # the next one is older, and whole
        if manifest.tenant == name or any(table.parts[0] == name for table in manifest.tables):
            if each.is_of(database):
                return each
            other = other or each
    if other is not None:
        raise UnknownBackup(
            f"There is no backup of {target.database} with the tenant {name}: {other.id} is of "
            f"{other.manifest.database}.",
            hint=f"To take that one, name it: leadctl restore --tenant {shlex.quote(name)} "
            f"{other.id}",
        )
    raise UnknownBackup(
        f"There is no backup with the tenant {name} in {own.path} or {of_database.path}.",
        hint=f"Make one: leadctl backup --tenant {shlex.quote(name)}",
    )
