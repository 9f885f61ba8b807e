"""The history of revisions, read from the files' text: nothing is imported or executed."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from pathlib import Path
from typing import NamedTuple

from leadctl.apps.alembic_config import VersionLocations
from leadctl.errors import MigrationsInvalid, UnknownRevision, UsageError
from leadctl.migrate.revision import ChainPart, Revision, part_of
from leadctl.migrate.revision_files import declared, sources, text_of
from leadctl.text import counted

BASE = "base"
"""The name of the beginning: nothing is applied."""
_RELATIVE = re.compile(r"(?P<of>[^@+-][^@]*?)(?P<steps>[+-]\d+)")
_AHEAD = re.compile(r"(?:(?P<label>[^@]+)@)?\+(?P<steps>[1-9]\d*)")
_BACK = re.compile(r"(?P<label>[^@]+)@(?:base|-(?P<steps>[1-9]\d*))")
_DOC = re.compile(r"\A\ufeff?(?:\s*#.*\n)*\s*[rRuU]?(\"\"\"|'''|\"|')(?P<line>.*?)(?:\n|\1)")


class RevisionPlacement(NamedTuple):
    """Where a new revision goes in its history, as `alembic revision` has it."""

    head: str | None = None
    """The revision or branch that it follows, "base" for none; else the one head."""
    splice: bool = False
    """Whether that may have others behind it already."""
    branch_label: str | None = None
    depends_on: tuple[str, ...] = ()
    rev_id: str | None = None
    version_path: str | None = None
    """The folder that the file is written to."""

    def behind(self) -> "RevisionPlacement":
        """Return where what follows it in a chain goes."""
        return RevisionPlacement(version_path=self.version_path)


HERE = RevisionPlacement()
"""Behind the head of a history, where its files are."""


class History:
    """The revisions of some folders, ordered so that each comes after what it needs."""

    def __init__(self, folders: Sequence[Path], revisions: Mapping[str, Revision]) -> None:
        self.folders = tuple(folders)
        self.folder = folder = self.folders[0]
        """Where a first revision is written to."""
        self._by_id = revisions
        self._needs = _needs(folder, revisions)
        self.gaps = _gaps(revisions.values(), self._needs)
        """What files need and the folder does not have, each with those that need it."""
        self.revisions = _in_order(folder, revisions, self._needs)

    def refuse_gaps(self) -> None:
        """Raise MigrationsInvalid where a file follows one that is missing."""
        for name, followers in self.gaps.items():
            first = followers[0]
            needs, by = "follows", "down_revision"
            if name not in first.down:
                needs, by = "depends on", "depends_on"
            raise MigrationsInvalid(
                f"{first.path.name} {needs} the revision {name}, which is not in {self.folder}.",
                hint=f"Restore the missing file, or correct {by}.",
            )

    @property
    def heads(self) -> list[str]:
        """The revisions that none follows.  Raises MigrationsInvalid for a history with gaps."""
        self.refuse_gaps()
        return self._ends

    @property
    def _ends(self) -> list[str]:
        followed = {down for revision in self.revisions for down in revision.down}
        return [revision.id for revision in self.revisions if revision.id not in followed]

    @property
    def head(self) -> str | None:
        """The one head; None for an empty folder.  Raises MigrationsInvalid for several."""
        heads = self.heads
        if len(heads) > 1:
            raise self._several(heads)
        return heads[0] if heads else None

    @property
    def goals(self) -> tuple[str, ...]:
        """The heads: one, or several that are meant to be.

        That is where each has a branch label that no other has, but for one that may have none, or
        where they lie in different version locations.  Raises MigrationsInvalid for others.
        """
        heads = self.heads
        labels = {head: self._labels(head) for head in heads}
        apart = set()
        for head in heads:
            others = {each for other in heads if other != head for each in labels[other]}
            apart.add((tuple(sorted(labels[head] - others)), self._by_id[head].location))
        if len(apart) < len(heads):
            raise self._several(heads)
        return tuple(heads)

    @property
    def unjoined(self) -> tuple[str, ...]:
        """The ends of a history that should have one; none where gaps leave open which it has."""
        if self.gaps:
            return ()
        try:
            self.goals  # noqa: B018 - raises where there are several that nothing tells apart
        except MigrationsInvalid:
            return tuple(self.heads)
        return ()

    def _several(self, heads: Sequence[str]) -> MigrationsInvalid:
        return MigrationsInvalid(
            f"The history in {self.folder} has {len(heads)} heads: {', '.join(heads)}.",
            hint="Two branches were merged. Make one revision follow the other, or join them "
            "with: leadctl migrate new --merge. If both are intended, name them by "
            "branch_labels, or apply them with: leadctl migrate up heads; for a new revision, "
            "name the one that it follows with --head",
        )

    def _labels(self, head: str) -> set[str]:
        """Return the labels of the branch that ends in a revision."""
        followed = self._walk([head], lambda each: self._known(self._by_id[each].down))
        return {label for each in followed for label in self._by_id[each].labels}

    def _known(self, names: Iterable[str]) -> list[str]:
        return [each for each in names if each in self._by_id]

    def __contains__(self, revision: str) -> bool:
        return revision in self._by_id

    def get(self, name: str) -> Revision:
        """Return a revision by its id, the unique beginning of it, or its branch's label.

        A label, alone or as `label@head`, names the head of its branch; `REV-2` is two before
        another, `REV+2` two behind it.  Raises UnknownRevision.
        """
        if name in self._by_id:
            return self._by_id[name]
        relative = _RELATIVE.fullmatch(name)
        if relative:
            return self._relative_to(self.get(relative["of"]), name, int(relative["steps"]))
        label = name.removesuffix("@heads").removesuffix("@head")
        matching = [each for each in self._ends if label in self._labels(each)] or [
            revision.id for revision in self.revisions if revision.id.startswith(name)
        ]
        if len(matching) == 1:
            return self._by_id[matching[0]]
        what = "is not" if not matching else f"is the beginning of {len(matching)} revisions"
        raise UnknownRevision(
            f"The revision {name} {what} in {self.folder}.", hint="See: leadctl migrate status"
        )

    def _relative_to(self, revision: Revision, name: str, steps: int) -> Revision:
        for _ in range(abs(steps)):
            after = [each.id for each in self.revisions if revision.id in each.down]
            found = after if steps > 0 else revision.down
            if len(found) != 1:
                what = "ends" if not found else "parts"
                raise UnknownRevision(
                    f"There is no revision {name}: the history {what} at {revision.id}.",
                    hint="See: leadctl migrate history",
                )
            revision = self._by_id[found[0]]
        return revision

    def ancestors(self, heads: Collection[str]) -> set[str]:
        """Return the given revisions and all that they need, what is missing of it, too.

        Raises UnknownRevision.
        """
        for name in heads:
            if name not in self._by_id:
                raise UnknownRevision(
                    f"The database is at revision {name}, which is not in {self.folder}.",
                    hint="Check out the code that has it, or correct --app and --schema.",
                )
        return self._walk(heads, lambda each: self._needs.get(each, ()))

    def _walk(self, start: Iterable[str], before: Callable[[str], Iterable[str]]) -> set[str]:
        found: set[str] = set()
        waiting = list(start)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(before(name))
        return found

    def goal(self, to: str | None, current: Collection[str] = ()) -> tuple[str, ...]:
        """Return the revision that is named, all heads for "heads", or those that are meant.

        `+2` is the second that a database at `current` lacks, `LABEL@+2` that of a branch.  It is
        empty for an empty folder.  Raises UnknownRevision, and MigrationsInvalid for a history
        with several heads that nothing tells apart.
        """
        if to == "heads":
            return tuple(self.heads)
        ahead = _AHEAD.fullmatch(to or "")
        if ahead:
            label, steps = ahead["label"], int(ahead["steps"])
            lacking = self.pending(current, [self.get(label).id] if label else self.goals)
            if label:
                lacking = [each for each in lacking if label in self._labels(each.id)]
            if len(lacking) < steps:
                raise UnknownRevision(
                    f"{to} is beyond the end of the history, of which "
                    f"{counted(len(lacking), 'revision')} can be applied.",
                    hint="See: leadctl migrate status",
                )
            return tuple(each.id for each in lacking[:steps])
        return (self.get(to).id,) if to else self.goals

    def behind(self, to: str, applied: Collection[str]) -> set[str]:
        """Return which of some applied revisions go when a database goes down to another one.

        Those are what follows it, and what needs those; other branches stay.  All go for "base";
        `LABEL@base` is where a branch begins, `LABEL@-2` two of its applied revisions back.  Raises
        UnknownRevision.
        """
        if to == BASE:
            return set(applied)
        back = _BACK.fullmatch(to)
        if back:
            label = back["label"]
            own = [each.id for each in self.revisions if each.id in applied]
            own = [each for each in own if label in self._labels(each)]
            steps = int(back["steps"] or len(own))
            if not own or steps > len(own):
                raise UnknownRevision(
                    f"{to}: {len(own)} revisions of the branch {label} are applied.",
                    hint="See: leadctl migrate status",
                )
            roots = set(own[-steps:])
        else:
            name = self.get(to).id
            roots = {each.id for each in self.revisions if name in each.down}
        return {each for each in applied if roots & self.ancestors([each])}

    def effective(self, heads: Collection[str]) -> list[str]:
        """Return those of some revisions that no other of them needs, as Alembic records them."""
        return [
            each
            for each in heads
            if not any(each in self.ancestors([other]) for other in heads if other != each)
        ]

    def pending(
        self, current: Collection[str], goal: Collection[str] | None = None
    ) -> list[Revision]:
        """Return what a database at `current` lacks up to some revisions, in order.

        Without any that is all.  Raises MigrationsInvalid for a history with gaps.
        """
        self.refuse_gaps()
        wanted = self.ancestors(goal) if goal else self._by_id.keys()
        due = wanted - self.ancestors(current)
        return [revision for revision in self.revisions if revision.id in due]

    def followed(self, placement: RevisionPlacement = HERE) -> list[str]:
        """Return what a new revision follows: the one head, or what is named.

        Raises MigrationsInvalid for several heads of which none is named, and UsageError for a
        name of something that others follow already, where no splice is asked for.
        """
        if placement.rev_id and placement.rev_id in self:
            raise UsageError(
                f"The revision {placement.rev_id} exists: {self.get(placement.rev_id).path.name}.",
                hint="Give another --rev-id, or leave it out.",
            )
        self.place_behind([], placement)
        for name in placement.depends_on:
            self.get(name)
        if placement.head == BASE:
            return []
        if placement.head is None:
            return [self.head] if self.head else []
        found = self.get(placement.head).id
        if found not in self.heads and not placement.splice:
            raise UsageError(
                f"Another revision follows {found} already.",
                hint="To begin a branch there, add --splice.",
            )
        return [found]

    def place_behind(self, follows: Sequence[str], placement: RevisionPlacement = HERE) -> Path:
        """Return the folder for a revision that follows others: that of the first of them.

        Raises UsageError for a folder that is none of the history's.
        """
        if placement.version_path is not None:
            given = Path(placement.version_path).resolve()
            if given not in (each.resolve() for each in self.folders):
                raise UsageError(
                    f"{placement.version_path} is none of the history's folders.",
                    hint=f"Those are: {', '.join(map(str, self.folders))}",
                )
            return given
        known = [self._by_id[each] for each in follows if each in self._by_id]
        return known[0].path.parent if known else self.folder


def _is_empty(folder: Path) -> bool:
    """Whether it is an Alembic environment's `versions/` before its first revision."""
    return not folder.exists() and (folder.parent / "env.py").is_file()


def read_files(versions: VersionLocations) -> list[Revision]:
    """Read the files of a history, each for itself.  Raises MigrationsInvalid."""
    found: dict[Path, Revision] = {}
    for folder in versions.folders:
        for path in sources(folder, recursive=versions.recursive):
            real = path.resolve()
            read = None if real in found else _read(path)
            if read is not None:
                found[real] = replace(read, location=folder)
    return list(found.values())


def read_history(versions: VersionLocations, *, complete: bool = True) -> History:
    """Read the history whose files are in some folders.

    Raises MigrationsInvalid for a folder that is none, and for what is not a history: an id that
    occurs twice, a cycle, and, where it is to be `complete`, a revision that follows a missing one.
    """
    first = versions.folders[0]
    if not any(folder.is_dir() or _is_empty(folder) for folder in versions.folders):
        what = "is not a folder" if first.exists() else "does not exist"
        raise MigrationsInvalid(
            f"The migrations folder {first} {what}.",
            hint="Set `migrations` of the app to the folder of its revisions, or create it.",
        )
    revisions = read_files(versions)
    twice = collisions(revisions)
    if twice:
        name, (one, other, *_) = next(iter(twice.items()))
        raise MigrationsInvalid(
            f"Two files have the revision id {name}: {one.path.name} and {other.path.name}.",
            hint="Two branches created it. Give one file a new id and join the branches: leadctl "
            "migrate new --merge",
        )
    history = History(versions.folders, {revision.id: revision for revision in revisions})
    if complete:
        history.refuse_gaps()
    return history


def collisions(revisions: Iterable[Revision]) -> dict[str, list[Revision]]:
    """Return the ids that several files have, each with these files."""
    by_id: dict[str, list[Revision]] = {}
    for revision in revisions:
        by_id.setdefault(revision.id, []).append(revision)
    return {name: each for name, each in by_id.items() if len(each) > 1}


def _read(path: Path) -> Revision | None:
    text = text_of(path)
    found = declared(path, text)
    if found is None:
        return None
    doc = _DOC.match(text)
    return Revision(
        id=found.id,
        down=found.down,
        message=doc["line"].strip().rstrip(".") if doc else path.stem,
        path=path,
        text=text,
        labels=found.labels,
        depends_on=found.depends_on,
    )


def _needs(folder: Path, revisions: Mapping[str, Revision]) -> dict[str, tuple[str, ...]]:
    """Return what must be applied before each revision: what it follows, and depends on."""
    found: dict[str, tuple[str, ...]] = {}
    for revision in revisions.values():
        depends = [_dependency(folder, revision, each, revisions) for each in revision.depends_on]
        found[revision.id] = (*revision.down, *depends)
    return found


def _gaps(
    revisions: Iterable[Revision], needs: Mapping[str, Sequence[str]]
) -> dict[str, list[Revision]]:
    found: dict[str, list[Revision]] = {}
    for revision in revisions:
        for name in needs[revision.id]:
            if name not in needs:
                found.setdefault(name, []).append(revision)
    return found


def _dependency(
    folder: Path, revision: Revision, name: str, revisions: Mapping[str, Revision]
) -> str:
    if name in revisions:
        return name
    matching = [each.id for each in revisions.values() if name in each.labels] or [
        each for each in revisions if each.startswith(name)
    ]
    if len(matching) > 1:
        raise MigrationsInvalid(
            f"{revision.path.name} depends on {name}, which is the beginning of {len(matching)} "
            f"revisions in {folder}.",
            hint="Correct depends_on.",
        )
    return matching[0] if matching else name


def _in_order(
    folder: Path, revisions: Mapping[str, Revision], needs: Mapping[str, tuple[str, ...]]
) -> list[Revision]:
    """Sort topologically; among those that could come next, the chain goes on, then by file name.

    So the parts of a chain stand behind each other, also where branches were joined.
    """
    sorter = TopologicalSorter(
        {name: [each for each in needed if each in revisions] for name, needed in needs.items()}
    )
    try:
        sorter.prepare()
    except CycleError as error:
        raise MigrationsInvalid(
            f"The history in {folder} goes in a circle: {' → '.join(error.args[1])}.",
            hint="Correct the down_revision of one of them.",
        ) from None
    ordered: list[Revision] = []
    ready: list[tuple[bool, str, str]] = []
    before: ChainPart | None = None
    while sorter.is_active():
        for name in sorter.get_ready():
            part = part_of(revisions[name].message)
            goes_on = part is not None and part.follows(before)
            heappush(ready, (not goes_on, revisions[name].path.name, name))
        *_, name = heappop(ready)
        ordered.append(revisions[name])
        before = part_of(revisions[name].message)
        sorter.done(name)
    return ordered
