"""What a project has already: its declarative base and models, and what other tools applied.

The tables of other tools are recognised and checked, never touched.
"""

import ast
import hashlib
import json
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

from psycopg import sql
from sqlalchemy import MetaData, Table

from leadctl.apps.registry import App, load_module
from leadctl.errors import ModelsNotFound, ModelsNotImportable, UnreadableFile
from leadctl.postgres.connect import Connection

_BASES = frozenset({"DeclarativeBase", "DeclarativeBaseNoMeta"})
_MAKERS = frozenset({"MetaData", "SQLAlchemy", "automap_base", "declarative_base", "registry"})
"""Calls that make what holds metadata: SQLAlchemy's own, and Flask-SQLAlchemy's."""
_COLUMNS = frozenset({"Column", "mapped_column"})
_MAPPED = frozenset({"DynamicMapped", "Mapped", "WriteOnlyMapped"})
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


def _scan(root: Path) -> list[Module]:
    """Return the modules below a folder that define tables or make metadata, by name."""
    found = (_look(root, path) for path in sorted(_sources(root)))
    return [module for module in found if module]


def _module_name(root: Path, path: Path) -> str:
    """Return the name that a file is imported by; a folder `src` is no part of it."""
    parts = list(path.relative_to(root).with_suffix("").parts)
    if parts[0] == "src" and not (root / "src" / "__init__.py").exists():
        parts = parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def alembic_folders(root: Path) -> list[Path]:
    """Return the folders of a project that have an env.py of Alembic's."""
    return sorted(folder for folder in _folders(root) if _is_of_alembic(folder))


def _is_of_alembic(folder: Path) -> bool:
    environment = folder / "env.py"
    return environment.is_file() and b"alembic" in environment.read_bytes()


def _folders(folder: Path) -> Iterator[Path]:
    """Yield a folder and those below it that may have a project's own sources."""
    yield folder
    for path in folder.iterdir():
        is_source = path.is_dir() and path.name not in _NO_MODELS and path.name[0] != "."
        if is_source and not (path / "pyvenv.cfg").exists():
            yield from [path] if _is_of_alembic(path) else _folders(path)


def _sources(root: Path) -> Iterator[Path]:
    for folder in _folders(root):
        for path in [] if folder != root and _is_of_alembic(folder) else folder.glob("*.py"):
            if path.is_file() and not path.name.startswith(("test_", "conftest", "setup")):
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
        _module_name(root, path),
        path,
        has_tables="Table" in calls or any(_is_mapped(node) for node in classes),
        has_base=bool(inherited & _BASES or calls & _MAKERS),
    )
    return module if module.has_tables or module.has_base else None


def _is_mapped(node: ast.ClassDef) -> bool:
    """Whether a class is mapped: by its table's name, SQLModel's keyword, or columns of its own."""
    if any(keyword.arg == "table" for keyword in node.keywords):
        return True
    for statement in node.body:
        names = {getattr(each, "id", "") for each in getattr(statement, "targets", [])}
        if isinstance(statement, ast.AnnAssign):
            names.add(_name(statement.target))
            if node.bases and _name(statement.annotation) in _MAPPED:
                return True
        if isinstance(statement, ast.FunctionDef):
            names.add(statement.name)
        value = getattr(statement, "value", None)
        is_column = isinstance(value, ast.Call) and _name(value.func) in _COLUMNS
        if names & {"__tablename__", "__table__"} or (is_column and node.bases):
            return True
    return False


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    return node.id if isinstance(node, ast.Name) else ""


_PROBE_SECONDS = 60
_PROBES_MAX = 6
_PROBE = """\
import importlib, json, os, sys
result = os.dup(1)
os.dup2(2, 1)
sys.path[:0] = sys.argv[3:]
found = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
tables = list(getattr(found, "metadata", found).tables)
os.write(result, json.dumps(tables).encode())
"""


@dataclass(frozen=True)
class FoundModels:
    """An object that holds a project's tables."""

    models: str
    """`package.module:object`."""
    tables: tuple[str, ...]
    modules: tuple[str, ...] = ()
    """The modules that must be imported for all tables to be there; none where `models` does."""


@dataclass(frozen=True)
class Discovered:
    """What holds tables in a project."""

    found: tuple[FoundModels, ...]
    """The most tables first."""
    skipped: tuple[str, ...]
    """What was said of the modules that could not be imported, each with its file and line."""


def discover(app: App) -> Discovered:
    """Return what holds tables in an app's folder.

    The modules that define tables are imported; one that cannot be is passed over and named, where
    others hold tables.  Raises ModelsNotImportable with the file and line that matter, and
    ModelsNotFound where there are none.
    """
    loaded: dict[str, ModuleType] = {}
    failed: list[ModelsNotImportable] = []
    scanned = _scan(app.root)
    for module in scanned:
        try:
            loaded[module.name] = load_module(app, module.name, "models")
        except ModelsNotImportable as error:
            failed.append(error)
    modules = [module for module in scanned if module.name in loaded]
    holders: dict[int, list[tuple[str, Any]]] = {}
    for name, imported in loaded.items():
        for attribute, value in vars(imported).items():
            metadata = _metadata(value)
            if metadata is not None and metadata.tables and not attribute.startswith("__"):
                holders.setdefault(id(metadata), []).append((f"{name}:{attribute}", value))
    if not holders:
        raise failed[0] if failed else _nothing(app, modules)
    found = [_best(app, modules, candidates) for candidates in holders.values()]
    found.sort(key=lambda each: (-len(each.tables), each.models))
    return Discovered(tuple(found), tuple(error.message for error in failed))


def _metadata(value: Any) -> MetaData | None:
    """Return the metadata of a base, a registry or a Flask-SQLAlchemy object, or a MetaData."""
    if isinstance(value, MetaData):
        return value
    if isinstance(value, Table) or hasattr(value, "__table__"):
        return None  # they have it from their base, and are no name for it
    if not hasattr(type(value), "metadata") and "metadata" not in getattr(value, "__dict__", {}):
        return None
    found = getattr(value, "metadata", None)
    return found if isinstance(found, MetaData) else None


def _best(app: App, modules: Sequence[Module], candidates: list[tuple[str, Any]]) -> FoundModels:
    """Return the name whose import alone brings all tables, else what must be imported with it."""
    metadata = _metadata(candidates[0][1])
    assert metadata is not None
    tables = tuple(sorted(metadata.tables))
    ordered = sorted(candidates, key=lambda candidate: _rank(*candidate))
    names = list(dict.fromkeys(name for name, _ in ordered))
    for name in names[:_PROBES_MAX]:
        if _tables_alone(app, name) >= set(tables):
            return FoundModels(name, tables)
    defining = [module.name for module in modules if module.has_tables]
    return FoundModels(names[0], tables, tuple(defining))


def _rank(name: str, value: Any) -> tuple[int, int, str]:
    """Order names as people would: the base before the metadata, where it is at home first."""
    module, _, attribute = name.partition(":")
    kind = 0 if isinstance(value, type) else 1 if isinstance(value, MetaData) else 2
    if attribute.startswith("_"):
        kind += 3
    at_home = getattr(value, "__module__", module) == module
    return kind, 0 if at_home else 1, name


def _tables_alone(app: App, name: str) -> set[str]:
    """Return the tables that importing one module brings, in a process of its own."""
    module, _, attribute = name.partition(":")
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, module, attribute, *map(str, app.import_paths)],
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            cwd=app.root,
            check=False,
        )
        return set(json.loads(done.stdout)) if done.returncode == 0 else set()
    except (subprocess.TimeoutExpired, ValueError):
        return set()


def _nothing(app: App, modules: Sequence[Module]) -> ModelsNotFound:
    looked = ", ".join(module.name for module in modules)
    return ModelsNotFound(
        f"No tables were found in {app.root}"
        + (f": {looked} make metadata that stays empty." if looked else "."),
        hint="To begin with example tables: leadctl init --starter. Otherwise name the "
        "declarative base "
        "or the MetaData with --models package.module:Base, or read a database into models with "
        "--from-database.",
    )


def imports(found: Sequence[FoundModels]) -> Iterator[str]:
    """Yield the lines of a module that imports all of a project's models, of one base or more."""
    yield '"""All models of the project, for leadctl: what must be imported for all tables."""'
    yield ""
    for name in sorted({name for each in found for name in each.modules}):
        yield f"import {name}  # noqa: F401"
    several = len(found) > 1
    names = []
    for number, each in enumerate(found, 1):
        module, _, attribute = each.models.partition(":")
        names.append(f"base_{number}" if several else attribute)
        yield f"from {module} import {attribute}" + (f" as {names[-1]}" if several else "")
    yield ""
    if several:
        yield f"{ALL_BASES} = [{', '.join(names)}]"
    else:
        yield f'__all__ = ["{names[0]}"]'


ALL_BASES = "bases"
"""What the module that imports several bases calls them."""


PRISMA = "_prisma_migrations"


@dataclass(frozen=True)
class ForeignHistory:
    """The history of another tool."""

    tool: str
    tables: tuple[str, ...]


def foreign_histories(tables: Mapping[str, Collection[str]]) -> list[ForeignHistory]:
    """Return the histories among some tables, given with their columns.

    Rails and dbmate call their table alike; Rails has a second one next to it.
    """
    found = [
        ForeignHistory(tool, (table,))
        for table, (tool, columns) in _KNOWN.items()
        if set(columns) <= set(tables.get(table, ()))
    ]
    if "version" in tables.get("schema_migrations", ()):
        if "ar_internal_metadata" in tables:
            found.append(ForeignHistory("Rails", ("schema_migrations", "ar_internal_metadata")))
        elif "dirty" in tables["schema_migrations"]:
            found.append(ForeignHistory("golang-migrate", ("schema_migrations",)))
        else:
            found.append(ForeignHistory("dbmate", ("schema_migrations",)))
    return sorted(found, key=lambda each: each.tool)


_KNOWN: Mapping[str, tuple[str, tuple[str, ...]]] = {
    PRISMA: ("Prisma", ("checksum", "migration_name", "rolled_back_at")),
    "django_migrations": ("Django", ("app", "name", "applied")),
    "flyway_schema_history": ("Flyway", ("installed_rank", "checksum", "success")),
    "databasechangelog": ("Liquibase", ("author", "md5sum")),
    "goose_db_version": ("goose", ("version_id", "is_applied")),
    "knex_migrations": ("Knex", ("batch", "migration_time")),
}
"""The tool of each table, and columns that tell it from a table of the same name."""


_FILE = "migration.sql"


class PrismaState(Enum):
    """How a migration stands."""

    APPLIED = "applied"
    EDITED = "edited"
    """The file is not what was applied."""
    MISSING = "missing"
    """It was applied, and the folder does not have it."""
    FAILED = "failed"
    """It began and did not end: the database has a part of it, or nothing."""
    ROLLED_BACK = "rolled back"
    PENDING = "pending"
    """The folder has it, and it was not applied."""
    UNCHECKED = "applied, unchecked"
    """It was applied, and there is no folder to check it against."""


@dataclass(frozen=True)
class PrismaMigration:
    """One migration of Prisma."""

    name: str
    state: PrismaState
    finished_at: datetime | None = None


def prisma_migrations(
    connection: Connection, schema: str, folder: Path | None
) -> list[PrismaMigration]:
    """Return the migrations that the table or the folder has, in Prisma's order.

    Each file is checked by its SHA-256, whose line endings may have been changed by git since.
    Of one that was tried several times the last try counts.  Raises UnreadableFile.
    """
    files = _checksums(folder) if folder else {}
    query = sql.SQL(
        "SELECT DISTINCT ON (migration_name) migration_name, checksum, finished_at, rolled_back_at"
        " FROM {} ORDER BY migration_name, started_at DESC"
    ).format(sql.Identifier(schema, PRISMA))
    found: dict[str, PrismaMigration] = {}
    for name, checksum, finished_at, rolled_back_at in connection.execute(query):
        if rolled_back_at is not None:
            state = PrismaState.ROLLED_BACK
        elif finished_at is None:
            state = PrismaState.FAILED
        elif folder is None:
            state = PrismaState.UNCHECKED
        elif name not in files:
            state = PrismaState.MISSING
        else:
            state = PrismaState.APPLIED if checksum in files[name] else PrismaState.EDITED
        found[name] = PrismaMigration(name, state, finished_at)
    for name in files.keys() - found.keys():
        found[name] = PrismaMigration(name, PrismaState.PENDING)
    return [found[name] for name in sorted(found)]


def _checksums(folder: Path) -> dict[str, set[str]]:
    """Return the SHA-256 of each migration.sql as it is, with LF and with CRLF."""
    found = {}
    try:
        for path in folder.glob(f"*/{_FILE}"):
            content = path.read_bytes()
            unix = content.replace(b"\r\n", b"\n")
            forms = {content, unix, unix.replace(b"\n", b"\r\n")}
            found[path.parent.name] = {hashlib.sha256(form).hexdigest() for form in forms}
    except OSError as error:
        raise UnreadableFile(
            f"Cannot read {error.filename}: {error.strerror}.", hint="Make it readable."
        ) from None
    return found
