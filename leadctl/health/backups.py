"""The check of backups: there is a good one, it is recent, it was verified, it is not too small."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import median

from leadctl.backup.storage import StoredBackup
from leadctl.health.check import CheckStatus, Evidence, Facts, Skip, check, critical, warning
from leadctl.journal import state

_AGE = (timedelta(hours=26), timedelta(hours=50))
"""Warning and critical, for backups that are made daily: one late, one missing."""
_VERIFIED_AGE = timedelta(days=8)
"""For a backup that is verified weekly."""
_SMALL = 0.5
"""Share of the usual size, which is the median of those before."""
_LOOKED_AT = 20


@check()
def backups(facts: Facts) -> Evidence:
    """Count once a backup folder is set or there, or the database is protected."""
    identity = state.read_identity(facts.connection)
    protected = facts.target.protected or bool(identity and identity.protected)
    if facts.backups is None:
        if not protected:
            raise Skip("no backup folder is set")
        return warning(
            "the database is protected, and no backup folder is set here",
            "Set BACKUP_DIR, and make one with: leadctl backup",
        )
    own = [
        backup
        for backup in facts.backups.backups()[:_LOOKED_AT]
        if _is_of(backup, facts.connection.info.dbname, identity)
    ]
    good = [backup for backup in own if _is_good(backup)]
    if not good:
        return critical(
            f"there is no good backup of this database in {facts.backups.path}",
            "Make one with: leadctl backup",
        )
    return _judged(own, good)


def _judged(own: Sequence[StoredBackup], good: Sequence[StoredBackup]) -> Evidence:
    """Judge the backups, the newest first, of which at least one is good."""
    now = datetime.now(UTC)
    age = now - good[0].made_at
    warnings = {}
    if age >= _AGE[0]:
        warnings["the last good one is old"] = "leadctl backup"
    if own[0] != good[0]:
        warnings[f"the newest, {own[0].id}, is damaged"] = f"leadctl backup verify {own[0].id}"
    usual = [backup.manifest.bytes for backup in good[1:8]]
    if usual and good[0].manifest.bytes < _SMALL * median(usual):
        warnings["the last one is much smaller than usual"] = f"leadctl backup show {good[0].id}"
    verified = [backup for backup in good if backup.verification]
    if not verified or now - verified[0].made_at > _VERIFIED_AGE:
        what = "the last verified one is old" if verified else "none was verified"
        warnings[what] = "leadctl backup verify latest --restore"
    status = CheckStatus.WARNING if warnings else CheckStatus.OK
    hours = age.total_seconds() / 3600
    return Evidence(
        "; ".join([f"{len(good)} good, the last {hours:.1f} h old", *warnings]),
        f"Run: {next(iter(warnings.values()))}" if warnings else "",
        round(hours, 1),
        "h",
        CheckStatus.CRITICAL if age >= _AGE[1] else status,
    )


def _is_of(backup: StoredBackup, database: str, identity: state.Identity | None) -> bool:
    """Whether a backup may be one of this database; of a damaged one nobody knows."""
    if backup.damage is not None:
        return True
    manifest = backup.manifest
    same = not (identity and manifest.identity) or str(identity.id) == manifest.identity
    return same and manifest.database == database


def _is_good(backup: StoredBackup) -> bool:
    return backup.damage is None and (backup.verification is None or backup.verification.ok)
