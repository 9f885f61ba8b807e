"""Numbers to look at: bars and sparklines of block characters."""

from collections.abc import Sequence
from itertools import pairwise

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = "▁▂▃▄▅▆▇█"
_WIDEST = 60
"""Columns of a sparkline; a longer series is summed up in as many parts."""


def bar(value: float, most: float, width: int = 20) -> str:
    """Return a bar of `width` columns for the value `most`, in steps of an eighth of a column."""
    if value <= 0 or most <= 0:
        return ""
    eighths = max(1, round(8 * width * min(value / most, 1)))
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def sparkline(values: Sequence[float]) -> str:
    """Return a line of one character a value, its height the share of the highest value."""
    values = _summed(values)
    most = max(values, default=0)
    if most <= 0:
        return _HEIGHTS[0] * len(values)
    return "".join(_HEIGHTS[round(max(value, 0) / most * (len(_HEIGHTS) - 1))] for value in values)


def _summed(values: Sequence[float]) -> Sequence[float]:
    count = len(values)
    if count <= _WIDEST:
        return values
    edges = [part * count // _WIDEST for part in range(_WIDEST + 1)]
    return [sum(values[start:end]) for start, end in pairwise(edges)]
