import pytest

from leadctl.settings.durations import Interval, parse_interval


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
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="interval"):
        parse_interval(text)
