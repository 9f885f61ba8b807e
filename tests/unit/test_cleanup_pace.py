"""How many rows cleanup's batches take."""

import pytest

from leadctl.operations.cleanup.pace import Pace


def settled(way: float, a_row: float, batches: int = 30) -> int:
    """Rows of a batch in the end, where the way to the server and each row take so many seconds."""
    pace = Pace(0.003, 0.1)
    for _ in range(batches):
        worked = pace.rows * a_row
        pace.took(worked + way, worked)
    return pace.rows


@pytest.mark.parametrize(
    ("way", "rows"),
    [
        (0.0, 300),
        (0.002, 300),
        (0.050, 5000),  # half of the run goes to the way, not nearly all of it
        (9.0, 10_000),
    ],
)
def test_work_is_short_but_not_for_the_way_to_the_server(way: float, rows: int) -> None:
    assert settled(way, a_row=0.00001) == pytest.approx(rows, rel=0.02)


def test_a_commit_that_grows_with_the_batch_does_not_let_it_grow() -> None:
    pace = Pace(0.003, 0.1)
    for _ in range(30):
        worked = pace.rows * 0.00001
        pace.took(3 * worked, worked)
    assert pace.rows < 1000


def test_rows_have_bounds() -> None:
    assert settled(0.0, a_row=1.0) == 50
    assert settled(0.0, a_row=0.0) == 50_000
