"""Reading from CHECK constraints what values a column may have.

Only what is plain is understood: bounds, lists, lengths, an order of two columns, E.164.  The rest
is for a factory; the server refuses rows that break it, and the error names the constraint.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from leadctl.models.phone import E164

_CAST = re.compile(r"::(?:[a-z_]+(?: varying| precision)?)(?:\(\d+(?:,\d+)?\))?(?:\[\])?")
_BOUND = re.compile(r"^\"?(\w+)\"? (>=|>|<=|<) '?(-?\d+(?:\.\d+)?)'?$")
_ORDER = re.compile(r"^\"?(\w+)\"? (>=|>|<=|<) \"?([a-z_]\w*)\"?$")
_LIST = re.compile(r"^\"?(\w+)\"? = ANY \(ARRAY\[(.*)\]\)$")
_EQUAL = re.compile(r"^\"?(\w+)\"? = '((?:[^']|'')*)'$")
_LENGTH = re.compile(r"^(?:char_|character_)?length\(\"?(\w+)\"?\) (>=|>|<=|<|=) (\d+)$")
_TYPE = re.compile(r"^jsonb?_typeof\(\"?(\w+)\"?\) = '(object|array)'$")
_MATCH = re.compile(r"^\"?(\w+)\"? ~ '(.*)'$")
_TEXT = re.compile(r"'((?:[^']|'')*)'")


@dataclass
class Rules:
    """What a table's checks say of its columns."""

    least: dict[str, float] = field(default_factory=dict)
    """Inclusive; a strict bound of a whole number is moved by one, of another by a hundredth."""
    most: dict[str, float] = field(default_factory=dict)
    values: dict[str, list[str]] = field(default_factory=dict)
    longest: dict[str, int] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    """A column that must not lie before another one."""
    arrays: set[str] = field(default_factory=set)
    """JSON columns that hold lists."""
    phones: set[str] = field(default_factory=set)


def read_checks(definitions: Iterable[str]) -> Rules:
    """Read what can be read of CHECK constraints, as `pg_get_constraintdef` writes them."""
    rules = Rules()
    for definition in definitions:
        body = _CAST.sub("", definition.removeprefix("CHECK ").removesuffix(" NOT VALID"))
        body = _unwrapped(body)
        if " OR " in body and " IS NULL OR " not in body:
            continue
        for part in re.split(r" AND | IS NULL OR ", body):
            _read(_unwrapped(part), rules)
    return rules


def _read(part: str, rules: Rules) -> None:
    if found := _BOUND.match(part):
        _bound(rules, found[1], found[2], found[3])
    elif found := _LIST.match(part):
        texts = _TEXT.findall(found[2]) or [text.strip() for text in found[2].split(",")]
        rules.values[found[1]] = [text.replace("''", "'") for text in texts]
    elif found := _EQUAL.match(part):
        rules.values[found[1]] = [found[2].replace("''", "'")]
    elif (found := _LENGTH.match(part)) and found[2].startswith(("<", "=")):
        rules.longest[found[1]] = int(found[3]) - (found[2] == "<")
    elif found := _TYPE.match(part):
        if found[2] == "array":
            rules.arrays.add(found[1])
    elif found := _MATCH.match(part):
        if found[2] == E164:
            rules.phones.add(found[1])
    elif found := _ORDER.match(part):
        later, earlier = (found[1], found[3]) if ">" in found[2] else (found[3], found[1])
        rules.after[later] = earlier


def _bound(rules: Rules, column: str, operator: str, number: str) -> None:
    step = 0.0 if "=" in operator else 1.0 if "." not in number else 0.01
    if ">" in operator:
        rules.least[column] = max(float(number) + step, rules.least.get(column, float("-inf")))
    else:
        rules.most[column] = min(float(number) - step, rules.most.get(column, float("inf")))


def _unwrapped(text: str) -> str:
    """Return a condition without the parentheses around it and around its operands."""
    text = text.strip()
    while text.startswith("(") and _closes_at_end(text):
        text = text[1:-1].strip()
    return re.sub(r"(?<![\w])\((-?[\w.\"']+)\)", r"\1", text)


def _closes_at_end(text: str) -> bool:
    depth = 0
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return index == len(text) - 1
    return False
