"""Cleack's reports, against what a naive program counts."""

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from statistics import mean
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from leadctl.products.cleack.reports import REPORTS
from tests.conftest import Cli, Prepare

PLATFORMS = ["instagram", "facebook", "tiktok", "twitter"]
STATUSES = ["pending", "processing", "completed", "failed", "cancelled"]
PLANS = ["monthly", "annual", "enterprise"]
METRICS = ["daily_draws", "user_signups", "revenue", "avg_participants_per_draw", "error_rate"]
CONFIG = Jsonb({"filters": {}, "rules": {}, "winners_count": 1})
BY_NAME = {report.name: report for report in REPORTS.reports}

Row = dict[str, Any]


class World:
    """Rows that were put into the database and are remembered here.

    Everything happens in one transaction, so that today stays today.
    """

    def __init__(self, connection: psycopg.Connection[Any], seed: int) -> None:
        self._connection = connection
        self._chance = random.Random(seed)
        self.today: date = self._value("SELECT current_date")
        self.users = ["ada", "bob", "cy"]
        self.draws: list[Row] = []
        self.credits: list[Row] = []
        self.subscriptions: list[Row] = []
        self.accounts: list[Row] = []
        self.metrics: list[Row] = []
        connection.execute("TRUNCATE users, system_metrics CASCADE")
        for user in self.users:
            self._insert(
                "users",
                {"id": user, "email": f"{user}@x", "password_hash": "$2b$12$" + "a" * 53},
            )
        for number in range(60):
            self._draw(number)
            self._credit(number)
            self._subscription(number)
            self._metric(number)
        self._accounts()

    def report(self, name: str, user: str | None = None) -> list[Row]:
        """Run a report."""
        with self._connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(BY_NAME[name].sql, {"user": user, "since": None}).fetchall()
        for value in (value for row in rows for value in row.values()):
            assert isinstance(value, int | float | str | date | None), value
        return rows

    def _draw(self, number: int) -> None:
        status = self._chance.choice(STATUSES)
        result = {
            "winners": Jsonb([]),
            "certificate_hash": "a" * 64,
            "executed_at": self._moment(self.today),
        }
        row = {
            "id": f"d{number}",
            "user_id": self._chance.choice(self.users),
            "platform": self._chance.choice(PLATFORMS[:3]),
            "status": status,
            "participants": self._chance.randrange(1000),
            "credits_used": self._chance.randrange(5),
            "created_at": self._some_day(),
        }
        self.draws.append(row)
        more = result if status == "completed" else {}
        self._insert("draws", {**row, **more, "post_url": "u", "config": CONFIG})

    def _credit(self, number: int) -> None:
        user = self._chance.choice(self.users)
        balance = sum(row["amount"] for row in self.credits if row["user_id"] == user)
        kind = self._chance.choice(["purchase", "usage", "refund", "bonus"])
        if kind == "usage" and balance == 0:
            kind = "bonus"
        amount = self._chance.randint(1, balance if kind == "usage" else 30)
        row = {
            "id": f"c{number}",
            "user_id": user,
            "transaction_type": kind,
            "amount": -amount if kind == "usage" else amount,
        }
        self.credits.append(row)
        self._insert("credits", row)

    def _subscription(self, number: int) -> None:
        plan = self._chance.choice(PLANS)
        ends = [datetime(2999, 1, 1, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC)]
        row = {
            "id": f"s{number}",
            "user_id": self._chance.choice(self.users),
            "plan_type": plan,
            "status": self._chance.choice(["active", "active", "cancelled", "expired", "past_due"]),
            "price_cents": self._chance.randrange(100_000),
            "credits_per_month": self._chance.randrange(100),
            "end_date": self._chance.choice([*ends, None] if plan == "enterprise" else ends),
        }
        self.subscriptions.append(row)
        self._insert("subscriptions", {**row, "start_date": datetime(2025, 1, 1, tzinfo=UTC)})

    def _metric(self, number: int) -> None:
        row = {
            "id": f"m{number:02}",
            "metric_type": self._chance.choice(METRICS[:4]),
            "value": self._chance.randrange(1000) / 8,
            "created_at": self._some_day(),
        }
        self.metrics.append(row)
        self._insert("system_metrics", row)

    def _accounts(self) -> None:
        for user in self.users:
            for platform in PLATFORMS[1:]:
                if self._chance.random() < 0.7:
                    row = {
                        "id": f"{user} {platform}",
                        "user_id": user,
                        "platform": platform,
                        "is_active": self._chance.random() < 0.7,
                        "token_expires_at": self._chance.choice(
                            [
                                None,
                                datetime(2025, 1, 1, tzinfo=UTC),
                                datetime(2999, 1, 1, tzinfo=UTC),
                            ]
                        ),
                    }
                    self.accounts.append(row)
                    self._insert(
                        "social_accounts", {**row, "platform_user_id": "1", "access_token": "lc1."}
                    )

    def _some_day(self) -> datetime:
        return self._moment(self.today - timedelta(days=self._chance.randrange(45)))

    def _moment(self, day: date) -> datetime:
        second = time(self._chance.randrange(24), self._chance.randrange(60))
        return datetime.combine(day, second, tzinfo=UTC)

    def _insert(self, table: str, row: Row) -> None:
        names, values = ", ".join(row), ", ".join(f"%({name})s" for name in row)
        self._connection.execute(f"INSERT INTO {table} ({names}) VALUES ({values})", row)

    def _value(self, query: str) -> Any:
        row = self._connection.execute(query).fetchone()
        assert row is not None
        return row[0]


@pytest.fixture(scope="module", params=[1, 2, 3])
def world(prepared_once: Prepare, request: pytest.FixtureRequest) -> Iterator[World]:
    database = prepared_once("cleack")
    with (
        database.server.connect(database.name) as connection,
        connection.transaction(force_rollback=True),
    ):
        connection.execute("SET LOCAL TimeZone = 'UTC'")
        yield World(connection, request.param)


def of(rows: list[Row], user: str | None, **values: Any) -> list[Row]:
    """The rows of a user, or of all, that have these values."""
    return [
        row
        for row in rows
        if user in (None, row.get("user_id"))
        and all(row[name] == value for name, value in values.items())
    ]


def total(rows: list[Row], column: str) -> int:
    return sum(row[column] for row in rows)


def percent(part: int, whole: int) -> Any:
    return pytest.approx(100 * part / whole, abs=0.051) if whole else None


ANYBODY = pytest.mark.parametrize("user", [None, "ada", "nobody"])


def test_counts(world: World) -> None:
    (row,) = world.report("counts")
    assert row["users"] == 3
    assert row["draws"] == row["credits"] == row["subscriptions"] == row["system_metrics"] == 60
    assert row["social_accounts"] == len(world.accounts)
    assert row["blacklist"] == 0
    steps = {"pending": 1, "processing": 2, "completed": 3, "failed": 3, "cancelled": 2}
    assert row["draw_history"] == sum(steps[draw["status"]] for draw in world.draws)


@ANYBODY
def test_draws_by_status(world: World, user: str | None) -> None:
    rows = world.report("draws", user)
    assert [row["status"] for row in rows] == STATUSES
    for row in rows:
        draws = of(world.draws, user, status=row["status"])
        assert row["draws"] == len(draws)
        assert row["participants"] == total(draws, "participants")
        assert row["credits_used"] == total(draws, "credits_used")
        assert row["newest"] == max((draw["created_at"] for draw in draws), default=None)


@ANYBODY
def test_draws_by_platform(world: World, user: str | None) -> None:
    rows = world.report("draws-by-platform", user)
    assert {row["platform"] for row in rows} == set(PLATFORMS)
    assert [row["draws"] for row in rows] == sorted((row["draws"] for row in rows), reverse=True)
    for row in rows:
        draws = of(world.draws, user, platform=row["platform"])
        completed = of(draws, user, status="completed")
        assert row["draws"] == len(draws)
        assert row["completed"] == len(completed)
        assert row["failed"] == len(of(draws, user, status="failed"))
        assert row["share_percent"] == percent(len(draws), len(of(world.draws, user)))
        participants = [draw["participants"] for draw in completed]
        expected = pytest.approx(mean(participants), abs=0.051) if participants else None
        assert row["participants_per_draw"] == expected


@ANYBODY
def test_draws_by_day(world: World, user: str | None) -> None:
    rows = world.report("draws-by-day", user)
    days = [world.today - timedelta(days=ago) for ago in range(29, -1, -1)]
    draws = Counter(draw["created_at"].date() for draw in of(world.draws, user))
    completed = Counter(
        draw["created_at"].date() for draw in of(world.draws, user, status="completed")
    )
    assert rows == [{"day": day, "draws": draws[day], "completed": completed[day]} for day in days]


@pytest.mark.parametrize("user", [None, "ada"])
def test_credits(world: World, user: str | None) -> None:
    rows = world.report("credits", user)
    users = [one for one in world.users if user in (None, one)]
    assert {row["email"] for row in rows} == {f"{one}@x" for one in users}
    assert [row["used"] for row in rows] == sorted((row["used"] for row in rows), reverse=True)
    for row in rows:
        entries = of(world.credits, row["email"].removesuffix("@x"))
        for column, kind in {
            "purchased": "purchase",
            "bonus": "bonus",
            "refunded": "refund",
        }.items():
            assert row[column] == total(of(entries, None, transaction_type=kind), "amount")
        used = of(entries, None, transaction_type="usage")
        assert row["used"] == -total(used, "amount")
        assert row["balance"] == total(entries, "amount")
        assert (row["last_used"] is None) == (not used)


@ANYBODY
def test_revenue(world: World, user: str | None) -> None:
    rows = world.report("revenue", user)
    assert [row["plan"] for row in rows] == PLANS
    for row in rows:
        sold = of(world.subscriptions, user, plan_type=row["plan"])
        paying = [
            one
            for one in sold
            if one["status"] == "active"
            and (one["end_date"] is None or one["end_date"].year > 2900)
        ]
        cents = total(paying, "price_cents")
        assert row["subscriptions"] == len(sold)
        assert row["paying"] == len(paying)
        assert row["price_cents"] == cents
        months = 12 if row["plan"] == "annual" else 1
        assert row["cents_per_month"] == pytest.approx(cents / months, abs=0.0051)
        assert row["credits_per_month"] == total(paying, "credits_per_month")


@ANYBODY
def test_platforms(world: World, user: str | None) -> None:
    rows = world.report("platforms", user)
    assert {row["platform"] for row in rows} == set(PLATFORMS)
    for row in rows:
        accounts = of(world.accounts, user, platform=row["platform"])
        active = of(accounts, user, is_active=True)
        expired = [one for one in active if one["token_expires_at"] is not None]
        expired = [one for one in expired if one["token_expires_at"].year == 2025]
        assert (row["accounts"], row["active"], row["token_expired"]) == (
            len(accounts),
            len(active),
            len(expired),
        )
        assert row["share_percent"] == percent(len(accounts), len(of(world.accounts, user)))


def newest(rows: list[Row]) -> Row:
    return max(rows, key=lambda row: (row["created_at"], row["id"]))


def test_metrics(world: World) -> None:
    rows = world.report("metrics")
    assert [row["metric"] for row in rows] == METRICS
    since = world.today - timedelta(days=29)
    for row in rows:
        found = of(world.metrics, None, metric_type=row["metric"])
        recent = [one["value"] for one in found if one["created_at"].date() >= since]
        assert row["newest"] == (newest(found)["value"] if found else None)
        assert row["recorded_at"] == (newest(found)["created_at"] if found else None)
        assert row["measured"] == len(recent)
        assert row["lowest"] == min(recent, default=None)
        assert row["highest"] == max(recent, default=None)
        assert row["mean"] == (pytest.approx(mean(recent)) if recent else None)


def test_metrics_by_day(world: World) -> None:
    rows = world.report("metrics-by-day")
    assert [row["day"] for row in rows] == [
        world.today - timedelta(days=ago) for ago in range(29, -1, -1)
    ]
    for row in rows:
        for metric in METRICS:
            found = [
                one
                for one in of(world.metrics, None, metric_type=metric)
                if one["created_at"].date() == row["day"]
            ]
            assert row[metric] == (newest(found)["value"] if found else None)


@pytest.mark.parametrize("name", BY_NAME)
def test_through_the_command_line(prepared: Prepare, cli: Cli, name: str) -> None:
    database = prepared("cleack")
    rows = cli("stats", name, "--app", "cleack", "-o", "json", url=database.url).json["rows"]
    assert rows
    if BY_NAME[name].per_user:
        ((user,),) = database.query("SELECT id FROM users")
        for given in (user, "test@example.com"):
            outcome = cli(
                "stats", name, "--app", "cleack", "--user", given, "-o", "json", url=database.url
            )
            assert len(outcome.json["rows"]) == len(rows)
