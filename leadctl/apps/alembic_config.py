"""What a project's own Alembic configuration says, read from its files' text, without Alembic.

The places are those of Alembic's documentation: an ini file with its named section, and
`[tool.alembic]` of pyproject.toml.  What only running the env.py can tell is left to
`alembic_environment`.
"""

import ast
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from leadctl.errors import MigrationsInvalid
from leadctl.files import package_folder, trusted
from leadctl.journal.records import VersionTable

if TYPE_CHECKING:
    import configparser

SECTION = "alembic"
"""The section of an ini file that Alembic reads where no other is named."""
_SEPARATORS = {"space": " ", "newline": "\n", "os": os.pathsep, ":": ":", ";": ";"}
_SPACE_OR_COMMA = re.compile(r", *|(?: +)")
_SPACE_COMMA_OR_COLON = re.compile(r", *|(?: +)|:")
_YES = frozenset({"true", "yes", "on", "y", "t", "1"})
_RUNS_ONLY = ("version_locations", "script_location")
"""What an env.py that sets these in code says by running only."""


class VersionLocations(NamedTuple):
    """The folders that have the files of a history."""

    folders: tuple[Path, ...]
    recursive: bool = False
    """Whether the folders below them are read, too."""


@dataclass(frozen=True)
class AlembicConfig:
    """The configuration of an Alembic environment, in the files that Alembic takes it from."""

    ini: Path | None = None
    toml: Path | None = None
    """A pyproject.toml with `[tool.alembic]`."""
    section: str = SECTION
    root: Path | None = None
    """The project's folder: paths are relative to it where they are not to the files' own."""

    @property
    def file(self) -> Path | None:
        """The file that says most, for messages."""
        return self.ini or self.toml

    @cached_property
    def folder(self) -> Path:
        """The folder that `alembic` is run in: that which the script location is relative to."""
        own = self.file.parent if self.file else Path.cwd()
        location = self.option("script_location")
        if self.root and location and not (own / location).exists():
            return self.root
        return own

    @cached_property
    def script_location(self) -> Path | None:
        """The folder of env.py; None where no file says it."""
        location = self.option("script_location")
        return self._path(location) if location else None

    def versions(self, scripts: Path) -> VersionLocations:
        """Return where the files of a history are, whose env.py is in the folder `scripts`."""
        named = self._list("version_locations", _SPACE_OR_COMMA)
        folders = [self._path(each) for each in named] or [scripts / "versions"]
        recursive = self.flag("recursive_version_locations")
        return VersionLocations(tuple(dict.fromkeys(folders)), recursive)

    @cached_property
    def import_paths(self) -> tuple[str, ...]:
        """The folders of `prepend_sys_path`: modules are imported from them first."""
        named = self._list("prepend_sys_path", _SPACE_COMMA_OR_COLON)
        return tuple(str(self.folder / each) for each in named if each)

    def option(self, name: str) -> str | None:
        """Return a text of the configuration, with `%(here)s` and the like filled in."""
        found = self._option(name)
        return found if isinstance(found, str) and found else None

    def flag(self, name: str) -> bool:
        """Whether an option of the configuration is on."""
        found = self._option(name)
        return found is True or str(found).strip().lower() in _YES

    def _list(self, name: str, otherwise: re.Pattern[str]) -> list[str]:
        found = self._option(name)
        if isinstance(found, list):
            return [str(each) for each in found]
        if not isinstance(found, str) or not found:
            return []
        said = self._option("path_separator") or (
            self._option("version_path_separator") if name == "version_locations" else None
        )
        separator = _SEPARATORS.get(str(said))
        parts = found.split(separator) if separator else otherwise.split(found)
        return [part.strip() for part in parts if part.strip()]

    def _option(self, name: str) -> Any:
        import configparser

        try:
            if self._parser.has_option(self.section, name):
                return self._parser.get(self.section, name)
        except configparser.InterpolationError as error:
            raise MigrationsInvalid(
                f"{self.ini}: {name} refers to a value that does not exist: {error.message}.",
                hint="Alembic fills in %(here)s and the other keys of the file; "
                "a percent sign itself is written %%.",
            ) from None
        value = self._toml.get(name)
        here = {"here": self.toml.parent.as_posix()} if self.toml else {}
        try:
            if isinstance(value, list):
                return [each % here for each in value]
            return value % here if isinstance(value, str) else value
        except (KeyError, ValueError, TypeError):
            return value

    @cached_property
    def _parser(self) -> "configparser.ConfigParser":
        import configparser

        here = self.ini.parent.as_posix() if self.ini else ""
        parser = configparser.ConfigParser({"here": here})
        if self.ini:
            try:
                parser.read_string(self.ini.read_text(encoding="utf-8"), str(self.ini))
            except (OSError, configparser.Error, UnicodeDecodeError) as error:
                said = " ".join(str(error).split())
                raise MigrationsInvalid(
                    f"Cannot read {self.ini}: {said}", hint="Correct it."
                ) from None
        return parser

    @cached_property
    def _toml(self) -> Mapping[str, Any]:
        return _alembic_table(self.toml) if self.toml else {}

    def _path(self, location: str) -> Path:
        """Return the path of a location: `package:folder`, or relative to where alembic is run."""
        if ":" in location and not Path(location).is_absolute():
            paths = [*self.import_paths, str(self.folder), str(self.root or self.folder)]
            found = package_folder(location, paths)
            if found is not None:
                return found
        return Path(os.path.normpath(self.folder / location))


def find_config(
    root: Path, scripts: Path | None = None, named: Path | None = None, section: str = SECTION
) -> AlembicConfig | None:
    """Return the configuration of a project's Alembic environment, None where it has none.

    It is the file that is named, or that ALEMBIC_CONFIG names; else alembic.ini and
    pyproject.toml of the project's folder, or an alembic.ini beside the folder `scripts` or in it,
    as Flask-Migrate has it.  With `scripts` only what names that folder is taken, if anything does.
    Raises UntrustedFile for somebody else's.
    """
    given = named or _from_variable(root)
    if given is not None:
        return _of_file(given, section, root)
    folders = [root, *([scripts.parent, scripts] if scripts else [])]
    found = [_of_folder(folder, section, root) for folder in dict.fromkeys(folders)]
    configs = [each for each in found if each is not None]
    if scripts is None:
        return next((each for each in configs if each.script_location), None)
    same = [
        each
        for each in configs
        if each.script_location and each.script_location.resolve() == scripts.resolve()
    ]
    return next(iter([*same, *configs]), None)


def _from_variable(root: Path) -> Path | None:
    named = os.environ.get("ALEMBIC_CONFIG")
    return root / named if named else None


def _of_file(path: Path, section: str, root: Path) -> AlembicConfig:
    if not path.is_file():
        raise MigrationsInvalid(
            f"The configuration of Alembic, {path}, does not exist.",
            hint="Correct `alembic` of the app in leadctl.toml, or ALEMBIC_CONFIG.",
        )
    if path.suffix == ".toml":
        return AlembicConfig(None, trusted(path), section, root)
    return AlembicConfig(trusted(path), _with_table(path.parent), section, root)


def _of_folder(folder: Path, section: str, root: Path) -> AlembicConfig | None:
    ini, toml = folder / "alembic.ini", _with_table(folder)
    if ini.is_file():
        return AlembicConfig(trusted(ini), toml, section, root)
    return AlembicConfig(None, toml, section, root) if toml else None


def _with_table(folder: Path) -> Path | None:
    """Return the folder's pyproject.toml where it says something of Alembic.

    Raises UntrustedFile for somebody else's: as alembic.ini, it names the code that is run.
    """
    toml = folder / "pyproject.toml"
    return trusted(toml) if _alembic_table(toml) else None


def _alembic_table(path: Path) -> Mapping[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    tool = content.get("tool", {})
    table = tool.get("alembic", {}) if isinstance(tool, dict) else {}
    return table if isinstance(table, dict) else {}


def literal_version_table(environment: Path) -> VersionTable | None:
    """Return the version table that an env.py writes out; None where running it must tell.

    Raises MigrationsInvalid for a file that cannot be read.
    """
    try:
        text = environment.read_text(encoding="utf-8")
        module = ast.parse(text)
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise MigrationsInvalid(f"Cannot read {environment}: {error}", hint="Correct it.") from None
    calls = list(_configure_calls(module))
    if not calls or any(name in text for name in _RUNS_ONLY):
        return None
    said: set[tuple[str, str | None]] = set()
    for call in calls:
        names: dict[str, str | None] = {"version_table": None, "version_table_schema": None}
        for keyword in call.keywords:
            if keyword.arg is None:  # **options
                return None
            if keyword.arg in names:
                value = getattr(keyword.value, "value", keyword.value)
                if not (value is None or isinstance(value, str)):
                    return None
                names[keyword.arg] = value
        said.add((names["version_table"] or VersionTable.DEFAULT, names["version_table_schema"]))
    return VersionTable(*said.pop()) if len(said) == 1 else None


def _configure_calls(module: ast.Module) -> Iterator[ast.Call]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            called = node.func
            if getattr(called, "attr", getattr(called, "id", None)) == "configure":
                yield node
