"""How many rows cleanup's batches take."""

from itertools import count

import pytest

from leadctl.cleanup.ranges import BatchSize, WorkSeconds

AIM = WorkSeconds(beside_others=0.003, alone=0.03, longest=0.1)
A_ROW = 0.00001


def run(
    size: BatchSize,
    seconds: float,
    *,
    others: int = 0,
    way: float = 0.0,
    a_row: float = A_ROW,
    transactions: "count[int] | None" = None,
) -> int:
    """Return the rows of a batch after so many seconds, with so many writes beside each batch.

    As in a run, a batch's size is settled while the one before it is not yet known.
    """
    transactions = transactions or count(7)
    rows = size.rows
    while seconds > 0:
        following = size.rows
        worked = rows * a_row
        own = [next(transactions) for _ in range(others + 1)][-1]
        size.took(rows, worked + way, worked, own)
        rows = following
        seconds -= worked + way
    return rows


@pytest.mark.parametrize(("others", "rows"), [(0, 3000), (1, 300), (50, 300)])
def test_work_is_short_while_others_write(others: int, rows: int) -> None:
    assert run(BatchSize(AIM), 5, others=others) == rows


def test_the_first_batches_are_small_and_see_others() -> None:
    size = BatchSize(AIM)
    assert size.rows <= 200
    assert run(size, 0.02, others=1) == 300


def test_who_comes_and_goes_is_seen() -> None:
    size, transactions = BatchSize(AIM), count(7)
    assert run(size, 5, transactions=transactions) == 3000
    next(transactions)
    assert run(size, 0.07, transactions=transactions) == 300  # two batches that were large already
    assert run(size, 5, transactions=transactions) == 3000


def test_batches_that_write_nothing_do_not_hide_others() -> None:
    size = BatchSize(AIM)
    for transaction in [7, *[None] * 1000, 8]:
        size.took(size.rows, size.rows * A_ROW, size.rows * A_ROW, transaction)
    assert size.rows == 3000
    for transaction in [None, 10]:
        size.took(3000, 0.03, 0.03, transaction)
    assert size.rows == 300


@pytest.mark.parametrize(
    ("way", "rows"),
    [
        (0.002, 300),
        (0.050, 5000),  # half of the run goes to the way, not nearly all of it
        (9.0, 10_000),
    ],
)
def test_work_is_not_short_for_the_way_to_the_server(way: float, rows: int) -> None:
    settled = run(BatchSize(AIM), 100 * way + 1, others=1, way=way)
    assert settled == pytest.approx(rows, rel=0.02)


def test_a_commit_that_grows_with_the_batch_does_not_let_it_grow() -> None:
    size = BatchSize(AIM)
    for transaction in range(0, 60, 2):
        worked = size.rows * A_ROW
        size.took(size.rows, 3 * worked, worked, transaction)
    assert size.rows < 1000


def test_rows_have_bounds() -> None:
    assert run(BatchSize(AIM), 1000, others=1, a_row=1.0) == 50
    assert run(BatchSize(AIM), 1, way=0.01, a_row=0.0) == 50_000


@pytest.mark.parametrize(("fixed", "a_row", "rows"), [(0.0, 0.05, 2), (2.0, 0.0001, 64)])
def test_a_batch_that_was_cut_off_is_small_unless_more_rows_cost_little(
    fixed: float, a_row: float, rows: int
) -> None:
    size = BatchSize(AIM)
    size.cut()
    assert size.rows == 1
    for transaction in range(20):
        worked = fixed + size.rows * a_row
        size.took(size.rows, worked, worked, transaction)
    assert min(rows, 50) <= size.rows <= rows
