"""The reports of whatsapp, against the same numbers computed the long way."""

import random
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from leadctl.products.whatsapp.reports import REPORTS
from leadctl.products.whatsapp.retention import RULES
from tests.conftest import Cli, Prepare, Prepared

OTHER = uuid.UUID("22222222-2222-4222-8222-222222222222")
SOURCES = ["manual", "csv", "api", "webhook"]
CATEGORIES = ["marketing", "utility", "authentication"]
STATUSES = ["queued", "sent", "delivered", "read", "failed"]
AGES = {
    "under an hour": "30 minutes",
    "under a day": "12 hours",
    "under a week": "3 days",
    "a week or more": "30 days",
}


@pytest.fixture(scope="module")
def filled_once(prepared_once: Prepare) -> Prepared:
    """Whatsapp with rows of every kind, for the seeded user and another."""
    database = prepared_once("whatsapp")
    database.query(
        "INSERT INTO users (id, email, access_token) VALUES (%s, 'other@example.com', 'x')", OTHER
    )
    chance = random.Random(7)
    with database.server.connect(database.name) as connection, connection.transaction():
        for (user,) in connection.execute("SELECT id FROM users ORDER BY email").fetchall():
            fill(connection.cursor(), user, chance)
    return database


@pytest.fixture
def whatsapp(filled_once: Prepared, copied: Prepare) -> Prepared:
    return copied(filled_once.name)


def fill(cursor: psycopg.Cursor[Any], user: uuid.UUID, chance: random.Random) -> None:
    for number in range(60):
        opted_in = chance.random() < 0.5
        contact = {
            "user_id": user,
            "phone": f"+4479460{1000 + number}",
            "opt_in_source": chance.choice(SOURCES[:3]),
            "opted_in": opted_in,
            "opted_out_at": None if opted_in or chance.random() < 0.5 else "2026-01-01",
            "is_blocked": chance.random() < 0.2,
        }
        contact_id = insert(cursor, "contacts", contact)
    templates = []
    for number in range(30):
        template = {
            "user_id": user,
            "name": f"template {number}",
            "category": chance.choice(CATEGORIES[:2]),
            "status": chance.choice(["draft", "pending", "approved", "rejected"]),
            "components": "[]",
        }
        templates.append(insert(cursor, "templates", template))
    campaigns = []
    for number in range(12):
        campaign = {
            "user_id": user,
            "name": f"campaign {number} of {user}",
            "message_type": "template",
            "message_content": "{}",
            "status": chance.choice(["scheduled", "scheduled", "paused"]),
            "template_id": chance.choice(templates),
            "created_at": f"2026-01-{1 + number:02}",
        }
        campaigns.append(insert(cursor, "campaigns", campaign))
    for _ in range(300):
        message = {
            "user_id": user,
            "contact_id": contact_id,
            "campaign_id": chance.choice([None, *campaigns[:-1]]),
            "direction": chance.choice(["outbound", "outbound", "inbound"]),
            "type": "text",
            "content": "{}",
            "status": chance.choice(STATUSES),
            "error_code": chance.choice([None, "1", "2"]),
            "retry_count": chance.randrange(5),
        }
        insert(cursor, "messages", message)
    for _ in range(50):
        age = chance.choice(list(AGES.values()))
        event = {
            "user_id": chance.choice([user, None]),
            "event_type": "x",
            "payload": "{}",
            "processed": chance.random() < 0.3,
            "error_message": chance.choice([None, "failed"]),
            "received_at": cursor.execute("SELECT now() - %s::interval", [age]).fetchall()[0][0],
        }
        insert(cursor, "webhook_events", event)


def insert(cursor: psycopg.Cursor[Any], table: str, row: dict[str, Any]) -> uuid.UUID:
    cursor.execute(
        f"INSERT INTO {table} ({', '.join(row)})"
        f" VALUES ({', '.join(f'%({name})s' for name in row)}) RETURNING id",
        row,
    )
    ((made,),) = cursor.fetchall()
    assert isinstance(made, uuid.UUID)
    return made


@pytest.fixture(params=["everybody", "seeded", "other", "nothing"])
def of(request: pytest.FixtureRequest, whatsapp: Prepared) -> uuid.UUID | None:
    """Whose report it is: the id, or None for everybody's."""
    if request.param == "nothing":
        whatsapp.query("INSERT INTO users (email, access_token) VALUES ('new@example.com', 'x')")
    emails = {"seeded": "test@example.com", "other": "other@example.com"}
    email = emails.get(request.param, "new@example.com")
    rows = whatsapp.query("SELECT id FROM users WHERE email = %s", email)
    return rows[0][0] if request.param != "everybody" else None


@pytest.fixture
def report(whatsapp: Prepared, cli: Cli, of: uuid.UUID | None) -> Callable[[str], Any]:
    def run(name: str) -> Any:
        flags = ["--user", str(of)] if of else []
        outcome = cli("stats", name, *flags, "--app", "whatsapp", "-o", "json", url=whatsapp.url)
        assert outcome.code == 0, outcome.err
        return outcome.json["rows"]

    return run


Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def rows(whatsapp: Prepared, of: uuid.UUID | None) -> Rows:
    """Fetch all of a table, then keep what is the user's."""

    def fetch(table: str, owner: str = "user_id") -> list[dict[str, Any]]:
        found = [row for (row,) in whatsapp.query(f"SELECT to_jsonb(t) FROM {table} t")]
        return [row for row in found if of is None or row[owner] == str(of)]

    return fetch


def percent(part: int, whole: int) -> float | None:
    return pytest.approx(100 * part / whole, abs=0.0501) if whole else None


def test_counts(report: Callable[[str], Any], rows: Rows) -> None:
    (found,) = report("counts")
    assert found == {
        "users": len(rows("users", "id")),
        **{
            table: len(rows(table))
            for table in ("contacts", "templates", "campaigns", "messages", "webhook_events")
        },
    }


def test_campaign_funnel(report: Callable[[str], Any], rows: Rows) -> None:
    campaigns = sorted(rows("campaigns"), key=lambda row: row["created_at"], reverse=True)
    expected = []
    for campaign in campaigns:
        statuses = Counter(
            message["status"]
            for message in rows("messages")
            if message["campaign_id"] == campaign["id"] and message["direction"] == "outbound"
        )
        read = statuses["read"]
        delivered = read + statuses["delivered"]
        sent = delivered + statuses["sent"]
        messages = statuses.total()
        expected.append(
            {
                "campaign": campaign["name"],
                "status": campaign["status"],
                "messages": messages,
                "queued": statuses["queued"],
                "sent": sent,
                "delivered": delivered,
                "read": read,
                "failed": statuses["failed"],
                "delivered_percent": percent(delivered, sent),
                "read_percent": percent(read, delivered),
                "failed_percent": percent(statuses["failed"], messages),
            }
        )
    found = report("campaign-funnel")
    # Those of two users were made at the same moment.
    assert sorted(found, key=lambda row: row["campaign"]) == sorted(
        expected, key=lambda row: row["campaign"]
    )
    order = {campaign["name"]: campaign["created_at"] for campaign in campaigns}
    made = [order[row["campaign"]] for row in found]
    assert made == sorted(made, reverse=True)


def test_opt_ins(report: Callable[[str], Any], rows: Rows) -> None:
    expected = []
    for source in SOURCES:
        contacts = [row for row in rows("contacts") if row["opt_in_source"] == source]
        opted_in = [row for row in contacts if row["opted_in"]]
        out = [row for row in contacts if not row["opted_in"] and row["opted_out_at"]]
        expected.append(
            {
                "source": source,
                "contacts": len(contacts),
                "opted_in": len(opted_in),
                "opted_out": len(out),
                "never_opted_in": len(contacts) - len(opted_in) - len(out),
                "blocked": sum(row["is_blocked"] for row in contacts),
                "reachable": sum(not row["is_blocked"] for row in opted_in),
                "opted_in_percent": percent(len(opted_in), len(contacts)),
            }
        )
    assert report("opt-ins") == expected


def test_unprocessed_events(whatsapp: Prepared, report: Callable[[str], Any], rows: Rows) -> None:
    events = [row for row in rows("webhook_events") if not row["processed"]]
    moments = dict(whatsapp.query("SELECT id::text, now() - received_at FROM webhook_events"))
    expected = []
    for age, (after, until) in zip(
        AGES, ((0, 3600), (3600, 86400), (86400, 604800), (604800, 1e9)), strict=True
    ):
        found = [row for row in events if after <= moments[row["id"]].total_seconds() < until]
        waiting = [row for row in found if row["error_message"] is None]
        expected.append((age, len(found), len(waiting), len(found) - len(waiting)))
    result = report("unprocessed-events")
    assert [
        (row["age"], row["events"], row["waiting"], row["failed"]) for row in result
    ] == expected
    assert all((row["oldest"] is None) == (row["events"] == 0) for row in result)


def test_template_approval(report: Callable[[str], Any], rows: Rows) -> None:
    campaigns = rows("campaigns")
    expected = []
    for category in CATEGORIES:
        templates = [row for row in rows("templates") if row["category"] == category]
        statuses = Counter(row["status"] for row in templates)
        approved, rejected = statuses["approved"], statuses["rejected"]
        held_back = {row["id"] for row in templates if row["status"] != "approved"}
        expected.append(
            {
                "category": category,
                "templates": len(templates),
                **{name: statuses[name] for name in ("draft", "pending", "approved", "rejected")},
                "approved_percent": percent(approved, approved + rejected),
                "campaigns_held_back": sum(
                    row["status"] == "scheduled" and row["template_id"] in held_back
                    for row in campaigns
                ),
            }
        )
    found = report("template-approval")
    assert found == expected
    assert sum(row["campaigns_held_back"] for row in found) > 0 or not campaigns


def test_failures(report: Callable[[str], Any], rows: Rows) -> None:
    failed = [row for row in rows("messages") if row["status"] == "failed"]
    codes = Counter(row["error_code"] or "(none)" for row in failed)
    left = Counter(row["error_code"] or "(none)" for row in failed if row["retry_count"] < 3)
    found = report("failures")
    assert {row["error_code"]: row["messages"] for row in found} == codes
    assert {row["error_code"]: row["to_retry"] for row in found if row["to_retry"]} == left
    numbers = [row["messages"] for row in found]
    assert numbers == sorted(numbers, reverse=True)


def test_numbers_reach_python_as_int_and_float(whatsapp: Prepared) -> None:
    for report in REPORTS.reports:
        for row in whatsapp.query(
            report.sql.replace("%(user)s", "NULL").replace("%(since)s", "NULL")
        ):
            assert {type(value).__name__ for value in row} <= {
                "str",
                "int",
                "float",
                "datetime",
                "NoneType",
            }, report.name


def test_users_are_found_by_id_or_email(whatsapp: Prepared, cli: Cli) -> None:
    def code(user: str) -> int:
        flags = ("--user", user, "--app", "whatsapp")
        return cli("stats", "counts", *flags, url=whatsapp.url).code

    assert code(str(OTHER)) == code(str(OTHER).upper()) == code("other@example.com") == 0
    for nobody in ("nobody@example.com", "no uuid", "%", "'", str(uuid.uuid4()), "2222"):
        assert code(nobody) == 1, nobody


def test_the_retention_rule_is_valid_sql(whatsapp: Prepared) -> None:
    (rule,) = RULES
    assert (rule.table, rule.older_than, rule.archive) == ("webhook_events", "90d", True)
    whatsapp.query(f"SELECT {rule.age_column} FROM {rule.table}")
