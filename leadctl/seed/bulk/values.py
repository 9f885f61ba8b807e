"""What may be in a column: from its type, its name and the CHECK constraints of its table."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

from leadctl.apps.synthetic.chunk import Maker
from leadctl.apps.synthetic.constrained import Span
from leadctl.apps.synthetic.makers import (
    After,
    Cut,
    Email,
    Fraction,
    Json,
    Made,
    Phrase,
    Pick,
    Unique,
    Whole,
    choice,
)
from leadctl.catalog.relations import Relation
from leadctl.models.values import E164, PhoneNumber

_CAST = re.compile(r"::(?:[a-z_]+(?: varying| precision)?)(?:\(\d+(?:,\d+)?\))?(?:\[\])?")
_BOUND = re.compile(r"^\"?(\w+)\"? (>=|>|<=|<) '?(-?\d+(?:\.\d+)?)'?$")
_DAY = re.compile(r"^\"?(\w+)\"? (>=|>|<=|<) '(\d{4}-\d\d-\d\d)'$")
_DAY_ALONE = re.compile(r"^\d{4}-")
_ORDER = re.compile(r"^\"?(\w+)\"? (>=|>|<=|<) \"?([a-z_]\w*)\"?$")
_LIST = re.compile(r"^\"?(\w+)\"? = ANY \(ARRAY\[(.*)\]\)$")
_EQUAL = re.compile(r"^\"?(\w+)\"? = '((?:[^']|'')*)'$")
_LENGTH = re.compile(r"^(?:char_|character_)?length\(\"?(\w+)\"?\) (>=|>|<=|<|=) (\d+)$")
_TYPE = re.compile(r"^jsonb?_typeof\(\"?(\w+)\"?\) = '(object|array)'$")
_MATCH = re.compile(r"^\"?(\w+)\"? ~ '(.*)'$")
_TEXT = re.compile(r"'((?:[^']|'')*)'")


@dataclass
class CheckRules:
    """What a table's checks say of its columns."""

    least: dict[str, float] = field(default_factory=dict)
    """Inclusive; a strict bound of a whole number is moved by one, of another by a hundredth.

    A day is a number, too, from the first one of the year 1.
    """
    most: dict[str, float] = field(default_factory=dict)
    values: dict[str, list[str]] = field(default_factory=dict)
    longest: dict[str, int] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    """A column that must not lie before another one."""
    arrays: set[str] = field(default_factory=set)
    """JSON columns that hold lists."""
    phones: set[str] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)
    """The checks as they are, for what is made without reading them."""


def read_checks(definitions: Iterable[str]) -> CheckRules:
    """Read what can be read of CHECK constraints, as `pg_get_constraintdef` writes them."""
    rules = CheckRules()
    for definition in definitions:
        body = _CAST.sub("", definition.removeprefix("CHECK ").removesuffix(" NOT VALID"))
        rules.texts.append(body)
        body = _unwrapped(body)
        if " OR " in body and " IS NULL OR " not in body:
            continue
        for part in re.split(r" AND | IS NULL OR ", body):
            _read(_unwrapped(part), rules)
    return rules


def _read(part: str, rules: CheckRules) -> None:
    if found := _BOUND.match(part) or _DAY.match(part):
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


def _bound(rules: CheckRules, column: str, operator: str, number: str) -> None:
    if _DAY_ALONE.match(number):
        number = str(date.fromisoformat(number).toordinal())
    step = 0.0 if "=" in operator else 1.0 if "." not in number else 0.01
    if ">" in operator:
        rules.least[column] = max(float(number) + step, rules.least.get(column, float("-inf")))
    else:
        rules.most[column] = min(float(number) - step, rules.most.get(column, float("inf")))


_FEW = 100_000
"""So many values of a column are counted through; of more, numbers that follow each other do."""


def few_values(column: str, kind: TypeEngine[Any], rules: CheckRules) -> Sequence[Any]:
    """Return the values of a column that can have a few only; none where they are more."""
    if column in rules.values:
        return rules.values[column]
    if isinstance(kind, sa.Enum):
        return list(kind.enums)
    if isinstance(kind, sa.Boolean):
        return ["t", "f"]
    low, high = rules.least.get(column), rules.most.get(column)
    if low is None or high is None or not 0 <= high - low < _FEW:
        return []
    if isinstance(kind, sa.Date):
        return [date.fromordinal(day) for day in range(int(low), int(high) + 1)]
    digits = kind.scale or 0 if isinstance(kind, sa.Numeric) else 0
    if digits < 0:
        return []
    numbers = range(math.ceil(low * 10**digits), math.floor(high * 10**digits) + 1)
    if isinstance(kind, sa.Integer):
        return numbers
    is_number = isinstance(kind, sa.Numeric) and len(numbers) < _FEW
    return [f"{number / 10**digits:.{digits}f}" for number in numbers] if is_number else []


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


_NULLS = 0.15
"""The share of NULL in a column that may have it."""
_SMALL, _LARGE = 32_767, 1_000_000
_SENTENCE = "{verb} the {adjective} {noun} and {verb} your {noun} in {city}."
_PHRASES = (
    (("first_name", "given_name", "firstname"), "{first}"),
    (("last_name", "family_name", "surname", "lastname"), "{last}"),
    (("company", "business", "organisation", "organization", "brand", "vendor", "supplier",
      "employer", "merchant", "manufacturer", "shop", "store"), "{adjective} {trade}"),
    (("zip", "zipcode", "postal", "postcode", "plz"), "1{number}"),
    (("street", "address", "addr", "line1"), "{noun} street {number}"),
    (("timezone", "tz"), "Europe/Berlin"),
    (("colour", "color"), "#2a{number}"),
    (("city", "town"), "{city}"),
    (("country",), "{country}"),
    (("url", "link", "website", "image", "avatar", "photo"), "https://www.example.com/{noun}/{number}"),
    (("ip_address", "ip"), "203.0.113.7"),
    (("domain", "host"), "{noun}-{number}.example"),
    (("slug", "username", "handle", "login", "nickname"), "{noun}-{number}"),
    (("title", "subject", "headline", "topic"), "{verb} {noun} {number}"),
    (("description", "body", "content", "text", "message", "comment", "note", "bio", "summary",
      "reason", "error"), _SENTENCE),
    (("currency",), "EUR"),
    (("language", "locale", "lang"), "en"),
    (("code", "sku", "number", "reference", "ref"), "{number}"),
    (("category", "type", "kind", "tag"), "{noun}"),
    (("name",), "{first} {last}"),
)  # fmt: skip
_AHEAD = ("expire", "expiry", "due", "until", "scheduled", "end", "renew", "next")
_SELDOM = ("delete", "archive", "revoke", "cancel", "fail", "ban", "block", "suspend")
_MOSTLY_NULL = 0.97
_RARE: dict[str, Maker] = {
    "INET": choice("203.0.113.7", "198.51.100.23", "192.0.2.44", "2001:db8::7"),
    "CIDR": choice("203.0.113.0/24", "198.51.100.0/24", "192.0.2.0/25"),
    "MACADDR": choice("00:00:5e:00:53:01", "00:00:5e:00:53:7f"),
    "MACADDR8": choice("00:00:5e:ef:10:00:00:01", "00:00:5e:ef:10:00:00:7f"),
    "TSVECTOR": Phrase("{noun} {verb} {adjective}"),
    "HSTORE": Phrase('"{noun}"=>"{number}"'),
    "INTERVAL": choice("00:05:00", "01:00:00", "1 day", "7 days"),
    "TIME": choice("08:30:00", "12:15:00", "17:45:00"),
    "MONEY": Fraction(1, 1000),
}


SPANS = {
    "TSRANGE": "time",
    "TSTZRANGE": "time",
    "DATERANGE": "date",
    "INT4RANGE": "number",
    "INT8RANGE": "number",
    "NUMRANGE": "number",
}
"""Range types, by what they are ranges of."""


def json_default(*, array: bool) -> Json:
    """Return a maker of plausible JSON."""
    one = {"source": "{noun}", "label": "{adjective} {noun}", "city": "{city}"}
    return Json(([{"name": "{noun}", "value": "{number}"}],) if array else (one,))


def value_maker(
    column: sa.Column[Any], kind: TypeEngine[Any], rules: CheckRules, made: str | None
) -> Maker | None:
    """Return a maker for a column that refers to nothing and need not be unique.

    `kind` is its type, without decorators and domains; `made` is the column that says when a row
    was made.  None where the type is not known.
    """
    null = _NULLS if column.nullable else 0.0
    if column.name in rules.values:
        return choice(*rules.values[column.name], null=null, name=column.name)
    if column.name in rules.phones or isinstance(column.type, PhoneNumber):
        return Unique("phone", null=null)
    return _of_type(column, kind, rules, made, null)


def _plain_type(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """Return the type below decorators; Interval is one over a time, which PostgreSQL ignores."""
    while isinstance(kind, TypeDecorator | DOMAIN) and not isinstance(kind, sa.Interval):
        kind = kind.data_type if isinstance(kind, DOMAIN) else kind.impl_instance
    return kind


def column_type(column: sa.Column[Any], relation: Relation) -> TypeEngine[Any]:
    """Return the type below decorators, and below a domain that the models have a name for only."""
    kind, live = _plain_type(column.type), relation.column(column.name)
    if live is None or not isinstance(kind, UserDefinedType | sa.types.NullType):
        return kind
    known = ischema_names.get(live.base.removesuffix("[]"))
    if known is None:
        return kind
    return sa.ARRAY(known()) if live.base.endswith("[]") else known()


def _is_time(kind: TypeEngine[Any]) -> bool:
    """Whether it is a type of times, or of days."""
    return isinstance(kind, sa.DateTime | sa.Date)


def _of_type(
    column: sa.Column[Any], kind: TypeEngine[Any], rules: CheckRules, made: str | None, null: float
) -> Maker | None:
    name = column.name
    if isinstance(kind, sa.Enum):
        # The first values are the usual ones.
        weights: dict[Any, float] = {value: 0.6**i for i, value in enumerate(kind.enums)}
        return Pick(weights | ({None: null} if null else {}), name)
    if isinstance(kind, sa.Boolean):
        usual = 0.2 if name.startswith(("not_", "no_")) or "delete" in name else 0.8
        return Pick({"t": usual, "f": 1 - usual} | ({None: null} if null else {}), name)
    if isinstance(kind, sa.Numeric | sa.Float | sa.Integer):
        return _number(kind, name, rules, null)
    if _is_time(kind):
        return _time(name, rules, made, null)
    if isinstance(kind, sa.String):
        return _text(name, kind, rules, null)
    if isinstance(kind, sa.JSON):
        return Json(json_default(array=name in rules.arrays).forms, null)
    return _of_other_type(kind, null)


def _of_other_type(kind: TypeEngine[Any], null: float) -> Maker | None:
    name = type(kind).__name__.upper()
    if isinstance(kind, sa.Uuid):
        return Unique("uuid", null=null)
    if isinstance(kind, sa.ARRAY):
        return _array(kind)
    if isinstance(kind, sa.LargeBinary):
        return Unique("hex", "\\\\x{}", null)
    if name in SPANS:
        return Span(SPANS[name], null=null)
    if name.removesuffix("MULTIRANGE") + "RANGE" in SPANS:
        return Span(SPANS[name.removesuffix("MULTIRANGE") + "RANGE"], "{{[{0},{1})}}", null=null)
    if name == "BIT":
        return choice("1" * (getattr(kind, "length", None) or 1))
    generic = "TIME" if isinstance(kind, sa.Time) else "INTERVAL"
    return _RARE.get(generic if isinstance(kind, sa.Time | sa.Interval) else name)


def _number(kind: TypeEngine[Any], name: str, rules: CheckRules, null: float) -> Maker:
    low = rules.least.get(name, 0.0)
    if isinstance(kind, sa.Integer):
        limit = _SMALL if isinstance(kind, sa.SmallInteger) else max(_LARGE, int(low) * 2)
        most = rules.most.get(name, min(limit, int(low) + 1000))
        return Whole(int(low), int(most), 1 if name in rules.most else 3, null, name)
    digits, widest = 2, 1e12
    if isinstance(kind, sa.Numeric) and kind.precision is not None:
        scale = kind.scale or 0
        digits = max(scale, 0)
        widest = 10.0 ** (kind.precision - scale)
    high = min(rules.most.get(name, low + 1000.0), widest - 10.0**-digits)
    if high <= low and name in rules.least:
        low -= 0.99  # a strict bound that is a whole number was moved by one
    return Fraction(low, high, digits, null, name)


def _time(name: str, rules: CheckRules, made: str | None, null: float) -> Maker:
    if made is None or name == made:
        return Made()
    ahead = any(word in name for word in _AHEAD)
    if null and any(word in name for word in _SELDOM):
        null = _MOSTLY_NULL
    before = rules.after.get(name, made)
    return After(before, 3600, 90 * 86_400 if ahead else 7 * 86_400, null=null, ahead=ahead)


def _array(kind: sa.ARRAY[Any]) -> Maker | None:
    item = _plain_type(kind.item_type)
    if isinstance(item, sa.Enum):
        return choice(*(f"{{{value}}}" for value in item.enums))
    if isinstance(item, sa.Integer | sa.Numeric | sa.Float):
        return choice("{}", "{1}", "{2,3}", "{5,8,13}")
    if isinstance(item, sa.String):
        return Pick(dict.fromkeys(("{}", "{new}", "{vip}", "{new,vip}", "{old,trial}"), 1.0))
    return choice("{}")


def _text(name: str, kind: sa.String, rules: CheckRules, null: float) -> Maker:
    longest = min(
        kind.length or _LARGE, rules.longest.get(name, _LARGE), int(rules.most.get(name, _LARGE))
    )
    words = set(name.lower().split("_"))
    if words & {"email", "mail"} and longest >= 60:
        return Email()
    if words & {"phone", "mobile", "telephone", "msisdn", "tel", "fax", "cell"} and longest >= 14:
        return Unique("phone", null=null)
    if words & {"token", "secret", "key", "hash"}:
        return Cut(Unique("hex", null=null), longest) if longest < 64 else Unique("hex", null=null)
    named = (form for names, form in _PHRASES if {name.lower(), *words} & {*names})
    form = next(named, "{adjective} {noun}")
    return Cut(Phrase(form, null), longest) if longest < _LARGE else Phrase(form, null)


_MADE = ("created", "inserted", "made", "placed", "received", "occurred", "published", "registered",
         "joined", "started", "timestamp", "time", "date", "at")  # fmt: skip


def made_column(table: sa.Table, kinds: Mapping[str, TypeEngine[Any]]) -> str | None:
    """Return the column that says when a row was made, as far as names and types tell."""
    times = [name for name, kind in kinds.items() if _is_time(kind)]
    required = [name for name in times if not table.columns[name].nullable]
    for word in _MADE:
        for name in required or times:
            if word in name.lower().split("_"):
                return name
    return next(iter(required or times), None)
