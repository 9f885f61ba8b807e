"""Times, sizes and texts as people read them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadctl.text import ago, folded, plain, size

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (timedelta(), "0 s ago"),
        (timedelta(seconds=59), "59 s ago"),
        (timedelta(minutes=2), "2 min ago"),
        (timedelta(hours=25), "1 d ago"),
        (timedelta(days=60), "2025-12-02"),
        (timedelta(seconds=-59), "0 s ago"),
        (timedelta(seconds=-60), "in 1 min"),
        (timedelta(hours=-23, minutes=-59), "in 23 h"),
        (timedelta(days=-60), "2026-04-01"),
    ],
)
def test_ago(before: timedelta, expected: str) -> None:
    assert ago(NOW - before, NOW) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_960, "10 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (12_345_678, "12 MB"),
        (5 * 10**9, "5.0 GB"),
        (2_345 * 10**12, "2,345 TB"),
    ],
)
def test_size(count: int, expected: str) -> None:
    assert size(count) == expected


def test_a_word_is_never_broken() -> None:
    key, url = "ab" * 32, "postgresql://me@db-1.example.com/shop?host=/var/lib"
    assert folded(key, 20) == key
    assert folded(url, 20) == url
    assert folded("one two three", 8) == "one two\nthree"
    assert folded("one\n\n  two", 8) == "one\n\n  two"


@given(st.text())
def test_nothing_acts_on_a_terminal(text: str) -> None:
    shown = plain(text)
    assert "\x1b" not in shown
    assert not any(ord(character) < 32 and character not in "\t\n" for character in shown)
