"""The reports of viralmommy against a naive computation; its retention rules pick what they say."""

import random
from datetime import UTC, datetime, timedelta
from statistics import mean, median
from typing import Any

import pytest
from psycopg.rows import dict_row

from leadctl.apps.registry import find_app
from leadctl.apps.reports import Report
from leadctl.products.viralmommy.reports import REPORTS
from leadctl.products.viralmommy.retention import RULES
from leadctl.settings.durations import parse_seconds
from leadctl.stats import run_report
from tests.conftest import Cli, Prepare, Prepared

PLATFORMS = ["TIKTOK", "INSTAGRAM", "YOUTUBE"]
CONNECTION_STATES = ["ACTIVE", "EXPIRED", "REVOKED"]
JOB_STATES = ["PENDING", "ACTIVE", "COMPLETED", "FAILED", "DELAYED"]
COUNTERS = ["views", "likes", "comments", "shares"]
TABLES = [
    "users",
    "platform_connections",
    "videos",
    "published_posts",
    "publish_jobs",
    "youtube_quotas",
]

# Times are an hour off every boundary that a report draws at now().
USERS = """
INSERT INTO users (id, email) SELECT 'u' || n, 'u' || n || '@example.com' FROM generate_series(1, 9) n;
INSERT INTO videos (id, user_id, r2_key, r2_url, title, duration, file_size, format, resolution,
                    aspect_ratio, deleted_at)
    SELECT 'v' || n, 'u' || n, 'k' || n, 'https://k', 't', 1, 1, 'mp4', '1x1', '1:1',
           CASE WHEN n > 6 THEN now() END
    FROM generate_series(1, 9) n;
"""
POST = """
INSERT INTO published_posts (id, user_id, video_id, platform, platform_post_id, caption,
                             views, likes, comments, shares, published_at, deleted_at)
VALUES (%(id)s, 'u' || %(u)s, 'v' || %(u)s, %(platform)s, %(id)s, '100%% mom', %(views)s,
        %(views)s / 3, %(views)s / 7, %(views)s / 9, now() - %(id)s * interval '1 minute',
        CASE WHEN %(deleted)s THEN now() END)
"""
CONNECTION = """
INSERT INTO platform_connections (id, user_id, platform, access_token, platform_user_id,
                                  platform_username, status, expires_at)
VALUES (%(id)s, 'u' || %(u)s, %(platform)s, 'x', 'i', 'n', %(status)s,
        now() + %(hours)s::int * interval '1 hour')
"""
JOB = """
INSERT INTO publish_jobs (id, job_id, user_id, video_id, platform, caption, status, attempt_number,
                          created_at, scheduled_for, started_at, completed_at)
VALUES (%(id)s, %(id)s, 'u' || %(u)s, 'v', %(platform)s, 'c', %(status)s::job_status, %(id)s %% 4,
        now() - %(id)s * interval '1 minute', now() + %(hours)s::int * interval '1 hour',
        CASE WHEN %(status)s::job_status = 'COMPLETED' THEN now() - interval '1 minute' END,
        CASE WHEN %(status)s::job_status = 'COMPLETED' THEN now() - interval '1 minute'
             + %(id)s * interval '0.1 second' END)
"""


@pytest.fixture(scope="module")
def filled_once(prepared_once: Prepare) -> Prepared:
    """A database with rows of nine users, the same in every run, and those of the seed."""
    database = prepared_once("viralmommy")
    chance = random.Random(20260131)
    database.query(USERS)
    with database.server.connect(database.name) as connection, connection.transaction():
        for number in range(120):
            row = {"id": number, "u": chance.randint(1, 9), "platform": chance.choice(PLATFORMS)}
            views = chance.choice([0, 1, 1000, 2**31 - 1])
            hours = chance.choice([None, -30, -1, 1, 23, 25, 100, 167, 169, 1000])
            connection.execute(POST, {**row, "views": views, "deleted": chance.random() < 0.2})
            status = chance.choice(JOB_STATES)
            connection.execute(JOB, {**row, "status": status, "hours": hours})
        for number in range(27):
            row = {"id": number, "u": number % 9 + 1, "platform": PLATFORMS[number // 9]}
            hours = chance.choice([None, -30, -1, 1, 23, 25, 100, 167, 169, 1000])
            status = chance.choice(CONNECTION_STATES)
            connection.execute(CONNECTION, {**row, "status": status, "hours": hours})
    return database


@pytest.fixture
def filled(filled_once: Prepared, copied: Prepare) -> Prepared:
    return copied(filled_once.name)


def live_rows(database: Prepared, table: str, user: str | None) -> list[dict[str, Any]]:
    """Fetch the rows of a user, or of all, that are not marked as deleted."""
    with database.server.connect(database.name, row_factory=dict_row) as connection:
        return [
            row
            for row in connection.execute(f"SELECT * FROM {table}")
            if row.get("deleted_at") is None and user in (None, row.get("user_id", row["id"]))
        ]


def rows_of(database: Prepared, report: str, user: str | None) -> list[dict[str, Any]]:
    app = find_app(database.settings(app="viralmommy"))
    return list(run_report(database.target(app="viralmommy"), app, report, user=user).rows)


def server_time(database: Prepared) -> datetime:
    ((now,),) = database.query("SELECT now()")
    assert isinstance(now, datetime)
    return now


@pytest.mark.parametrize("user", [None, "u3", "u8"])
def test_counts(filled: Prepared, user: str | None) -> None:
    assert rows_of(filled, "counts", user) == [
        {
            name: len(live_rows(filled, table, user))
            for name, table in {
                "users": "users",
                "connections": "platform_connections",
                "videos": "videos",
                "posts": "published_posts",
                "jobs": "publish_jobs",
            }.items()
        }
    ]


@pytest.mark.parametrize("user", [None, "u3", "u8"])
def test_posts(filled: Prepared, user: str | None) -> None:
    posts = live_rows(filled, "published_posts", user)
    expected = []
    for platform in PLATFORMS:
        mine = [post for post in posts if post["platform"] == platform]
        sums = {name: sum(post[name] for post in mine) for name in COUNTERS}
        reactions = sums["likes"] + sums["comments"] + sums["shares"]
        expected.append(
            {
                "platform": platform,
                "posts": len(mine),
                **sums,
                "engagement_percent": pytest.approx(100 * reactions / sums["views"], abs=0.0051)
                if sums["views"]
                else None,
                "newest": max((post["published_at"] for post in mine), default=None),
            }
        )
    assert rows_of(filled, "posts", user) == expected


@pytest.mark.parametrize("user", [None, "u3", "u8"])
def test_connections(filled: Prepared, user: str | None) -> None:
    now = server_time(filled)
    connections = live_rows(filled, "platform_connections", user)
    expected = []
    for status in CONNECTION_STATES:
        mine = [connection for connection in connections if connection["status"] == status]
        left = [c["expires_at"] - now for c in mine if c["expires_at"]]
        expected.append(
            {
                "status": status,
                "connections": len(mine),
                "expired": sum(t <= timedelta() for t in left),
                "within_a_day": sum(timedelta() < t <= timedelta(days=1) for t in left),
                "within_a_week": sum(timedelta(days=1) < t <= timedelta(days=7) for t in left),
                "later": sum(t > timedelta(days=7) for t in left),
                "no_expiry": len(mine) - len(left),
                "next_expiry": min((t + now for t in left if t > timedelta()), default=None),
            }
        )
    assert rows_of(filled, "connections", user) == expected


@pytest.mark.parametrize("user", [None, "u3", "u8"])
def test_jobs(filled: Prepared, user: str | None) -> None:
    now = server_time(filled)
    jobs = live_rows(filled, "publish_jobs", user)
    expected = []
    for status in JOB_STATES:
        mine = [job for job in jobs if job["status"] == status]
        seconds = [
            (job["completed_at"] - job["started_at"]).total_seconds()
            for job in mine
            if job["completed_at"]
        ]
        due = [job for job in mine if (job["scheduled_for"] or job["created_at"]) <= now]
        expected.append(
            {
                "status": status,
                "jobs": len(mine),
                "due": len(due) if status in {"PENDING", "DELAYED"} else 0,
                "attempts": pytest.approx(mean(j["attempt_number"] for j in mine), abs=0.0051)
                if mine
                else None,
                "median_seconds": pytest.approx(median(seconds), abs=0.0051) if seconds else None,
                "oldest": min((job["created_at"] for job in mine), default=None),
            }
        )
    assert rows_of(filled, "jobs", user) == expected


def test_quota(filled: Prepared) -> None:
    today = server_time(filled).astimezone(UTC).date()
    nothing = {"date": today, "used": 0, "limit": 10000, "remaining": 10000, "uploads_left": 6}
    assert rows_of(filled, "quota", None) == [{**nothing, "used_percent": 0.0}]
    filled.query(
        'INSERT INTO youtube_quotas (id, date, used, "limit") VALUES'
        " ('q', %s, 3300, 9900), ('r', %s, 1, 1)",
        today,
        today - timedelta(days=1),
    )
    some = {"date": today, "used": 3300, "limit": 9900, "remaining": 6600, "uploads_left": 4}
    assert rows_of(filled, "quota", None) == [{**some, "used_percent": 33.3}]


@pytest.mark.parametrize("report", REPORTS.reports, ids=lambda report: report.name)
def test_every_report_through_the_command(filled: Prepared, cli: Cli, report: Report) -> None:
    arguments = ["stats", report.name, "--app", "viralmommy"]
    everyone = cli(*arguments, "-o", "json", url=filled.url)
    assert everyone.code == 0, everyone.err
    assert everyone.json["rows"]
    for row in everyone.json["rows"]:
        assert not [value for name, value in row.items() if "date" not in name and is_digits(value)]
    by_email = cli(*arguments, "-o", "json", "--user", "u3@example.com", url=filled.url)
    assert (by_email.code == 0) == report.per_user
    if report.per_user:
        by_id = cli(*arguments, "-o", "json", "--user", "u3", url=filled.url)
        assert by_id.json["rows"] == by_email.json["rows"] != everyone.json["rows"]


def is_digits(value: object) -> bool:
    """Whether a number became text on its way, as one of the type numeric does."""
    return isinstance(value, str) and value.replace(".", "").isdigit()


def due(database: Prepared, name: str) -> set[str]:
    """Return the ids of the rows that a rule would delete now."""
    (rule,) = [rule for rule in RULES if rule.name == name]
    seconds = parse_seconds(rule.older_than)
    rows = database.query(
        f"SELECT id FROM {rule.table} WHERE {rule.age_column} < now() - interval '{seconds} s'"
        f" AND ({rule.condition or 'true'})"
    )
    return {row[0] for row in rows}


OLD = """
INSERT INTO videos (id, user_id, r2_key, r2_url, title, duration, file_size, format, resolution,
                    aspect_ratio, deleted_at)
    SELECT id, 'u1', id, 'https://k', 't', 1, 1, 'mp4', '1x1', '1:1', now() - days * interval '1 day'
    FROM (VALUES ('bare', 31), ('fresh', 29), ('posted', 31), ('kept', NULL)) x (id, days);
INSERT INTO published_posts (id, user_id, video_id, platform, platform_post_id, caption,
                             published_at, deleted_at)
    SELECT id, 'u1', 'posted', 'TIKTOK', id, 'c', now() - days * interval '1 day',
           now() - deleted * interval '1 day'
    FROM (VALUES ('old', 366, NULL), ('young', 364, NULL), ('gone', 400, 31), ('going', 400, 29))
        x (id, days, deleted);
INSERT INTO publish_jobs (id, job_id, user_id, video_id, platform, caption, status, updated_at,
                          created_at)
    SELECT id, id, 'u1', 'bare', 'TIKTOK', 'c', status::job_status, now() - days * interval '1 day',
           now() - interval '200 days'
    FROM (VALUES ('done', 'COMPLETED', 91), ('late', 'COMPLETED', 89), ('failed', 'FAILED', 91),
                 ('running', 'ACTIVE', 91), ('waiting', 'DELAYED', 91)) x (id, status, days);
INSERT INTO youtube_quotas (id, date)
    SELECT 'q' || n, (now() - n * interval '1 day')::date FROM (VALUES (0), (88), (92)) x (n);
"""


def test_retention_rules(filled: Prepared) -> None:
    filled.query(OLD)
    assert {rule.name: due(filled, rule.name) for rule in RULES} == {
        "finished-jobs": {"done", "failed"},
        "old-posts": {"old"},
        "deleted-posts": {"gone"},
        "deleted-videos": {"bare"},
        "old-quotas": {"q92"},
    }
    assert {rule.name for rule in RULES if rule.archive} == {"old-posts"}


def test_no_rule_deletes_rows_of_another_table(filled: Prepared) -> None:
    filled.query(OLD)
    filled.query("UPDATE published_posts SET deleted_at = now() WHERE video_id = 'posted'")
    for rule in RULES:
        before = {table: rows_in(filled, table) for table in TABLES}
        filled.query(f"DELETE FROM {rule.table} WHERE id = ANY(%s)", list(due(filled, rule.name)))
        changed = [table for table in TABLES if rows_in(filled, table) != before[table]]
        assert changed in ([], [rule.table])


def rows_in(database: Prepared, table: str) -> int:
    ((rows,),) = database.query(f"SELECT count(*) FROM {table}")
    return int(rows)
