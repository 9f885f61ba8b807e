import pytest

from leadctl.settings.durations import parse_seconds


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
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_seconds(text)
