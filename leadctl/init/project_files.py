"""The files that init writes: each is new, or it stays as it is."""

import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from leadctl.crypto.keyring import KEY_BYTES
from leadctl.errors import AlreadyDeclared
from leadctl.init.suggestions import RetentionGuess


@dataclass(frozen=True)
class WrittenFile:
    """A file of the project."""

    path: Path
    state: str
    """ "written", "extended" or "kept"."""
    what: str


@dataclass
class Files:
    """What an init writes; nothing is written before everything is known to be possible."""

    root: Path
    _planned: list[tuple[Path, str, str]] = field(default_factory=list)
    _kept: list[WrittenFile] = field(default_factory=list)
    _extended: list[tuple[Path, str, str]] = field(default_factory=list)

    def new(self, path: Path, content: str, what: str) -> None:
        """Plan a file.  Raises AlreadyDeclared where it exists."""
        if path.exists():
            raise AlreadyDeclared(
                f"{path} exists, and init overwrites nothing.",
                hint="Move it away, or declare the app in leadctl.toml by hand.",
            )
        self._planned.append((path, content, what))

    def new_configuration(self, lines: Iterable[str]) -> None:
        """Plan leadctl.toml.  Raises AlreadyDeclared where it exists."""
        self.new(self.root / "leadctl.toml", joined_lines(lines), "the app")

    def add_variables(self, app: str, *, has_url: bool, needs_key: bool) -> None:
        """Plan the lines that the `.env` file lacks."""
        path = self.root / ".env"
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        lines: list[str] = []
        if not has_url and "DATABASE_URL" not in before:
            lines += [
                "# Without a URL leadctl runs a PostgreSQL of its own in .leadctl/.",
                f'# DATABASE_URL="postgresql://USER:PASSWORD@localhost:5432/{app}"',
            ]
        if "ENCRYPTION_KEY" not in before:
            key = secrets.token_hex(KEY_BYTES) if needs_key else ""
            lines += [
                "# The key of encrypted columns: leadctl keys generate makes one.",
                f"{'' if needs_key else '# '}ENCRYPTION_KEY={key}",
            ]
        if lines:
            self._extended.append((path, joined_lines(lines), "variables"))

    def keep(self, path: Path, what: str) -> None:
        """Say that a file or folder is used as it is."""
        self._kept.append(WrittenFile(path, "kept", what))

    def write(self) -> tuple[WrittenFile, ...]:
        """Write what was planned, and return all files in order."""
        written = list(self._kept)
        for path, content, what in self._planned:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(content)
            written.append(WrittenFile(path, "written", what))
        for path, content, what in self._extended:
            existed = path.exists()
            if not existed:  # it is for secrets, or will be
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            before = path.read_text(encoding="utf-8")
            gap = "\n" if before and not before.endswith("\n") else ""
            with path.open("a", encoding="utf-8") as file:
                file.write(gap + content)
            written.append(WrittenFile(path, "extended" if existed else "written", what))
        return tuple(written)


def joined_lines(lines: Iterable[str]) -> str:
    """Return lines as a file's content."""
    return "".join(f"{line}\n" for line in lines)


def leadctl_toml(
    app: str, entries: Mapping[str, object], retention: Sequence[RetentionGuess]
) -> Iterator[str]:
    """Yield the lines of a leadctl.toml that declares one app."""
    yield f"app = {json.dumps(app)}"
    yield ""
    yield from app_table(app, entries)
    for key, example, what in _OPTIONAL:
        if key not in entries:
            yield f"# {key} = {json.dumps(example)}  # {what}"
    yield ""
    yield "# Rows that may go, and when. Nothing is deleted by a rule that is a comment."
    yield from _retention(app, retention)
    yield ""
    yield "# [env.production]"
    yield '# url_command = "…"  # prints the URL, or: url = "postgresql://…"'
    yield "# protected = true"


def app_table(app: str, entries: Mapping[str, object]) -> Iterator[str]:
    """Yield the table that declares an app."""
    yield f"[apps.{app}]"
    for key, value in entries.items():
        yield f"{key} = {json.dumps(value, ensure_ascii=False)}"


_OPTIONAL = (
    ("seed_files", "seeds", "YAML, JSON, CSV and SQL files of rows"),
    ("seed", "package.module:function", "a function that is handed a session"),
)


def _retention(app: str, guesses: Sequence[RetentionGuess]) -> Iterator[str]:
    example = RetentionGuess("sessions", "created_at", "90d", "an example")
    for guess in guesses or [example]:
        yield f"# [[apps.{app}.retention]]  # {guess.why}"
        yield f"# name = {json.dumps('old-' + guess.table.replace('_', '-').lower())}"
        yield f"# table = {json.dumps(guess.table)}"
        yield f"# age_column = {json.dumps(guess.age_column)}"
        yield f"# older_than = {json.dumps(guess.older_than)}"
