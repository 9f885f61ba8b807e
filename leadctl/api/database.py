"""The operations for host applications: `leadctl.database()`, and a method for each verb.

They are the functions that the command line calls, with the same results and the same errors;
nothing is printed and nothing exits.  What a method needs is imported when it is called.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leadctl.apps.registry import App, find_app
from leadctl.files import absolute
from leadctl.postgres.target import Target, resolve
from leadctl.progress import Narrate
from leadctl.settings import Settings, load_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from leadctl.backup.create import CreatedBackup
    from leadctl.backup.inventory import BackupList
    from leadctl.backup.verify import VerifyResult
    from leadctl.cleanup.preview import Preview
    from leadctl.cleanup.results import CleanupResult
    from leadctl.health.health import Health
    from leadctl.history import RunHistory
    from leadctl.keys.rotate import RotateResult
    from leadctl.keys.status import KeysStatus
    from leadctl.migrate.check import Check
    from leadctl.migrate.drift import Drift
    from leadctl.migrate.status import MigrationStatus
    from leadctl.migrate.up import MigrateResult
    from leadctl.postgres.connect import Timeouts
    from leadctl.reset import ResetResult
    from leadctl.restore.restore import RestoreResult
    from leadctl.seed.export import Exported
    from leadctl.seed.seed import SeedResult
    from leadctl.stats.overview import Overview
    from leadctl.stats.report import ReportResult


@dataclass(frozen=True)
class Database:
    """An app on a target; made by `database`.  Each method connects for itself, and closes."""

    settings: Settings
    app: App
    target: Target
    narrate: Narrate
    """Is told what is being done, a sentence at a time."""

    def migrate(
        self,
        to: str | None = None,
        *,
        steps: int | None = None,
        allow: Collection[str] = (),
        confirm: str | None = None,
    ) -> "MigrateResult":
        """Apply what is pending, up to a revision where one is given.

        On a protected database a plan with findings wants their rules in `allow`, or the
        database's name as `confirm`.  Raises LockHeld, RevisionFailed, Protected and what
        connecting raises.
        """
        from leadctl.journal.guard import Consent
        from leadctl.migrate.up import up

        return up(
            self.target,
            self.app,
            to=to,
            steps=steps,
            allow=allow,
            consent=Consent(confirm=confirm),
            timeouts=self._timeouts,
            narrate=self.narrate,
            progress=_silent,
        )

    def status(self) -> "MigrationStatus":
        """Return the state of each revision.  Raises what connecting raises."""
        from leadctl.migrate.status import status

        return status(self.target, self.app)

    def check(self) -> "Check":
        """Compare models, migrations and database; changes nothing."""
        from leadctl.migrate.check import check

        return check(self.target, self.app, self.narrate)

    def drift(self) -> "Drift":
        """Say what was changed by hand.  Raises OperationFailed where nothing was applied yet."""
        from leadctl.migrate.drift import drift

        return drift(self.target, self.app, self.narrate)

    def seed(self) -> "SeedResult":
        """Bring in fixtures and seed files.  Raises MissingKey and SeedFailed."""
        from leadctl.crypto.keyring import keyring_of
        from leadctl.seed.seed import journaled_seed

        return journaled_seed(self.target, self.app, keyring_of(self.settings), self.narrate)

    def export(self, table: str, path: Path, *, where: str | None = None) -> "Exported":
        """Write rows of a table as a seed file, secrets masked."""
        from leadctl.seed.export import export

        return export(self.target, self.app, table, where=where, path=path)

    def reset(self, *, confirm: str) -> "ResetResult":
        """Drop the app's objects, migrate and seed; `confirm` is the database's name.

        Raises Protected, NotConfirmed and DependentObjects before anything is changed.
        """
        from leadctl.crypto.keyring import keyring_of
        from leadctl.journal.guard import Consent
        from leadctl.reset import reset

        return reset(
            self.target,
            self.app,
            keyring_of(self.settings),
            Consent(confirm=confirm),
            timeouts=self._timeouts,
            narrate=self.narrate,
            progress=_silent,
        )

    def stats(self, *, exact: bool = False) -> "Overview":
        """Return sizes and rows; estimated ones unless `exact`."""
        from leadctl.stats.overview import overview

        return overview(self.target, self.app, exact=exact)

    def report(self, name: str, *, user: str | None = None) -> "ReportResult":
        """Return one of the app's reports.  Raises UnknownReport and UnknownUser."""
        from leadctl.stats.report import run_report

        return run_report(self.target, self.app, name, user=user)

    def health(self, *, wait: float = 0) -> "Health":
        """Check the database; `wait` is how many seconds to try to reach it."""
        from leadctl.backup.configured import known_folder
        from leadctl.crypto.keyring import keyring_of
        from leadctl.health.health import Timing, health
        from leadctl.health.selection import select

        return health(
            self.target,
            self.app,
            lambda: keyring_of(self.settings),
            select(self.settings, (), ()),
            Timing(wait=wait),
            app_was_named=self.settings.source("app") != "default",
            narrate=self.narrate,
            backups=known_folder(self.settings),
        )

    def keys(self) -> "KeysStatus":
        """Count values per encrypted column and key."""
        from leadctl.crypto.keyring import keyring_of
        from leadctl.keys.status import keys_status

        return keys_status(self.target, self.app, keyring_of(self.settings))

    def rotate_keys(self, *, encrypt_plaintext: bool = False) -> "RotateResult":
        """Re-encrypt to the primary key what is not under it; plaintext only where told.

        What a killed call left is done by the next one.  Raises MissingKey and LockHeld.
        """
        from leadctl.crypto.keyring import keyring_of
        from leadctl.keys.rotate import rotate

        return rotate(
            self.target,
            self.app,
            keyring_of(self.settings),
            encrypt_plaintext=encrypt_plaintext,
            dry_run=False,
            lock_wait=self.settings.lock_wait,
            narrate=self.narrate,
            progress=_silent,
        )

    def cleanup_preview(self, rules: Sequence[str] = (), *, days: int | None = None) -> "Preview":
        """Say what `cleanup` would delete; changes nothing.  Raises UnknownRule."""
        from leadctl.cleanup.preview import preview
        from leadctl.cleanup.rules import rules_of

        chosen = rules_of(self.app, self.settings, only=rules, days=days)
        return preview(self.target, self.app, chosen)

    def cleanup(
        self,
        rules: Sequence[str] = (),
        *,
        days: int | None = None,
        max_seconds: int | None = None,
        max_rows: int | None = None,
        archive: Path | None = None,
        confirm: str | None = None,
    ) -> "CleanupResult":
        """Delete what is due by all retention rules, or by the named ones.

        `days` takes the place of their age; `archive` is a folder where every row goes first.  A
        rule past its fuse does nothing without `confirm`, the database's name.  Raises
        UnknownRule, InvalidRule, UnindexedForeignKey, and the first error of a rule.
        """
        from leadctl.cleanup.archive import ArchivePlace
        from leadctl.cleanup.bounds import Limits
        from leadctl.cleanup.rules import rules_of
        from leadctl.cleanup.run import Voice, cleanup
        from leadctl.crypto.age import read_recipients, split_recipients
        from leadctl.journal.guard import Consent

        settings = self.settings
        chosen = rules_of(
            self.app, settings, only=rules, days=days, archive_all=archive is not None
        )
        folder = absolute(archive) if archive else settings.archive_dir
        recipients = tuple(read_recipients(split_recipients(settings.backup_recipients)))
        result, error = cleanup(
            self.target,
            self.app,
            chosen,
            limits=Limits(max_seconds, max_rows),
            consent=Consent(confirm=confirm),
            archive=ArchivePlace(folder, recipients),
            voice=Voice(self.narrate, _silent),
        )
        if error is not None:
            raise error
        return result

    def backup(self) -> "CreatedBackup":
        """Back up the whole database to the folder that settings say.

        Raises MissingClient, InvalidRecipient, BackupFolderUnusable and BackupFailed.
        """
        from leadctl.backup.as_configured import create_as_configured

        return create_as_configured(self.settings, self.app, self.target, self.narrate, _silent)

    def backups(self) -> "BackupList":
        """Return the backups in the folder that settings say, the newest first."""
        from leadctl.backup.configured import folder_of
        from leadctl.backup.inventory import list_backups

        return list_backups(folder_of(self.settings))

    def verify_backup(self, backup: str = "latest") -> "VerifyResult":
        """Compare every byte of a backup with its hash, and read what a key is there for.

        `backup` is an id, its beginning, or "latest".  Raises InvalidIdentity and UnknownBackup.
        """
        from leadctl.backup.configured import folder_of, identities_of
        from leadctl.backup.verify import verify

        found = folder_of(self.settings).find(backup)
        return verify(found, identities_of(self.settings), rehearsal=None)

    def restore(
        self, backup: str = "latest", *, into: str | None = None, confirm: str | None = None
    ) -> "RestoreResult":
        """Restore a backup as a new database `into`, or in the place of this one.

        In this one's place it wants `confirm`, the database's name; the old one is kept under
        another name.  Raises Protected, NotConfirmed, LockHeld, BackupDamaged and RestoreFailed.
        """
        from leadctl.backup.configured import folder_of, identities_of
        from leadctl.journal.guard import Consent
        from leadctl.restore.load import Source
        from leadctl.restore.restorable import Loading
        from leadctl.restore.restore import restore

        found = folder_of(self.settings).find(backup)
        return restore(
            self.target.on(into) if into else self.target,
            Source(found, identities_of(self.settings)),
            Consent(confirm=confirm),
            Loading(self.narrate, _silent),
            app=self.app.name,
            new=into is not None,
            drop_old=False,
            lock_wait=self.settings.lock_wait,
        )

    def history(self, limit: int = 20) -> "RunHistory":
        """Return the newest runs of the journal."""
        from leadctl.history import history

        return history(self.target, limit)

    def engine(self) -> "Engine":
        """Return this process's SQLAlchemy engine for this database, made once and thread-safe."""
        from leadctl.postgres.engine import application_engine

        return application_engine(self.target, self.settings)

    @property
    def _timeouts(self) -> "Timeouts":
        from leadctl.postgres.connect import Timeouts

        settings = self.settings
        return Timeouts(settings.lock_wait, settings.lock_timeout, settings.statement_timeout)


def database(
    url: str | None = None,
    *,
    app: str | None = None,
    env: str | None = None,
    schema: str | None = None,
    project: str | Path | None = None,
    narrate: Narrate = lambda _: None,
) -> Database:
    """Return the database that the arguments name; what they leave out, settings say.

    `env` is an [env.NAME] of leadctl.toml, `project` the folder to look for it from.  Nothing is
    connected to yet, but an embedded server is started where there is no URL and it exists.
    Raises ConfigurationError.
    """
    flags = {"url": url, "app": app, "env": env, "schema": schema}
    settings = load_settings(flags, cwd=Path(project) if project else None)
    found = find_app(settings)
    return Database(settings, found, resolve(settings, app=found.name, narrate=narrate), narrate)


def _silent(done: int, total: int, unit: str) -> None:
    """Progress that nobody looks at."""
