"""The reports of salesagent against a naive computation; its retention rules pick what they say."""

import random
from datetime import UTC, datetime, timedelta
from statistics import mean
from typing import Any

import pytest
from psycopg.rows import dict_row

from leadctl.apps.registry import find_app
from leadctl.apps.reports import Report
from leadctl.products.salesagent.reports import REPORTS
from leadctl.products.salesagent.retention import RULES
from leadctl.settings.durations import parse_seconds
from leadctl.stats import run_report
from tests.conftest import Cli, Prepare, Prepared

STAGES = ["NEW", "CONTACTED", "ENGAGED", "QUALIFIED", "MEETING", "WON", "LOST"]
INSIGHT_TYPES = ["QUALIFICATION", "NEXT_ACTION", "TIMING", "MESSAGING", "RISK"]
PLANS = ["FREE", "STARTER", "PROFESSIONAL", "ENTERPRISE"]
CAMPAIGN_STATES = ["DRAFT", "SCHEDULED", "ACTIVE", "PAUSED", "COMPLETED", "CANCELED"]
SUBSCRIPTION_STATES = ["TRIALING", "ACTIVE", "PAST_DUE", "CANCELED"]
BANDS = {"80-100": (80, 100), "60-79": (60, 79), "40-59": (40, 59), "20-39": (20, 39)}
ORGANISATIONS = 6
DELETED_ORGANISATION = "o6"
OWNERS = ["u1", "u3", "u6"]
"""Users of the organisations o1, o3 and o6; u1 is given by the address, too."""

START = """
INSERT INTO organisations (id, name, region, deleted_at)
    SELECT 'o' || n, 'O', 'CA', CASE WHEN n = 6 THEN now() END FROM generate_series(1, 6) n;
INSERT INTO users (id, organisation_id, email, password_hash, first_name, last_name, deleted_at)
    SELECT 'u' || n, 'o' || least(n, 6), 'u' || n || '@example.com', '$2b$10$' || repeat('x', 53),
           'F', 'L', CASE WHEN n > 7 THEN now() END
    FROM generate_series(1, 9) n;
"""
INSERTS = """
INSERT INTO prospects (id, organisation_id, email, stage, score, deleted_at)
    VALUES (%(id)s, %(o)s, %(email)s, %(stage)s, %(score)s, %(deleted)s);
INSERT INTO campaigns (id, organisation_id, name, status, deleted_at)
    VALUES (%(id)s, %(o)s, %(name)s, %(campaign)s, %(deleted)s);
INSERT INTO ai_insights (id, organisation_id, type, status, reviewed_at, title, recommendation,
                         confidence, model, deleted_at)
    VALUES (%(id)s, %(o)s, %(type)s, %(insight)s, %(reviewed)s, 'T', 'R', %(confidence)s, 'm',
            %(deleted)s);
INSERT INTO subscriptions (id, organisation_id, plan, status, seats, canceled_at, deleted_at)
    VALUES (%(id)s, %(o)s, %(plan)s, %(paid)s, %(seats)s, now(), %(subscription_deleted)s);
INSERT INTO activities (id, organisation_id, type, title, status, completed_at, created_at,
                        deleted_at)
    VALUES (%(id)s, %(o)s, 'CALL', 'T', %(activity)s, %(completed)s, %(created)s, %(deleted)s);
"""
MESSAGE = """
INSERT INTO messages (id, organisation_id, prospect_id, campaign_id, direction, status, body,
                      sent_at, opened_at, replied_at, deleted_at)
SELECT %(id)s, organisation_id, p.id, c.id, %(direction)s, %(status)s, 'Hello', %(sent)s,
       %(opened)s, %(replied)s, %(deleted)s
FROM campaigns c JOIN prospects p USING (organisation_id)
WHERE c.id = %(campaign)s ORDER BY p.id LIMIT 1
"""


@pytest.fixture(scope="module")
def filled_once(prepared_once: Prepare) -> Prepared:
    """A database with rows of six organisations, the same in every run, and those of the seed."""
    database = prepared_once("salesagent")
    database.query(START)
    chance = random.Random(20260131)
    now = datetime.now(UTC)
    with database.server.connect(database.name) as connection, connection.transaction():
        for number in range(150):
            organisation = number % ORGANISATIONS + 1
            paid = "ACTIVE" if number < ORGANISATIONS else chance.choice(SUBSCRIPTION_STATES)
            done = chance.random() < 0.4
            insight = chance.choice(["NEW", "ACCEPTED", "DISMISSED"])
            row = {
                "id": str(number),
                "o": f"o{organisation}",
                "email": f"p{number}@example.com",
                "name": f"C{number % 7}",
                "deleted": now if chance.random() < 0.2 else None,
                "stage": chance.choice(STAGES[:-1]),
                "score": chance.choice([None, 0, 19, 20, 39, 40, 59, 60, 79, 80, 99, 100]),
                "campaign": chance.choice(CAMPAIGN_STATES),
                "type": chance.choice(INSIGHT_TYPES[:-1]),
                "insight": insight,
                "reviewed": None if insight == "NEW" else now,
                "confidence": chance.random(),
                "plan": chance.choice(PLANS[:-1]),
                "paid": paid,
                "seats": chance.randint(1, 2**30),
                # No second one that runs.
                "subscription_deleted": None if paid == "CANCELED" or number < 6 else now,
                "activity": "COMPLETED" if done else "PENDING",
                "completed": now if done else None,
                "created": now - timedelta(days=chance.choice([0, 1, 6, 7, 8, 30, 76, 85, 100])),
            }
            for statement in INSERTS.split(";\n")[:-1]:
                connection.execute(statement, row)
        for number in range(600):
            inbound = chance.random() < 0.2
            sent = None if inbound or chance.random() < 0.3 else now
            status = chance.choice(["SENT", "DELIVERED", "BOUNCED"]) if sent else "QUEUED"
            row = {
                "id": str(number),
                "campaign": str(chance.randrange(140)),
                "direction": "INBOUND" if inbound else "OUTBOUND",
                "status": "RECEIVED" if inbound else status,
                "sent": now if inbound and chance.random() < 0.5 else sent,
                "opened": now if sent and chance.random() < 0.6 else None,
                "replied": now if sent and chance.random() < 0.3 else None,
                "deleted": now if chance.random() < 0.2 else None,
            }
            connection.execute(MESSAGE, row)
    return database


@pytest.fixture
def filled(filled_once: Prepared, copied: Prepare) -> Prepared:
    return copied(filled_once.name)


def live(database: Prepared, table: str, user: str | None) -> list[dict[str, Any]]:
    """Fetch the rows of a user's organisation, or of all, that are not marked as deleted."""
    organisation = f"o{user[1]}" if user else None
    with database.server.connect(database.name, row_factory=dict_row) as connection:
        return [
            row
            for row in connection.execute(f"SELECT * FROM {table}")
            if row["deleted_at"] is None
            and (owner := row.get("organisation_id", row["id"])) != DELETED_ORGANISATION
            and organisation in (None, owner)
        ]


def rows_of(database: Prepared, report: str, user: str | None) -> list[dict[str, Any]]:
    app = find_app(database.settings(app="salesagent"))
    return list(run_report(database.target(app="salesagent"), app, report, user=user).rows)


def percent(part: float, whole: float) -> Any:
    return pytest.approx(100 * part / whole, abs=0.051) if whole else None


@pytest.mark.parametrize("user", [None, *OWNERS])
def test_counts(filled: Prepared, user: str | None) -> None:
    tables = ["organisations", "users", "prospects", "campaigns", "messages", "activities"]
    assert rows_of(filled, "counts", user) == [
        {table: len(live(filled, table, user)) for table in tables}
    ]


@pytest.mark.parametrize("user", [None, *OWNERS])
def test_prospects(filled: Prepared, user: str | None) -> None:
    prospects = live(filled, "prospects", user)
    by_stage = []
    for stage in STAGES:
        mine = [row for row in prospects if row["stage"] == stage]
        scores = [row["score"] for row in mine if row["score"] is not None]
        average = pytest.approx(mean(scores), abs=0.051) if scores else None
        by_stage.append({"stage": stage, "prospects": len(mine), "average_score": average})
    assert rows_of(filled, "prospects-by-stage", user) == by_stage
    scores = [row["score"] for row in prospects]
    assert rows_of(filled, "prospects-by-score", user) == [
        {"band": band, "prospects": sum(s is not None and low <= s <= high for s in scores)}
        for band, (low, high) in {**BANDS, "0-19": (0, 19)}.items()
    ] + [{"band": "none", "prospects": scores.count(None)}]


@pytest.mark.parametrize("user", [None, *OWNERS])
def test_campaigns(filled: Prepared, user: str | None) -> None:
    messages = [m for m in live(filled, "messages", user) if m["direction"] == "OUTBOUND"]
    expected = []
    for campaign in live(filled, "campaigns", user):
        mine = [m for m in messages if m["campaign_id"] == campaign["id"]]
        sent, opened, replied = (
            sum(m[f"{name}_at"] is not None for m in mine) for name in ("sent", "opened", "replied")
        )
        row = {
            "campaign": campaign["name"],
            "status": campaign["status"],
            "sent": sent,
            "opened": opened,
            "replied": replied,
            "bounced": sum(m["status"] == "BOUNCED" for m in mine),
            "reply_percent": percent(replied, sent),
        }
        expected.append(((-sent, campaign["name"], campaign["id"]), row))
    expected.sort(key=lambda pair: pair[0])
    assert rows_of(filled, "campaigns", user) == [row for _, row in expected][:50]
    assert (len(expected) > 50) == (user is None)


@pytest.mark.parametrize("user", [None, *OWNERS])
def test_insights(filled: Prepared, user: str | None) -> None:
    expected = []
    for kind in INSIGHT_TYPES:
        mine = [row for row in live(filled, "ai_insights", user) if row["type"] == kind]
        states = [row["status"] for row in mine]
        expected.append(
            {
                "type": kind,
                "insights": len(mine),
                "new": states.count("NEW"),
                "accepted": states.count("ACCEPTED"),
                "dismissed": states.count("DISMISSED"),
                "confidence_percent": percent(sum(row["confidence"] for row in mine), len(mine)),
            }
        )
    assert rows_of(filled, "insights", user) == expected


@pytest.mark.parametrize("user", [None, *OWNERS])
def test_subscriptions(filled: Prepared, user: str | None) -> None:
    expected = []
    for plan in PLANS:
        mine = [row for row in live(filled, "subscriptions", user) if row["plan"] == plan]
        states = [row["status"] for row in mine]
        expected.append(
            {
                "plan": plan,
                "subscriptions": len(mine),
                **{state.lower(): states.count(state) for state in SUBSCRIPTION_STATES},
                "seats": sum(row["seats"] for row in mine if row["status"] != "CANCELED"),
            }
        )
    assert rows_of(filled, "subscriptions", user) == expected


@pytest.mark.parametrize("user", [None, *OWNERS])
def test_activity_by_week(filled: Prepared, user: str | None) -> None:
    ((now,),) = filled.query("SELECT now() AT TIME ZONE 'UTC'")
    monday = now.date() - timedelta(days=now.weekday())
    expected = []
    for week in (monday - timedelta(weeks=weeks) for weeks in range(11, -1, -1)):
        mine = [
            row
            for row in live(filled, "activities", user)
            if week <= row["created_at"].astimezone(UTC).date() < week + timedelta(days=7)
        ]
        completed = sum(row["status"] == "COMPLETED" for row in mine)
        expected.append({"week": week, "activities": len(mine), "completed": completed})
    assert rows_of(filled, "activity-by-week", user) == expected
    assert user == "u6" or sum(row["activities"] for row in expected) > 10


@pytest.mark.parametrize("report", REPORTS.reports, ids=lambda report: report.name)
def test_every_report_through_the_command(filled: Prepared, cli: Cli, report: Report) -> None:
    arguments = ["stats", report.name, "--app", "salesagent", "-o", "json"]
    everyone = cli(*arguments, url=filled.url)
    assert everyone.code == 0, everyone.err
    for row in everyone.json["rows"]:
        numbers = [v for name, v in row.items() if name not in {"week", "band"}]
        assert not [v for v in numbers if isinstance(v, str) and v.replace(".", "").isdigit()]
    by_email = cli(*arguments, "--user", "U1@example.com", url=filled.url)
    by_id = cli(*arguments, "--user", "u1", url=filled.url)
    assert by_id.json["rows"] == by_email.json["rows"] != everyone.json["rows"]
    deleted = cli(*arguments, "--user", "u8", url=filled.url)
    assert deleted.code != 0
    assert "u8" in deleted.err


def test_seats_need_more_than_an_integer(filled: Prepared) -> None:
    filled.query("UPDATE subscriptions SET plan = 'STARTER', seats = 2147483647")
    (starter,) = [row for row in rows_of(filled, "subscriptions", None) if row["plan"] == "STARTER"]
    assert starter["seats"] > 2**31
    assert starter["seats"] % 2147483647 == 0


def due(database: Prepared, name: str) -> set[str]:
    """Return the ids of the rows that a rule would delete now."""
    (rule,) = [rule for rule in RULES if rule.name == name]
    seconds = parse_seconds(rule.older_than)
    rows = database.query(
        f"SELECT id FROM {rule.table} WHERE {rule.age_column} < now() - interval '{seconds} s'"
        f" AND ({rule.condition or 'true'})"
    )
    return {row[0] for row in rows}


SESSIONS = """
INSERT INTO sessions (id, organisation_id, user_id, token_hash, created_at, expires_at)
    SELECT id, 'o1', 'u1', repeat(n, 64), now() - interval '9 days', now() + i::interval
    FROM (VALUES ('ended', '1', '-1 second'), ('lasting', '2', '1 minute')) x (id, n, i)
"""


def test_expired_sessions_go_at_once(filled: Prepared) -> None:
    filled.query(SESSIONS)
    assert due(filled, "expired-sessions") == {"ended"}


def test_deleted_rows_of_every_table_go_after_30_days(filled: Prepared) -> None:
    tables = {
        name
        for (name,) in filled.query(
            "SELECT relname FROM pg_stat_user_tables WHERE schemaname = 'public'"
            " AND relname <> 'alembic_version'"
        )
    }
    by_table = {rule.table: rule.name for rule in RULES if rule.age_column == "deleted_at"}
    assert by_table == {table: f"deleted-{table.replace('_', '-')}" for table in tables}
    filled.query(SESSIONS)
    filled.query(
        "INSERT INTO audit_logs (id, actor, action, entity, entity_id)"
        " VALUES (1, 'job', 'EXPORT', 'users', 'u1'), (2, 'job', 'EXPORT', 'users', 'u1');"
        "INSERT INTO icps (id, organisation_id, name) VALUES (1, 'o1', 'Best')"
    )
    for table, rule in by_table.items():
        old, young, *_ = (row[0] for row in filled.query(f"SELECT id FROM {table} ORDER BY id"))
        for name, days in ((old, 31), (young, 29)):
            filled.query(
                f"UPDATE {table} SET deleted_at = now() - %s * interval '1 day' WHERE id = %s",
                days,
                name,
            )
        assert due(filled, rule) == {old}, table


def test_a_row_goes_by_the_rule_of_its_own_table(filled: Prepared) -> None:
    filled.query(SESSIONS)
    tables = sorted({rule.table for rule in RULES})
    counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
    for table in tables:
        filled.query(f"UPDATE {table} SET deleted_at = now() - interval '31 days'")
    (before,) = filled.query(f"SELECT {counts}")
    for rule in RULES:
        filled.query(f"DELETE FROM {rule.table} WHERE id = ANY(%s)", list(due(filled, rule.name)))
        (after,) = filled.query(f"SELECT {counts}")
        changed = [tables[n] for n, rows in enumerate(after) if rows != before[n]]
        assert changed in ([], [rule.table]), rule.name
        before = after
    assert before == (0,) * 13
