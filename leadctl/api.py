"""The operations for host applications: `leadctl.database()`, and a method for each verb.

They are the functions that the command line calls, with the same results and the same errors;
nothing is printed and nothing exits.  What a method needs is imported when it is called.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leadctl.apps.registry import App, find_app
from leadctl.db.target import Target, resolve
from leadctl.settings import Settings, load_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from leadctl.operations.health.health import Health
    from leadctl.operations.history import RunHistory
    from leadctl.operations.keys.status import KeysStatus
    from leadctl.operations.migrate.status import MigrationStatus
    from leadctl.operations.migrate.up import MigrateResult
    from leadctl.operations.reset import ResetResult
    from leadctl.operations.seed import SeedResult
    from leadctl.operations.seedfiles.export import Exported
    from leadctl.operations.stats.overview import Overview
    from leadctl.operations.stats.report import ReportResult

Narrate = Callable[[str], None]


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
        from leadctl.operations.guard import Consent
        from leadctl.operations.migrate.limits import Limits
        from leadctl.operations.migrate.up import up

        settings = self.settings
        return up(
            self.target,
            self.app,
            to=to,
            steps=steps,
            allow=allow,
            consent=Consent(confirm=confirm),
            limits=Limits(settings.lock_wait, settings.lock_timeout, settings.statement_timeout),
            narrate=self.narrate,
            progress=_silent,
        )

    def status(self) -> "MigrationStatus":
        """Return the state of each revision.  Raises what connecting raises."""
        from leadctl.operations.migrate.status import status

        return status(self.target, self.app)

    def seed(self) -> "SeedResult":
        """Bring in fixtures and seed files.  Raises MissingKey and SeedFailed."""
        from leadctl.crypto.sources import keyring_of
        from leadctl.operations.seed import journaled_seed

        return journaled_seed(self.target, self.app, keyring_of(self.settings), self.narrate)

    def export(self, table: str, path: Path, *, where: str | None = None) -> "Exported":
        """Write rows of a table as a seed file, secrets masked."""
        from leadctl.operations.seedfiles.export import export

        return export(self.target, self.app, table, where=where, path=path)

    def reset(self, *, confirm: str) -> "ResetResult":
        """Drop the app's objects, migrate and seed; `confirm` is the database's name.

        Raises Protected, NotConfirmed and DependentObjects before anything is changed.
        """
        from leadctl.crypto.sources import keyring_of
        from leadctl.operations.guard import Consent
        from leadctl.operations.migrate.limits import Limits
        from leadctl.operations.reset import reset

        settings = self.settings
        return reset(
            self.target,
            self.app,
            keyring_of(settings),
            Consent(confirm=confirm),
            limits=Limits(settings.lock_wait, settings.lock_timeout, settings.statement_timeout),
            narrate=self.narrate,
            progress=_silent,
        )

    def stats(self, *, exact: bool = False) -> "Overview":
        """Return sizes and rows; estimated ones unless `exact`."""
        from leadctl.operations.stats.overview import overview

        return overview(self.target, self.app, exact=exact)

    def report(self, name: str, *, user: str | None = None) -> "ReportResult":
        """Return one of the app's reports.  Raises UnknownReport and UnknownUser."""
        from leadctl.operations.stats.report import run_report

        return run_report(self.target, self.app, name, user=user)

    def health(self, *, wait: float = 0) -> "Health":
        """Check the database; `wait` is how many seconds to try to reach it."""
        from leadctl.crypto.sources import keyring_of
        from leadctl.operations.backup.configured import known_folder
        from leadctl.operations.health.health import Timing, health
        from leadctl.operations.health.selection import select

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
        from leadctl.crypto.sources import keyring_of
        from leadctl.operations.keys.status import keys_status

        return keys_status(self.target, self.app, keyring_of(self.settings))

    def history(self, limit: int = 20) -> "RunHistory":
        """Return the newest runs of the journal."""
        from leadctl.operations.history import history

        return history(self.target, limit)

    def engine(self) -> "Engine":
        """Return this process's SQLAlchemy engine for the app, made once and thread-safe."""
        from leadctl.db.engine import engine

        return engine(self.settings, app=self.app.name)


def database(
    url: str | None = None,
    *,
    app: str | None = None,
    env: str | None = None,
    schema: str | None = None,
    project: Path | None = None,
    narrate: Narrate = lambda _: None,
) -> Database:
    """Return the database that the arguments name; what they leave out, settings say.

    `env` is an [env.NAME] of leadctl.toml, `project` the folder to look for it from.  Nothing is
    connected to yet, but an embedded server is started where there is no URL and it exists.
    Raises ConfigurationError.
    """
    flags = {"url": url, "app": app, "env": env, "schema": schema}
    settings = load_settings(flags, cwd=project)
    found = find_app(settings)
    return Database(settings, found, resolve(settings, app=found.name, narrate=narrate), narrate)


def _silent(done: int, total: int, unit: str) -> None:
    """Progress that nobody looks at."""
