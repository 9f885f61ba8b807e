"""The filter language of `--where`: one condition, read without knowing any table.

    condition = path operator value | path "is" ["not"] "null"
              | path ["not"] "in" list | path ["not"] "has" value
    path      = name { "." name }          a column, and for JSON the way into it
    name      = letters, digits, _ and $ | '"' anything, " doubled '"'
    operator  = "=" | "!=" | "<" | "<=" | ">" | ">=" | "~" | "!~"
    value     = all that follows; in double quotes where blanks at its ends count
    list      = value { "," value }

There is no way to write anything else: no functions, no columns on the right, no SQL.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from leadctl.errors import InvalidFilter

_NAME = re.compile(r'"((?:[^"]|"")+)"|([^\W\d][\w$]*)')
_STEP = re.compile(r'\.(?:"((?:[^"]|"")*)"|([\w$-]+))')
_SYMBOL = re.compile(r"\s*(!=|<=|>=|!~|=|<|>|~)\s*")
_WORD = re.compile(r"\s+(?:(not)\s+)?(in|has)(?:\s+|$)", re.IGNORECASE)
_NULL = re.compile(r"\s+is\s+(?:(not)\s+)?null\s*\Z", re.IGNORECASE)
_ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^",][^,]*|))\s*(,|\Z)')
_NEEDS_QUOTES = re.compile(r'[,"]|^\s|\s\Z')
_LIST_MAX = 1000
_EXAMPLES = "As: status=FAILED, created_at>=2026-01-01, email~@example.com, tags has vip, x is null"


@dataclass(frozen=True)
class Condition:
    """One condition; `operator` is one of = < <= > >= ~ in has null, and `negated` turns it round.

    A negated condition is true for every row that the plain one is not true for.
    """

    column: str
    path: tuple[str, ...]
    operator: str
    values: tuple[str, ...]
    negated: bool = False


def parse(text: str) -> Condition:
    """Read one condition.  Raises InvalidFilter."""
    check_text(text)
    text = text.strip()
    found = _NAME.match(text)
    if found is None:
        raise _invalid(text, "it does not begin with a column's name")
    column, rest = _unquoted(found[1], found[2]), text[found.end() :]
    path: list[str] = []
    while step := _STEP.match(rest):
        path.append(_unquoted(step[1], step[2]))
        rest = rest[step.end() :]
    return _operation(text, column, tuple(path), rest)


def _operation(text: str, column: str, path: tuple[str, ...], rest: str) -> Condition:
    if null := _NULL.match(rest):
        return Condition(column, path, "null", (), negated=null[1] is not None)
    if symbol := _SYMBOL.match(rest):
        given = rest[symbol.end() :]
        operator, negated = symbol[1], symbol[1].startswith("!")
        operator = {"!=": "=", "!~": "~"}.get(operator, operator)
        return Condition(column, path, operator, (_value(given),), negated)
    if word := _WORD.match(rest):
        given = rest[word.end() :]
        operator, negated = word[2].lower(), word[1] is not None
        values = split_list(given) if operator == "in" else (_value(given),)
        return Condition(column, path, operator, values, negated)
    raise _invalid(text, f"no operator follows {column!r}")


def split_list(text: str) -> tuple[str, ...]:
    """Split a list at its commas; an item that holds one is in double quotes."""
    check_text(text)
    items: list[str] = []
    position = 0
    while True:
        found = _ITEM.match(text, position)
        if found is None:
            raise InvalidFilter(
                f"Something follows a closing quote in the list {text!r}.",
                hint='A quote within quotes is doubled: "a ""b"" c".',
            )
        items.append(found[2].rstrip() if found[1] is None else found[1].replace('""', '"'))
        position = found.end()
        if found[3] != ",":
            break
        if len(items) >= _LIST_MAX:
            raise InvalidFilter(
                f"A list has more than {_LIST_MAX} items.", hint="Ask for fewer at a time."
            )
    return tuple(items)


def join_list(items: Sequence[str]) -> str:
    """Write items as a list that `split_list` reads; one alone as it is."""
    if len(items) == 1:
        return items[0]
    return ",".join(_quoted(item) if _NEEDS_QUOTES.search(item) else item for item in items)


def check_text(text: str) -> None:
    """Refuse what PostgreSQL cannot hold as text.  Raises InvalidFilter."""
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidFilter(
            f"{text!r} is no text: it holds a NUL or is not UTF-8.",
            hint="PostgreSQL has no such values.",
        )


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _value(given: str) -> str:
    given = given.strip()
    if len(given) > 1 and given[0] == given[-1] == '"':
        return given[1:-1].replace('""', '"')
    return given


def _unquoted(quoted: str | None, bare: str | None) -> str:
    return bare or "" if quoted is None else quoted.replace('""', '"')


def _invalid(text: str, why: str) -> InvalidFilter:
    return InvalidFilter(f"The condition {text!r} cannot be read: {why}.", hint=_EXAMPLES)
