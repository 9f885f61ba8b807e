"""Files of two branches that have one id: which of them keeps it, and what the others are called.

Histories that only count make such ids on every pair of branches, and git joins them without a
conflict, since the names of the files differ.
"""

import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

from leadctl.apps.registry import App
from leadctl.child_processes import child_environment
from leadctl.errors import CollidingRevisions, ConnectionFailed, UsageError
from leadctl.files import write_whole
from leadctl.journal import records
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.migrate.integrity import read_current, refuse_other_apps
from leadctl.migrate.revision import Revision
from leadctl.migrate.revision_files import with_id
from leadctl.migrate.revision_writer import FILE_MODE, check_writable, file_name, next_id
from leadctl.migrate.revisions import collisions, read_files
from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target
from leadctl.progress import Narrate


@dataclass(frozen=True)
class Renumbered:
    """A revision that got an id of its own, since another file has the one it had."""

    was: str
    revision: str
    path: Path
    applied: bool
    """Whether the database has applied it: under its new id, from now on."""


def settle_collisions(
    target: Target | None, app: App, named: Sequence[str], lock_wait: float, narrate: Narrate
) -> tuple[Renumbered, ...]:
    """Give ids of their own to files that share theirs; nothing where none do.

    The ones that keep theirs are those that the database has applied, where there is one.  One
    that is named although the database has it is renumbered there, too.  Raises as `renumber` does.
    """
    if not named and not collisions(read_files(app.versions)):
        return ()
    check_writable(app)
    recorded: dict[str, str] = {}
    if target is not None:
        try:
            with connect(target, "new", read_only=True) as connection:
                found = refuse_other_apps(connection, target, app)
                recorded = {each.revision: each.checksum for each in found}
        except ConnectionFailed as error:
            narrate(error.message)
    done = _renumber_files(app, recorded, named)
    moved = [each for each in done if each.applied]
    if target is not None and moved:
        with (
            schema_lock(target, "resolve", lock_wait, narrate) as session,
            journaled(target, "migrate", app.name, adopts=True) as entry,
            session.transaction(),
        ):
            current = read_current(session, target, app)
            now = {each.was: each.revision for each in moved}
            heads = [now.get(each, each) for each in current]
            records.write_current(session, target.schema, heads, app.version_table)
            checksums = {each.id: each.checksum for each in read_files(app.versions)}
            for each in moved:
                key = {"app": app.name, "schema": target.schema, "revision": each.was}
                checksum = checksums[each.revision]
                records.renumber(session, **key, now=each.revision, checksum=checksum)
            entry.note(renumbered={was: new for was, new in now.items() if was != new})
    return tuple(each for each in done if each.was != each.revision)


def _renumber_files(
    app: App, recorded: Mapping[str, str], named: Sequence[str]
) -> tuple[Renumbered, ...]:
    """Give ids of their own to files that share theirs, and tell the revisions that follow them.

    Returned is every file that was changed, with the id that it had and the one that it has.
    `named` are the files that change.  Else that is the one that a database has not applied:
    `recorded` are the checksums of what it has, by id.  Raises CollidingRevisions where neither
    tells, UsageError for a named file that shares its id with none.
    """
    files = read_files(app.versions)
    twice = collisions(files)
    sharing = {each.path.name for found in twice.values() for each in found}
    names = {Path(each).name for each in named}
    if names - sharing:
        raise UsageError(
            f"--renumber {', '.join(sorted(names - sharing))}: no other file has its id.",
            hint=f"Files that share one: {', '.join(sorted(sharing)) or 'none'}.",
        )
    branches = _Branches(files, recorded, names)
    changed = [each for each in branches.ordered if branches.is_touched(each)]
    ids: dict[Path, str] = {}
    for each in changed:
        follows = [branches.id_of(each, down, ids) for down in each.down]
        if each.path in branches.leaving:
            ids[each.path] = next_id(follows, alembic=app.environment is not None)
    # What follows comes first: stopped in between, a file is missing, which everybody sees.
    for each in reversed(changed):
        text = each.text
        for down in each.down:
            text = with_id(text, "down_revision", down, branches.id_of(each, down, ids))
        path = each.path
        if path in ids:
            text = with_id(text, "revision", each.id, ids[path])
            path = path.with_name(file_name(app, ids[path], each.message))
        write_whole(each.path, text, FILE_MODE)
        each.path.rename(path)
        branches.moved[each.path] = path
    return tuple(
        Renumbered(
            each.id,
            ids.get(each.path, each.id),
            branches.moved[each.path],
            branches.is_applied(each),
        )
        for each in changed
    )


class _Branches:
    """Which of the files with one id leaves it, and which of them each follower means."""

    def __init__(
        self, files: Sequence[Revision], recorded: Mapping[str, str], named: Collection[str]
    ) -> None:
        self._by_id: dict[str, list[Revision]] = {}
        for each in files:
            self._by_id.setdefault(each.id, []).append(each)
        self._recorded = recorded
        self._named = named
        self.leaving: set[Path] = set()
        self.moved: dict[Path, Path] = {}
        follows = {
            name: {down for each in found for down in each.down if down in self._by_id}
            for name, found in self._by_id.items()
        }
        self.ordered: list[Revision] = []
        for name in TopologicalSorter(follows).static_order():
            found = self._by_id[name]
            if len(found) > 1:
                self.leaving.update(each.path for each in self._leaving(name, found))
            self.ordered += found

    def _leaving(self, name: str, found: Sequence[Revision]) -> list[Revision]:
        chosen = [each for each in found if each.path.name in self._named]
        if not chosen:
            chosen = [each for each in found if not self.is_applied(each)]
        if len(chosen) == len(found):  # then the one that goes on from one that leaves
            chosen = [
                each
                for each in found
                if any(self._meant(each, down).path in self.leaving for down in each.down)
            ]
        if len(chosen) != len(found) - 1:
            names = " and ".join(each.path.name for each in found)
            raise CollidingRevisions(
                f"Two files have the revision id {name}: {names}. No database is at hand that "
                f"tells which one is applied. Nothing was changed.",
                hint="Give a new id to the one that is applied nowhere else: leadctl migrate "
                f"new --merge --renumber {found[-1].path.name}. Or name a database that has one of "
                "them, with --env or --url.",
            )
        return chosen

    def is_applied(self, revision: Revision) -> bool:
        """Whether the database has applied this file, and no other one of its id."""
        return revision.is_recorded_as(self._recorded.get(revision.id, ""))

    def is_touched(self, revision: Revision) -> bool:
        """Whether a file leaves its id, or follows one that does."""
        return revision.path in self.leaving or any(
            self._meant(revision, down).path in self.leaving
            for down in revision.down
            if down in self._by_id
        )

    def id_of(self, revision: Revision, down: str, ids: Mapping[Path, str]) -> str:
        """Return the id that a revision follows from now on."""
        return ids.get(self._meant(revision, down).path, down) if down in self._by_id else down

    def _meant(self, revision: Revision, down: str) -> Revision:
        """Return which of the files with an id a revision follows: the one on its own branch."""
        found = self._by_id[down]
        if len(found) == 1:
            return found[0]
        told = _came_with(found, revision.path)
        if len(told) != 1:
            leaves = revision.path in self.leaving or revision.path.name in self._named
            told = [each for each in found if (each.path in self.leaving) is leaves]
            certain = len(self._by_id[revision.id]) > 1 or self.is_applied(revision)
            if len(told) != 1 or not certain:
                raise CollidingRevisions(
                    f"{revision.path.name} follows {down}, but two files have that id, and git "
                    f"does not tell which one is meant. Nothing was changed.",
                    hint=f"Change the id of one of the two by hand, in its file and in "
                    f"{revision.path.name}.",
                )
        return told[0]


def _came_with(found: Sequence[Revision], path: Path) -> list[Revision]:
    """Return those files that git had when another was added; that commit's own, where it has any.

    A merged branch has them in commits before it, a squashed one in the same.
    """
    added = _git(path, "log", "--all", "-1", "--diff-filter=A", "--format=%H", "--", path.name)
    if not added:
        return []
    came = {
        each.path: _git(
            path, "log", "-1", "--diff-filter=A", "--format=%H", added, "--", each.path.name
        )
        for each in found
    }
    return [each for each in found if came[each.path] == added] or [
        each for each in found if came[each.path]
    ]


def _git(path: Path, *arguments: str) -> str:
    """Return what git says in a file's folder; nothing where there is no git, or no repository."""
    command = ["git", "-C", str(path.parent), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=child_environment()
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
