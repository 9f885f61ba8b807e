"""How many rows each table of a bulk seed gets."""

import math
from collections.abc import Mapping

from leadctl.errors import InvalidFlag
from leadctl.seed.bulk.inheritance import Inheritance
from leadctl.seed.bulk.unique import PlannedTable


def allocate(
    tables: Mapping[str, PlannedTable],
    rows: int,
    scale: Mapping[str, int],
    inheritance: Inheritance,
) -> dict[str, int]:
    """Divide `rows` among tables by their shares; `scale` gives some of them a number.

    Every table gets a row where there are enough, so that others can refer to it, and one of each
    class that is mapped to it.  A table that inherits has as many as its parent's rows ask for.
    One that may have only so many rows for each of its owner's has no more, and the others share
    the rest.  Raises InvalidFlag where `scale` names no table, or more rows than there are.
    """
    _check(scale, tables, inheritance)
    counts: dict[str, int] = {}
    for name, number in scale.items():
        counts |= inheritance.counts(name, number)
    rest = rows - sum(counts.values())
    free = {
        name: table for name, table in tables.items()
        if name not in scale and name not in inheritance.parents
    }  # fmt: skip
    least = {name: _in_all(inheritance, name, inheritance.least(name)) for name in free}
    needed = sum(least.values())
    if rest < needed:
        classes = "" if needed == len(free) else f" of each class, {needed:,} in all"
        raise InvalidFlag(
            f"{rows:,} rows in all are too few: --scale takes {rows - rest:,}, and each of "
            f"{len(free)} more tables needs one{classes}.",
            hint="Give --bulk the number of rows of all tables together.",
        )
    while free:
        each = {name: least[name] / inheritance.least(name) for name in free}
        shares = {name: table.shape.share * each[name] for name, table in free.items()}
        for name, given in _divide(shares, least, rest).items():
            counts |= inheritance.counts(name, _rows_within(inheritance, name, given, each[name]))
        capped = _over(free, counts)
        if not capped:
            _give_the_rest(free, counts, rows, inheritance)
            break
        for name, most in capped.items():
            counts |= inheritance.counts(name, most)
            rest -= _in_all(inheritance, name, most)
            del free[name]
    return {name: counts[name] for name in tables}


def _check(
    scale: Mapping[str, int], tables: Mapping[str, PlannedTable], inheritance: Inheritance
) -> None:
    for name, number in scale.items():
        if above := inheritance.parents.get(name):
            raise InvalidFlag(
                f"--scale names {name}, which has a row for each of its class in {above}.",
                hint=f"Give {above} a number of rows.",
            )
        if name not in tables:
            raise InvalidFlag(
                f"--scale names {name}, which is not a table that is filled.",
                hint=f"Available: {', '.join(t for t in tables if t not in inheritance.parents)}.",
            )
        if number < (least := inheritance.least(name)):
            raise InvalidFlag(
                f"--scale gives {name} {number} rows, and it needs {least}, one of each class.",
                hint=f"Give it {least} or more.",
            )


def _in_all(inheritance: Inheritance, table: str, rows: int) -> int:
    return sum(inheritance.counts(table, rows).values())


def _rows_within(inheritance: Inheritance, table: str, rows: int, each: float) -> int:
    """Return how many rows a table gets of those that it and what inherits from it have in all."""
    found = int(rows / each)
    while _in_all(inheritance, table, found) > rows:
        found -= 1
    while _in_all(inheritance, table, found + 1) <= rows:
        found += 1
    return found


def _divide(shares: Mapping[str, float], least: Mapping[str, int], rows: int) -> dict[str, int]:
    """Divide rows by shares, the least at least; what rounding leaves goes to the largest."""
    total = sum(shares.values())
    spare = rows - sum(least[name] for name in shares)
    counts = {name: least[name] + int(spare * share / total) for name, share in shares.items()}
    largest = max(shares, key=lambda name: shares[name])
    counts[largest] += rows - sum(counts.values())
    return counts


def _give_the_rest(
    free: Mapping[str, PlannedTable], counts: dict[str, int], rows: int, inheritance: Inheritance
) -> None:
    """Give what was too little for a row of a class with its parts to the largest other table."""
    others = [
        name for name, table in free.items()
        if name not in inheritance.parents.values() and table.at_most is table.in_all is None
    ]  # fmt: skip
    if others:
        largest = max(others, key=lambda name: free[name].shape.share)
        counts[largest] += rows - sum(counts.values())


def _over(free: Mapping[str, PlannedTable], counts: Mapping[str, int]) -> dict[str, int]:
    """Return what has more rows than it may, with what it may have."""
    found = {}
    for name, table in free.items():
        owners = counts[table.owner] if table.owner else 1
        per_owner = math.inf if table.at_most is None else max(1, int(table.at_most * owners))
        most = min(per_owner, table.in_all or math.inf)
        if counts[name] > most:
            found[name] = int(most)
    return found
