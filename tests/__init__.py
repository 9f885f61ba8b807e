"""The tests, by room; an assertion of a helper shows its values as a test's own does."""

from collections.abc import Iterable
from typing import Any

import pytest

pytest.register_assert_rewrite("tests.golden.snapshots", "tests.processes")


def few(cases: Iterable[Any], most: int) -> list[Any]:
    """Return the cases of a test, of which so many run by default: the others say the same.

    A case is a tuple where a test has several parameters.  Those that run lie apart in the list; the
    others are thorough, so that `make test-full` runs them.
    """
    every = list(cases)
    chosen = {round(number * (len(every) - 1) / max(1, most - 1)) for number in range(most)}
    return [
        case if number in chosen else pytest.param(*values, marks=pytest.mark.thorough)
        for number, case in enumerate(every)
        for values in [case if isinstance(case, tuple) else (case,)]
    ]
