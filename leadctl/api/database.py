"""`Database`: an app on a target, with a method for each verb of the command line.

The command line calls the same methods, with the same results and the same errors; nothing is
printed and nothing exits.  What a method needs is imported when it is called.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from leadctl.api.project import Confirm, Names, Project, consent_of, names, settings_of
from leadctl.errors import NoTarget, UsageError
from leadctl.files import absolute, object_url
from leadctl.progress import Narrate, Progress, silent, unheard

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from leadctl.api.studio import Studio
    from leadctl.api.tenants import Tenants
    from leadctl.apps.registry import App
    from leadctl.apps.retention import Rule
    from leadctl.backup.create import BackupOptions, CreatedBackup, Hooks
    from leadctl.backup.reader import Rehearse, VerifyResult
    from leadctl.backup.storage import BackupFolder, DatabaseId
    from leadctl.cleanup.context import ArchiveDestination, Bounds
    from leadctl.cleanup.preview import Preview, RuleList
    from leadctl.cleanup.results import CleanupResult, PastRuns
    from leadctl.cleanup.undo import UnarchiveResult, UndeleteResult
    from leadctl.db import ShellCommand, TargetUrl
    from leadctl.health.check import FixResult
    from leadctl.health.run import Health
    from leadctl.health.shared_readings import SharedReadings
    from leadctl.init.from_database import DatabaseInit
    from leadctl.inspect.run import Inspection
    from leadctl.journal.guard import Consent, DatabaseIdentity
    from leadctl.journal.runs import RunHistory
    from leadctl.keys.rotate import RotateResult
    from leadctl.keys.status import KeysStatus
    from leadctl.migrate.dev import Dev, Push
    from leadctl.migrate.diff import Drift, SchemaCheck, Sides
    from leadctl.migrate.down import DownPlan, DownRehearsal, DownResult
    from leadctl.migrate.new import NewRevisions
    from leadctl.migrate.plan import MigrationPlan
    from leadctl.migrate.preview import MigrationScript
    from leadctl.migrate.resolve import Adopted, Resolved
    from leadctl.migrate.status import MigrationHistory, MigrationStatus
    from leadctl.migrate.up import MigrateResult
    from leadctl.partition import PartitionResult
    from leadctl.pitr.setup import PitrOff, PitrSetup
    from leadctl.pitr.status import PitrRehearsal
    from leadctl.postgres.connect import Timeouts
    from leadctl.postgres.target import Target
    from leadctl.reset import ResetPlan, ResetResult
    from leadctl.restore.backups import RestorableBackup
    from leadctl.restore.copied_tables import TableRestore
    from leadctl.restore.kept import KeptDropped, KeptList
    from leadctl.restore.preflight import RestorePlan
    from leadctl.restore.restorable import Restorable
    from leadctl.restore.restore import RestoreResult
    from leadctl.restore.tables import RestoredTables
    from leadctl.schema.definition import Schema, Validation
    from leadctl.schema.read import SchemaDump
    from leadctl.seed.bulk.load import BulkResult
    from leadctl.seed.export import Exported
    from leadctl.seed.seed import SeedResult
    from leadctl.stats import Overview, ReportResult


class _Reporters(TypedDict):
    """Who is told what a verb does, and how far it is."""

    narrate: Narrate
    progress: Progress


class _RunOptions(_Reporters):
    """The same, and how long a verb may wait."""

    timeouts: "Timeouts"


@dataclass(frozen=True, eq=False)
class Database(Project):
    """A project's app on a target; made by `database`.

    Each method connects for itself, and closes.  Where a verb is guarded, `confirm` is the
    database's name, or a Consent.
    """

    may_create: bool = False
    """Whether the embedded server is made where there is none."""
    chosen: "Target | None" = field(default=None, kw_only=True)
    """The database, if it is not the one that settings name."""
    recovered: "tuple[BackupFolder, Sequence[Any]] | None" = field(default=None, kw_only=True)
    """The only backup, and its private keys, if it is a recovered server's."""

    @cached_property
    def target(self) -> "Target":
        """The database; an embedded server that exists is started.  Raises ConfigurationError."""
        from leadctl.postgres.target import resolve

        if self.chosen is not None:
            return self.chosen
        app = self.app_if_named.name or self.settings.app
        found = resolve(self.settings, app=app, may_create=self.may_create, narrate=self.narrate)
        return replace(found, schema=self.tenant) if self.tenant else found

    @cached_property
    def backup_folder(self) -> "BackupFolder":
        """The folder of backups, whether it is there or not."""
        return self.recovered[0] if self.recovered else super().backup_folder

    @cached_property
    def identities(self) -> Sequence[Any]:
        """The private keys that read backups, if a file is set.  Raises InvalidIdentity."""
        return self.recovered[1] if self.recovered else super().identities

    def foresee(self, verb: str, confirm: Confirm) -> None:
        """Raise now what the guard of a verb would raise later; ask no question.

        `verb` is what messages call it.  Raises NoIdentity, Protected and NotConfirmed.
        """
        from leadctl.journal.guard import foresee

        foresee(self.target, verb, consent_of(confirm))

    def _ahead(
        self,
        verb: str | None,
        confirm: Confirm,
        show: Callable[[Any], object] | None,
        plan: Callable[[], Any],
    ) -> None:
        """Ask the guard of a verb ahead of all else, then show what is planned to who asked."""
        if verb is not None:
            self.foresee(verb, confirm)
        if show is not None:
            show(plan())

    @property
    def _target_app(self) -> "tuple[Target, App]":
        return self.target, self.app

    @property
    def _target_app_if_named(self) -> "tuple[Target, App]":
        return self.target, self.app_if_named

    @property
    def _reporters(self) -> _Reporters:
        return {"narrate": self.narrate, "progress": self.progress}

    @property
    def _run_options(self) -> _RunOptions:
        return {**self._reporters, "timeouts": self._timeouts}

    # --- migrate ----------------------------------------------------------------------------

    def migrate(
        self,
        to: str | None = None,
        *,
        steps: int | None = None,
        allow: Names = (),
        confirm: Confirm = None,
        backup: bool = False,
    ) -> "MigrateResult":
        """Apply pending revisions, all or up to one, as `leadctl migrate`.

        On a protected database a plan with findings wants their rules in `allow`, or `confirm`;
        `backup` makes a backup first.  Raises LockHeld, RevisionFailed, Protected and what
        connecting raises.
        """
        from leadctl.migrate.up import up

        return up(
            *self._target_app,
            to=to,
            steps=steps,
            allow=names(allow),
            consent=consent_of(confirm),
            **self._run_options,
            before=self._backup_before(wanted=backup),
        )

    def plan(
        self,
        to: str | None = None,
        *,
        steps: int | None = None,
        allow: Names = (),
        tried: bool = True,
    ) -> "MigrationPlan":
        """Return what `migrate` would lock, cost and lose, as `leadctl migrate --plan`.

        It is tried in a scratch database, unless `tried` is false.
        """
        from leadctl.migrate.preview import plan

        return plan(*self._target_app, to=to, steps=steps, allow=names(allow), tried=tried)

    def script(self, to: str | None = None, *, steps: int | None = None) -> "MigrationScript":
        """Return what `migrate` would run as SQL for psql, as `leadctl migrate --sql`."""
        from leadctl.migrate.preview import script

        return script(*self._target_app, to=to, steps=steps, timeouts=self._timeouts)

    def status(self) -> "MigrationStatus":
        """Return the state of each revision, as `leadctl migrate status`."""
        from leadctl.migrate.status import status

        return status(*self._target_app)

    def migration_history(self) -> "MigrationHistory":
        """Return the applied revisions, when and by whom, as `leadctl migrate history`."""
        from leadctl.migrate.status import history

        return history(*self._target_app_if_named)

    def check(self) -> "SchemaCheck":
        """Compare models, migrations and database, as `leadctl migrate check`; changes nothing."""
        from leadctl.migrate.diff import check

        return check(*self._target_app, self.narrate)

    def drift(self) -> "Drift":
        """Return the changes made by hand, as `leadctl migrate drift`.

        Raises OperationFailed where nothing was applied yet.
        """
        from leadctl.migrate.diff import drift

        return drift(*self._target_app, self.narrate)

    def diff(
        self, before: str = "database", after: str = "models", *, written: bool = True
    ) -> "Sides":
        """Compare two schemas: `leadctl migrate diff`.

        Each is a revision, base, models, database, record, a URL or an [env.NAME].  Without
        `written` its script is not asked for, and less is read.
        """
        from leadctl.migrate.diff import sides

        return sides(*self._target_app, before, after, self._other, self.narrate, written=written)

    def _other(self, name: str) -> "Target":
        """Return the target that a URL or the name of an environment means."""
        settings = self.settings
        schema = settings.schema if settings.is_flag("schema") else None
        flag = "url" if "://" in name else "env"
        flags = {"app": self.app_if_named.name or None, "schema": schema, flag: name}
        return Database(settings_of(settings.project, flags), self.narrate).target

    @property
    def _target_if_any(self) -> "Target | None":
        try:
            return self.target
        except NoTarget:
            return None

    def new(
        self,
        message: str,
        *,
        renames: Names = (),
        fills: Names = (),
        plain: bool = False,
        ask: Callable[[str], str] | None = None,
        placement: Mapping[str, Any] | None = None,
    ) -> "NewRevisions":
        """Write the revisions that take the migrations to the models, as `leadctl migrate new`.

        `renames` are OLD:NEW; `ask` is asked about what may be one, and returns what is typed.
        `fills` are TABLE.COLUMN=SQL, for rows that lack what becomes required.
        `plain` has short forms, for tables below lint's limit; `placement` is as for
        `alembic revision`: head, splice, branch_label, depends_on, rev_id, version_path.
        """
        from leadctl.migrate.new import new
        from leadctl.migrate.required_columns import filling
        from leadctl.migrate.revisions import RevisionPlacement

        return new(
            *self._target_app,
            message,
            renames=names(renames),
            safe=not plain,
            ask=ask,
            ready=filling(self.target, names(fills), ask, self.narrate),
            placement=RevisionPlacement(**placement or {}),
            narrate=self.narrate,
        )

    def new_sql(
        self, message: str, text: str, *, placement: Mapping[str, Any] | None = None
    ) -> "NewRevisions":
        """Write a revision of SQL statements, as `leadctl migrate new --sql`."""
        from leadctl.migrate.new import new_sql
        from leadctl.migrate.revisions import RevisionPlacement

        chosen = RevisionPlacement(**placement or {})
        return new_sql(*self._target_app, message, text, self.narrate, chosen)

    def new_revert(self, revision: str, message: str | None = None) -> "NewRevisions":
        """Write a revision that undoes another, as `leadctl migrate new --revert`."""
        from leadctl.migrate.new import new_revert

        return new_revert(*self._target_app, message, revision, self.narrate)

    def dev(
        self,
        message: str,
        *,
        renames: Names = (),
        fills: Names = (),
        plain: bool = False,
        ask: Callable[[str], str] | None = None,
        confirm: Confirm = None,
    ) -> "Dev":
        """Apply pending revisions, then write and apply one, as `leadctl migrate dev`.

        `fills` are TABLE.COLUMN=SQL, for rows that lack what becomes required.  Raises Protected on
        a protected database, and NotConfirmed where rows would be lost.
        """
        from leadctl.migrate.dev import dev

        return dev(
            *self._target_app,
            message,
            renames=names(renames),
            fills=names(fills),
            safe=not plain,
            ask=ask,
            consent=consent_of(confirm),
            **self._run_options,
        )

    def push(self, confirm: Confirm = None) -> "Push":
        """Make a local database what the models say, without a revision, as `leadctl db push`."""
        from leadctl.migrate.dev import push

        return push(
            *self._target_app,
            consent=consent_of(confirm),
            timeouts=self._timeouts,
            narrate=self.narrate,
        )

    def down_plan(self, to: str | None = None, *, steps: int = 1) -> "DownPlan":
        """Return what `down` would undo and lose; changes nothing."""
        from leadctl.migrate.down import plan

        return plan(*self._target_app, to, steps)

    def down(
        self,
        to: str | None = None,
        *,
        steps: int = 1,
        confirm: Confirm = None,
        show: "Callable[[DownPlan], object] | None" = None,
    ) -> "DownResult":
        """Undo the last revisions, or all behind one, as `leadctl migrate down`.

        `show` is called with what `down_plan` says, before anybody is asked.

        Raises Protected, NotConfirmed, Irreversible and LockHeld before anything is changed.
        """
        from leadctl.migrate.down import down

        consent = consent_of(confirm)
        # What goes is shown before consent is missed: only protection is asked ahead of it.
        ahead = consent._replace(yes=True) if show else consent
        self._ahead("migrate down", ahead, show, partial(self.down_plan, to, steps=steps))
        return down(*self._target_app, to, steps, consent=consent, **self._run_options)

    def rehearse_down(self, to: str | None = None, *, steps: int = 1) -> "DownRehearsal":
        """Try revisions up, down and up in a scratch, as `leadctl migrate down --rehearse`."""
        from leadctl.migrate.down import rehearse

        return rehearse(*self._target_app, to, steps, self.narrate)

    def resolve(self, resolution: str, revision: str) -> "Resolved":
        """Correct the record of applied revisions, as `leadctl migrate resolve`.

        `resolution` is "accept_edit", "applied" or "rolled_back".  Raises LockHeld.
        """
        from leadctl.migrate.resolve import Resolution, resolve

        return resolve(
            *self._target_app,
            Resolution[resolution.upper()],
            revision,
            lock_wait=self.settings.lock_wait,
            narrate=self.narrate,
        )

    def adopt_drift(self, message: str) -> "Adopted":
        """Write a revision of changes by hand, as `leadctl migrate resolve --adopt-drift`."""
        from leadctl.migrate.resolve import adopt

        return adopt(
            *self._target_app, message, lock_wait=self.settings.lock_wait, narrate=self.narrate
        )

    def init_from_database(
        self, *, encrypt: Names = (), drop_history: bool = False, prisma: str | Path | None = None
    ) -> "DatabaseInit":
        """Read the database into models and a baseline, as `leadctl init --from-database`.

        `encrypt` are columns, TABLE.COLUMN; `prisma` is the folder of Prisma's migrations.
        """
        from leadctl.init.from_database import init_from_database

        return init_from_database(
            self.settings,
            self._undeclared,
            encrypt=names(encrypt),
            drop_history=drop_history,
            prisma=absolute(prisma) if prisma else None,
            narrate=self.narrate,
        )

    def take_over(
        self, *, drop_history: bool = False, prisma: str | Path | None = None
    ) -> "DatabaseInit":
        """Write the revision that makes the tables an app's, as `leadctl init --take-over`."""
        from leadctl.init.from_database import take_over

        return take_over(
            self.settings,
            self._undeclared,
            drop_history=drop_history,
            prisma=absolute(prisma) if prisma else None,
            narrate=self.narrate,
        )

    @property
    def _undeclared(self) -> "Target":
        """The target of an app that is not declared yet."""
        from leadctl.postgres.target import resolve

        return resolve(self.settings, app=self.settings.app, narrate=self.narrate)

    # --- rows -------------------------------------------------------------------------------

    def seed(self) -> "SeedResult":
        """Bring in fixtures and seed files, as `leadctl seed`.  Raises MissingKey, SeedFailed."""
        from leadctl.seed.seed import journaled_seed

        return journaled_seed(*self._target_app, self.keyring, self.narrate)

    def replant(
        self, *, confirm: Confirm = None, show: "Callable[[ResetPlan], object] | None" = None
    ) -> "SeedResult":
        """Empty the app's tables and seed them, as `leadctl seed --replant`; all or nothing.

        `show` is called with what `reset_plan` says, before anybody is asked.  Raises Protected,
        NotConfirmed and DependentObjects, and what `seed` raises.
        """
        from leadctl.seed.seed import REPLANT, replant

        self._ahead(REPLANT, confirm, show, self.reset_plan)
        return replant(
            *self._target_app,
            self.keyring,
            consent_of(confirm),
            timeouts=self._timeouts,
            narrate=self.narrate,
        )

    def bulk_seed(
        self,
        rows: int,
        *,
        random_seed: int | None = None,
        scale: Names = (),
        span: str | None = None,
        confirm: Confirm = None,
    ) -> "BulkResult":
        """Add synthetic rows, so many in all, as `leadctl seed --bulk`; all or none.

        `scale` gives tables their rows, TABLE=N; `span` is the days that rows are made in: "365d",
        or "2025-01-01..2025-12-31".
        """
        from leadctl.seed.bulk.load import bulk_seed
        from leadctl.seed.bulk.plan import bulk_options

        options = bulk_options(rows, random_seed, names(scale), span)
        consent = consent_of(confirm)
        # What is added loses nothing, so only a protected database needs more than the command.
        self.foresee("bulk seed", consent._replace(yes=True))
        return bulk_seed(*self._target_app, self.keyring, options, consent, **self._run_options)

    def export(
        self,
        table: str,
        path: str | Path | None = None,
        *,
        where: str | None = None,
        for_spreadsheet: bool = False,
    ) -> "Exported":
        """Write rows of a table as a seed file, secrets masked, as `leadctl seed --export`.

        The file is TABLE.yaml among the seed files where none is given.  `for_spreadsheet` leaves
        no cell of a CSV that is a formula.
        """
        from leadctl.seed.export import export

        folder = self.app.seed_files or self.settings.project / "seeds"
        file = absolute(path) if path else folder / f"{table}.yaml"
        return export(
            *self._target_app, table, where=where, path=file, for_spreadsheet=for_spreadsheet
        )

    def reset_plan(self) -> "ResetPlan":
        """Return what `reset` would drop; changes nothing."""
        from leadctl.reset import plan

        return plan(*self._target_app)

    def reset(
        self,
        *,
        confirm: Confirm = None,
        backup: bool = False,
        show: "Callable[[ResetPlan], object] | None" = None,
    ) -> "ResetResult":
        """Drop the app's objects, migrate and seed, as `leadctl reset`.

        `show` is called with what `reset_plan` says, before anybody is asked.

        Raises Protected, NotConfirmed and DependentObjects before anything is changed.
        """
        from leadctl.reset import reset

        self._ahead("reset", confirm, show, self.reset_plan)
        return reset(
            *self._target_app,
            self.keyring,
            consent_of(confirm),
            **self._run_options,
            before=self._backup_before(wanted=backup),
        )

    def keys(self) -> "KeysStatus":
        """Count values per encrypted column and key, as `leadctl keys status`."""
        from leadctl.keys.status import keys_status

        return keys_status(*self._target_app, self.keyring)

    def rotate_keys(
        self,
        *,
        encrypt_plaintext: bool = False,
        encrypt_foreign: bool = False,
        dry_run: bool = False,
    ) -> "RotateResult":
        """Re-encrypt values of other keys with the primary key, as `leadctl keys rotate`.

        What a killed call left is done by the next one.  What it writes is read with the primary
        key alone, so a database that does not say what it is is refused.  Raises NoIdentity,
        MissingKey and LockHeld.
        """
        from leadctl.keys.rotate import rotate

        return rotate(
            *self._target_app,
            lambda: self.keyring,
            encrypt_plaintext=encrypt_plaintext,
            encrypt_foreign=encrypt_foreign,
            dry_run=dry_run,
            lock_wait=self.settings.lock_wait,
            **self._reporters,
        )

    def partition(
        self, table: str, *, by: str = "month", column: str | None = None
    ) -> "PartitionResult":
        """Write the revision that partitions a table by time, as `leadctl partition`.

        `by` is "month", "week" or "day".  Raises CannotPartition.
        """
        from leadctl.cleanup.partitions import period_named
        from leadctl.partition import partition

        period = period_named(by)
        return partition(*self._target_app, table, period, column, self._rules())

    # --- cleanup ----------------------------------------------------------------------------

    def _rules(
        self, only: Names = (), *, days: int | None = None, archive: bool = False
    ) -> "tuple[Rule, ...]":
        from leadctl.cleanup.rules import rules_of

        only = names(only)
        return rules_of(self.app, self.settings, only=only, days=days, archive_all=archive)

    def cleanup_rules(self, rules: Names = (), *, days: int | None = None) -> "RuleList":
        """Return the retention rules and what each would take, as `leadctl cleanup --list`."""
        from leadctl.cleanup.preview import list_rules

        return list_rules(*self._target_app, self._rules(rules, days=days))

    def cleanup_preview(self, rules: Names = (), *, days: int | None = None) -> "Preview":
        """Plan `cleanup`, as `leadctl cleanup --dry-run`; changes nothing.  Raises UnknownRule."""
        from leadctl.cleanup.preview import preview

        return preview(*self._target_app, self._rules(rules, days=days))

    def cleanup(
        self,
        rules: Names = (),
        *,
        days: int | None = None,
        max_seconds: float | None = None,
        max_rows: int | None = None,
        archive: str | Path | None = None,
        confirm: Confirm = None,
        bounds: "Bounds | None" = None,
    ) -> "CleanupResult":
        """Delete rows due by all retention rules, or by the named ones, as `leadctl cleanup`.

        `days` takes the place of their age; `archive` is a folder or URL where every row goes
        first.  A rule past its fuse does nothing without `confirm`.  `bounds`, in the place of the
        two, can be asked to stop.  What one rule fails with is the result's `error`.
        Raises UnknownRule, InvalidRule and UnindexedForeignKey before anything is deleted.
        """
        from leadctl.cleanup.context import Bounds
        from leadctl.cleanup.rules import lenient_rules
        from leadctl.cleanup.run import cleanup

        return cleanup(
            *self._target_app,
            self._rules(rules, days=days, archive=archive is not None),
            lenient=lenient_rules(self.app, self.settings, days),
            archive=self._archive_destination(archive),
            consent=self._consent_past_fuse(confirm),
            bounds=bounds or Bounds(max_seconds, max_rows),
            **self._reporters,
        )

    def _consent_past_fuse(self, confirm: Confirm) -> "Consent":
        consent = consent_of(confirm)
        if consent.confirm is not None:
            self.foresee("cleanup past its fuse", consent)
        return consent

    def _archive_destination(self, folder: str | Path | None) -> "ArchiveDestination":
        from leadctl.backup.stream import read_recipients
        from leadctl.cleanup.context import ArchiveDestination

        chosen = folder and (object_url(str(folder)) or absolute(folder))
        recipients = tuple(read_recipients(self._recipients))
        return ArchiveDestination(chosen or self.settings.archive_dir, recipients)

    @property
    def _recipients(self) -> list[str]:
        """The public keys that backups and archives are encrypted to."""
        from leadctl.backup.stream import split_recipients

        return split_recipients(self.settings.backup_recipients)

    def past_cleanups(self) -> "PastRuns":
        """Return what the last runs of each rule of cleanup did, as the journal has it."""
        from leadctl.cleanup.results import past_runs

        return past_runs(self.target, self.app.name, [rule.name for rule in self._rules()])

    def unarchive(self, path: str | Path) -> "UnarchiveResult":
        """Put the rows of an archive back, as `leadctl cleanup unarchive`.

        `path` is its folder, its manifest or one of its files, there or in object storage.
        """
        from leadctl.cleanup.undo import unarchive

        archive = object_url(str(path)) or absolute(path)
        return unarchive(*self._target_app, archive, self.identities, self.progress)

    def undelete(self, table: str, key: str) -> "UndeleteResult":
        """Bring a soft-deleted row back, as `leadctl cleanup undelete`.  Raises RowNotFound."""
        from leadctl.cleanup.undo import undelete

        return undelete(*self._target_app, table, key)

    # --- backups ----------------------------------------------------------------------------

    def backup(
        self, *, role_passwords: bool = False, exclude: Names = (), exclude_data: Names = ()
    ) -> "CreatedBackup":
        """Back up the whole database to the folder that settings say, as `leadctl backup`.

        Of a tenant (`of_tenant`) its schema alone is backed up.  `exclude` are tables that are left
        out, `exclude_data` those whose rows are.
        Raises MissingClient, InvalidRecipient, BackupFolderUnusable and BackupFailed.
        """
        from leadctl.backup.create import create

        options = replace(
            self._backup_options,
            role_passwords=role_passwords,
            tenant=self.tenant,
            recipients=self._recipients,
            exclude=names(exclude),
            exclude_data=names(exclude_data),
        )
        with self._hooks.failure(self.target.database, self.narrate):
            made = create(self.target, self.backup_folder, options, self.narrate, self.progress)
            self._copy_elsewhere(made.id)
        self._hooks.success(made)
        return made

    @property
    def _hooks(self) -> "Hooks":
        """The commands that are run after a backup."""
        from leadctl.backup.create import Hooks

        settings = self.settings
        return Hooks(settings.backup_on_success, settings.backup_on_failure, settings.project)

    def _copy_elsewhere(self, backup: str) -> None:
        """Copy a new backup to BACKUP_COPY_TO, if it is set.  Raises BackupFailed."""
        from leadctl.backup.inventory import copy_new

        if (to := self.settings.backup_copy_to) is not None:
            folder = self._folder_at(to)
            found = self.backup_folder.find(backup)
            copy_new(found, folder, self.narrate, self.progress)

    def _backup_before(self, *, wanted: bool) -> Callable[[], None]:
        """Return what makes a backup before a change, if it is wanted, and says how to go back."""

        def make() -> None:
            made = self.backup()
            self.narrate(
                f"Backup {made.id} in {made.path.parent}. "
                f"To undo what follows: leadctl restore {made.id}"
            )

        return make if wanted else lambda: None

    def verify_backup(
        self, backup: str = "latest", *, restore: bool = False, embedded: bool = False
    ) -> "VerifyResult":
        """Compare every byte of a backup with its hash, as `leadctl backup verify`.

        What a private key is there for is read; `restore` restores it, too, on the target's server
        or the `embedded` one.  Raises InvalidIdentity and UnknownBackup.
        """
        from leadctl.backup.reader import BackupReader, verify

        reader = BackupReader(self.backup_folder.find(backup), self.identities)
        return verify(reader, self._rehearse(embedded=embedded) if restore or embedded else None)

    def _rehearse(self, *, embedded: bool) -> "Rehearse":
        from leadctl.restore.backups import rehearse, rehearse_embedded

        narrate, progress, project = self.narrate, self.progress, self.settings.project
        if embedded:
            return partial(rehearse_embedded, project=project, narrate=narrate, progress=progress)
        return partial(rehearse, target=self.target, narrate=narrate, progress=progress)

    # --- restore ----------------------------------------------------------------------------

    def restore_plan(
        self, backup: str | Path = "latest", *, into: str | None = None
    ) -> "RestorePlan":
        """Return what `restore` would do, as `leadctl restore --dry-run`; changes nothing."""
        from leadctl.restore.preflight import plan

        target = self.target.on(into) if into else self.target
        return plan(target, self._restorable(backup), member=self.target)

    def restore_preflight(
        self,
        plan: "RestorePlan",
        backup: str | Path = "latest",
        *,
        owners: bool = True,
        trust_script: bool = False,
        partly: bool = False,
    ) -> None:
        """Raise for what would stop the restore that `restore_plan` planned; changes nothing."""
        from leadctl.restore.preflight import preflight

        source = self._restorable(backup, trusted=trust_script)
        preflight(source, plan, owners=owners, partly=partly)

    def restore(
        self,
        backup: str | Path = "latest",
        *,
        into: str | None = None,
        owners: bool = True,
        rows: bool = True,
        jobs: int | None = None,
        drop_old: bool = False,
        trust_script: bool = False,
        keep_going: bool = False,
        skip: Names = (),
        confirm: Confirm = None,
        show: "Callable[[RestorePlan], object] | None" = None,
    ) -> "RestoreResult":
        """Restore a backup, or a file of anyone's pg_dump, as `leadctl restore`.

        It becomes a new database `into`, or takes the place of this one, which wants `confirm`; the
        old one is kept under another name.  `trust_script` lets a script end its transaction and
        reach out of its database.  With `keep_going` what fails is left out, `skip` are entries as
        pg_restore lists them: the result says what is not there.  `show` is called with what
        `restore_plan` says, before anybody is asked.  Raises Protected, NotConfirmed,
        LockHeld, OutsideStatement, BackupDamaged and RestoreFailed.
        """
        from leadctl.restore.restorable import JOBS, Loading
        from leadctl.restore.restore import restore

        if into is None:
            self.foresee("restore", confirm)
        loading = Loading(
            **self._reporters,
            owners=owners,
            rows=rows,
            jobs=jobs or JOBS,
            skip=names(skip),
            keep_going=keep_going,
        )
        return restore(
            self.target.on(into) if into else self.target,
            self._restorable(backup, trusted=trust_script),
            consent_of(confirm),
            loading,
            app=self.app_if_named.name,
            member=self.target,
            new=into is not None,
            drop_old=drop_old,
            lock_wait=self.settings.lock_wait,
            show=show or (lambda _: None),
        )

    def on(self, name: str) -> "Database":
        """Return the same app on another database of the server."""
        return replace(self, chosen=self.target.on(name))

    def _restorable(self, backup: str | Path, *, trusted: bool = False) -> "Restorable":
        """Return what is to be restored: a file or folder where there is one, else a backup."""
        from leadctl.restore.restorable import is_dump

        path = absolute(backup)
        if backup != "latest" and is_dump(path):
            from leadctl.restore.foreign_dumps import open_dump

            return open_dump(path, self.identities, self.target.schema, trusted=trusted)
        return self._stored(str(backup), any_database=True)

    def _stored(self, backup: str, *, any_database: bool = False) -> "RestorableBackup":
        """Return a backup of leadctl's own.

        The latest is one of this database, if there is one.  Where less than a database
        comes back, no other's is taken unless it is named.  Raises UnknownBackup.
        """
        from leadctl.restore.backups import RestorableBackup
        from leadctl.restore.restorable import is_dump

        if backup != "latest" and is_dump(absolute(backup)):
            raise UsageError(
                "Only leadctl's own backups bring back parts of a database, or one in place.",
                hint="Restore the file into another database with --into, and copy what is needed.",
            )
        folder, of = self.backup_folder, self._id if backup == "latest" else None
        find = folder.find if any_database else folder.find_own
        return RestorableBackup(find(backup, of, self.narrate), self.identities)

    @cached_property
    def _id(self) -> "DatabaseId | None":
        """What tells this database's backups from others'; None where each will do."""
        from leadctl.backup.snapshot import id_of

        return None if self.recovered else id_of(self.target)

    def restore_tables(
        self, tables: Names, backup: str = "latest", *, owners: bool = True, dry_run: bool = False
    ) -> "TableRestore":
        """Make tables again that are gone, as `leadctl restore --table`.

        The rows of those that exist go into a schema next to them.  Raises TableNotInBackup,
        RelationExists, MissingRole, LockHeld and RestoreFailed.
        """
        from leadctl.restore.copied_tables import restore_by_name

        return restore_by_name(
            self.target,
            self._stored(backup),
            names(tables),
            app=self.app_if_named.name,
            owners=owners,
            dry_run=dry_run,
            waits=self._timeouts,
            narrate=self.narrate,
        )

    def restore_rows(
        self,
        tables: Names = (),
        backup: str = "latest",
        *,
        dry_run: bool = False,
        confirm: Confirm = None,
    ) -> "RestoredTables":
        """Bring rows back into tables, or into all, as `leadctl restore --data-only`."""
        from leadctl.restore.tables import restore_tables

        if not dry_run:
            self.foresee("restore of tables", confirm)
        return restore_tables(
            self.target,
            self._stored(backup),
            names(tables),
            consent_of(confirm),
            app=self.app_if_named.name,
            dry_run=dry_run,
            lock_timeout=self.settings.lock_timeout,
            narrate=self.narrate,
        )

    def restore_in_place(
        self, backup: str = "latest", *, owners: bool = True, confirm: Confirm = None
    ) -> "TableRestore":
        """Put the app's own schemas back in one transaction, as `leadctl restore --in-place`.

        For a role that may not make databases; what it owns there is dropped, which wants
        `confirm`.  Raises Protected, NotConfirmed, DependentObjects, LockHeld and RestoreFailed;
        then nothing was changed.
        """
        from leadctl.restore.in_place import VERB, restore_in_place

        self.foresee(VERB, confirm)
        return restore_in_place(
            *self._target_app_if_named,
            self._stored(backup),
            consent_of(confirm),
            owners=owners,
            waits=self._timeouts,
            narrate=self.narrate,
        )

    def kept(self) -> "KeptList":
        """Return the databases and schemas that restores left, as `leadctl db kept`."""
        from leadctl.restore.kept import kept

        return kept(self.target)

    def drop_kept(self, kept: Names, confirm: Confirm = None) -> "KeptDropped":
        """Drop what restores left, by name: `leadctl db kept --drop`.

        Raises Protected, NotConfirmed, UnknownKept and DependentObjects.
        """
        from leadctl.restore.kept import drop_kept

        self.foresee("drop of what restores left", confirm)
        return drop_kept(self.target, names(kept), consent_of(confirm), app=self.app_if_named.name)

    # --- point in time ----------------------------------------------------------------------

    def pitr_setup(self) -> "PitrSetup":
        """Set the archive of this server up, or renew it, as `leadctl pitr setup`.

        Raises MissingExtra, MissingProgram, InsufficientPrivilege, PitrFolderTaken, BarmanFailed.
        """
        from leadctl.pitr.setup import set_up

        keep_days = self.settings.pitr_keep_days
        return set_up(self.target, self.pitr_archive, keep_days=keep_days, narrate=self.narrate)

    def pitr_off(self, confirm: Confirm = None) -> "PitrOff":
        """Stop the receiver and drop the slot, as `leadctl pitr off`; the archive is kept.

        Raises Protected, NotConfirmed, PitrNotSetUp, PitrFolderTaken and BarmanFailed.
        """
        from leadctl.pitr.setup import switch_off

        self.foresee("pitr off", confirm)
        return switch_off(self.target, self.pitr_archive, consent_of(confirm), self.narrate)

    def pitr_rehearse(self) -> "PitrRehearsal":
        """Recover the newest moment next to the server, and read it, as `leadctl pitr rehearse`.

        Raises MomentOutOfReach, NoSpace, BarmanFailed, RecoveryFailed and LockHeld.
        """
        from leadctl.pitr.status import rehearse

        return rehearse(self.pitr_archive, self._backup_options, **self._reporters)

    @property
    def _backup_options(self) -> "BackupOptions":
        """How a database is read for a backup, also one that was recovered."""
        from leadctl.backup.create import BackupOptions

        return BackupOptions((), self.settings.lock_wait, self.app_if_named.version_table)

    @contextmanager
    def as_of(
        self, moment: datetime | None = None, *, before_run: int | None = None
    ) -> "Iterator[Database]":
        """Recover the server as of a moment, and yield this database with that as its only backup.

        Each `restore…` of what is yielded restores from it: `leadctl restore --at`.  A moment
        without a zone is UTC; `before_run` is the number of a run in the journal.  The recovered
        server runs on a socket only, and is gone with the block.  Raises MomentOutOfReach,
        UnknownRun, PitrNotSetUp, NoSpace, BarmanFailed, RecoveryFailed, UnknownDatabase, LockHeld.
        """
        from leadctl.pitr.recover import backup_as_of, moment_before_run

        if before_run is not None:
            moment = moment_before_run(self.target, before_run)
        with backup_as_of(
            self.pitr_archive, moment, self.target, self._backup_options, **self._reporters
        ) as (backups, identity):
            yield replace(self, chosen=self.target, recovered=(backups, (identity,)))

    # --- looking ----------------------------------------------------------------------------

    def stats(self, *, exact: bool = False) -> "Overview":
        """Return sizes and rows, as `leadctl stats`; estimated ones unless `exact`."""
        from leadctl.stats import overview

        return overview(*self._target_app_if_named, count=exact, narrate=self.narrate)

    def report(
        self, name: str, *, user: str | None = None, since: datetime | None = None
    ) -> "ReportResult":
        """Return one of the app's reports, as `leadctl stats REPORT`.

        `user` is an id or an email address.  Raises UnknownReport and UnknownUser.
        """
        from leadctl.stats import run_report

        return run_report(*self._target_app, name, user=user, since=since, narrate=self.narrate)

    def health(
        self,
        only: Names = (),
        *,
        skip: Names = (),
        wait: float = 0,
        timeout: float = 20,
        interval: float = 0,
    ) -> "Health":
        """Check the database, as `leadctl health-check`; a problem found is a result, not an error.

        Seconds: `wait` to try to reach it, `timeout` for all checks in all, `interval` between two
        looks at counters.
        """
        from leadctl.health.run import Timing, health, select

        return health(
            *self._target_app_if_named,
            lambda: self.keyring,
            lambda: (rule.name for rule in self._rules()),
            select(self.settings, names(only), names(skip)),
            Timing(timeout, interval, wait, self.narrate),
            app_was_named=self.settings.is_set("app"),
            folders=(*self._backup_folders, self._known_archive),
            shared=self._shared_readings,
        )

    @property
    def _shared_readings(self) -> "SharedReadings | None":
        """What health checks of the database's other schemas have read."""
        return None

    def fix(
        self, only: Names = (), *, skip: Names = (), confirm: Confirm = None
    ) -> "tuple[FixResult, ...]":
        """Fix what checks find and what loses nothing: `leadctl health-check --fix`.

        Each step is asked for: it wants a Consent that says yes, or asks.  Raises NotConfirmed.
        """
        from leadctl.health.fix import fix

        chosen = [check.name for check in self.checks(only, skip=skip).checks]
        consent = consent_of(confirm)
        return fix(*self._target_app_if_named, chosen, consent, self._timeouts, self.narrate)

    def inspect(self, *reports: str) -> "Inspection":
        """Look into the server, as `leadctl inspect REPORT`; all reports where none is named."""
        from leadctl.inspect.run import find, in_all, inspect

        wanted = [find(report) for report in reports] if reports else in_all()
        return inspect(self.target, self.app_if_named.schemas, wanted, self.narrate)

    def studio(self, *, timeout: float = 30, reveal: Confirm = None) -> "Studio":
        """Return a look at tables and rows: `leadctl studio`.

        `timeout` is how many seconds a statement may take; secrets are masked unless `reveal` is
        there, the database's name or a Consent, and that is journaled.
        """
        from leadctl.api.studio import Studio
        from leadctl.studio.session import Access

        consent = None if reveal is None else consent_of(reveal)
        return Studio(
            Access(*self._target_app_if_named, self.keyring, timeout, consent, self.narrate)
        )

    @property
    def tenants(self) -> "Tenants":
        """The tenants in the database: `leadctl tenants`."""
        from leadctl.api.tenants import Tenants

        def backup(name: str, database: bool) -> "CreatedBackup":
            return (self.on(name) if database else self.of_tenant(name)).backup()

        return Tenants(self, self.target, self._timeouts, backup, self._other)

    def schema(self, table: str | None = None) -> "Schema":
        """Return the tables of the database, or one, as `leadctl schema show`.

        `leadctl schema diagram` draws them.
        """
        from leadctl.schema.read import only, read

        found = read(self.target)
        return only(found, table) if table else found

    def validate_schema(self) -> "Validation":
        """Check names, keys, indexes and times, as `leadctl schema validate --database`."""
        from leadctl.schema.definition import validate

        return validate(self.schema())

    def dump_schema(self) -> "SchemaDump":
        """Return the schema as SQL by pg_dump, as `leadctl schema dump`."""
        from leadctl.schema.read import dump

        return dump(self.target)

    def history(self, limit: int = 20) -> "RunHistory":
        """Return the newest runs of the journal, as `leadctl history`."""
        from leadctl.journal.runs import history

        return history(self.target, limit)

    def identity(self) -> "DatabaseIdentity":
        """Return what the database says it is, as `leadctl db environment`."""
        from leadctl.journal.guard import show

        return show(self.target)

    def set_identity(
        self,
        environment: str | None = None,
        *,
        protected: bool | None = None,
        confirm: Confirm = None,
    ) -> "DatabaseIdentity":
        """Set the environment or the protection; None stays.  Raises Protected."""
        from leadctl.journal.guard import change

        return change(self.target, environment, protected=protected, consent=consent_of(confirm))

    def url(self) -> "TargetUrl":
        """Return the URL for other tools, without the password, as `leadctl db url`."""
        from leadctl.db import url

        return url(self.target)

    def shell(self) -> "ShellCommand":
        """Return how to start psql on the database: `leadctl db shell`."""
        from leadctl.db import shell

        return shell(self.target, self.narrate)

    def engine(self) -> "Engine":
        """Return this process's SQLAlchemy engine for this database, made once and thread-safe."""
        from leadctl.postgres.engine import application_engine

        return application_engine(self.target, self.settings)


def database(
    url: str | None = None,
    *,
    app: str | None = None,
    env: str | None = None,
    schema: str | None = None,
    project: str | Path | None = None,
    narrate: Narrate = unheard,
    progress: Progress = silent,
) -> Database:
    """Return the database that the arguments name; what they leave out, settings say.

    `env` is an [env.NAME] of leadctl.toml, `project` the folder to look for it from.  Nothing is
    connected to yet, nor is an embedded server started.  Raises ConfigurationError.
    """
    flags = {"url": url, "app": app, "env": env, "schema": schema}
    return Database(settings_of(project, flags), narrate, progress)
