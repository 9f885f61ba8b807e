"""The one place that hides secrets.

A secret that enters the process is wrapped in `Secret` and remembered here; `scrub` removes
every remembered secret, and everything that has the shape of one, from a text that leaves it.
"""

import re
from urllib.parse import quote, quote_plus

HIDDEN = "••••"

_MIN_LENGTH = 4
"""Characters. A shorter secret is not searched for: it would hide ordinary words."""

_known: set[str] = set()

_URL_PASSWORD = re.compile(r"(?P<head>\b[a-z][a-z0-9+.-]*://[^/\s:@]*:)(?P<secret>[^\s/]+)(?=@)")
_KEYWORD_PASSWORD = re.compile(
    r"(?P<head>\b(?:password|passwd|pwd|sslpassword|PGPASSWORD)\s*=\s*)(?P<secret>'[^']*'|[^\s&,;)]+)",
    re.IGNORECASE,
)


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
    """Remember a secret, also in its percent-encoded forms, so that `scrub` removes it."""
    for form in (text, quote(text, safe=""), quote_plus(text)):
        if len(form) >= _MIN_LENGTH:
            _known.add(form)


def scrub(text: str) -> str:
    """Return the text without passwords in URLs and settings, and without any known secret."""
    text = _URL_PASSWORD.sub(rf"\g<head>{HIDDEN}", text)
    text = _KEYWORD_PASSWORD.sub(rf"\g<head>{HIDDEN}", text)
    for secret in sorted(_known, key=len, reverse=True):
        if secret in text:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return text
