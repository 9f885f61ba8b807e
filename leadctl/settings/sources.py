"""Where settings come from: the process's environment, the `.env` files and leadctl.toml."""

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from leadctl.errors import InvalidSetting, UnreadableFile
from leadctl.files import trusted

FLAG = "flag"
ENVIRONMENT = "environment"
DEFAULT = "default"
DOTENV_FILES = (".env.local", ".env")


class ProjectFolder(NamedTuple):
    """The folder that leadctl works in, and the configuration found there.

    `root` is the folder of the nearest configuration file upward, else the current folder.
    `config` is the content of leadctl.toml, or of `[tool.leadctl]` in pyproject.toml.
    """

    root: Path
    config_file: Path | None = None
    config: Mapping[str, Any] = {}


class Layer(NamedTuple):
    """One source of variables: its name as users know it, and its values."""

    name: str
    values: Mapping[str, str]


def find_project(start: Path) -> ProjectFolder:
    """Find the nearest leadctl.toml or `[tool.leadctl]` at `start` or above it.

    Raises UnreadableFile where a file is there but cannot be read or parsed, and UntrustedFile
    where it is somebody else's.
    """
    for folder in (start, *start.parents):
        own = folder / "leadctl.toml"
        if own.is_file():
            return ProjectFolder(folder, own, _read_toml(trusted(own)))
        shared = folder / "pyproject.toml"
        if shared.is_file():
            tools = _read_toml(shared).get("tool")
            section = tools.get("leadctl") if isinstance(tools, dict) else None
            if section is not None:
                if not isinstance(section, dict):
                    raise InvalidSetting(
                        f"leadctl of [tool] in {shared} is not a table.",
                        hint="Write it as [tool.leadctl].",
                    )
                return ProjectFolder(folder, trusted(shared), section)
    return ProjectFolder(start)


def variable_layers(root: Path, environ: Mapping[str, str] | None = None) -> list[Layer]:
    """Return the layers of variables, the strongest first.

    Raises UnreadableFile for a `.env` file that cannot be read, UntrustedFile for somebody else's.
    """
    layers = [Layer(ENVIRONMENT, os.environ if environ is None else environ)]
    layers += [Layer(name, _read_dotenv(root / name)) for name in DOTENV_FILES]
    return [layer for layer in layers if layer.values]


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(
            f"Cannot read {path}: {error}", hint="Make the file readable, or move it away."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise UnreadableFile(
            f"{path} is not valid TOML: {error}", hint="Fix the line that the message names."
        ) from None
    _refuse_null(path, _texts(content))
    return content


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in a value of TOML."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _texts(each)


def _refuse_null(path: Path, texts: Iterable[str]) -> None:
    """Refuse what neither PostgreSQL nor a file's name nor an argument of a program can have."""
    if any("\0" in text for text in texts):
        raise UnreadableFile(
            f"{path} has a text with a null character.", hint="Remove the character."
        )


def _read_dotenv(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    trusted(path)
    from dotenv.main import DotEnv  # 30 ms that only a project with a .env file pays
    from dotenv.parser import parse_stream

    try:
        with path.open(encoding="utf-8") as stream:
            broken = next((line for line in parse_stream(stream) if line.error), None)
        values = DotEnv(path, encoding="utf-8").dict()
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(
            f"Cannot read {path}: {error}", hint="Make the file readable UTF-8, or move it away."
        ) from None
    if broken is not None:
        raise UnreadableFile(
            f"{path}, line {broken.original.line}: not of the form NAME=value",
            hint="Quote a value that has spaces or quotes in it.",
        )
    found = {name: value for name, value in values.items() if value is not None}
    _refuse_null(path, found.values())
    return found
