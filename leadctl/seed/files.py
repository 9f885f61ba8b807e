"""Reading seed files: `seeds/*.yaml`, and `seeds/ENVIRONMENT/*` for one environment."""

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from leadctl.errors import SeedFailed

_ROWS = {".yaml", ".yml", ".json", ".csv"}
_SQL = ".sql"
_NAME_COLUMN = "_name"
"""The column of a row's own name, by which other rows refer to it as `@name`."""


@dataclass(frozen=True)
class SeedRow:
    """One row of a file."""

    file: str
    table: str
    name: str | None
    values: Mapping[str, Any]
    number: int
    """Which one of its table it is in the file, from 1."""

    def __str__(self) -> str:
        """Say in which file it is, and which row."""
        which = f"the row {self.name}" if self.name else f"row {self.number}"
        return f"{self.file}: {which} of {self.table}"


@dataclass(frozen=True)
class SeedFile:
    """A file, and what identifies its content."""

    path: Path
    name: str
    """Its path below the folder of seed files."""

    @property
    def is_sql(self) -> bool:
        """Whether it is SQL."""
        return self.path.suffix == _SQL

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the content, whatever its line endings, as hexadecimal digits."""
        return hashlib.sha256(self.path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()

    @property
    def text(self) -> str:
        """The content.  Raises SeedFailed for what is no UTF-8."""
        try:
            return self.path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise SeedFailed(f"{self.name} is not valid UTF-8.", hint="Convert it.") from None

    def rows(self) -> list[SeedRow]:
        """Return the rows.  Raises SeedFailed with what is wrong where."""
        return list(self._csv() if self.path.suffix == ".csv" else self._document())

    def _csv(self) -> Iterator[SeedRow]:
        reader = csv.DictReader(self.text.splitlines(keepends=True), strict=True)
        try:
            for number, row in enumerate(reader, 1):
                if None in row or None in row.values():
                    raise SeedFailed(
                        f"{self.name}, line {reader.line_num}: not as many values as columns.",
                        hint="Quote a value that has a comma.",
                    )
                # An empty field is NULL, as with COPY.
                values = {key: _field(value) for key, value in row.items() if key != _NAME_COLUMN}
                named = row.get(_NAME_COLUMN) or None
                yield SeedRow(self.name, self.path.stem, named, values, number)
        except csv.Error as error:
            raise SeedFailed(
                f"{self.name}, line {reader.line_num}: {error}.", hint="Correct the file."
            ) from None

    def _document(self) -> Iterator[SeedRow]:
        for table, rows in self._tables().items():
            named = rows.items() if isinstance(rows, Mapping) else ((None, row) for row in rows)
            for number, (name, row) in enumerate(named, 1):
                if not isinstance(row, Mapping):
                    which = f"the row {name}" if name is not None else f"row {number}"
                    raise SeedFailed(
                        f"{self.name}: {which} of {table} is not a mapping of columns to "
                        f"values: {row}.",
                        hint="Write it as {column: value}.",
                    )
                label = row.get(_NAME_COLUMN, name)
                values = {str(key): value for key, value in row.items() if key != _NAME_COLUMN}
                named_so = None if label is None else str(label)
                yield SeedRow(self.name, str(table), named_so, values, number)

    def _tables(self) -> Mapping[Any, Any]:
        try:
            load = json.loads if self.path.suffix == ".json" else yaml.safe_load
            found = load(self.text) or {}
        except (yaml.YAMLError, ValueError) as error:
            raise SeedFailed(
                f"{self.name}, {_position(error)}.", hint="Correct the file."
            ) from None
        if not isinstance(found, Mapping) or not all(
            isinstance(rows, Mapping | Sequence) and not isinstance(rows, str)
            for rows in found.values()
        ):
            raise SeedFailed(
                f"{self.name} is not a mapping of tables to rows.",
                hint="Write it as: TABLE: [{column: value}, …].",
            )
        return found


def _position(error: yaml.YAMLError | ValueError) -> str:
    """Say on which line of a file its parser stopped, and why."""
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}, column {error.colno}: {error.msg}"
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if not isinstance(error, yaml.MarkedYAMLError) or mark is None:
        return " ".join(str(error).split())
    why = " ".join(filter(None, (error.context, error.problem)))
    return f"line {mark.line + 1}, column {mark.column + 1}: {why}"


def _field(text: str) -> Any:
    """Return a field of CSV: a reference is a JSON object."""
    if text.startswith("{") and text.endswith("}"):
        with suppress(ValueError):
            return json.loads(text)
    return text or None


def seed_files(folder: Path, environment: str | None) -> list[SeedFile]:
    """Return the files for every environment, then those of one, each in the order of names.

    Raises SeedFailed where the folder does not exist.
    """
    if not folder.is_dir():
        raise SeedFailed(
            f"The folder of seed files {folder} does not exist.",
            hint="Make it, or correct seed_files in leadctl.toml.",
        )
    folders = [folder, folder / environment] if environment else [folder]
    return [
        SeedFile(path, path.relative_to(folder).as_posix())
        for each in folders
        if each.is_dir()
        for path in sorted(each.iterdir())
        if path.suffix in _ROWS | {_SQL} and path.is_file()
    ]
