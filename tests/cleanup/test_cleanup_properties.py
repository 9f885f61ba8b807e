"""cleanup against a naive model: random tables, rules and clocks; what goes is what the model says."""

import calendar
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadctl.apps.registry import find_app
from leadctl.apps.retention import Rule
from leadctl.cleanup import ranges
from leadctl.cleanup import run as module
from leadctl.cleanup.context import ArchiveDestination, Bounds
from leadctl.journal.guard import Consent
from leadctl.settings.durations import Interval
from tests.conftest import Prepared

TYPES = ("timestamptz", "timestamp", "date")
CONDITIONS: dict[str | None, Callable[["Row", list["Row"]], bool]] = {
    None: lambda _row, _rows: True,
    "kind = 'a'": lambda row, _rows: row.kind == "a",
    "kind <> 'a' OR parent IS NULL": lambda row, _rows: row.kind != "a" or row.parent is None,
    "NOT EXISTS (SELECT FROM things AS t WHERE t.parent = things.id)": lambda row, rows: (
        not any(other.parent == row.id for other in rows)
    ),
}


@dataclass(frozen=True)
class Row:
    id: int
    age: timedelta | None
    """Behind the cutoff; negative ones are younger."""
    kind: str
    parent: int | None


@dataclass(frozen=True)
class Child:
    id: int
    thing: int | None


rows = st.builds(
    lambda ages, kinds, parents: [
        Row(
            n, age, kind, parent % (n + 1) if parent is not None and parent % (n + 1) != n else None
        )
        for n, (age, kind, parent) in enumerate(zip(ages, kinds, parents, strict=False))
    ],
    st.lists(
        st.none()
        | st.sampled_from([-1, 0, 1]).map(lambda n: timedelta(microseconds=n))
        | st.timedeltas(timedelta(days=-40), timedelta(days=40)),
        max_size=30,
    ),
    st.lists(st.sampled_from("ab"), min_size=30, max_size=30),
    st.lists(st.none() | st.integers(0, 30), min_size=30, max_size=30),
)
intervals = st.builds(
    Interval, st.integers(0, 14), st.integers(0, 40), st.integers(0, 90_000)
).filter(lambda interval: not interval.is_zero)
clocks = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC)
) | st.sampled_from(
    [datetime(2024, 2, 29, 23, 59, 59, 999999, UTC), datetime(2023, 3, 31, tzinfo=UTC)]
)


def before(clock: datetime, interval: Interval) -> datetime:
    """Subtract months, then days, then seconds, as calendars do."""
    months = clock.year * 12 + clock.month - 1 - interval.months
    year, month = months // 12, months % 12 + 1
    day = min(clock.day, calendar.monthrange(year, month)[1])
    moved = clock.replace(year=year, month=month, day=day)
    return moved - timedelta(days=interval.days, seconds=interval.seconds)


def value(cutoff: datetime, row: Row, kind: str) -> datetime | date | None:
    if row.age is None:
        return None
    moment = cutoff - row.age
    if kind == "date":
        return moment.date()
    return moment if kind == "timestamptz" else moment.replace(tzinfo=None)


def model(found: list[Row], cutoff: datetime, kind: str, condition: str | None) -> set[int]:
    """Return the ids that are due: each row looked at on its own."""
    frozen = value(cutoff, Row(0, timedelta(0), "", None), kind)
    due = set()
    for row in found:
        age = value(cutoff, row, kind)
        if age is not None and age < frozen and CONDITIONS[condition](row, found):  # type: ignore[operator]
            due.add(row.id)
    return due


@pytest.fixture
def empty(leadconnector: Prepared) -> Prepared:
    leadconnector.query("DROP TABLE IF EXISTS things CASCADE")
    return leadconnector


@pytest.mark.thorough
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    found=rows,
    children=st.lists(st.none() | st.integers(0, 29), max_size=20),
    kind=st.sampled_from(TYPES),
    condition=st.sampled_from(list(CONDITIONS)),
    interval=intervals,
    clock=clocks,
    archived=st.booleans(),
    cascade=st.booleans(),
    size=st.integers(1, 9),
)
def test_what_goes_is_what_the_model_says(
    empty: Prepared,
    tmp_path_factory: pytest.TempPathFactory,
    found: list[Row],
    children: list[int | None],
    kind: str,
    condition: str | None,
    interval: Interval,
    clock: datetime,
    archived: bool,
    cascade: bool,
    size: int,
) -> None:
    if condition and "EXISTS" in condition:
        size = 100  # when a child has gone its parent is due, in the next batch
    cutoff = before(clock, interval)
    there = {row.id for row in found}
    kids = [Child(n, thing if thing in there else None) for n, thing in enumerate(children)]
    create(empty, found, kids, cutoff, kind, cascade)
    due = model(found, cutoff, kind, condition)
    rule = Rule("things", "things", "at", interval, condition, archive=archived)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "server_time", lambda _: clock)
        for name in ("_FIRST", "_FEWEST", "_MOST"):
            patch.setattr(ranges, name, size)
        patch.setattr(module, "_refuse_skew", lambda _: None)
        result = module.cleanup(
            empty.target(),
            find_app(empty.settings()),
            [rule],
            bounds=Bounds(None, None),
            consent=Consent(confirm=empty.name),
            archive=ArchiveDestination(Path(tmp_path_factory.mktemp("archive")), ()),
            narrate=lambda _: None,
            progress=lambda *_: None,
        )
    assert result.error is None
    assert result.rules[0].cutoff == cutoff
    left = {row[0] for row in empty.query("SELECT id FROM things")}
    assert left == there - due
    assert result.rows == len(due)
    taken = {kid.id for kid in kids if cascade and kid.thing in due}
    assert {row[0] for row in empty.query("SELECT id FROM kids")} == {k.id for k in kids} - taken
    assert result.cascaded == len(taken)


def create(
    database: Prepared,
    found: list[Row],
    kids: list[Child],
    cutoff: datetime,
    kind: str,
    cascade: bool,
) -> None:
    action = "CASCADE" if cascade else "SET NULL"
    database.query("DROP TABLE IF EXISTS kids, things")
    database.query(f"CREATE TABLE things (id int PRIMARY KEY, at {kind}, kind text, parent int)")
    database.query(
        f"CREATE TABLE kids (id int PRIMARY KEY, thing int REFERENCES things ON DELETE {action})"
    )
    database.query("CREATE INDEX ON kids (thing)")
    with database.server.connect(database.name) as connection, connection.cursor() as cursor:
        with cursor.copy("COPY things FROM STDIN") as copy:
            for row in found:
                copy.write_row((row.id, value(cutoff, row, kind), row.kind, row.parent))
        with cursor.copy("COPY kids FROM STDIN") as copy:
            for kid in kids:
                copy.write_row((kid.id, kid.thing))
