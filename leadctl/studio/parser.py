"""The filter language of `--where`, and lists.

    condition = path operator value | path "is" ["not"] "null"
              | path ["not"] "in" list | path ["not"] "has" value
    path      = name { "." name }          relations, a column, and for JSON the way into it
    name      = letters, digits, _ and $ | '"' anything, " doubled '"'
    operator  = "=" | "!=" | "<" | "<=" | ">" | ">=" | "~" | "!~", and "==", "<>" as in SQL
    value     = all that follows; in double quotes where blanks at its ends count
    list      = value { "," value }

There is no way to write anything else: no functions, no columns on the right, no SQL.  What SQL has
instead is refused with what it is here: read as a value, it would be true of no row.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from leadctl.errors import InvalidFilter
from leadctl.text import quoted, unquoted

_NAME = re.compile(r'"((?:[^"]|"")+)"|([^\W\d][\w$]*)')
_STEP = re.compile(r'\.(?:"((?:[^"]|"")*)"|([\w$-]+))')
_SYMBOL = re.compile(r"\s*(!=|<>|<=|>=|!~|==|=|<|>|~)\s*")
_PLAIN = {"!=": "=", "<>": "=", "==": "=", "!~": "~"}
_QUOTED = re.compile(r"\s*'.*'\s*\Z", re.DOTALL)
_MORE = re.compile(
    r"\s(and|or)\s+(?:not\s+)?[\w.\"]+\s*(?:[=<>~!]|\s(?:is|in|like|ilike|between|has|not)\s)",
    re.IGNORECASE,
)
_OF_SQL = re.compile(r"\s*(?:not\s+)?(i?like|between|similar|is|\()", re.IGNORECASE)
_WORD = re.compile(r"\s+(?:(not)\s+)?(in|has)(?:\s+|$)", re.IGNORECASE)
_NULL = re.compile(r"\s+is\s+(?:(not)\s+)?null\s*\Z", re.IGNORECASE)
_ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^",][^,]*|))\s*(,|\Z)')
_NEEDS_QUOTES = re.compile(r'[,"]|^\s|\s\Z')
_LIST_MAX = 1000
_LIKE = "'\"%_"
_EXAMPLES = (
    "For example: status=FAILED, created_at>=2026-01-01, email~@example.com, tags has vip, "
    "x is null"
)


@dataclass(frozen=True)
class FilterCondition:
    """One condition; `operator` is one of = < <= > >= ~ in has null, and `negated` turns it round.

    A negated condition is true for every row that the plain one is not true for.
    """

    column: str
    path: tuple[str, ...]
    operator: str
    values: tuple[str, ...]
    negated: bool = False


def parse(text: str) -> FilterCondition:
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


def _operation(text: str, column: str, path: tuple[str, ...], rest: str) -> FilterCondition:
    if null := _NULL.match(rest):
        return FilterCondition(column, path, "null", (), negated=null[1] is not None)
    if symbol := _SYMBOL.match(rest):
        given = _not_sql(text, rest[symbol.end() :])
        operator, negated = symbol[1], symbol[1] == "<>" or symbol[1].startswith("!")
        operator = _PLAIN.get(operator, operator)
        return FilterCondition(column, path, operator, (_value(given),), negated)
    if word := _WORD.match(rest):
        given = _not_sql(text, rest[word.end() :])
        operator, negated = word[2].lower(), word[1] is not None
        values = split_list(_bare(text, given)) if operator == "in" else (_value(given),)
        return FilterCondition(column, path, operator, values, negated)
    raise _invalid(text, f"no operator follows {column!r}", _hint_for(column, rest))


def _hint_for(column: str, rest: str) -> str:
    """Say what stands for an operator of SQL's that there is not."""
    found = _OF_SQL.match(rest)
    more = _MORE.search(rest)
    if more is not None:
        return _one_each(more)
    match (found[1].lower() if found else "").removeprefix("i"):
        case "like" | "similar":
            return f"~ is true where the text contains it: {column}~{rest.split()[-1].strip(_LIKE)}"
        case "between":
            return f"Give two: --where '{column}>=…' --where '{column}<=…'"
        case "(":
            return "Functions are not supported; ~ finds a part of a text in any case."
    return _EXAMPLES


def _one_each(more: re.Match[str]) -> str:
    if more[1].lower() == "and":
        return "One condition each: repeat --where, and all must hold."
    return "OR is not supported; for several values of one column: status in NEW,FAILED"


def _not_sql(text: str, given: str) -> str:
    """Return a value that is not SQL's way to write one.  Raises InvalidFilter."""
    if _QUOTED.match(given):
        bare = given.strip()[1:-1]
        raise _invalid(
            text,
            "single quotes would be part of the value",
            f"Leave them out: {bare}; or, if they are: \"'{bare}'\"",
        )
    more = None if given.lstrip().startswith('"') else _MORE.search(given)
    if more is not None:
        raise _invalid(text, f"a second condition follows {more[1]!r}", _one_each(more))
    return given


def _bare(text: str, given: str) -> str:
    """Return a list without SQL's brackets.  Raises InvalidFilter for single quotes in it."""
    stripped = given.strip()
    if stripped.startswith("(") and stripped.endswith(")"):
        return _not_sql(text, stripped[1:-1])
    return given


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
    return ",".join(quoted(item) if _NEEDS_QUOTES.search(item) else item for item in items)


def check_text(text: str) -> None:
    """Refuse what PostgreSQL cannot hold as text.  Raises InvalidFilter."""
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidFilter(
            f"{text!r} is not valid text: it holds a NUL or is not UTF-8.",
            hint="PostgreSQL has no such values.",
        )


def _value(given: str) -> str:
    given = given.strip()
    if len(given) > 1 and given[0] == given[-1] == '"':
        return unquoted(given)
    return given


def _unquoted(quoted: str | None, bare: str | None) -> str:
    return bare or "" if quoted is None else quoted.replace('""', '"')


def _invalid(text: str, why: str, hint: str = _EXAMPLES) -> InvalidFilter:
    return InvalidFilter(f"The condition {text!r} cannot be read: {why}.", hint=hint)
