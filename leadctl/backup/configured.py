"""What the settings say of backups."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leadctl.backup.storage import BackupFolder
from leadctl.settings import Settings
from leadctl.settings.sources import DEFAULT, ENVIRONMENT


def folder_of(settings: Settings) -> BackupFolder:
    """Return the backup folder; a path in a file of the project is relative to the project."""
    return BackupFolder(_path(settings, "backup_dir"))


def known_folder(settings: Settings) -> BackupFolder | None:
    """Return the backup folder where one is set or there; None where nobody spoke of backups."""
    folder = folder_of(settings)
    configured = settings.source("backup_dir") != DEFAULT
    return folder if configured or folder.path.exists() else None


def identities_of(settings: Settings) -> Sequence[Any]:
    """Return the private keys that read backups; none where no file is set.

    Raises InvalidIdentity.
    """
    if settings.backup_identity_file is None:
        return ()
    from leadctl.crypto.age import read_identities

    return read_identities(_path(settings, "backup_identity_file"))


def _path(settings: Settings, name: str) -> Path:
    path = Path(getattr(settings, name)).expanduser()
    given_here = settings.source(name).startswith(("flag", ENVIRONMENT))
    return (Path.cwd() if given_here else settings.project) / path
