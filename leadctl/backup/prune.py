"""Which backups are kept, and removing the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from leadctl.backup.storage import BackupFolder, StoredBackup


@dataclass(frozen=True)
class Retention:
    """How many days, weeks and months keep their newest backup, and how many are always kept."""

    daily: int
    weekly: int
    monthly: int
    minimum: int


@dataclass(frozen=True)
class PruneDecision:
    """One backup; `kept_as` is why it is kept, None where it goes."""

    id: str
    made_at: datetime
    bytes: int | None
    kept_as: str | None


@dataclass(frozen=True)
class PruneResult:
    """What prune decided; `removed` says whether it was done."""

    folder: Path
    removed: bool
    backups: tuple[PruneDecision, ...]
    left: tuple[str, ...]
    """Backups that could not be removed: they are being read, or have files of others in them."""


def prune(folder: BackupFolder, retention: Retention, *, confirmed: bool) -> PruneResult:
    """Remove the backups that nothing keeps; decide only, where it is not confirmed.

    Raises BackupFolderUnusable.
    """
    backups = folder.backups()
    decisions = decide(backups, retention)
    left: list[str] = []
    if confirmed:
        going = {decision.id for decision in decisions if decision.kept_as is None}
        left = [b.id for b in backups if b.id in going and not folder.remove(b)]
    return PruneResult(folder.path, confirmed, tuple(decisions), tuple(left))


def decide(backups: Sequence[StoredBackup], retention: Retention) -> list[PruneDecision]:
    """Say of each backup, the newest first, why it is kept.

    Databases are told apart, so that two in one folder do not displace each other.  A damaged
    backup displaces none, and is never removed: nothing is known of it.
    """
    kept: dict[str, str] = {}
    groups: dict[tuple[str, str], list[StoredBackup]] = {}
    for backup in backups:
        verified = backup.verification
        if backup.damage is None and (verified is None or verified.ok):
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
    """Return why each kept backup of one database is kept."""
    kept: dict[str, str] = {}
    periods: tuple[tuple[str, int, Callable[[datetime], str]], ...] = (
        ("monthly", retention.monthly, lambda at: f"{at:%Y-%m}"),
        ("weekly", retention.weekly, lambda at: f"{at:%G-W%V}"),
        ("daily", retention.daily, lambda at: f"{at:%Y-%m-%d}"),
    )
    for name, count, period_of in periods:
        newest: dict[str, StoredBackup] = {}
        for backup in newest_first:
            newest.setdefault(period_of(backup.made_at), backup)
        kept |= {backup.id: name for backup in list(newest.values())[:count]}
    return kept | {
        backup.id: "one of the newest"
        for backup in newest_first[: retention.minimum]
        if backup.id not in kept
    }
