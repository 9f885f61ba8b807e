"""The history of revisions, read from the files' text: nothing is imported or executed."""

import ast
import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from pathlib import Path
from typing import TypeVar

from leadctl.errors import MigrationsInvalid, UnknownRevision

_REVISION = re.compile(r"^revision\b[^=\n]*=\s*(['\"])(?P<id>.+?)\1", re.MULTILINE)
_DOWN = re.compile(
    r"^down_revision\b[^=\n]*=\s*(?P<value>None|\((?:[^()]*)\)|\[(?:[^\[\]]*)\]|(['\"]).*?\2)",
    re.MULTILINE,
)
_ALLOW = re.compile(
    r"^[ \t]*#[ \t]*leadctl:[ \t]*allow[ \t]+(?P<rule>[\w-]+)[ \t]+(?P<reason>\S.*)$", re.MULTILINE
)
_PART = re.compile(r"(?P<about>.+) \((?P<number>\d+) of (?P<of>\d+)(?:: .*)?\)")
PLAIN = "# leadctl: plain"
"""The line of a revision that was written in the short forms, for tables that are small."""
_HALF = 32
_DOC = re.compile(r"\A(?:\s*#.*\n)*\s*[rRuU]?(\"\"\"|'''|\"|')(?P<line>.*?)(?:\n|\1)")

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Part:
    """What a revision is that was written as one of several files: a part of their chain."""

    about: str
    """What the whole chain does."""
    number: int
    of: int

    def follows(self, other: "Part | None") -> bool:
        """Whether it is the part behind another one of the same chain."""
        return other is not None and other == Part(self.about, self.number - 1, self.of)


def part_of(message: str) -> Part | None:
    """Read which part of a chain a message names, as in `Websites (2 of 3: validate)`."""
    found = _PART.fullmatch(message.partition("\n")[0])
    return Part(found["about"], int(found["number"]), int(found["of"])) if found else None


def in_chains(entries: Iterable[Entry], message: Callable[[Entry], str]) -> list[tuple[Entry, ...]]:
    """Put together the entries that stand behind each other and are parts of one chain.

    What is part of none stands alone.
    """
    found: list[list[Entry]] = []
    before: Part | None = None
    for entry in entries:
        part = part_of(message(entry))
        if part is not None and part.follows(before):
            found[-1].append(entry)
        else:
            found.append([entry])
        before = part
    return [tuple(each) for each in found]


def chain_message(messages: Sequence[str]) -> str:
    """Return what one line says of parts of a chain that stand behind each other."""
    first, last = part_of(messages[0]), part_of(messages[-1])
    if len(messages) == 1 or first is None or last is None:
        return messages[0]
    whole = first.number == 1 and last.number == last.of
    parts = f"{last.of} files" if whole else f"{first.number} to {last.number} of {last.of}"
    return f"{first.about} ({parts})"


@dataclass(frozen=True)
class Revision:
    """One file of the history."""

    id: str
    down: tuple[str, ...]
    """The revisions that it follows; empty for the first one."""
    message: str
    path: Path
    text: str = field(repr=False, compare=False)
    """What the file says; its lines end alike on every system."""

    @property
    def checksum(self) -> str:
        """What is recorded of the file: the first halves of two SHA-256, of its text and its code.

        Version 0.1 recorded that of the text, whole: its first half says the same.
        """
        return self._of_text[:_HALF] + self._of_code[:_HALF]

    def is_recorded_as(self, checksum: str) -> bool:
        """Whether it is the file that was recorded, or one that does the same.

        A formatter, another comment or docstring, and imports in another order change nothing.
        """
        if checksum[:_HALF] == self._of_text[:_HALF]:
            return True
        return checksum[_HALF:] == self._of_code[:_HALF]

    @cached_property
    def _of_text(self) -> str:
        return _sha256(self.text)

    @cached_property
    def _of_code(self) -> str:
        try:
            return _sha256(repr(_meaning(ast.parse(self.text))))
        except (SyntaxError, ValueError):
            return self._of_text

    @property
    def is_reversible(self) -> bool:
        """Whether `downgrade()` does something: not where it is missing, empty or only raises."""
        try:
            module = ast.parse(self.text)
        except SyntaxError:
            return False
        return any(
            not isinstance(statement, ast.Pass | ast.Raise | ast.Import | ast.ImportFrom)
            and not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
            for node in module.body
            if isinstance(node, ast.FunctionDef) and node.name == "downgrade"
            for statement in node.body
        )

    @property
    def is_plain(self) -> bool:
        """Whether it was written for small tables: how big they are, a database tells."""
        return PLAIN in self.text.splitlines()

    @property
    def leaves_transaction(self) -> bool:
        """Whether a part of it may run outside its transaction."""
        return "autocommit_block" in self.text

    @property
    def allowed_rules(self) -> dict[str, str]:
        """The lint rules that the file silences, with the reasons.

        It does so by a line of its own, `# leadctl: allow RULE the reason`; one without a reason
        silences nothing.
        """
        return {found["rule"]: found["reason"].strip() for found in _ALLOW.finditer(self.text)}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


_UNSAID = {"kind", "type_comment"}
"""Fields of a node that change nothing."""


def _meaning(node: object) -> object:
    """Return what code does, in a form that is the same for every version of Python.

    Left out are docstrings, `pass`, the order of a module's imports, and fields that are empty:
    newer versions have more of them.
    """
    if isinstance(node, ast.Module):
        imports = [each for each in node.body if isinstance(each, ast.Import | ast.ImportFrom)]
        names = sorted(
            (
                getattr(each, "module", None) or "",
                getattr(each, "level", 0),
                name.name,
                name.asname or "",
            )
            for each in imports
            for name in each.names
        )
        return names, _meaning([each for each in node.body if each not in imports])
    if isinstance(node, ast.AST):
        fields = [
            (name, _meaning(value))
            for name, value in ast.iter_fields(node)
            if name not in _UNSAID and value is not None and value != []
        ]
        return type(node).__name__, fields
    if isinstance(node, list):
        return [_meaning(each) for each in node if not _is_idle(each)]
    return ascii(node)


def _is_idle(statement: object) -> bool:
    """Whether a statement is `pass` or a text of its own, such as a docstring."""
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


class History:
    """The revisions of a folder, ordered so that each comes after those it follows."""

    def __init__(self, folder: Path, revisions: Mapping[str, Revision]) -> None:
        self.folder = folder
        self._by_id = revisions
        self.revisions = _in_order(folder, revisions)

    @property
    def heads(self) -> list[str]:
        """The revisions that none follows."""
        followed = {down for revision in self.revisions for down in revision.down}
        return [revision.id for revision in self.revisions if revision.id not in followed]

    @property
    def head(self) -> str | None:
        """The one head; None for an empty folder.  Raises MigrationsInvalid for several."""
        heads = self.heads
        if len(heads) > 1:
            raise MigrationsInvalid(
                f"The history in {self.folder} has {len(heads)} heads: {', '.join(heads)}.",
                hint="Two branches were merged. Make one revision follow the other, or join them "
                "with: leadctl migrate new --merge",
            )
        return heads[0] if heads else None

    def __contains__(self, revision: str) -> bool:
        return revision in self._by_id

    def get(self, name: str) -> Revision:
        """Return a revision by its id or the unique beginning of it.  Raises UnknownRevision."""
        if name in self._by_id:
            return self._by_id[name]
        matching = [revision for revision in self.revisions if revision.id.startswith(name)]
        if len(matching) == 1:
            return matching[0]
        what = "is not" if not matching else f"is the beginning of {len(matching)} revisions"
        raise UnknownRevision(
            f"The revision {name} {what} in {self.folder}.", hint="See: leadctl migrate status"
        )

    def ancestors(self, heads: Collection[str]) -> set[str]:
        """Return the given revisions and all that they follow.  Raises UnknownRevision."""
        found: set[str] = set()
        waiting = list(heads)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            if name not in self._by_id:
                raise UnknownRevision(
                    f"The database is at revision {name}, which is not in {self.folder}.",
                    hint="Check out the code that made it, or that --app and --schema are right.",
                )
            found.add(name)
            waiting.extend(self._by_id[name].down)
        return found

    def goal(self, to: str | None) -> str | None:
        """Return the revision that is named, or the one head; None for an empty folder.

        Raises UnknownRevision, and MigrationsInvalid for a history with several heads.
        """
        return self.get(to).id if to else self.head

    def pending(self, current: Collection[str], goal: str | None = None) -> list[Revision]:
        """Return what a database at `current` lacks up to a revision, in the order of applying.

        Without a revision that is all.
        """
        wanted = self.ancestors([goal]) if goal else self._by_id.keys()
        due = wanted - self.ancestors(current)
        return [revision for revision in self.revisions if revision.id in due]


def versions_of(folder: Path) -> Path:
    """Return the folder that has the files: its `versions/`, where it is an Alembic environment."""
    return folder / "versions" if (folder / "versions").is_dir() else folder


def read_files(versions: Path) -> list[Revision]:
    """Read the files of a folder, each for itself.  Raises MigrationsInvalid."""
    found = (_read(path) for path in sorted(versions.glob("*.py")))
    return [revision for revision in found if revision is not None]


def read_history(folder: Path) -> History:
    """Read the history of a folder, or of its `versions/` where it is an Alembic environment.

    Raises MigrationsInvalid for a folder that is none, and for what is not a history: an id that
    occurs twice, a revision that follows a missing one, a cycle.
    """
    versions = versions_of(folder)
    if not versions.is_dir():
        what = "is not a folder" if versions.exists() else "does not exist"
        raise MigrationsInvalid(
            f"The migrations folder {versions} {what}.",
            hint="Set `migrations` of the app to the folder of its revisions, or create it.",
        )
    revisions = read_files(versions)
    twice = collisions(revisions)
    if twice:
        name, (first, second, *_) = next(iter(twice.items()))
        raise MigrationsInvalid(
            f"The revision {name} is there twice: {first.path.name} and {second.path.name}.",
            hint="Two branches made it. Give one of them an id of its own, and join the branches, "
            "with: leadctl migrate new --merge",
        )
    return History(versions, {revision.id: revision for revision in revisions})


def collisions(revisions: Iterable[Revision]) -> dict[str, list[Revision]]:
    """Return the ids that several files have, each with these files."""
    by_id: dict[str, list[Revision]] = {}
    for revision in revisions:
        by_id.setdefault(revision.id, []).append(revision)
    return {name: each for name, each in by_id.items() if len(each) > 1}


def _read(path: Path) -> Revision | None:
    try:
        text = path.read_bytes().decode().replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise MigrationsInvalid(
            f"Cannot read {path}: {error}", hint="Make it a readable UTF-8 file."
        ) from None
    found = _REVISION.search(text)
    if found is None:
        return None
    down = _DOWN.search(text)
    doc = _DOC.match(text)
    return Revision(
        id=found["id"],
        down=_down_revisions(path, down["value"] if down else "None"),
        message=doc["line"].strip().rstrip(".") if doc else path.stem,
        path=path,
        text=text,
    )


def _down_revisions(path: Path, expression: str) -> tuple[str, ...]:
    try:
        value = ast.literal_eval(expression)
    except (ValueError, SyntaxError):
        raise MigrationsInvalid(
            f"{path.name}: down_revision is {expression}, which is not a literal.",
            hint="Write down_revision as a text, a tuple of texts or None.",
        ) from None
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def _in_order(folder: Path, revisions: Mapping[str, Revision]) -> list[Revision]:
    """Sort topologically; among those that could come next, the chain goes on, then by file name.

    So the parts of a chain stand behind each other, also where branches were joined.
    """
    for revision in revisions.values():
        for down in revision.down:
            if down not in revisions:
                raise MigrationsInvalid(
                    f"{revision.path.name} follows the revision {down}, which is not in {folder}.",
                    hint="Restore the missing file, or correct down_revision.",
                )
    sorter = TopologicalSorter({name: revision.down for name, revision in revisions.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        raise MigrationsInvalid(
            f"The history in {folder} goes in a circle: {' → '.join(error.args[1])}.",
            hint="Correct the down_revision of one of them.",
        ) from None
    ordered: list[Revision] = []
    ready: list[tuple[bool, str, str]] = []
    before: Part | None = None
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
