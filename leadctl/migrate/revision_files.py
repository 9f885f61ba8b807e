"""What a revision's file declares: its id, what it follows and depends on, its branch's name.

The text tells it, and nothing is executed; as Alembic does, a file is imported whose own text does
not say which revision it is.
"""

import ast
import importlib.util
import re
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from leadctl.apps.loading import user_code
from leadctl.errors import MigrationsInvalid

_ID, _DOWN, _DEPENDS, _LABELS = _NAMES = (
    "revision",
    "down_revision",
    "depends_on",
    "branch_labels",
)
_UPGRADE = "upgrade"
_TEXT = r"(?:\"[^\"\\\n]+\"|'[^'\\\n]+')"
_PLAIN = re.compile(
    rf"^(?P<name>{'|'.join(_NAMES)})\b(?P<value>[ \t]*(?::[^=\n]*)?=[ \t]*(?:None|{_TEXT})"
    r"(?=[ \t]*(?:#.*)?$))?",
    re.MULTILINE,
)
_BINDS = re.compile(
    rf"\b(?:{'|'.join(_NAMES)})\b[\"']?\]?[ \t]*(?::[^=\n]*)?[^\w\s=!<>\"']{{0,2}}=(?!=)"
    rf"|\b(?:as|for|class|def|del|global|import)[ \t]+(?:{'|'.join(_NAMES)})\b"
)
"""What may give one of these names a value, at any place of a text."""
_NO_SOURCE = re.compile(r"\.#|__init__")
"""How the names of files begin that Alembic does not look at: an editor's locks, packages."""
_UNKNOWN = object()


def sources(folder: Path, *, recursive: bool) -> list[Path]:
    """Return the files of a folder that may be revisions, as Alembic finds them."""
    found = folder.rglob("*.py") if recursive else folder.glob("*.py")
    return sorted(
        path
        for path in found
        if not _NO_SOURCE.match(path.name) and path.parent.name != "__pycache__"
    )


def text_of(path: Path) -> str:
    """Return what a file says, in the encoding that it declares; its lines end alike everywhere.

    Raises MigrationsInvalid.
    """
    try:
        data = path.read_bytes()
        try:
            text = data.decode()
        except UnicodeDecodeError:
            encoding, _ = tokenize.detect_encoding(iter(data.splitlines(keepends=True)).__next__)
            text = data.decode(encoding)
    except (OSError, SyntaxError, ValueError) as error:
        raise MigrationsInvalid(
            f"Cannot read {path}: {error}", hint="Make it a readable UTF-8 file."
        ) from None
    return text.replace("\r\n", "\n")


class Declared(NamedTuple):
    """What a file says of its revision."""

    id: str
    down: tuple[str, ...]
    depends_on: tuple[str, ...] = ()
    """What must be applied before, though it is of another branch: ids, or labels of branches."""
    labels: tuple[str, ...] = ()


def declared(path: Path, text: str) -> Declared | None:
    """Return what a file declares; None for one that is not a revision.

    Raises MigrationsInvalid for one that is not Python, or whose id is not available.
    """
    values = _plainly(text)
    if values is None:
        values = _by_syntax(path, text)
    if values is None:
        return None
    unknown = [name for name in _NAMES if values.get(name, None) is _UNKNOWN]
    if unknown or not values.get(_ID):
        values = _imported(path)
        if _ID not in values and _UPGRADE not in values:
            return None
    revision = values.get(_ID)
    if not isinstance(revision, str):
        raise MigrationsInvalid(
            f"{path.name} has an upgrade(), and no id: revision is {revision!r}.",
            hint='Write its id as a text: revision = "…"',
        )
    if _DOWN not in values:
        raise MigrationsInvalid(
            f"{path.name} does not say which revision it follows: it has no down_revision.",
            hint='Write down_revision = "…", or down_revision = None for the first one; Alembic '
            "takes no file without it.",
        )
    return Declared(revision, *(_texts(path, name, values.get(name)) for name in _NAMES[1:]))


def _plainly(text: str) -> Mapping[str, Any] | None:
    """Read assignments of plain texts, each once and one a line, which nearly all files have."""
    found: dict[str, Any] = {}
    for each in _PLAIN.finditer(text):
        name, value = each["name"], each["value"]
        if value is None or name in found:
            return None
        literal = value.partition("=")[2].strip()
        found[name] = None if literal == "None" else literal[1:-1]
    elsewhere = len(found) < len(_BINDS.findall(text))
    return found if found.get(_ID) and not elsewhere else None


def _by_syntax(path: Path, text: str) -> Mapping[str, Any] | None:
    """Read assignments by the syntax tree; None where the module neither has an id nor upgrades."""
    try:
        module = ast.parse(text.removeprefix("\ufeff"))
    except (SyntaxError, ValueError) as error:
        raise MigrationsInvalid(
            f"{path.name} is not Python: {error}", hint="Correct it, or move it elsewhere."
        ) from None
    known: dict[str, Any] = {}
    otherwise: list[ast.AST] = []
    for node in module.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            otherwise.append(node)
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Subscript):
                otherwise.append(target)
            known |= _assigned(target, node.value, known)
    bound = {name for node in otherwise for name in _bound(node)}
    known |= dict.fromkeys(bound.intersection(_NAMES), _UNKNOWN)
    may_be = {_ID, _UPGRADE} & (known.keys() | bound) or "*" in bound
    return known if may_be else None


def _bound(node: ast.AST) -> Iterator[str]:
    """Yield the names that a statement may bind in its module; "*" for any.

    A text may be the name, as in `globals()[…]`.
    """
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        for each in ast.walk(node):
            yield from each.names if isinstance(each, ast.Global) else ()
        return
    if isinstance(node, ast.alias):
        yield node.asname or node.name
    elif isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name
    for child in ast.iter_child_nodes(node):
        yield from _bound(child)


def _assigned(target: ast.expr, value: ast.expr | None, known: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(target, ast.Name):
        return {target.id: _UNKNOWN if value is None else _value(value, known)}
    if isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List):
        pairs = zip(target.elts, value.elts, strict=False)
        return {name: each for one, v in pairs for name, each in _assigned(one, v, known).items()}
    return {node.id: _UNKNOWN for node in ast.walk(target) if isinstance(node, ast.Name)}


def _value(node: ast.expr, known: Mapping[str, Any]) -> Any:
    """Return what an expression is, of texts and names alone; else `_UNKNOWN`."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return known.get(node.id, _UNKNOWN)
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        values = [_value(each, known) for each in node.elts]
        return _UNKNOWN if _UNKNOWN in values else tuple(values)
    if isinstance(node, ast.JoinedStr):
        parts = [_value(each, known) for each in node.values]
        return "".join(parts) if all(isinstance(each, str) for each in parts) else _UNKNOWN
    if isinstance(node, ast.FormattedValue) and node.conversion == -1 and node.format_spec is None:
        return _value(node.value, known)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        both = _value(node.left, known), _value(node.right, known)
        return both[0] + both[1] if all(isinstance(each, str) for each in both) else _UNKNOWN
    return _UNKNOWN


def _imported(path: Path) -> Mapping[str, Any]:
    """Import a file as Alembic does; what it prints is no result of ours."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    try:
        with user_code():
            spec.loader.exec_module(module)
    except Exception as error:  # a revision is code, which may raise anything
        raise MigrationsInvalid(
            f"The id of the revision {path.name} is not known, because it cannot be imported: "
            f"{type(error).__name__}: {error}",
            hint='Write its id as a text: revision = "…"',
        ) from error
    return vars(module)


def _texts(path: Path, name: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    texts = (value,) if isinstance(value, str) else value
    if isinstance(texts, tuple | list | set) and all(isinstance(each, str) for each in texts):
        return tuple(texts)
    raise MigrationsInvalid(
        f"{path.name}: {name} is {value!r}, which is not a text.",
        hint=f"Write {name} as a text, a tuple of texts or None.",
    )


def with_id(text: str, name: str, old: str, new: str) -> str:
    """Return a revision's text with another id in one of its variables, and in its docstring."""
    label = r"Revision(?: ID)?" if name == "revision" else "Follows|Revises"
    parts = (rf"^{name}\b[^=\n]*=(?:[^\n(\[]*|[^)\]]*)", rf"^(?:{label}): .*")
    word = re.compile(rf"(?<!\w){re.escape(old)}(?!\w)")
    for part in parts:
        text = re.sub(
            part, lambda found: word.sub(new, found[0]), text, count=1, flags=re.MULTILINE
        )
    return text
