"""Which modules of a project have models: read from their text, nothing is imported."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BASES = frozenset({"DeclarativeBase", "DeclarativeBaseNoMeta"})
_MAKERS = frozenset({"MetaData", "SQLAlchemy", "automap_base", "declarative_base", "registry"})
"""Calls that make what holds metadata: SQLAlchemy's own, and Flask-SQLAlchemy's."""
_NO_MODELS = frozenset(
    {"__pycache__", "build", "dist", "docs", "examples", "node_modules", "site-packages", "tests"}
)
_SOURCES_MAX = 2_000_000
"""Bytes: a longer file is no models module."""


@dataclass(frozen=True)
class Module:
    """A module that has something to do with models."""

    name: str
    path: Path
    has_tables: bool
    """Whether it defines tables."""
    has_base: bool
    """Whether it makes metadata, or a class that has it."""


def scan(root: Path) -> list[Module]:
    """Return the modules below a folder that define tables or make metadata, by name."""
    found = (_look(root, path) for path in sorted(_sources(root)))
    return [module for module in found if module]


def module_name(root: Path, path: Path) -> str:
    """Return the name that a file is imported by; a folder `src` is no part of it."""
    parts = list(path.relative_to(root).with_suffix("").parts)
    if parts[0] == "src" and not (root / "src" / "__init__.py").exists():
        parts = parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _sources(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir():
            environment = (path / "pyvenv.cfg").exists() or (path / "env.py").exists()
            if not (path.name.startswith(".") or path.name in _NO_MODELS or environment):
                yield from _sources(path)
        elif path.suffix == ".py" and not path.name.startswith(("test_", "conftest", "setup")):
            yield path


def _look(root: Path, path: Path) -> Module | None:
    if path.stat().st_size > _SOURCES_MAX:
        return None
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return None  # what imports it says so with its line
    calls = {_name(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    inherited = {_name(base) for node in classes for base in node.bases}
    module = Module(
        module_name(root, path),
        path,
        has_tables="Table" in calls or any(_is_mapped(node) for node in classes),
        has_base=bool(inherited & _BASES or calls & _MAKERS),
    )
    return module if module.has_tables or module.has_base else None


def _is_mapped(node: ast.ClassDef) -> bool:
    if any(keyword.arg == "table" for keyword in node.keywords):  # SQLModel's
        return True
    return any(
        isinstance(target, ast.Name) and target.id in {"__tablename__", "__table__"}
        for statement in node.body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for target in (
            statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        )
    ) or any(
        isinstance(statement, ast.FunctionDef) and statement.name == "__tablename__"
        for statement in node.body
    )


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    return node.id if isinstance(node, ast.Name) else ""
