"""Durations as people write them: `30s`, `5m`, `1h30m`, `90d`; a bare number is seconds."""

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")

ALLOWED = 'a duration such as "500ms", "30s", "5m", "1h30m" or "90d"'


def parse_seconds(text: str) -> float:
    """Return a duration in seconds.

    Raises ValueError for anything but `ALLOWED`.
    """
    stripped = text.strip().lower()
    if _NUMBER.fullmatch(stripped):
        return float(stripped)
    seconds, position = 0.0, 0
    while position < len(stripped):
        token = _TOKEN.match(stripped, position)
        if token is None:
            raise ValueError(f"{text!r} is not {ALLOWED}")
        seconds += float(token[1]) * _UNITS[token[2]]
        position = token.end()
    if not position:
        raise ValueError(f"{text!r} is not {ALLOWED}")
    return seconds
