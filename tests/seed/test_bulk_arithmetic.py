"""The arithmetic of synthetic rows: who belongs to whom, when, how many, and what differs."""

import json
import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadctl.apps.synthetic import keys
from leadctl.apps.synthetic.layout import DAY, Calendar, Layout, Placement
from leadctl.apps.synthetic.makers import Json, Pick
from leadctl.apps.synthetic.pools import documents, phrases
from leadctl.errors import InvalidFlag
from leadctl.models.values import E164
from leadctl.seed.bulk.plan import bulk_options
from leadctl.seed.bulk.values import read_checks

COUNTS = st.integers(1, 400)


def layout(roots: int, rows: int, *, even: bool) -> Layout:
    return Layout(
        {"root": Placement("root", roots), "own": Placement("own", rows, "root", even=even)}
    )


@given(COUNTS, COUNTS, st.booleans())
def test_every_row_is_in_the_block_of_its_owner(roots: int, rows: int, even: bool) -> None:
    made = layout(roots, rows, even=even)
    starts = made.starts("own")
    assert (starts[0], starts[roots]) == (0, rows)
    owners = made.owners("own", range(rows))
    assert owners == sorted(owners)
    for row, owner in enumerate(owners):
        assert starts[owner] <= row < starts[owner + 1]


@given(COUNTS, COUNTS, st.booleans())
def test_no_row_is_older_than_its_owner(roots: int, rows: int, even: bool) -> None:
    made = layout(roots, rows, even=even)
    owners = made.owners("own", range(rows))
    times = made.moments("own", range(rows))
    for own, root in zip(times, made.moments("root", owners), strict=True):
        assert root <= own < 1


@given(COUNTS, COUNTS, st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_what_is_picked_belongs_to_the_owner_and_was_there(
    roots: int, rows: int, moment: float, share: float
) -> None:
    made = layout(roots, rows, even=False)
    anyone = made.picks_any("own", [moment], [share])[0]
    assert 0 <= anyone < rows
    owner = made.picks_any("root", [moment], [share])[0]
    row = made.picks("own", [owner], [moment], [share])[0]
    if row is None:
        assert made.starts("own")[owner] == made.starts("own")[owner + 1]
    else:
        assert made.owners("own", [row]) == [owner]
        assert made.moments("own", [row])[0] <= max(moment, made.moments("root", [owner])[0])


def test_old_owners_have_more() -> None:
    starts = layout(1000, 100_000, even=False).starts("own")
    sizes = [starts[i + 1] - starts[i] for i in range(1000)]
    assert max(sizes) > 10 * sorted(sizes)[500]
    assert min(sizes) >= 1


@pytest.mark.parametrize("days", [1, 3, 7, 30, 365])
def test_times_keep_their_order_and_stay_within_the_span(days: int) -> None:
    calendar = Calendar(date(2026, 1, 1), days)
    moments = [n / 5000 for n in range(5000)]
    times = calendar.at(moments)
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] < calendar.seconds <= days * DAY
    texts = [text for text in calendar.texts(times) if text is not None]
    assert texts == sorted(texts)
    assert texts[-1] < "2026-01-01"


def test_days_and_weekdays_are_busier_than_nights_and_weekends() -> None:
    calendar = Calendar(date(2026, 1, 1), 364)
    times = calendar.at([n / 100_000 for n in range(100_000)])
    hours, weekdays = [0] * 24, [0] * 7
    for time in times:
        hours[time % DAY // 3600] += 1
        weekdays[(calendar.start.weekday() + time // DAY) % 7] += 1
    assert hours[11] > 8 * hours[2]
    assert weekdays[2] > 1.5 * weekdays[6]


FORMS = {
    "cuid": r"[a-z][a-z0-9]{23}",
    "uuid": r"[0-9a-f]{12}4[0-9a-f]{3}a[0-9a-f]{15}",
    "hex": r"[0-9a-f]{64}",
    "token": r"[a-z0-9]{10}",
    "digits": r"[1-9][0-9]{14}",
    "phone": E164,
}


@pytest.mark.parametrize("form", FORMS)
def test_unique_values_differ_and_have_their_form(form: str) -> None:
    make, by = keys.FORMS[form], keys.scramble("7/0/users/x")
    values = make(range(70_000), by, 0)
    assert len(set(values)) == 70_000
    assert all(re.fullmatch(FORMS[form], value) for value in values[::700])
    assert make([5, 69_999, 0], by, 0) == [values[5], values[69_999], values[0]]


@pytest.mark.parametrize("form", ["token", "digits"])
def test_a_later_run_makes_other_values(form: str) -> None:
    make, by = keys.FORMS[form], keys.scramble("7/0/users/x")
    assert not set(make(range(20_000), by, 0)) & set(make(range(20_000), by, 1))


def test_the_same_seed_makes_the_same_values_everywhere() -> None:
    by = keys.scramble("42/0/leads/cuid")
    assert keys.cuids([0, 1], by, 0) == ["atgajktn60t0o2pytly53wus", "brsb4gaxz8ull7mwx75xhbe1"]


def test_a_phrase_has_its_braces_and_is_escaped() -> None:
    assert phrases("{{{{name}}}}: a\tb")[0] == "{{name}}: a\\tb"
    assert all("{" not in text for text in phrases("{first} {noun}")[:100])


def test_weights_are_proportions() -> None:
    pool = Pick({"a": 3, None: 1}).pool
    assert len(pool) == 65_536
    assert pool.count("a") == 49_152


def test_json_is_json() -> None:
    pool = documents(json.dumps(Json(({"a": {"b": "{noun}"}}, ["{city}"])).forms))
    assert len(pool) == 65_536
    assert set(json.loads(pool[0])) == {"a"}
    assert isinstance(json.loads(pool[1]), list)


def test_checks_are_read() -> None:
    rules = read_checks(
        [
            "CHECK (price >= 0::numeric)",
            "CHECK (stars >= 1 AND stars <= 5)",
            "CHECK ((amount > (0)::numeric))",
            "CHECK (size = ANY (ARRAY['s'::text, 'it''s'::text]))",
            "CHECK (char_length(code) <= 8)",
            "CHECK (ends_at > starts_at)",
            "CHECK (jsonb_typeof(items) = 'array'::text)",
            f"CHECK (phone ~ '{E164}'::text)",
            "CHECK (a > 3 OR b > 4)",
            "CHECK (discount IS NULL OR discount < 100)",
        ]
    )
    assert rules.least == {"price": 0, "stars": 1, "amount": 1}
    assert rules.most == {"stars": 5, "discount": 99}
    assert rules.values == {"size": ["s", "it's"]}
    assert rules.longest == {"code": 8}
    assert rules.after == {"ends_at": "starts_at"}
    assert rules.arrays == {"items"}
    assert rules.phones == {"phone"}


@pytest.mark.parametrize(
    ("span", "start", "end"),
    [
        (None, date(2025, 1, 2), date(2026, 1, 1)),
        ("14d", date(2025, 12, 18), date(2026, 1, 1)),
        ("2025-03-01..2025-03-31", date(2025, 3, 4), date(2025, 4, 1)),
    ],
)
def test_spans_are_whole_weeks_up_to_their_end(span: str | None, start: date, end: date) -> None:
    calendar = bulk_options(10, None, (), span, today=date(2026, 1, 1)).calendar
    assert (calendar.start, calendar.end) == (start, end)


@pytest.mark.parametrize(
    "flags",
    [
        {"span": "3h"},
        {"span": "soon"},
        {"span": "2025-02-01..2025-01-01"},
        {"span": "2025-02-30..2025-03-01"},
        {"span": "99999999d"},
        {"scale": ["leads"]},
        {"scale": ["leads=0"]},
        {"scale": ["leads=-1"]},
        {"scale": ["leads=1", "leads=2"]},
        {"random_seed": 2**64},
    ],
)
def test_flags_that_make_no_sense_are_refused(flags: dict[str, object]) -> None:
    with pytest.raises(InvalidFlag):
        bulk_options(10, flags.get("random_seed"), flags.get("scale", ()), flags.get("span"))  # type: ignore[arg-type]
