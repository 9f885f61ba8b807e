"""What the migrations of a fleet share: the history, where all stand, and what is done once."""

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING

import psycopg

from leadctl.apps.registry import App
from leadctl.errors import LeadctlError
from leadctl.fleet.standings import Standing, Standings, database_key
from leadctl.journal.guard import Consent
from leadctl.migrate.revision import AppliedNow, Revision
from leadctl.migrate.revisions import History, read_history
from leadctl.migrate.status import MigrationStatus, status_of
from leadctl.migrate.up import MigrateResult
from leadctl.postgres.connect import Timeouts, connect
from leadctl.postgres.target import Target

if TYPE_CHECKING:
    from leadctl.fleet.replay import Alike, Replayer
    from leadctl.fleet.scripts import RevisionScript

_MOST_USES = 200
"""Schemas that a session migrates: what a server process knows of tables, it never forgets."""


class SharedMigrations:
    """The migrations of an app's schemas in one run of a fleet."""

    def __init__(
        self, targets: Iterable[Target], find_app: Callable[[], App], timeouts: Timeouts
    ) -> None:
        self._find_app = find_app
        self._timeouts = timeouts
        self._targets = tuple(targets)
        self._scripts: dict[str, RevisionScript | None] = {}
        """By revision; None for one that cannot be sent as it is."""
        self._alike: dict[Hashable, dict[Hashable, Alike]] = {}
        self._idle: dict[Hashable, list[Replayer]] = {}
        self._guard = threading.Lock()
        self._first = threading.Lock()
        self.one_at_a_time = threading.RLock()
        """Held by whoever runs Alembic, or an app's own code: they are one for a process."""

    @property
    def _app(self) -> App:
        return self._known[0]

    @property
    def history(self) -> History:
        """The app's revisions, read once.  Raises MigrationsInvalid."""
        return self._known[1]

    @property
    def _known(self) -> tuple[App, History, Standings]:
        with self.one_at_a_time:
            return self._read

    @cached_property
    def _read(self) -> tuple[App, History, Standings]:
        app = self._find_app()
        return app, read_history(app.versions, complete=False), Standings(self._targets, app)

    def standing(self, target: Target) -> Standing | None:
        """Return where a target stands, once; None where it must be asked alone."""
        app, history, standings = self._known
        found = standings.take(target)
        return found if found and found.is_in_order(app, history) else None

    def pending(self, standing: Standing, to: str | None, steps: int | None) -> list[Revision]:
        """Return what a target lacks up to a goal, or the next `steps` of it."""
        return self.history.pending(standing.current, self.history.goal(to, standing.current))[
            :steps
        ]

    def migrate(
        self,
        target: Target,
        consent: Consent,
        alone: Callable[[], MigrateResult],
        to: str | None = None,
        steps: int | None = None,
        *,
        replays: bool = True,
        before: Callable[[], object] = lambda: None,
    ) -> MigrateResult:
        """Apply what a target lacks up to a goal, or the next `steps` of it.

        `alone` is `migrate` for this target alone: it does it where nothing is known of what the
        revisions send, the target is not as it was seen, or nothing `replays` that here.  `before`
        is called where anything is to be applied.
        """
        standing = self.standing(target)
        pending = self.pending(standing, to, steps) if standing is not None else []
        if standing is not None and not pending:
            return self._result(target, standing.current)
        before()
        if standing is None or not replays:
            return alone()
        with self._first_of(target, pending) as is_first:
            if is_first:
                result = alone()
                self._learn(target, pending)
                return result
        return self._replay(target, standing, pending, consent) or alone()

    @contextmanager
    def _first_of(self, target: Target, pending: Sequence[Revision]) -> Iterator[bool]:
        """Wait for who is the first to apply revisions, and be it where nobody was."""
        with self._first:
            if not self._is_known(pending):
                self._recall(target, pending)
            is_first = not self._is_known(pending)
            if is_first:
                yield True
        if not is_first:
            yield False

    def _recall(self, target: Target, pending: Sequence[Revision]) -> None:
        """Read what is recorded of revisions, in an earlier run."""
        from leadctl.fleet.scripts import recorded_scripts

        with suppress(LeadctlError, psycopg.Error):
            with connect(target, "fleet", read_only=True) as connection:
                found = recorded_scripts(connection, self._app, pending)
            if len(found) == len(pending):  # else the first to apply them tells of all
                self._scripts |= found

    def status(self, target: Target) -> MigrationStatus | None:
        """Return what `migrate status` says of a target where all is applied; else None."""
        app, history, standings = self._known
        standing = standings.take(target)
        if standing is None:
            return None
        found = status_of(target, app, history, standing.current, standing.recorded)
        return found if found.ok else None

    def _result(
        self, target: Target, current: Sequence[str], applied: Sequence[AppliedNow] = ()
    ) -> MigrateResult:
        """Return what `migrate` says of a target."""
        return MigrateResult(
            app=self._app.name,
            database=target.database,
            schema=target.schema,
            current=", ".join(current) or None,
            applied=tuple(applied),
            pending=tuple(each.id for each in self.history.pending(current)),
        )

    def _replay(
        self,
        target: Target,
        standing: Standing,
        pending: Sequence[Revision],
        consent: Consent,
    ) -> MigrateResult | None:
        """Apply pending revisions by scripts that are known; None where `migrate` must do it."""
        scripts = [found for each in pending if (found := self._scripts.get(each.id))]
        if len(scripts) < len(pending) or not standing.is_plain:
            return None
        from leadctl.fleet.replay import NotReplayed, Replayer

        key = database_key(target)
        with self._guard:
            alike = self._alike.setdefault(key, {})
            idle = self._idle.setdefault(key, [])
            replayer = idle.pop() if idle else None
        try:
            replayer = replayer or Replayer(target, self._app, self._timeouts)
            applied = replayer.run(target, standing, scripts, consent, alike)
        except (NotReplayed, LeadctlError):
            return None  # `migrate` says what it was
        finally:
            if replayer is not None:
                self._give_back(key, replayer)
        at = {*standing.current, *(each.id for each in pending)}
        current = tuple(sorted(self.history.effective(sorted(at))))
        return self._result(target, current, applied)

    def _give_back(self, key: Hashable, replayer: "Replayer") -> None:
        if replayer.serves and replayer.uses < _MOST_USES:
            with self._guard:
                self._idle[key].append(replayer)
        else:
            replayer.close()

    def _is_known(self, pending: Iterable[Revision]) -> bool:
        return all(each.id in self._scripts for each in pending)

    def _learn(self, target: Target, applied: Sequence[Revision]) -> None:
        """Find out which of the revisions that were just applied may be sent as they are."""
        found: dict[str, RevisionScript] = {}
        may_record = all(each.stands_alone for each in applied)
        # An env.py may do anything around them; what one target sent is of use where it is kept.
        if self._app.environment is None and (may_record or len(self._targets) > 1):
            from leadctl.fleet.scripts import proven_scripts, record_scripts

            with connect(target, "fleet") as connection:
                session = (connection, target.schema, self._app, self.history)
                found = proven_scripts(*session, applied)
                if may_record:
                    scripts = {each: found.get(each.id) for each in applied}
                    record_scripts(connection, self._app, scripts)
        self._scripts |= {each.id: found.get(each.id) for each in applied}

    def close(self) -> None:
        """End the sessions."""
        with self._guard:
            idle, self._idle = self._idle, {}
        for replayer in (each for replayers in idle.values() for each in replayers):
            with suppress(LeadctlError):
                replayer.close()
