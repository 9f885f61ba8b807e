"""Pools of 65536 values, made once a process: a row draws from one by 16 random bits."""

import json
import random
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from leadctl.apps.synthetic.chunk import escaped_for_copy

POOL_SIZE = 1 << 16
_PHRASES = 1 << 12
"""Different values in a pool of what is long or many: the processor's caches hold that."""


@cache
def phrases(form: str) -> list[str]:
    """Return 65536 texts of a form, escaped for COPY; 4096 of them differ."""
    rng = random.Random(form)  # noqa: S311 - made up, not secret
    marked = form.replace("{{", "\x01").replace("}}", "\x02")
    parts = marked.replace("}", "{").split("{")
    texts = [text.replace("\x01", "{").replace("\x02", "}") for text in parts[::2]]
    names = parts[1::2]
    pools = [_words(name) for name in names]
    columns = [[pool[int(rng.random() * len(pool))] for _ in range(_PHRASES)] for pool in pools]
    made = [escaped_for_copy(texts[0])] * _PHRASES
    for column, text in zip(columns, map(escaped_for_copy, texts[1:]), strict=True):
        made = [before + word + text for before, word in zip(made, column, strict=True)]
    return made * (POOL_SIZE // _PHRASES)


@cache
def documents(forms: str) -> list[str]:
    """Return 65536 JSON texts, of several forms in turn."""
    pools = [_document(form) for form in json.loads(forms)]
    return [pools[index % len(pools)][index] for index in range(POOL_SIZE)]


def _document(form: Any) -> list[str]:
    """Return JSON texts of a form; braces that are JSON's are no phrase's."""
    text = json.dumps(form, ensure_ascii=False).replace("{", "{{").replace("}", "}}")
    for name in _NAMES:
        text = text.replace("{{" + name + "}}", "{" + name + "}")
    return phrases(text)


_NAMES = ("first", "last", "city", "country", "trade", "adjective", "noun", "verb", "number")


@cache
def address_heads() -> list[str]:
    """Return addresses without what makes each a different one, which goes before the @."""
    names = phrases("{first}.{last}.@")
    domains = _words("email_domain")
    return [
        name.lower().translate(_PLAIN) + domains[index * 31 % len(domains)]
        for index, name in enumerate(names)
    ]


_PLAIN = str.maketrans("éèüöó", "eeuoo")


@cache
def weighted(weights: tuple[tuple[Any, float], ...]) -> list[Any]:
    """Return values, each as often as its weight says."""
    total, passed = sum(weight for _, weight in weights), 0.0
    pool: list[Any] = []
    for value, weight in weights:
        passed += weight
        pool += [value] * (round(passed / total * POOL_SIZE) - len(pool))
    return pool


@cache
def wholes(low: int, high: int, tail: int) -> list[int]:
    """Return integers; with a tail above 1, mostly low ones."""
    # In integers: a float's power is not the same on every machine.
    width, full = high - low + 1, POOL_SIZE**tail
    made = [
        low + width * index**tail // full for index in range(0, POOL_SIZE, POOL_SIZE // _PHRASES)
    ]
    return made * (POOL_SIZE // _PHRASES)


@cache
def _words(kind: str) -> tuple[str, ...]:
    """Return the words of a kind, such as "noun"; "number" is from 0000 to 9999."""
    return tuple(f"{number:04d}" for number in range(10_000)) if kind == "number" else _read()[kind]


@cache
def _read() -> dict[str, tuple[str, ...]]:
    text = files(__package__).joinpath("words.toml").read_text(encoding="utf-8")
    return {kind: tuple(lines.split()) for kind, lines in tomllib.loads(text).items()}
