"""What the settings say of backups."""

from collections.abc import Sequence
from typing import Any

from leadctl.backup.storage import BackupFolder
from leadctl.settings import Settings


def folder_of(settings: Settings) -> BackupFolder:
    """Return the backup folder."""
    return BackupFolder(settings.backup_dir)


def known_folder(settings: Settings) -> BackupFolder | None:
    """Return the backup folder where one is set or there; None where nobody spoke of backups."""
    folder = folder_of(settings)
    configured = settings.is_set("backup_dir")
    return folder if configured or folder.path.exists() else None


def identities_of(settings: Settings) -> Sequence[Any]:
    """Return the private keys that read backups; none where no file is set.

    Raises InvalidIdentity.
    """
    if settings.backup_identity_file is None:
        return ()
    from leadctl.crypto.age import read_identities

    return read_identities(settings.backup_identity_file)
