"""The words of words.toml, by kind."""

import tomllib
from functools import cache
from importlib.resources import files


@cache
def words(kind: str) -> tuple[str, ...]:
    """Return the words of a kind, such as "noun"; "number" is from 0000 to 9999."""
    return tuple(f"{number:04d}" for number in range(10_000)) if kind == "number" else _read()[kind]


@cache
def _read() -> dict[str, tuple[str, ...]]:
    text = files(__package__).joinpath("words.toml").read_text(encoding="utf-8")
    return {kind: tuple(lines.split()) for kind, lines in tomllib.loads(text).items()}
