"""The text of leadctl.toml and the `.env` lines that init writes."""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from leadctl.crypto.keyring import KEY_BYTES
from leadctl.init.suggestions import RetentionGuess


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


def env_lines(path: Path, app: str, *, has_url: bool, needs_key: bool) -> list[str]:
    """Return the lines that a `.env` file lacks; none where it has them already."""
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
    return lines
