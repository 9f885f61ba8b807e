"""The one place that hides secrets.

A secret that enters the process is wrapped in `Secret` and remembered here; `scrub` removes
every remembered secret, and everything that has the shape of one, from a text that leaves it.
"""

import re
from collections.abc import Collection
from urllib.parse import quote, quote_plus

HIDDEN = "••••"

_MIN_LENGTH = 4
"""Characters. A shorter secret is not searched for: it would hide ordinary words."""

_known: set[str] = set()

# Texts, which `re` compiles when they are first used and keeps: most runs have nothing to hide.
_IN_URL = r"(?P<head>\b[a-z][a-z0-9+.-]*://[^/\s:@]*:)(?P<secret>\S+)(?=@)"
"""Up to the last @: a password may have a raw / or @ in it."""
_IN_KEYWORDS = (
    r"(?i)(?P<head>\b\w*(?:password|passwd|pwd|secret)\s*=\s*)(?P<secret>'[^']*'|[^\s&,;)]+)"
)
_PRIVATE_KEY = (
    r"(?is)AGE-SECRET-KEY-\S+|\b[0-9a-f]{64}\b"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z)"
)
_PLAIN_ADDRESS = r"(?i)[a-z][a-z0-9+.-]*://(?:[^\s:@/?]*@)?[^\s@]*|(?:\w+\s*=\s*\S*\s*)+"
_SPEAKS_OF_SECRETS = r"(?i)pass|pwd|secret|token|key"

_NAMED = (
    r"(?i)\b(?:access method|aggregate|attribute|cast|collation|column|constraint|conversion"
    r"|database|domain|encoding|extension|file|foreign-data wrapper|function|group|host|index"
    r"|language|operator|operator class|operator family|option|owner|parameter|partition|policy"
    r"|procedure|provider|publication|query parameter|relation|role|rule|schema|sequence|server"
    r"|service|setting|slot|statistics object|subscription|table|tablespace|text search "
    r"(?:configuration|dictionary|parser|template)|trigger|type|user|user mapping for|view)s? $"
)
"""What stands before the name of an object in a message of PostgreSQL's."""
_PAIRS = (
    ('"', '"'), ("\u00bb", "\u00ab"), ("\u00ab", "\u00bb"), ("\u201e\u201c", "\u201c\u201d"),
    ("\u300c", "\u300d"), ("\u300e", "\u300f"), ("\u2018", "\u2019"), ("`", "'\u00b4"),
)  # fmt: skip
_QUOTED = "|".join([r'"(?:[^"]|"")*"', *(f"[{a}][^{b}]*[{b}]" for a, b in _PAIRS[1:])])
"""As PostgreSQL's translators quote, too."""
_ENDS = "".join(end for _, end in _PAIRS)
_BARE_WORD = r'"[^\W\d]\w*"'
"""A token of the statement; a value would stand there with its own quotes."""
_VALUES = r"(?s)(\)=|contains )\(.*\)"
_IN_PARENTHESES = r"(?s)(?<!\S)\(.*\)"
"""What a detail lists of a row, in any language."""


class Secret:
    """A text that never shows itself: `repr` and `str` are hidden, `reveal()` is explicit."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text
        remember(text)

    def reveal(self) -> str:
        """Return the text itself, for the one place that must have it."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret({HIDDEN!r})"

    def __str__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


def remember(text: str) -> None:
    """Remember a secret, also in its percent-encoded forms, so that `scrub` removes it.

    An address without a password is none: hiding it would hide which server is meant.
    """
    if re.fullmatch(_PLAIN_ADDRESS, text) and not re.search(_SPEAKS_OF_SECRETS, text):
        return
    for form in (text, quote(text, safe=""), quote_plus(text)):
        if len(form) >= _MIN_LENGTH:
            _known.add(form)


def scrub(text: str) -> str:
    """Return the text without passwords in URLs and settings, and without any known secret."""
    text = re.sub(_PRIVATE_KEY, HIDDEN, text)
    text = re.sub(_IN_URL, rf"\g<head>{HIDDEN}", text)
    text = re.sub(_IN_KEYWORDS, rf"\g<head>{HIDDEN}", text)
    for secret in sorted(_known, key=len, reverse=True):
        if secret in text:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return text


def without_values(message: str, names: Collection[str] = (), *, detail: bool = False) -> str:
    """Return a message of PostgreSQL's in which quoted texts are hidden, but for names of objects.

    A message quotes names as it quotes values: `column "a"`, `invalid input syntax for type
    integer: "4111 1111"`.  A text counts as a name where the word before says of what, and as a
    token of the statement where a syntax error names a bare word; whatever else is quoted may be
    out of a row, and from it on everything up to the last quote, since the value may have some.
    `names` are known to be none: in another language no word tells.  A `detail` lists values in
    parentheses, too.
    """
    message, english = re.subn(_VALUES, rf"\1({HIDDEN})", message)
    if detail and not english:
        message = re.sub(_IN_PARENTHESES, f"({HIDDEN})", message)
    for found in re.finditer(_QUOTED, message):
        before = message[: found.start()]
        token = before.endswith("at or near ") and re.fullmatch(_BARE_WORD, found[0])
        if not token and found[0][1:-1] not in names and not re.search(_NAMED, before):
            last = max(message.rfind(each) for each in _ENDS if each in message)
            return scrub(f"{before}{HIDDEN}{message[last + 1 :]}")
    return scrub(message)
