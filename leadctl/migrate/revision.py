"""One revision: what its file says, how it stands in a database, which part of a chain it is."""

import ast
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

_ALLOW = re.compile(
    r"^[ \t]*#[ \t]*leadctl:[ \t]*allow[ \t]+(?P<rule>[\w-]+)[ \t]+(?P<reason>\S.*)$", re.MULTILINE
)
_PART = re.compile(r"(?P<about>.+) \((?P<number>\d+) of (?P<of>\d+)(?:: .*)?\)")
_EXTENSION = re.compile(
    r"^\s*CREATE\s+EXTENSION\s+(?:IF\s+NOT\s+EXISTS\s+)?\"?(?P<name>[\w-]+)",
    re.IGNORECASE | re.MULTILINE,
)
_LEAVES = re.compile(r"autocommit|\bfill\(|\b(?:commit|rollback|abort)\b", re.IGNORECASE)
PLAIN = "# leadctl: plain"
"""The line of a revision that was written in the short forms, for tables that are small."""
_ASKED_FOR = "asked for, or following from that: deploy code that knows the new name with it"
_HALF = 32

Entry = TypeVar("Entry")


class RevisionState(Enum):
    """How a revision stands in the database."""

    APPLIED = "applied"
    PENDING = "pending"
    FAILED = "failed"
    """Pending, and the last run stopped in it; what it did outside a transaction is there."""
    EDITED = "edited"
    """Applied, but what the file does has been changed since."""
    MISSING = "missing"
    """Applied, but the file is no longer in the folder."""
    UNKNOWN = "unknown"
    """It is applied, or may be, and neither folder nor record tell: a file is missing."""


class AppliedNow(NamedTuple):
    """One revision that this run applied or undid."""

    revision: str
    message: str
    duration_ms: int


class ChainPart(NamedTuple):
    """What a revision is that was written as one of several files: a part of their chain."""

    about: str
    """What the whole chain does."""
    number: int
    of: int

    def follows(self, other: "ChainPart | None") -> bool:
        """Whether it is the part behind another one of the same chain."""
        return other is not None and other == ChainPart(self.about, self.number - 1, self.of)


def part_of(message: str) -> ChainPart | None:
    """Read which part of a chain a message names, as in `Websites (2 of 3: validate)`."""
    found = _PART.fullmatch(message.partition("\n")[0])
    return ChainPart(found["about"], int(found["number"]), int(found["of"])) if found else None


def in_chains(entries: Iterable[Entry], message: Callable[[Entry], str]) -> list[tuple[Entry, ...]]:
    """Put together the entries that stand behind each other and are parts of one chain.

    What is part of none stands alone.
    """
    found: list[list[Entry]] = []
    before: ChainPart | None = None
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
    all_files = first.number == 1 and last.number == last.of
    parts = f"{last.of} files" if all_files else f"{first.number} to {last.number} of {last.of}"
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
    labels: tuple[str, ...] = ()
    """The names that it gives to its branch."""
    depends_on: tuple[str, ...] = ()
    """What must be applied before it on other branches: ids, their beginnings, or labels."""
    location: Path | None = None
    """The version location that its file was found in."""

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
        module = parsed(self.text)
        return self._of_text if module is None else _sha256(repr(_meaning(module)))

    @cached_property
    def _bodies(self) -> dict[str, list[ast.stmt]]:
        """What its functions do, by their names; nothing where Python cannot read the file."""
        body = getattr(parsed(self.text), "body", [])
        return {node.name: node.body for node in body if isinstance(node, ast.FunctionDef)}

    @property
    def is_reversible(self) -> bool:
        """Whether `downgrade()` does something: not where it is missing, empty or only raises.

        Where `upgrade()` does nothing, as in `alembic merge`'s files, nothing is to be undone.
        """
        back = self._bodies.get("downgrade", [])
        if any(not (_changes_nothing(each) or isinstance(each, ast.Raise)) for each in back):
            return True
        there = self._bodies.get("upgrade", back)
        return bool(back) and all(map(_changes_nothing, [*back, *there]))

    @property
    def extensions(self) -> list[str]:
        """The extensions that `upgrade()` makes for certain: not those behind an `if` or a `try`.

        What PL/pgSQL catches, and a name that is computed, are not told.
        """
        statements = [
            inner
            for each in self._bodies.get("upgrade", [])
            for inner in (each.body if isinstance(each, ast.With) else [each])
        ]
        texts = [
            node.value
            for statement in statements
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
            for node in ast.walk(statement.value)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        plain = [text for text in texts if "$" not in text]
        return [found["name"] for text in plain for found in _EXTENSION.finditer(text)]

    @property
    def stands_alone(self) -> bool:
        """Whether its file says all that it does: it reads no other code, setting or file."""
        module = parsed(self.text)
        return module is not None and not any(map(_reads_more, ast.walk(module)))

    @property
    def is_plain(self) -> bool:
        """Whether it was written for small tables: how big they are, a database tells."""
        return PLAIN in self.text.splitlines()

    @property
    def leaves_transaction(self) -> bool:
        """Whether a part of it may run outside its transaction, or end it."""
        return _LEAVES.search(self.text) is not None

    @property
    def allowed_rules(self) -> dict[str, str]:
        """The lint rules that the file silences, with the reasons.

        It does so by a line of its own, `# leadctl: allow RULE the reason`; one without a reason
        silences nothing.
        """
        return {found["rule"]: found["reason"].strip() for found in _ALLOW.finditer(self.text)}


class RevisionText(NamedTuple):
    """What a revision says: the bodies of its functions, and what it loses."""

    message: str
    upgrade: str = "    pass"
    downgrade: str = "    pass"
    loses: tuple[str, ...] = ()
    safe: bool = True
    renames: tuple[str, ...] = ()
    """Which lint rules find the renames in it, that were asked for."""
    operates: bool = True
    """Whether it has operations: a frame and a merge have none."""

    @property
    def title(self) -> str:
        """The message as it stands in the file's first line."""
        return self.message.replace("\\", "/").replace('"', "'").strip().rstrip(".")

    @property
    def head_lines(self) -> tuple[str, ...]:
        """What stands at the top of the file: what lint reads, and imports."""
        about = "# For tables below 10 MB, in a history that is applied nowhere else."
        allowed = [f"# leadctl: allow {rule} {_ASKED_FOR}" for rule in self.renames]
        imports = ["from leadctl import fill"] if "fill(" in self.upgrade else []
        return (*([] if self.safe else [PLAIN, about]), *allowed, *imports)


_KNOWN = frozenset({"__future__", "collections", "sqlalchemy", "typing"})
_READ_WITH = frozenset({
    "__builtins__", "__file__", "__import__", "__loader__", "__spec__", "compile", "create_engine",
    "eval", "exec", "getattr", "globals", "input", "open",
    "config", "environment_context", "opts",
})  # fmt: skip
"""Names by which code comes to other code, to files, and to Alembic's configuration."""


def _reads_more(node: ast.AST) -> bool:
    """Whether a part of a revision may read what is not in its file, but for SQLAlchemy's types."""
    match node:
        case ast.ImportFrom(module="alembic", level=0):
            return any(each.name != "op" for each in node.names)
        case ast.ImportFrom(level=0):
            return (node.module or "").partition(".")[0] not in _KNOWN
        case ast.Import():
            return any(each.name.partition(".")[0] != "sqlalchemy" for each in node.names)
        case ast.Name():
            return node.id in _READ_WITH
        case ast.Attribute():
            return node.attr in _READ_WITH
    return isinstance(node, ast.ImportFrom)


def _changes_nothing(statement: ast.stmt) -> bool:
    """Whether a statement is `pass`, a docstring or an import."""
    return _is_idle(statement) or isinstance(statement, ast.Import | ast.ImportFrom)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


_UNSAID = {"kind", "type_comment"}
"""Fields of a node that change nothing."""


def parsed(text: str) -> ast.Module | None:
    """Return a revision's file as Python reads it; None where it cannot."""
    try:
        return ast.parse(text.removeprefix("\ufeff"))
    except (SyntaxError, ValueError):
        return None


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
