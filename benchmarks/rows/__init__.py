"""The rows of the benchmark, a module for each command; `start` is what every command costs."""

from benchmarks.bench import Row
from benchmarks.rows import backup, cleanup, diff, fleet, keys, seed, start, stats, studio

_MODULES = (start, diff, fleet, seed, stats, keys, backup, cleanup, studio)
"""In the order of the table."""


def all_rows() -> list[Row]:
    """Return the rows of every module."""
    return [row for module in _MODULES for row in module.ROWS]
