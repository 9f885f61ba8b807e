"""Correcting the record of what is applied, where the database and the record disagree.

What was changed by hand may be adopted, too: it becomes a revision that is applied already.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from leadctl.apps.registry import App
from leadctl.catalog.definitions import read_names
from leadctl.errors import OperationFailed
from leadctl.journal import records
from leadctl.journal.lock import schema_lock
from leadctl.journal.records import AppliedRevision
from leadctl.journal.runs import journaled
from leadctl.migrate.diff import compare_with_record
from leadctl.migrate.drafts import compose
from leadctl.migrate.integrity import missing_revisions, open_history, read_current, read_verified
from leadctl.migrate.recorder import named_by_models, record_fingerprint, recorded_facts
from leadctl.migrate.revision import Revision
from leadctl.migrate.revision_writer import WrittenRevision, check_writable, write_drafts
from leadctl.migrate.revisions import History, read_history
from leadctl.postgres.connect import Connection
from leadctl.postgres.target import Target
from leadctl.progress import Narrate


class Resolution(Enum):
    """What is right."""

    ACCEPT_EDIT = "edit accepted"
    """The file as it is now: what was changed since does nothing else."""
    APPLIED = "applied"
    """The database: it has what the revision does."""
    ROLLED_BACK = "rolled back"
    """The database: it has nothing of what the revision does."""


@dataclass(frozen=True)
class Resolved:
    """What was corrected."""

    app: str
    database: str
    schema: str
    resolution: Resolution
    revisions: tuple[str, ...]
    """Those whose record was changed; none where the record was right."""
    current: str | None


@dataclass(frozen=True)
class Adopted:
    """The revisions that were written, and count as applied; none where nothing had drifted."""

    app: str
    database: str
    schema: str
    revisions: tuple[WrittenRevision, ...]


def resolve(
    target: Target,
    app: App,
    resolution: Resolution,
    name: str,
    *,
    lock_wait: float,
    narrate: Narrate,
) -> Resolved:
    """Correct the record of a revision; nothing but records is changed.

    `lock_wait` is in seconds.  Raises UnknownRevision, OperationFailed for what cannot be, and
    LockHeld.
    """
    history = read_history(app.versions, complete=False)
    with schema_lock(target, "resolve", lock_wait, narrate) as session:
        current = read_current(session, target, app)
        with journaled(target, "migrate", app.name, adopts=True) as entry, session.transaction():
            correction = _Correction(session, target, app, history, current)
            change: dict[Resolution, Callable[[Revision], list[str]]] = {
                Resolution.ACCEPT_EDIT: correction.accept_edit,
                Resolution.APPLIED: correction.apply,
                Resolution.ROLLED_BACK: correction.roll_back,
            }
            if resolution is Resolution.ROLLED_BACK and correction.lacks(name):
                changed = correction.forget(name)
            else:
                changed = change[resolution](history.get(name))
            after = read_current(session, target, app)
            entry.note(**{resolution.value.replace(" ", "_"): changed})
    return Resolved(
        app.name,
        target.database,
        target.schema,
        resolution,
        tuple(changed),
        ", ".join(after) or None,
    )


def adopt(target: Target, app: App, message: str, *, lock_wait: float, narrate: Narrate) -> Adopted:
    """Write what was changed by hand as revisions, and record them as applied.

    Applied to another database they do there what was done here by hand.  `lock_wait` is in
    seconds.  Raises OperationFailed where revisions are pending or it cannot be written.
    """
    check_writable(app)
    history = open_history(target, app)
    written: list[WrittenRevision] = []
    with schema_lock(target, "resolve", lock_wait, narrate) as session:
        current = read_verified(session, target, app, history)
        if history.pending(current):
            raise OperationFailed(
                f"Revisions are pending on {target.database}, which this one would follow.",
                hint="Apply them first with: leadctl migrate",
            )
        found = compare_with_record(session, target, app, narrate)
        if not found.drift.ok:
            drafts = compose(target, found.should, found.found)
            written = write_drafts(app, history, message, drafts)
            for each in written:
                for lost in each.loses:
                    narrate(f"{each.revision} loses {lost} when it is applied.")
            made = {each.object for each in found.drift.differences if each.change == "extra"}
            history = read_history(app.versions)
            correction = _Correction(session, target, app, history, current)
            with (
                journaled(target, "migrate", app.name, adopts=True) as entry,
                session.transaction(),
            ):
                # What was made by hand is the app's own from now on.
                correction.add([history.get(each.revision) for each in written], [], made)
                entry.note(adopted=[each.revision for each in written])
    return Adopted(app.name, target.database, target.schema, tuple(written))


@dataclass(frozen=True)
class _Correction:
    """What is recorded of an app in a schema; changed within the caller's transaction."""

    connection: Connection
    target: Target
    app: App
    history: History
    current: Sequence[str]

    @property
    def _recorded(self) -> list[AppliedRevision]:
        return records.applied_revisions(self.connection, self.target.schema)

    def lacks(self, name: str) -> bool:
        """Whether the database has a revision that the folder does not have."""
        return name in missing_revisions(self.history, self.current, self._recorded)

    def accept_edit(self, revision: Revision) -> list[str]:
        if revision.id not in self.history.ancestors(self.current):
            raise OperationFailed(
                f"{revision.id} is not applied, so its file may be edited as you like.",
                hint="Apply it with: leadctl migrate",
            )
        key = {"app": self.app.name, "schema": self.target.schema, "revision": revision.id}
        recorded = [each for each in self._recorded if each.revision == revision.id]
        if not recorded or revision.is_recorded_as(recorded[0].checksum):
            return []
        records.accept_edit(self.connection, **key, checksum=revision.checksum)
        return [revision.id]

    def apply(self, revision: Revision) -> list[str]:
        changed = self.history.pending(self.current, [revision.id])
        if changed:
            beneath = self.history.ancestors([revision.id])
            others = [each for each in self.current if each not in beneath]
            # What the models name is theirs, so that reset drops it.
            self.add(changed, others, named_by_models(self.app))
        return [each.id for each in changed]

    def add(
        self, revisions: Sequence[Revision], others: Sequence[str], made: Collection[str]
    ) -> None:
        """Record revisions that were not run, and what is there of `made` as theirs.

        `others` are heads that the last of them does not follow.
        """
        schema, last = self.target.schema, revisions[-1]
        version_table = self.app.version_table
        records.write_current(self.connection, schema, [*others, last.id], version_table)
        names = read_names(self.connection, schema, [version_table], self.app.schemas)
        own = names.intersection(made) - records.made_by(self.connection, self.app.name, schema)
        for each in revisions:
            record = records.RevisionRecord(
                each.id, each.checksum, "", 0, sorted(own) if each is last else []
            )
            key = {"app": self.app.name, "schema": schema}
            records.record_migration(self.connection, **key, record=record)
        facts = recorded_facts(self.app)
        record_fingerprint(self.connection, self.app, schema, [last.id], facts)

    def roll_back(self, revision: Revision) -> list[str]:
        if revision.id not in self.history.ancestors(self.current):
            return []
        if revision.id not in self.current:
            followers = [each.id for each in self.history.revisions if revision.id in each.down]
            raise OperationFailed(
                f"{revision.id} is followed by {', '.join(followers)}, which is applied.",
                hint="First record those as rolled back: leadctl migrate resolve --rolled-back REV",
            )
        others = [each for each in self.current if each != revision.id]
        below = [each for each in revision.down if each not in self.history.ancestors(others)]
        schema = self.target.schema
        records.write_current(self.connection, schema, [*others, *below], self.app.version_table)
        records.forget_migration(
            self.connection, app=self.app.name, schema=schema, revision=revision.id
        )
        return [revision.id]

    def forget(self, name: str) -> list[str]:
        """Forget a revision that has no file any more: what comes before it is read off the record.

        Raises OperationFailed where nothing was recorded of what it followed.
        """
        schema = self.target.schema
        if name in self.current:
            others = [each for each in self.current if each != name]
            applied = [each.revision for each in self._recorded if each.revision in self.history]
            followed = {down for each in applied for down in self.history.get(each).down}
            covered = self.history.ancestors([each for each in others if each in self.history])
            below = [each for each in applied if each not in followed | covered]
            if not below and not others:
                raise OperationFailed(
                    f"The revision before {name} is not recorded in {self.target.database}.",
                    hint="Record the current revision with: leadctl migrate resolve --applied REV",
                )
            now = [*others, *below]
            records.write_current(self.connection, schema, now, self.app.version_table)
        records.forget_migration(self.connection, app=self.app.name, schema=schema, revision=name)
        return [name]
