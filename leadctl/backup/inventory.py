"""What is in the backup folder, which of it is kept, and copies of it in another place."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from leadctl.backup.manifest import NAME, BackupManifest
from leadctl.backup.reader import BackupReader, problems
from leadctl.backup.storage import BackupFolder, DatabaseId, StoredBackup, Verification
from leadctl.errors import BackupDamaged, BackupFailed, LeadctlError
from leadctl.progress import Narrate, Progress

_CHUNK = 2**20


@dataclass(frozen=True)
class BackupSummary:
    """One backup; `damage` says why it cannot be trusted, and nothing else is known."""

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
    excluded: tuple[str, ...]
    """Tables that it does not have."""
    excluded_data: tuple[str, ...]
    """Tables that it does not have the rows of."""
    from_future: bool
    """Whether, by its name, it was made later than now: then it does not count as the latest."""
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
    manifest: BackupManifest


def list_backups(folder: BackupFolder) -> BackupList:
    """List the whole backups.  Raises BackupFolderUnusable."""
    return BackupList(folder.path, tuple(map(_summary, folder.backups())))


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
        excluded=manifest.excluded if manifest else (),
        excluded_data=manifest.excluded_data if manifest else (),
        from_future=backup.from_future,
        damage=damage,
    )


@dataclass(frozen=True)
class Retention:
    """How many days, weeks and months keep their newest backup, and how many are always kept."""

    daily: int
    weekly: int
    monthly: int
    minimum: int


@dataclass(frozen=True)
class PruneDecision:
    """One backup; `kept_as` is why it is kept, None if it is to be removed."""

    id: str
    made_at: datetime
    bytes: int | None
    kept_as: str | None


@dataclass(frozen=True)
class PruneResult:
    """The decisions of prune; `removed` says whether they were carried out."""

    folder: Path
    removed: bool
    backups: tuple[PruneDecision, ...]
    left: tuple[str, ...]
    """Backups that could not be removed; their `kept_as` says why."""


def prune(folder: BackupFolder, retention: Retention, *, confirmed: bool) -> PruneResult:
    """Remove the backups that nothing keeps; decide only, where it is not confirmed.

    Raises BackupFolderUnusable.
    """
    backups = folder.backups()
    decisions = prune_decisions(backups, retention)
    left: dict[str, str] = {}
    if confirmed:
        going = {decision.id for decision in decisions if decision.kept_as is None}
        left = {b.id: why for b in backups if b.id in going and (why := folder.remove(b))}
    decided = tuple(
        replace(each, kept_as=f"not removed: {left[each.id]}") if each.id in left else each
        for each in decisions
    )
    return PruneResult(folder.path, confirmed, decided, tuple(left))


def prune_decisions(backups: Sequence[StoredBackup], retention: Retention) -> list[PruneDecision]:
    """Say of each backup, the newest first, why it is kept.

    Databases are told apart, so that two in one folder do not displace each other.  A damaged
    backup displaces none, and is never removed: nothing is known of it.
    """
    kept: dict[str, str] = {}
    groups: dict[tuple[str, str], list[StoredBackup]] = {}
    for backup in backups:
        verified = backup.verification
        if backup.from_future:
            kept[backup.id] = "from the future: a clock was wrong; remove it by hand"
        elif backup.damage is None and (verified is None or verified.ok):
            manifest = backup.manifest
            origin = manifest.system_identifier or manifest.identity or ""
            groups.setdefault((manifest.database, origin), []).append(backup)
        else:
            kept[backup.id] = "damaged: look at it, then remove it by hand"
    for group in groups.values():
        kept |= _kept(group, retention)
    kept |= {backup.id: "pinned" for backup in backups if backup.pinned}
    return [
        PruneDecision(
            backup.id,
            backup.made_at,
            backup.manifest.bytes if backup.damage is None else None,
            kept.get(backup.id),
        )
        for backup in backups
    ]


def _kept(newest_first: Sequence[StoredBackup], retention: Retention) -> dict[str, str]:
    """Return why each kept backup of one database is kept.

    One that left tables out displaces none that has them.
    """
    rules = {
        "daily": (retention.daily, "%Y-%m-%d"),
        "weekly": (retention.weekly, "%G-W%V"),
        "monthly": (retention.monthly, "%Y-%m"),
        "one of the newest": (retention.minimum, "%Y%m%dT%H%M%S-%f"),
    }
    kept: dict[str, str] = {}
    # Those that have a backup, by what it left out.
    periods: dict[frozenset[str], set[tuple[str, str]]] = {}
    for backup in newest_first:
        manifest, at = backup.manifest, backup.made_at
        left_out = frozenset(manifest.left_out)
        held = {table.name for table in manifest.all_tables} - left_out
        newer = set[tuple[str, str]]().union(
            *(taken for lacks, taken in periods.items() if not lacks & held)
        )
        used = Counter(rule for rule, _ in newer)
        own = {rule: f"{at:{period}}" for rule, (_, period) in rules.items()}
        for rule, (count, _) in rules.items():
            if used[rule] < count and (rule, own[rule]) not in newer:
                kept.setdefault(backup.id, rule)
        periods.setdefault(left_out, set()).update(own.items())
    return kept


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
