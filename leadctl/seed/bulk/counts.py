"""How many rows each table gets."""

from collections.abc import Mapping

from leadctl.errors import InvalidFlag
from leadctl.seed.bulk.infer import Table


def allocate(tables: Mapping[str, Table], rows: int, scale: Mapping[str, int]) -> dict[str, int]:
    """Divide `rows` among tables by their shares; `scale` gives some of them a number.

    Every table gets a row where there are enough, so that others can refer to it; one that may
    have only so many rows for each of its owner's has no more, and the others share the rest.
    Raises InvalidFlag where `scale` names no table, or more rows than there are.
    """
    for name in scale:
        if name not in tables:
            raise InvalidFlag(
                f"--scale names {name}, which is not a table that is filled.",
                hint=f"There are: {', '.join(tables)}.",
            )
    rest = rows - sum(scale.values())
    free = {name: table for name, table in tables.items() if name not in scale}
    if rest < len(free):
        raise InvalidFlag(
            f"{rows:,} rows in all are too few: --scale takes {sum(scale.values()):,}, and each of "
            f"{len(free)} more tables needs one.",
            hint="Give --bulk the number of rows of all tables together.",
        )
    counts = dict(scale)
    while free:
        counts |= _divide({name: table.shape.share for name, table in free.items()}, rest)
        capped = _over(free, counts)
        if not capped:
            break
        for name, most in capped.items():
            counts[name] = most
            rest -= most
            del free[name]
    return {name: counts[name] for name in tables}


def _divide(shares: Mapping[str, float], rows: int) -> dict[str, int]:
    """Divide rows by shares, at least one each; what rounding leaves goes to the largest."""
    total = sum(shares.values())
    spare = rows - len(shares)
    counts = {name: 1 + int(spare * share / total) for name, share in shares.items()}
    largest = max(shares, key=lambda name: shares[name])
    counts[largest] += rows - sum(counts.values())
    return counts


def _over(free: Mapping[str, Table], counts: Mapping[str, int]) -> dict[str, int]:
    """Return what has more rows than it may, with what it may have."""
    found = {}
    for name, table in free.items():
        if table.at_most is not None:
            owners = counts[table.owner] if table.owner else 1
            most = max(1, int(table.at_most * owners))
            if counts[name] > most:
                found[name] = most
    return found
