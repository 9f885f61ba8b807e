"""A copy of a backup in another place: the same files under the same id, read again and hashed."""

from dataclasses import dataclass
from pathlib import Path

from leadctl.backup.manifest import NAME
from leadctl.backup.reader import BackupReader, problems
from leadctl.backup.storage import BackupFolder, DatabaseId, StoredBackup
from leadctl.errors import BackupDamaged, BackupFailed, LeadctlError
from leadctl.progress import Narrate, Progress

_CHUNK = 2**20


@dataclass(frozen=True)
class BackupCopy:
    """A copy that is as whole as the original, by the hash of each file."""

    id: str
    path: Path
    bytes: int
    made: bool
    """False where it was there already."""


def copy_backup(
    backup: StoredBackup, to: BackupFolder, narrate: Narrate, progress: Progress
) -> BackupCopy:
    """Copy a backup to another folder or bucket, and read the copy back.

    The original is checked first: a damaged one is not copied.  Raises BackupDamaged, BackupFailed
    where the copy is not what was copied, BackupFolderUnusable.
    """
    with backup.held():
        reader = BackupReader(backup, ())
        if wrong := problems(tuple(reader.check_bytes())):
            raise BackupDamaged(
                f"The backup {backup.id} is damaged, and is not copied: {'; '.join(wrong)}.",
                hint="Choose another backup: leadctl backup list",
            )
        manifest = backup.manifest
        there = next((each for each in to.backups() if each.id == backup.id), None)
        if there is None:
            narrate(f"Copying {backup.id} to {to.path}.")
            done = 0
            with to.begin(backup.id) as new:
                for name in (*(file.name for file in manifest.files), NAME):
                    with backup.open(name) as source, new.create(name) as sink:
                        while chunk := source.read(_CHUNK):
                            sink.write(chunk)
                            done += len(chunk)
                            progress(done, manifest.bytes, "B")
    copy = to.find(backup.id)
    wrong = problems(tuple(BackupReader(copy, ()).check_bytes()))
    if wrong or copy.manifest != manifest:
        raise BackupFailed(
            f"{copy.path} does not hold the backup {backup.id}: "
            f"{'; '.join(wrong) or 'it has another manifest'}.",
            hint="Remove it there, and copy again.",
        )
    return BackupCopy(backup.id, copy.path, manifest.bytes, made=there is None)


def copy_new(backup: StoredBackup, to: BackupFolder, narrate: Narrate, progress: Progress) -> None:
    """Copy a new backup. Raises BackupFailed, which says that the backup itself is complete."""
    try:
        copy_backup(backup, to, narrate, progress)
    except LeadctlError as error:
        raise BackupFailed(
            f"The backup {backup.path} is complete, but was not copied to {to.path}: "
            f"{error.message}",
            hint=f"Copy it: leadctl backup copy {backup.id} --to {to.path}",
        ) from None
    narrate(f"Copied {backup.id} to {to.path}, and compared every byte.")


def newest_copy(to: BackupFolder, of: DatabaseId) -> StoredBackup | None:
    """Return the newest good copy of a database's backups.  Raises BackupFolderUnusable."""
    for each in to.backups():
        if not each.from_future and each.damage is None and each.is_of(of):
            return each
    return None
