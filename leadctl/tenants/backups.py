"""The backups that have a tenant: its own, and those of the whole database."""

from leadctl.backup.storage import LATEST, BackupFolder, StoredBackup
from leadctl.errors import BackupDamaged, UnknownBackup


def find_backup(name: str, backup: str, own: BackupFolder, whole: BackupFolder) -> StoredBackup:
    """Return a backup of a tenant by its id, the beginning of it, `latest`, or its path.

    The latest is the newest that has the tenant.  Raises UnknownBackup.
    """
    if backup != LATEST:
        try:
            return own.find(backup)
        except UnknownBackup:
            return whole.find(backup)
    found = sorted([*own.backups(), *whole.backups()], key=lambda each: each.id, reverse=True)
    for each in (each for each in found if not each.from_future):
        try:
            manifest = each.manifest
        except BackupDamaged:
            continue  # the next one is older, and whole
        if manifest.tenant == name or any(table.parts[0] == name for table in manifest.tables):
            return each
    raise UnknownBackup(
        f"There is no backup with the tenant {name} in {own.path} or {whole.path}.",
        hint=f"Make one: leadctl backup --tenant {name}",
    )
