"""The files that init writes, with what it guesses from names, for people to confirm.

Each file is new, or it stays as it is.
"""

import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import DateTime, MetaData, String, Table

from leadctl.crypto import KEY_BYTES
from leadctl.errors import AlreadyDeclared
from leadctl.models.values import encrypted_columns

_SECRET = re.compile(
    r"(^|_)(access|refresh|auth|bearer|id)_?token$|(^|_)(token|secret|password|passphrase|"
    r"api_?key|private_?key|client_secret|webhook_secret|credentials?|iban|ssn|tax_id|"
    r"card_number|totp)$"
)
_NO_SECRET = re.compile(r"hash|digest|fingerprint|_id$|count|expir")
_TRANSIENT = re.compile(
    r"(^|_)(logs?|events?|sessions?|audits?|histor(y|ies)|notifications?|deliver(y|ies)|"
    r"tokens?|jobs?|metrics?|attempts?|messages?|runs?|webhook_events?)$"
)
_AGE = ("created_at", "inserted_at", "occurred_at", "logged_at", "created", "timestamp", "ts")
_OLD = "90d"


@dataclass(frozen=True)
class EncryptedGuess:
    """A column that may hold secrets."""

    column: str
    """`table.column`."""
    why: str


@dataclass(frozen=True)
class RetentionGuess:
    """A table whose old rows may go."""

    table: str
    age_column: str
    older_than: str
    why: str


def snake_case(name: str) -> str:
    """Return a name in snake_case: `facebookId`, `FacebookID` and `facebook_id` are one."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"\W+|_{2,}", "_", name).strip("_").lower()


_CIPHERTEXT_MIN = 128
"""Characters: a shorter column holds no ciphertext."""


def is_secret_name(column: str) -> bool:
    """Whether a column's name says that it holds a secret."""
    name = snake_case(column)
    return bool(_SECRET.search(name) and not _NO_SECRET.search(name))


def secret_columns(metadata: MetaData) -> Iterator[EncryptedGuess]:
    """Yield the plain columns of text whose names say that they hold a secret."""
    encrypted = {column for column, _ in encrypted_columns(metadata)}
    for table in metadata.tables.values():
        for column in table.columns:
            if column in encrypted or not isinstance(column.type, String):
                continue
            is_long = column.type.length is None or column.type.length >= _CIPHERTEXT_MIN
            if is_long and is_secret_name(column.name):
                yield EncryptedGuess(f"{table.name}.{column.name}", "its name")


def old_rows(tables: Sequence[Table]) -> Iterator[RetentionGuess]:
    """Yield the tables whose names and columns say that their rows grow old."""
    for table in tables:
        if not _TRANSIENT.search(snake_case(table.name)):
            continue
        times = {
            snake_case(column.name): column.name
            for column in table.columns
            if isinstance(column.type, DateTime)
        }
        age = next((times[name] for name in _AGE if name in times), None)
        if age:
            yield RetentionGuess(table.name, age, _OLD, "a guess from the names")


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
    _extended: list[tuple[Path, str, str, int]] = field(default_factory=list)

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
            # It is for secrets, or will be.
            self._extended.append((path, joined_lines(lines), "variables", 0o600))

    def ignore(self) -> None:
        """Plan the lines that .gitignore lacks."""
        if lines := not_ignored(self.root):
            path = self.root / ".gitignore"
            self._extended.append((path, joined_lines(lines), "secrets and data", 0o644))

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
        for path, content, what, mode in self._extended:
            existed = path.exists()
            if not existed:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
            before = path.read_text(encoding="utf-8")
            gap = "\n" if before and not before.endswith("\n") else ""
            with path.open("a", encoding="utf-8") as file:
                file.write(gap + content)
            written.append(WrittenFile(path, "extended" if existed else "written", what))
        return tuple(written)


_SECRET_FILES = (".env", ".env.local", ".leadctl/")


def not_ignored(root: Path) -> list[str]:
    """Return the lines that a project's .gitignore lacks for what holds secrets and data.

    A project within a repository is read with the files of the folders above it.
    """
    repository = next((each for each in (root, *root.parents) if (each / ".git").exists()), root)
    folders = [each for each in (root, *root.parents) if each.is_relative_to(repository)]
    files = [path for each in folders if (path := each / ".gitignore").exists()]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    ignored = {line.strip().strip("/") for line in text.splitlines()}
    if ".env*" in ignored or ".env.*" in ignored:
        ignored |= {".env.local"} | ({".env"} if ".env*" in ignored else set())
    return [name for name in _SECRET_FILES if name.strip("/") not in ignored]


def seed_files_of(root: Path) -> dict[str, object]:
    """Return the entry of an app that has a folder of seed files, where there is one."""
    return {"seed_files": "seeds"} if (root / "seeds").is_dir() else {}


def joined_lines(lines: Iterable[str]) -> str:
    """Return lines as a file's content."""
    return "".join(f"{line}\n" for line in lines)


def leadctl_toml(
    app: str,
    entries: Mapping[str, object],
    retention: Sequence[RetentionGuess],
    *,
    in_force: bool = False,
) -> Iterator[str]:
    """Yield the lines of a leadctl.toml that declares one app.

    Its rules are comments, unless they are `in_force`.
    """
    yield f"app = {json.dumps(app)}"
    yield ""
    yield from app_table(app, entries)
    for key, example, what in _OPTIONAL:
        if key not in entries:
            yield f"# {key} = {json.dumps(example)}  # {what}"
    yield ""
    yield "# Which rows to delete, and when. A rule in a comment deletes nothing."
    yield from _retention(app, retention, "" if in_force else "# ")
    yield ""
    yield "# [env.production]"
    yield '# url_command = "…"  # prints the URL, or: url = "postgresql://…"'
    yield "# protected = true"


def app_table(app: str, entries: Mapping[str, object]) -> Iterator[str]:
    """Yield the table that declares an app."""
    yield f"[apps.{app}]"
    for key, value in entries.items():
        if isinstance(value, list) and len(value) > 1:
            yield f"{key} = ["
            yield from (f"    {json.dumps(each, ensure_ascii=False)}," for each in value)
            yield "]"
        else:
            yield f"{key} = {json.dumps(value, ensure_ascii=False)}"


_OPTIONAL = (
    ("seed_files", "seeds", "YAML, JSON, CSV and SQL files of rows"),
    ("seed", "package.module:function", "a function that is handed a session"),
)


def _retention(app: str, guesses: Sequence[RetentionGuess], mark: str) -> Iterator[str]:
    example = RetentionGuess("sessions", "created_at", "90d", "an example")
    for guess in guesses or [example]:
        yield f"{mark}[[apps.{app}.retention]]  # {guess.why}"
        yield f"{mark}name = {json.dumps('old-' + guess.table.replace('_', '-').lower())}"
        yield f"{mark}table = {json.dumps(guess.table)}"
        yield f"{mark}age_column = {json.dumps(guess.age_column)}"
        yield f"{mark}older_than = {json.dumps(guess.older_than)}"
