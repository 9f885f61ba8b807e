"""Durations and intervals: every form is understood, anything else is an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadctl.settings.durations import Interval, parse_interval, parse_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30),
        ("500ms", 0.5),
        ("30s", 30),
        ("1h30m", 5400),
        ("2 d", 172800),
        ("0", 0),
        ("1w", 604800),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-3s", "3 parsecs", "1h 2x", "inf", "nan"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_seconds(text)


@given(st.text(max_size=20))
def test_durations_are_numbers_or_errors(text: str) -> None:
    try:
        seconds = parse_seconds(text)
    except ValueError:
        seconds = 0
    assert 0 <= seconds < float("inf")


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("90d", Interval(days=90)),
        ("6 months", Interval(months=6)),
        ("1 year 2 mons, 3 days", Interval(months=14, days=3)),
        ("2w", Interval(days=14)),
        ("36 hours", Interval(seconds=129_600)),
        ("5 min 6s", Interval(seconds=306)),
        ("P90D", Interval(days=90)),
        ("P1Y6M2W3DT4H5M6S", Interval(months=18, days=17, seconds=14_706)),
        ("p6m", Interval(months=6)),
        ("PT6M", Interval(seconds=360)),
        ("0d", Interval()),
    ],
)
def test_intervals(text: str, interval: Interval) -> None:
    assert parse_interval(text) == interval


@pytest.mark.parametrize(
    "text", ["", "90", "6m", "-3d", "3 parsecs", "P", "PT", "P1D2Y", "1.5d", "d"]
)
def test_what_is_no_interval(text: str) -> None:
    with pytest.raises(ValueError, match="interval"):
        parse_interval(text)
