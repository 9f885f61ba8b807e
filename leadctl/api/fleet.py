"""`Fleet`: one verb on each target of a fleet, as `--fleet NAME` does it.

A verb is given each target as a `FleetMember`, a `Database` as any other.  What is the same for all
(the app, the keys, the history of revisions, where they stand) is found once.
"""

import secrets
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote

from leadctl.api.database import Database
from leadctl.api.project import Confirm, Names, Project, consent_of, names, settings_of
from leadctl.errors import ConnectionFailed, Protected
from leadctl.fleet.run import FleetBounds, FleetReport, FleetRun, Outcome
from leadctl.fleet.targets import CatalogKind, FleetTarget, require_there
from leadctl.progress import Narrate, Progress, silent, unheard
from leadctl.text import counted

if TYPE_CHECKING:
    from leadctl.api.tenants import Tenants
    from leadctl.apps.registry import App
    from leadctl.crypto import Keyring
    from leadctl.fleet.migrations import SharedMigrations
    from leadctl.health.shared_readings import SharedReadings
    from leadctl.journal.guard import Consent
    from leadctl.migrate.status import MigrationStatus
    from leadctl.migrate.up import MigrateResult
    from leadctl.postgres.target import Target
    from leadctl.tenants.schemas import TenantList

P = ParamSpec("P")
T = TypeVar("T")


def _one_at_a_time(
    method: "Callable[Concatenate[Any, P], T]",
) -> "Callable[Concatenate[FleetMember, P], T]":
    """Let one member at a time run a method: Alembic and an app's own code are one a process."""

    @wraps(method)
    def alone(member: "FleetMember", /, *args: P.args, **given: P.kwargs) -> T:
        with member.fleet.shared.one_at_a_time:
            return method(member, *args, **given)

    return alone


@dataclass(frozen=True, eq=False)
class FleetMember(Database):
    """A target of a fleet: a database that shares with the other targets whatever is the same."""

    fleet: "Fleet" = field(kw_only=True)
    found_as: "CatalogKind" = field(default=None, kw_only=True)
    """What it was when the run began, in the catalog: then migrate does not make it."""

    @cached_property
    def app(self) -> "App":
        """The fleet's app."""
        return self.fleet.app

    @cached_property
    def app_if_named(self) -> "App":
        """The fleet's app, if one is named."""
        return self.fleet.app_if_named

    @cached_property
    def keyring(self) -> "Keyring":
        """The fleet's keys."""
        return self.fleet.keyring

    @property
    def _shared_readings(self) -> "SharedReadings":
        return self.fleet.readings(self.target)

    @property
    def tenants(self) -> "Tenants":
        """The tenant that the target is, alone."""
        return replace(
            super().tenants, listed=partial(self.fleet.tenant_of, self.target, self.found_as)
        )

    plan = _one_at_a_time(Database.plan)
    check = _one_at_a_time(Database.check)
    drift = _one_at_a_time(Database.drift)
    script = _one_at_a_time(Database.script)
    down = _one_at_a_time(Database.down)
    rehearse_down = _one_at_a_time(Database.rehearse_down)
    seed = _one_at_a_time(Database.seed)
    replant = _one_at_a_time(Database.replant)
    bulk_seed = _one_at_a_time(Database.bulk_seed)
    reset = _one_at_a_time(Database.reset)
    _migrate_alone = _one_at_a_time(Database.migrate)

    def migrate(
        self,
        to: str | None = None,
        *,
        steps: int | None = None,
        allow: Names = (),
        confirm: Confirm = None,
        backup: bool = False,
    ) -> "MigrateResult":
        """Apply pending revisions, as `Database.migrate`.

        The SQL of revisions that ask the database nothing is sent again as it was for the first.
        """
        shared, consent = self.fleet.shared, consent_of(confirm)
        given: dict[str, Any] = {
            "steps": steps, "allow": allow, "confirm": consent, "backup": backup
        }  # fmt: skip
        alone = partial(self._migrate_alone, to, **given)
        there = partial(require_there, self.target, self.found_as)
        return shared.migrate(
            self.target, consent, alone, to, steps, replays=not backup, before=there
        )

    def status(self) -> "MigrationStatus":
        """Return the state of each revision, as `Database.status`; many are read at once."""
        return self.fleet.shared.status(self.target) or super().status()


def _tenant(member: FleetMember) -> "TenantList":
    """Return revision, size and owner."""
    return member.tenants.list_tenants()


def _on_each(
    verb: str,
    method: "Callable[Concatenate[FleetMember, P], T]",
    ok: Callable[[T], bool] = lambda _: True,
    *,
    by_database: bool = False,
    confirmed: bool = False,
    destroys: bool = False,
) -> "Callable[Concatenate[Fleet, P], FleetReport[T]]":
    """Make of a member's method the fleet's, which calls it for each target.

    Where a result is not `ok`, the answer is "no".  What is `confirmed` is so once, for all.
    """

    @wraps(method)
    def on_each(fleet: "Fleet", /, *args: P.args, **given: P.kwargs) -> FleetReport[T]:
        if confirmed:
            asked: Any = given.get("confirm")
            given["confirm"] = fleet.consent(verb, asked, destroys=destroys)

        def one(member: FleetMember) -> Outcome[T]:
            found = method(member, *args, **given)
            return Outcome(found, 0 if ok(found) else 1)

        return fleet.each(verb, one, by_database=by_database)

    on_each.__doc__ = f"{(method.__doc__ or '').partition(', as `')[0]}, of each target."
    return on_each


@dataclass(frozen=True, eq=False)
class Fleet(Project):
    """A fleet of leadctl.toml; made by `Fleet.of`.

    Each method does one verb on every target, for itself, and returns a report: what a target
    fails with is in there, and is not raised.  Where a verb is guarded, `confirm` is the fleet's
    name, or a Consent.
    """

    name: str = ""
    only: tuple[str, ...] = ()
    """Patterns of the targets that are meant; all where there are none."""
    bounds: FleetBounds = field(default_factory=FleetBounds)
    run: str = field(
        default_factory=lambda: f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    )
    """The id of the run, which the journal of each target has."""
    _readings: "dict[Hashable, SharedReadings]" = field(
        default_factory=dict, init=False, repr=False
    )
    """What health checks have read, by database."""
    _listed: "dict[Hashable, TenantList]" = field(default_factory=dict, init=False, repr=False)
    """The tenants of each database."""
    _guard: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @classmethod
    def of(
        cls,
        name: str,
        *,
        app: str | None = None,
        env: str | None = None,
        url: str | None = None,
        project: str | Path | None = None,
        only: Names = (),
        bounds: FleetBounds | None = None,
        narrate: Narrate = unheard,
        progress: Progress = silent,
    ) -> "Fleet":
        """Return a fleet of leadctl.toml; nothing is connected to yet.

        `only` are patterns of its targets, `bounds` how many are done, and how many at a time.
        Raises ConfigurationError.
        """
        settings = settings_of(project, {"app": app, "env": env, "url": url})
        return cls(
            settings, narrate, progress, name=name, only=names(only), bounds=bounds or FleetBounds()
        )

    @cached_property
    def targets(self) -> tuple[FleetTarget, ...]:
        """The targets, found when first asked for.

        Raises UnknownFleet, EmptyFleet, UsageError, and what connecting raises.
        """
        from leadctl.fleet.targets import declared, find_targets

        config = declared(self.settings, self.name)
        return find_targets(config, self._resolve, self.only)

    def _resolve(self, env: str | None) -> "Target":
        from leadctl.postgres.target import resolve

        settings = replace(self.settings, env=env) if env else self.settings
        return resolve(settings, app=self.app_if_named.name or settings.app, narrate=self.narrate)

    @cached_property
    def shared(self) -> "SharedMigrations":
        """The state that the members' migrations share."""
        from leadctl.fleet.migrations import SharedMigrations

        found = [each.target for each in self.targets if each.target]
        return SharedMigrations(found, lambda: self.app, self._timeouts)

    def member(self, target: FleetTarget) -> FleetMember:
        """Return a target as a database."""
        settings = replace(self.settings, env=target.env or self.settings.env)
        if self._has_folders:
            folder = quote(target.env or str(target.database), safe=" ").replace(".", "%2E")
            settings = replace(settings, backup_dir=settings.backup_dir / folder)
        return FleetMember(settings, fleet=self, found_as=target.found_as, chosen=target.target)

    @cached_property
    def _has_folders(self) -> bool:
        """Whether each database has a folder of backups of its own: where there may be several.

        It is not asked how many were found or are meant now, so that a backup is found again.
        """
        from leadctl.fleet.targets import declared

        config = declared(self.settings, self.name)
        return bool(config.envs or config.databases)

    @cached_property
    def databases(self) -> tuple[FleetTarget, ...]:
        """The targets, one for each database that they are in, which has the database's name."""
        from leadctl.fleet.standings import database_key

        found: dict[object, FleetTarget] = {}
        for each in self.targets:
            found.setdefault(database_key(each.target) if each.target else each.name, each)
        return tuple(
            replace(each, name=each.env or str(each.database), stands_for_all=True)
            if each.found_as != "database"
            else each
            for each in found.values()
        )

    def each(
        self,
        verb: str,
        do: Callable[[FleetMember], Outcome[T]],
        *,
        by_database: bool = False,
    ) -> FleetReport[T]:
        """Do something with each target, or one target of each database, and report of each."""
        targets = self.databases if by_database else self.targets
        if len(self.databases) < len(targets):
            self.app_if_named.require_table_in_each_schema()
        shared = self.shared  # before there are several threads
        self._readings.clear()
        self._listed.clear()
        try:
            return FleetRun(
                self.name,
                verb,
                self.run,
                targets,
                lambda each: do(self.member(each)),
                self.bounds,
                self.progress,
            ).go()
        finally:
            shared.close()

    def readings(self, target: "Target") -> "SharedReadings":
        """Return what health checks of the targets in one database share."""
        from leadctl.fleet.standings import database_key
        from leadctl.health.shared_readings import SharedReadings

        with self._guard:
            if not self._readings:
                schemas: dict[Hashable, list[str]] = {}
                for each in self.targets:
                    if each.target is not None:
                        schemas.setdefault(database_key(each.target), []).append(each.target.schema)
                for where, own in schemas.items():
                    self._readings[where] = SharedReadings(own)
        return self._readings[database_key(target)]

    def tenant_of(self, target: "Target", found_as: "CatalogKind") -> "TenantList":
        """Return the tenant that a target is; those of a database are read once."""
        from leadctl.fleet.standings import database_key
        from leadctl.tenants.schemas import list_tenants, read_database

        if found_as == "database":
            return read_database(target, self.app)
        with self.shared.one_at_a_time:
            if (where := database_key(target)) not in self._listed:
                self._listed[where] = list_tenants(target, self.app)
            listed = self._listed[where]
        own = tuple(each for each in listed.tenants if each.name == target.schema)
        return replace(listed, tenants=own)

    def consent(self, verb: str, confirm: Confirm, *, destroys: bool = False) -> "Consent":
        """Return the consent that each target is given.

        Where the verb `destroys`, the guard of every database is asked before the first is touched.
        Raises Protected and NotConfirmed, which say how many databases it is about.
        """
        from leadctl.journal.guard import Consent, require_yes

        given = consent_of(confirm)
        about = f"the fleet {self.name} ({self._described})"
        if given.confirm is not None and given.confirm != self.name:
            raise Protected(
                f"{verb} was confirmed for {given.confirm!r}, but this is {about}. "
                "Nothing was changed.",
                hint=f"Confirm with the fleet's name: --confirm {self.name}",
            )
        plain = Consent(given.yes, given.confirm, fleet=self.name)
        if not destroys or plain.names_fleet:
            return plain
        guarded = self._guarded(verb)
        if guarded and given.ask_name is not None:
            question = f"{verb} on {about}: {guarded}. Type the fleet's name to continue"
            if given.ask_name(question) == self.name:
                return plain._replace(confirm=self.name)
        if guarded:
            raise Protected(
                f"{verb} is refused on {about}: {guarded}. Nothing was changed.",
                hint=f"If this is intended, rerun with --confirm {self.name}",
            )
        if not given.yes:
            require_yes(about, verb, given)
        return plain._replace(yes=True)

    @property
    def _described(self) -> str:
        targets, databases = counted(len(self.targets), "target"), len(self.databases)
        return targets if databases == len(self.targets) else (
            f"{targets} in {counted(databases, 'database')}"
        )  # fmt: skip

    def _guarded(self, verb: str) -> str | None:
        """Say which databases want the fleet's name; None where none does."""
        from leadctl.journal.guard import Consent, foresee

        found = []
        for each in self.databases:
            if each.target is None:
                continue
            try:
                foresee(each.target, verb, Consent(yes=True, fleet=self.name))
            except ConnectionFailed:
                continue  # it is asked again before it is touched, and holds up no other
            except Protected as error:
                found.append((each, error))
        if not found:
            return None
        first = found[0][1].message.partition(": ")[2].removesuffix(" Nothing was changed.")
        verb = "is" if len(found) == 1 else "are"
        return f"{counted(len(found), 'database')} of them {verb} guarded ({first.rstrip('.')})"

    # --- the verbs --------------------------------------------------------------------------

    migrate = _on_each("migrate", FleetMember.migrate, confirmed=True)
    plan = _on_each("migrate", FleetMember.plan, lambda it: it.ok)
    status = _on_each("migrate status", FleetMember.status, lambda it: it.ok)
    check = _on_each("migrate check", FleetMember.check, lambda it: it.ok)
    drift = _on_each("migrate drift", FleetMember.drift, lambda it: it.ok)
    down = _on_each("migrate down", FleetMember.down, confirmed=True, destroys=True)
    seed = _on_each("seed", FleetMember.seed)
    replant = _on_each("seed --replant", FleetMember.replant, confirmed=True, destroys=True)
    reset = _on_each("reset", FleetMember.reset, confirmed=True, destroys=True)
    cleanup = _on_each("cleanup", FleetMember.cleanup, lambda it: it.ok, confirmed=True)
    backup = _on_each("backup", FleetMember.backup, by_database=True)
    verify_backup = _on_each(
        "backup verify", FleetMember.verify_backup, lambda it: it.ok, by_database=True
    )
    stats = _on_each("stats", FleetMember.stats)
    health = _on_each("health-check", FleetMember.health, lambda it: it.status == "ok")
    inspect = _on_each("inspect", FleetMember.inspect)
    keys = _on_each("keys status", FleetMember.keys, lambda it: it.ok)
    history = _on_each("history", FleetMember.history, by_database=True)
    tenants = _on_each("tenants list", _tenant)
