"""`Tenants`: the tenants of a database, and what is done with each."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from leadctl.api.project import Confirm, Project, consent_of

if TYPE_CHECKING:
    from leadctl.apps.registry import App
    from leadctl.backup.create import CreatedBackup
    from leadctl.backup.reader import BackupReader
    from leadctl.journal.guard import Consent
    from leadctl.migrate.up import MigrateResult
    from leadctl.postgres.connect import Timeouts
    from leadctl.postgres.target import Target
    from leadctl.tenants.citus import NodeMove
    from leadctl.tenants.create import CreatedTenant
    from leadctl.tenants.drop import DroppedTenant, DropPlan
    from leadctl.tenants.move import MovedTenant, OpenedTenant
    from leadctl.tenants.rename import RenamedTenant
    from leadctl.tenants.restore import RestoredTenant
    from leadctl.tenants.schemas import TenantList, TenantRun


@dataclass(frozen=True)
class Tenants:
    """The tenants of a database; made by `Database.tenants`."""

    project: Project
    target: "Target"
    timeouts: "Timeouts"
    backup: "Callable[[str, bool], CreatedBackup]"
    """Makes a backup of a tenant: a schema, or a whole database."""
    other: "Callable[[str], Target]"
    """Returns the target that a URL or an [env.NAME] names."""
    listed: "Callable[[], TenantList] | None" = None
    """Returns the tenants without asking the database, where a fleet has read them."""

    @property
    def _target_app(self) -> "tuple[Target, App]":
        return self.target, self.project.app

    def _run(self, name: str, consent: "Consent") -> "TenantRun":
        from leadctl.tenants.schemas import TenantRun

        return TenantRun(*self._target_app, name, consent, self.timeouts, self.project.narrate)

    def list_tenants(self, pattern: str | None = None) -> "TenantList":
        """Return the tenants whose names fit a pattern, or all, as `leadctl tenants list`."""
        from leadctl.tenants.schemas import list_tenants

        return self.listed() if self.listed else list_tenants(*self._target_app, pattern)

    def create_tenant(
        self,
        name: str,
        *,
        database: bool = False,
        like: str | None = None,
        owner: str | None = None,
        fixtures: bool = True,
        confirm: Confirm = None,
    ) -> "CreatedTenant":
        """Make a tenant: schema, revisions, fixtures and grants, as `leadctl tenants create`.

        It is a schema, or a `database` of its own.  It has the owner and the grants of the tenant
        `like`; `owner` goes before that.  What a killed call left is continued by the next one.
        Raises InvalidTenantName, SchemaExists and DatabaseExists.
        """
        from leadctl.tenants.create import create_tenant

        return create_tenant(
            *self._target_app,
            self.project.keyring,
            name,
            database=database,
            like=like,
            owner=owner,
            fixtures=fixtures,
            migrate=partial(self._migrate, consent_of(confirm)),
            narrate=self.project.narrate,
        )

    def _migrate(self, consent: "Consent", tenant: "Target") -> "MigrateResult":
        """Apply all revisions to a tenant, as to a fleet of one: what they send may be known."""
        from leadctl.fleet.migrations import SharedMigrations
        from leadctl.migrate.up import up

        app, progress = self.project.app, self.project.progress
        alone = partial(
            up, tenant, app, consent=consent, timeouts=self.timeouts, narrate=self.project.narrate,
            progress=progress,
        )  # fmt: skip
        with closing(SharedMigrations([tenant], lambda: app, self.timeouts)) as shared:
            return shared.migrate(tenant, consent, alone)

    def drop_tenant(
        self,
        name: str,
        *,
        database: bool = False,
        backup: bool = False,
        confirm: Confirm = None,
        show: "Callable[[DropPlan], object] | None" = None,
    ) -> "DroppedTenant":
        """Drop a tenant with all that is in it, as `leadctl tenants drop`.

        It is a schema, or a `database` of its own, which nobody may be connected to.  `backup`
        makes a backup before; `show` is called with what goes, before anybody is asked.  Raises
        Protected, NotConfirmed, UnknownTenant, DependentObjects and DatabaseInUse; then nothing is
        changed.
        """
        from leadctl.tenants.drop import DROP, drop_database, drop_tenant, plan_drop

        consent = consent_of(confirm)
        # What goes is shown before consent is missed: only protection is asked ahead of it.
        ahead = consent._replace(yes=True) if show else consent
        self._foresee(f"{DROP} {name}", ahead, self.target.on(name) if database else None)
        if show is not None:
            show(plan_drop(*self._target_app, name, database=database))
        drop = drop_database if database else drop_tenant
        return drop(
            self._run(name, consent), lambda: self.backup(name, database).id if backup else None
        )

    def _foresee(self, verb: str, consent: "Consent", target: "Target | None" = None) -> None:
        from leadctl.journal.guard import foresee

        foresee(target or self.target, verb, consent)

    def rename_tenant(
        self, name: str, new: str, *, database: bool = False, confirm: Confirm = None
    ) -> "RenamedTenant":
        """Rename a tenant, with its records and the search paths to it: `leadctl tenants rename`.

        It is a schema, or a `database` of its own, which nobody may be connected to.  Raises
        Protected, NotConfirmed, UnknownTenant, SchemaExists, DatabaseExists and DatabaseInUse; then
        nothing is changed.
        """
        from leadctl.tenants.rename import RENAME, rename_database, rename_tenant

        consent, rename = consent_of(confirm), rename_database if database else rename_tenant
        self._foresee(f"{RENAME} {name}", consent, self.target.on(name) if database else None)
        return rename(self._run(name, consent), new)

    def restore_tenant(
        self,
        name: str,
        backup: str = "latest",
        *,
        owners: bool = True,
        dry_run: bool = False,
        confirm: Confirm = None,
    ) -> "RestoredTenant":
        """Put one tenant back, while others work on, as `leadctl restore --tenant`.

        `backup` is one of its own or of the whole database.  It is loaded and compared in one
        transaction, in which it takes the place of the schema; that is kept under another name.
        A dry run does the same, and rolls back.  Raises Protected, NotConfirmed, DependentObjects,
        LockHeld and RestoreFailed; then nothing was changed.
        """
        from leadctl.tenants.restore import RESTORE, restore_tenant
        from leadctl.tenants.schemas import tenant_exists

        consent = consent_of(confirm)
        if not dry_run and tenant_exists(self.target, name):
            self._foresee(f"{RESTORE} {name}", consent)
        reader = self._reader(name, backup)
        return restore_tenant(self._run(name, consent), reader, owners=owners, dry_run=dry_run)

    def move_tenant(
        self,
        name: str,
        to: str,
        *,
        database: bool = False,
        window: float = 600,
        owners: bool = True,
        confirm: Confirm = None,
    ) -> "MovedTenant":
        """Move a tenant to another database, a URL or an [env.NAME]: `leadctl tenants move`.

        It is a schema, or a `database` of its own, which moves to another server.  It is closed to
        writes for `window` seconds at most, copied, compared by counts and checksums, and opened
        there; the old one is kept, closed.  A failure opens it here again; what a killed call left
        is finished by the next one.  Raises Protected, NotConfirmed, UnknownTenant, SchemaExists,
        DatabaseExists and MoveFailed.
        """
        from leadctl.tenants.move import MOVE, move_tenant
        from leadctl.tenants.move_database import move_database

        consent = consent_of(confirm)
        self._foresee(f"{MOVE} {name}", consent, self.target.on(name) if database else None)
        move = move_database if database else move_tenant
        return move(self._run(name, consent), self.other(to), window=window, owners=owners)

    def move_to_node(self, name: str, node: str) -> "NodeMove":
        """Move a tenant within a Citus cluster: `leadctl tenants move --to-node`.

        `node` is HOST:PORT.  Raises UsageError, UnknownTenant and MoveFailed.
        """
        from leadctl.tenants.citus import move_to_node

        return move_to_node(
            *self._target_app, name, node, timeouts=self.timeouts, narrate=self.project.narrate
        )

    def open_tenant(
        self,
        name: str,
        *,
        database: bool = False,
        handed_over: bool = False,
        confirm: Confirm = None,
    ) -> "OpenedTenant":
        """Open a tenant that an ended move has left closed, as `leadctl tenants open`.

        One that was `handed_over` is taken back: only where its copy is gone.  Raises Protected,
        NotConfirmed and TenantMoving.
        """
        from leadctl.tenants.move import open_tenant
        from leadctl.tenants.move_database import open_database

        consent, reopen = consent_of(confirm), open_database if database else open_tenant
        self._foresee(f"opening of {name}", consent, self.target.on(name) if database else None)
        return reopen(self._run(name, consent), handed_over=handed_over)

    def _reader(self, name: str, backup: str) -> "BackupReader":
        """Return a backup of the tenant's own, or of the whole database that it is in."""
        from leadctl.backup.reader import BackupReader
        from leadctl.tenants.restore import find_backup

        folders = self.project.of_tenant(name).backup_folder, self.project.backup_folder
        found = find_backup(self.target, name, backup, *folders)
        return BackupReader(found, self.project.identities)
