"""`Project`: what can be done with a project's settings and app, without its database."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from urllib.parse import quote

from leadctl.files import ObjectUrl, absolute, expanded, object_url
from leadctl.progress import Narrate, Progress, silent, unheard
from leadctl.settings import Settings, load_settings

if TYPE_CHECKING:
    from leadctl.apps.registry import App
    from leadctl.backup.inventory import BackupCopy, BackupDetails, BackupList, PruneResult
    from leadctl.backup.storage import BackupFolder
    from leadctl.config import EffectiveConfig
    from leadctl.crypto import Keyring
    from leadctl.db import Destroyed
    from leadctl.health.run import CheckList
    from leadctl.init.existing_models import InitResult
    from leadctl.inspect.run import Inspection, InspectReport, ReportFiles, ReportList
    from leadctl.journal.guard import Consent
    from leadctl.keys.status import NewKey
    from leadctl.migrate.new import NewRevisions
    from leadctl.migrate.plan import LintResult
    from leadctl.pitr.status import PitrBackup, PitrChecks, PitrStatus
    from leadctl.pitr.wal_archive import WalArchive
    from leadctl.postgres.connect import Timeouts
    from leadctl.postgres.embedded import ServerStatus
    from leadctl.postgres.target import Target
    from leadctl.schedule import Schedule
    from leadctl.schema.definition import Schema, Validation
    from leadctl.schema.read import Models, SchemaDump

Confirm: TypeAlias = "str | Consent | None"
"""What is agreed to in advance: the database's name, or a Consent."""
Names = str | Sequence[str]
"""One name, or several."""


def names(given: Names) -> tuple[str, ...]:
    """Return one name, or several, as several: a text is never taken letter by letter."""
    return (given,) if isinstance(given, str) else tuple(given)


def consent_of(confirm: Confirm) -> "Consent":
    """Return the consent that is given: the database's name is one, None is none."""
    from leadctl.journal.guard import Consent

    return confirm if isinstance(confirm, Consent) else Consent(confirm=confirm)


@dataclass(frozen=True, eq=False)
class Project:
    """A project's settings and its app; made by `project`.  Nothing is connected to."""

    settings: Settings
    narrate: Narrate = unheard
    """Is told what is being done, a sentence at a time."""
    progress: Progress = silent
    """Is told how far it is."""
    tenant: str | None = field(default=None, kw_only=True)
    """The schema whose own backups are meant; None for those of whole databases."""

    @cached_property
    def app(self) -> "App":
        """The app that the settings name, or the default one.  Raises UnknownApp."""
        from leadctl.apps.registry import find_app

        return find_app(self.settings)

    def require_named_app(self) -> None:
        """Raise NoProject where neither a project nor its name says which app is meant."""
        from leadctl.apps.registry import require_named_app

        require_named_app(self.settings)

    @cached_property
    def app_if_named(self) -> "App":
        """The same, or one without a name, for what works on a database alone."""
        from leadctl.apps.registry import find_app_or_none

        return find_app_or_none(self.settings)

    @cached_property
    def keyring(self) -> "Keyring":
        """The keys of encrypted columns.  Raises InvalidKey and KeyCommandFailed."""
        from leadctl.crypto import keyring_of

        return keyring_of(self.settings)

    @property
    def _timeouts(self) -> "Timeouts":
        from leadctl.postgres.connect import Timeouts

        settings = self.settings
        return Timeouts(settings.lock_wait, settings.lock_timeout, settings.statement_timeout)

    @cached_property
    def backup_folder(self) -> "BackupFolder":
        """The folder of backups, whether it is there or not."""
        return self._folder_at(self.settings.backup_dir)

    def of_tenant(self, tenant: str | None) -> Self:
        """Return the same for one tenant's backups, and its schema; None for the whole.

        Its backups are in a folder of its own, `tenants/NAME`, so that none of them is ever taken
        for one of the whole database.  Raises InvalidTenantName.
        """
        if tenant is None:
            return self
        from leadctl.tenants.schemas import check_name

        check_name(tenant)
        return replace(self, tenant=tenant)

    def _folder_at(self, folder: Path | ObjectUrl, *, patient: bool = True) -> "BackupFolder":
        """Return the backups of a folder, or below a URL; not `patient` is for a quick look."""
        if self.tenant is not None:
            # No name leads out of the folder: the first letter cannot be a dot.
            name = quote(self.tenant, safe="")
            folder = folder / "tenants" / (f"%2E{name[1:]}" if name.startswith(".") else name)
        if isinstance(folder, Path):
            from leadctl.backup.storage import BackupFolder

            return BackupFolder(folder)
        from leadctl.backup.bucket import BackupBucket

        return BackupBucket(folder, patient)

    @property
    def known_backup_folder(self) -> "BackupFolder | None":
        """The folder of backups where one is set or there; None where nobody backs up."""
        known = self.settings.is_set("backup_dir") or self.settings.backup_dir.exists()
        return self.backup_folder if known else None

    @cached_property
    def pitr_archive(self) -> "WalArchive":
        """The archive for point in time, whether it is there or not."""
        from leadctl.pitr.wal_archive import WalArchive

        return WalArchive(self.settings.pitr_dir)

    @property
    def _known_archive(self) -> "WalArchive | None":
        """The same where one is set or there; None where nobody keeps one."""
        known = self.settings.is_set("pitr_dir") or self.settings.pitr_dir.exists()
        return self.pitr_archive if known else None

    @property
    def _backup_folders(self) -> "tuple[BackupFolder | None, BackupFolder | None]":
        """Where backups are, and where they are copied to, for a quick look."""
        to = self.settings.backup_copy_to
        copies = self._folder_at(to, patient=False) if to else None
        known = self.known_backup_folder
        if known is not None:
            known = self._folder_at(self.settings.backup_dir, patient=False)
        return known, copies

    @cached_property
    def identities(self) -> Sequence[Any]:
        """The private keys that read backups, if a file is set.  Raises InvalidIdentity."""
        if self.settings.backup_identity_file is None:
            return ()
        from leadctl.backup.stream import read_identities

        return read_identities(self.settings.backup_identity_file)

    def config(self) -> "EffectiveConfig":
        """Return each setting with its source, secrets hidden, as `leadctl config`."""
        from leadctl.apps.registry import all_apps
        from leadctl.config import effective_config
        from leadctl.crypto import keyring_of

        keyring = keyring_of(self.settings, run_command=False)  # looking runs nothing
        apps = all_apps(self.settings)
        computed = tuple(name for name, app in apps.items() if app.is_computed)
        return effective_config(self.settings, tuple(apps), computed, keyring)

    def init(
        self,
        *,
        models: str | None = None,
        migrations: str | Path | None = None,
        alembic: str | None = None,
        choose: Callable[[str, Sequence[str]], str] | None = None,
        ask: Callable[[str], bool] | None = None,
    ) -> "InitResult":
        """Set the project up for its own models, as `leadctl init`; overwrites nothing.

        `models` is `package.module:Base`; where it is not given and several are found, `choose` is
        asked.  `alembic` is the FILE or FILE:SECTION of an Alembic configuration in no usual place.
        What .gitignore lacks is added where `ask` says yes.
        """
        from leadctl.init.existing_models import init_own

        return init_own(
            self.settings,
            models=models,
            migrations=absolute(migrations) if migrations else None,
            alembic=alembic,
            choose=choose,
            ask=ask,
        )

    def init_starter(self) -> "InitResult":
        """Write a project to begin with, as `leadctl init --starter`; overwrites nothing."""
        from leadctl.init.starter import init_starter

        return init_starter(self.settings)

    def generate_key(self) -> "NewKey":
        """Return a new key for encrypted columns, as `leadctl keys generate`; kept nowhere."""
        from leadctl.keys.status import generate

        return generate()

    @property
    def _target_if_any(self) -> "Target | None":
        """The database that there is none of, but for a `Database`."""
        return None

    def new_empty(
        self, message: str, *, placement: Mapping[str, Any] | None = None
    ) -> "NewRevisions":
        """Write a revision without operations, as `leadctl migrate new --empty`.

        Where there is a database, it is to have what the revision would follow.
        """
        from leadctl.migrate.new import new_empty
        from leadctl.migrate.revisions import RevisionPlacement

        chosen = RevisionPlacement(**placement or {})
        return new_empty(self._target_if_any, self.app, message, chosen)

    def new_merge(self, message: str | None = None, *, renumber: Names = ()) -> "NewRevisions":
        """Write a revision that joins the history's branches, as `leadctl migrate new --merge`.

        Of files that share an id the one that the database has applied keeps it, or `renumber`
        names those that get one of their own.
        """
        from leadctl.migrate.new import new_merge

        return new_merge(
            self._target_if_any,
            self.app,
            message,
            renumber=names(renumber),
            lock_wait=self.settings.lock_wait,
            narrate=self.narrate,
        )

    def lint(
        self, revisions: Names = (), *, everything: bool = False, allow: Names = ()
    ) -> "LintResult":
        """Return dangerous statements of pending or named revisions, as `leadctl migrate lint`.

        The sizes of a database's tables count; without one, all count as big.  `allow` are rules
        whose findings pass.
        """
        from leadctl.migrate.preview import lint

        return lint(
            self._target_if_any,
            self.app,
            names(revisions),
            everything=everything,
            allow=names(allow),
            narrate=self.narrate,
        )

    def model_schema(self, table: str | None = None) -> "Schema":
        """Return the tables of the models, or one, as `leadctl schema show --models`."""
        from leadctl.schema.read import only, read

        found = read(self._models)
        return only(found, table) if table else found

    def validate_models(self) -> "Validation":
        """Check names, keys, indexes and times of the models, as `leadctl schema validate`."""
        from leadctl.schema.definition import validate

        return validate(self.model_schema())

    def dump_models(self) -> "SchemaDump":
        """Return the models as SQL, as `leadctl schema dump --models`."""
        from leadctl.schema.read import dump

        return dump(self._models)

    @property
    def _models(self) -> "Models":
        from leadctl.postgres.target import schema_of
        from leadctl.schema.read import Models

        return Models(self.app, schema_of(self.settings, self.app.name, None))

    def checks(self, only: Names = (), *, skip: Names = ()) -> "CheckList":
        """Return the health checks and their thresholds, as `leadctl health-check --list`."""
        from leadctl.health.run import listing, select

        return listing(select(self.settings, names(only), names(skip)))

    def inspect_reports(self) -> "ReportList":
        """Return the reports that there are, as `leadctl inspect`."""
        from leadctl.inspect.run import listing

        return listing()

    def write_reports(
        self,
        inspection: "Inspection",
        folder: str | Path,
        suffix: str,
        text_of: "Callable[[InspectReport], str]",
    ) -> "ReportFiles":
        """Write each report to a file of its own, as `leadctl inspect REPORT --to DIR`."""
        from leadctl.inspect.run import write

        return write(inspection, expanded(folder), suffix, text_of)

    def backups(self) -> "BackupList":
        """Return the backups of the folder, the newest first, as `leadctl backup list`."""
        from leadctl.backup.inventory import list_backups

        return list_backups(self.backup_folder)

    def show_backup(self, backup: str = "latest") -> "BackupDetails":
        """Return the contents of a backup, as `leadctl backup show`.

        `backup` is an id, its beginning, or "latest".  Raises UnknownBackup and BackupDamaged.
        """
        from leadctl.backup.inventory import show

        return show(self.backup_folder.find(backup))

    def copy_backup(self, backup: str, to: str | Path) -> "BackupCopy":
        """Copy a backup to another folder or bucket, as `leadctl backup copy`.

        Raises UnknownBackup, BackupDamaged, BackupFailed and BackupFolderUnusable.
        """
        from leadctl.backup.inventory import copy_backup

        folder = self._folder_at(object_url(str(to)) or absolute(to))
        found = self.backup_folder.find(backup)
        return copy_backup(found, folder, self.narrate, self.progress)

    def pin_backup(self, backup: str, *, pinned: bool = True) -> "BackupDetails":
        """Keep a backup from prune, or no longer, as `leadctl backup pin`."""
        self.backup_folder.find(backup).pin(pinned=pinned)
        return self.show_backup(backup)

    def prune_backups(self, *, confirmed: bool = False) -> "PruneResult":
        """Return which backups are old; remove them if `confirmed`, as `leadctl backup prune`."""
        from leadctl.backup.inventory import Retention, prune

        settings = self.settings
        retention = Retention(
            settings.backup_keep_daily,
            settings.backup_keep_weekly,
            settings.backup_keep_monthly,
            settings.backup_keep_minimum,
        )
        return prune(self.backup_folder, retention, confirmed=confirmed)

    def pitr_backup(self) -> "PitrBackup":
        """Make a base backup of the archived server, as `leadctl pitr backup`.

        Raises PitrNotSetUp, PitrFolderTaken and BarmanFailed.
        """
        from leadctl.pitr.status import back_up

        return back_up(self.pitr_archive, self.narrate)

    def pitr_status(self) -> "PitrStatus":
        """Return what the archive can restore, and its delay, as `leadctl pitr status`."""
        from leadctl.pitr.status import status

        return status(self.pitr_archive)

    def pitr_check(self) -> "PitrChecks":
        """Let Barman check its archive and its server, as `leadctl pitr check`."""
        from leadctl.pitr.status import check

        return check(self.pitr_archive)

    def cron(
        self, job: str = "cleanup", *, timeout: float | None = None, on_failure: str | None = None
    ) -> "Schedule":
        """Return a crontab's line for a job, as `leadctl schedule cron`.

        `timeout` is in seconds, `on_failure` a command.  Raises UsageError.
        """
        from leadctl.schedule import cron

        return cron(self.settings, job, seconds=timeout, on_failure=on_failure)

    def systemd(
        self,
        job: str = "cleanup",
        *,
        timeout: float | None = None,
        on_failure: str | None = None,
        write: str | Path | None = None,
    ) -> "Schedule":
        """Return a service and its timer, as `leadctl schedule systemd`; may write them."""
        from leadctl.schedule import systemd, write_files

        found = systemd(self.settings, job, seconds=timeout, on_failure=on_failure)
        if write is not None:
            write_files(found, absolute(write))
        return found

    def start_server(self) -> "ServerStatus":
        """Start the embedded server, making it where it is missing, as `leadctl db start`."""
        from leadctl.db import start
        from leadctl.postgres.target import wanted_extensions

        return start(self.settings.project, self.narrate, wanted_extensions(self.settings))

    def stop_server(self) -> "ServerStatus":
        """Stop the embedded server, as `leadctl db stop`; its data stays."""
        from leadctl.db import stop

        return stop(self.settings.project)

    def server_status(self) -> "ServerStatus":
        """Return whether the embedded server exists and runs, as `leadctl db status`."""
        from leadctl.db import status

        return status(self.settings.project)

    def destroy_server(self, confirm: Confirm = None) -> "Destroyed":
        """Remove the embedded server with all of its data, as `leadctl db destroy`."""
        from leadctl.db import destroy

        return destroy(self.settings.project, consent_of(confirm), self.narrate)


def settings_of(project: str | Path | None, flags: dict[str, str | None]) -> Settings:
    """Load settings as flags give them, from a folder or the current one."""
    return load_settings(flags, cwd=absolute(project) if project else None)


def project(
    folder: str | Path | None = None,
    *,
    app: str | None = None,
    env: str | None = None,
    narrate: Narrate = unheard,
    progress: Progress = silent,
) -> Project:
    """Return the project of a folder, or of the current one.  Raises ConfigurationError."""
    return Project(settings_of(folder, {"app": app, "env": env}), narrate, progress)
