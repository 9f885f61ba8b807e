"""What is in the backup folder."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from leadctl.backup.manifest import Manifest
from leadctl.backup.storage import BackupFolder, StoredBackup
from leadctl.backup.verification import Verification


@dataclass(frozen=True)
class BackupSummary:
    """One backup; `damage` says why its manifest cannot be trusted, and nothing else is known."""

    id: str
    made_at: datetime
    database: str | None
    app: str | None
    revision: str | None
    bytes: int | None
    rows: int | None
    encrypted: bool | None
    pinned: bool
    verified: Verification | None
    damage: str | None


@dataclass(frozen=True)
class BackupList:
    """The backups of a folder, the newest first."""

    folder: Path
    backups: tuple[BackupSummary, ...]


@dataclass(frozen=True)
class BackupDetails:
    """One backup with its whole manifest."""

    path: Path
    pinned: bool
    verified: Verification | None
    manifest: Manifest


def list_backups(folder: BackupFolder) -> BackupList:
    """List the whole backups.  Raises BackupFolderUnusable."""
    return BackupList(folder.path, tuple(_summary(backup) for backup in folder.backups()))


def show(backup: StoredBackup) -> BackupDetails:
    """Show one backup.  Raises BackupDamaged where its manifest was changed."""
    return BackupDetails(backup.path, backup.pinned, backup.verification, backup.manifest)


def _summary(backup: StoredBackup) -> BackupSummary:
    damage = backup.damage
    manifest = backup.manifest if damage is None else None
    return BackupSummary(
        id=backup.id,
        made_at=backup.made_at,
        database=manifest.database if manifest else None,
        app=manifest.app if manifest else None,
        revision=manifest.revision if manifest else None,
        bytes=manifest.bytes if manifest else None,
        rows=manifest.rows if manifest else None,
        encrypted=bool(manifest.recipients) if manifest else None,
        pinned=backup.pinned,
        verified=backup.verification,
        damage=damage,
    )
