"""Whom to write to, which campaigns are due, and the queue of webhook events."""

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from leadctl.models import paginate
from leadctl.postgres.engine import run_engine
from leadctl.products.whatsapp.models import CampaignStatus
from leadctl.products.whatsapp.queries import (
    claim_due_campaigns,
    claim_webhook_events,
    delete_old_events,
    mark_failed,
    mark_processed,
    opted_in_contacts,
    reprocess_failed_events,
    retry_failed_messages,
)
from tests.conftest import Prepare, Prepared

pytestmark = pytest.mark.thorough

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OTHER = uuid.UUID("22222222-2222-4222-8222-222222222222")


@pytest.fixture
def whatsapp(prepared: Prepare) -> Prepared:
    """Whatsapp with a second user, OTHER, that has nothing yet."""
    database = prepared("whatsapp")
    database.query(
        "INSERT INTO users (id, email, access_token) VALUES (%s, 'other@example.com', 'x')", OTHER
    )
    return database


@pytest.fixture
def sessions(whatsapp: Prepared) -> sessionmaker[Session]:
    return sessionmaker(run_engine(whatsapp.target(app="whatsapp"), "test"))


@pytest.fixture
def user(whatsapp: Prepared) -> uuid.UUID:
    """The seeded user."""
    ((found,),) = whatsapp.query("SELECT id FROM users WHERE email = 'test@example.com'")
    assert isinstance(found, uuid.UUID)
    return found


def drain(take: Callable[[], list[uuid.UUID]]) -> list[uuid.UUID]:
    """Take from a queue in four threads until it is empty; return all that was taken."""
    ready = threading.Barrier(4)

    def work(_: int) -> list[uuid.UUID]:
        ready.wait(60)
        taken: list[uuid.UUID] = []
        while some := take():
            taken += some
        return taken

    with ThreadPoolExecutor(4) as pool:
        return [one for taken in pool.map(work, range(4)) for one in taken]


def test_contacts_that_may_be_written_to(
    whatsapp: Prepared, sessions: sessionmaker[Session], user: uuid.UUID
) -> None:
    whatsapp.query("DELETE FROM contacts")
    whatsapp.query(
        "INSERT INTO contacts (user_id, phone, opt_in_source, opted_in, is_blocked, tags)"
        " SELECT u.id, '+1202555' || 1000 + n, 'csv', n % 2 = 0, n % 3 = 0,"
        "   CASE n % 5 WHEN 0 THEN '{}'::text[] WHEN 1 THEN ARRAY['vip']"
        "     WHEN 2 THEN ARRAY['new', 'vip'] ELSE ARRAY['new', 'it''s, {odd}'] END"
        " FROM users u, generate_series(1, 60) n"
    )
    rows = whatsapp.query("SELECT user_id, phone, opted_in, is_blocked, tags FROM contacts")
    assert len(rows) == 120
    with sessions() as session:
        for owner in (user, OTHER, uuid.uuid4()):
            for tag in (None, "vip", "new", "it's, {odd}", "v", ""):
                found = session.scalars(opted_in_contacts(owner, tag=tag)).all()
                assert {contact.phone for contact in found} == {
                    phone
                    for of, phone, opted_in, blocked, tags in rows
                    if of == owner and opted_in and not blocked and (tag is None or tag in tags)
                }
                assert {contact.user_id for contact in found} <= {owner}
        page = paginate(session, opted_in_contacts(user), limit=7)
        assert (len(page.data), page.total) == (7, 20)


DUE = {"status": "scheduled", "scheduled_at": NOON, "message_type": "text"}


def campaign(database: Prepared, owner: uuid.UUID, name: str, **values: object) -> None:
    columns = {"user_id": owner, "name": name, "message_content": "{}", **DUE, **values}
    database.query(
        f"INSERT INTO campaigns ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))})",
        *columns.values(),
    )


def test_campaigns_that_are_due(
    whatsapp: Prepared, sessions: sessionmaker[Session], user: uuid.UUID
) -> None:
    hour = timedelta(hours=1)
    templates = dict(whatsapp.query("SELECT name, id FROM templates"))
    approved, draft = templates["spring_sale"], templates["order_shipped"]
    whatsapp.query("DELETE FROM campaigns")
    campaign(whatsapp, user, "last", scheduled_at=NOON)
    campaign(whatsapp, user, "first", scheduled_at=NOON - 9 * hour)
    campaign(
        whatsapp,
        user,
        "approved",
        message_type="template",
        template_id=approved,
        scheduled_at=NOON - hour,
    )
    campaign(whatsapp, user, "again", started_at=NOON - 3 * hour, scheduled_at=NOON - 2 * hour)
    campaign(whatsapp, user, "not yet", scheduled_at=NOON + hour)
    campaign(whatsapp, user, "no time", scheduled_at=None)
    campaign(whatsapp, user, "not approved", message_type="template", template_id=draft)
    campaign(whatsapp, user, "template gone", message_type="template")
    for status in CampaignStatus:
        if status is not CampaignStatus.SCHEDULED:
            campaign(whatsapp, user, status.value, status=status.value)
    campaign(whatsapp, OTHER, "of the other", scheduled_at=NOON - 4 * hour)
    with sessions.begin() as session:
        mine = claim_due_campaigns(session, now=NOON, user_id=user, limit=1)
        assert [found.name for found in mine] == ["first"]
        found = claim_due_campaigns(session, now=NOON)
        assert [one.name for one in found] == ["of the other", "again", "approved", "last"]
        assert {one.status for one in found} == {CampaignStatus.PROCESSING}
        assert found[1].started_at == NOON - 3 * hour
        assert found[0].started_at is not None
        assert claim_due_campaigns(session, now=NOON) == []
        assert [one.name for one in claim_due_campaigns(session, now=NOON + hour)] == ["not yet"]
    whatsapp.query("UPDATE templates SET status = 'approved'")
    with sessions.begin() as session:
        assert [one.name for one in claim_due_campaigns(session)] == ["not approved"]


def test_campaigns_of_a_user_who_is_not_active_are_left_alone(
    whatsapp: Prepared, sessions: sessionmaker[Session]
) -> None:
    campaign(whatsapp, OTHER, "held back")
    whatsapp.query("UPDATE users SET is_active = false")
    with sessions.begin() as session:
        assert claim_due_campaigns(session, now=NOON) == []


def test_no_campaign_starts_twice(
    whatsapp: Prepared, sessions: sessionmaker[Session], user: uuid.UUID
) -> None:
    for number in reversed(range(40)):
        campaign(whatsapp, user, f"{number}", scheduled_at=NOON + timedelta(minutes=number))
    until = NOON + timedelta(days=1)
    with sessions.begin() as first, sessions.begin() as second:
        ours = [one.name for one in claim_due_campaigns(first, now=until, limit=2)]
        theirs = [one.name for one in claim_due_campaigns(second, now=until, limit=2)]
    assert (ours, theirs) == (["0", "1"], ["2", "3"])

    def take() -> list[uuid.UUID]:
        with sessions.begin() as session:
            return [one.id for one in claim_due_campaigns(session, now=until, limit=3)]

    taken = drain(take)
    assert len(taken) == len(set(taken)) == 36


@pytest.fixture
def events(whatsapp: Prepared, user: uuid.UUID) -> list[uuid.UUID]:
    """Forty waiting events of both users, each a minute younger; every fifth of nobody known."""
    whatsapp.query("DELETE FROM webhook_events")
    made = []
    for number in range(40):
        owner = None if number % 5 == 0 else (user, OTHER)[number % 2]
        ((event,),) = whatsapp.query(
            "INSERT INTO webhook_events (user_id, event_type, payload, received_at)"
            " VALUES (%s, 'message_status', '{}', %s) RETURNING id",
            owner,
            NOON + timedelta(minutes=number),
        )
        made.append(event)
    return made


def test_events_are_claimed_oldest_first_by_one_at_a_time(
    sessions: sessionmaker[Session], events: list[uuid.UUID]
) -> None:
    with sessions() as first, sessions() as second:
        assert [one.id for one in claim_webhook_events(first, limit=3)] == events[:3]
        assert [one.id for one in claim_webhook_events(second, limit=3)] == events[3:6]
        first.rollback()  # or its process dies
        assert [one.id for one in claim_webhook_events(second, limit=2)] == events[:2]


def test_an_event_that_is_done_is_not_claimed_again(
    whatsapp: Prepared, sessions: sessionmaker[Session], events: list[uuid.UUID]
) -> None:
    ((message,),) = whatsapp.query("SELECT min(id::text)::uuid FROM messages")
    with sessions.begin() as session:
        first, second, third = claim_webhook_events(session, limit=3)
        assert mark_processed(session, first.id, message_id=message)
        assert mark_processed(session, second.id)
        assert not mark_processed(session, second.id)
        assert not mark_failed(session, second.id, "too late")
        assert mark_failed(session, third.id, "no such message")
        assert not mark_processed(session, uuid.uuid4())
        assert (first.processed, first.message_id, third.error_message) == (
            True,
            message,
            "no such message",
        )
        assert [one.id for one in claim_webhook_events(session, limit=1)] == events[3:4]
    assert whatsapp.query(
        "SELECT processed, processed_at IS NULL, error_message, message_id FROM webhook_events"
        " ORDER BY received_at LIMIT 3"
    ) == [
        (True, False, None, message),
        (True, False, None, None),
        (False, True, "no such message", None),
    ]


def test_failed_events_wait_again_when_they_are_told_to(
    whatsapp: Prepared,
    sessions: sessionmaker[Session],
    events: list[uuid.UUID],
    user: uuid.UUID,
) -> None:
    with sessions.begin() as session:
        for event in claim_webhook_events(session):
            assert mark_failed(session, event.id, "")
        assert mark_processed(session, events[0])  # one that failed may be done by hand
        assert claim_webhook_events(session) == []
    with sessions.begin() as session:
        mine = reprocess_failed_events(session, user_id=user)
        found = claim_webhook_events(session)
        assert {one.user_id for one in found} == {user}
        assert len(found) == mine == 16
        assert reprocess_failed_events(session, user_id=user) == 0
        assert reprocess_failed_events(session) == 39 - 16
        assert [one.id for one in claim_webhook_events(session)] == events[1:]


def test_events_of_one_user(
    sessions: sessionmaker[Session], events: list[uuid.UUID], user: uuid.UUID
) -> None:
    with sessions() as session:
        for owner in (user, OTHER):
            found = claim_webhook_events(session, user_id=owner)
            assert {one.user_id for one in found} == {owner}
            assert len(found) == 16


def test_no_event_is_processed_twice(
    sessions: sessionmaker[Session], events: list[uuid.UUID]
) -> None:
    def take() -> list[uuid.UUID]:
        with sessions.begin() as session:
            taken = [one.id for one in claim_webhook_events(session, limit=3)]
            return [one for one in taken if mark_processed(session, one)]

    taken = drain(take)
    assert sorted(taken) == sorted(events)
    with sessions() as session:
        assert claim_webhook_events(session) == []


def test_old_events_are_deleted_to_the_instant(
    whatsapp: Prepared, sessions: sessionmaker[Session], events: list[uuid.UUID], user: uuid.UUID
) -> None:
    age = (
        "UPDATE webhook_events SET received_at = now() - interval '90 days'"
        " + CASE id WHEN %(older)s::uuid THEN interval '-1 ms' ELSE interval '0' END"
    )
    with sessions() as session:
        connection = session.connection().connection.driver_connection
        assert connection is not None
        connection.execute(age, {"older": events[1]})  # now() is the same until the end
        assert delete_old_events(session, user_id=user) == 0
        assert delete_old_events(session) == 1
        assert delete_old_events(session, days=89, user_id=user) == 16
        assert delete_old_events(session, 89) == 23
        session.rollback()
        for days in (0, -1):
            with pytest.raises(ValueError, match="at least 1"):
                delete_old_events(session, days)
    assert whatsapp.query("SELECT count(*) FROM webhook_events") == [(40,)]


def test_old_events_go_processed_or_not(
    whatsapp: Prepared, sessions: sessionmaker[Session], events: list[uuid.UUID]
) -> None:
    whatsapp.query("UPDATE webhook_events SET received_at = now() - interval '91 days'")
    with sessions.begin() as session:
        for event in claim_webhook_events(session, limit=5):
            mark_processed(session, event.id)
        assert delete_old_events(session) == 40


MANY = """
INSERT INTO users (id, email, access_token)
    SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, n, 'x'
    FROM generate_series(1, 50) n;
INSERT INTO contacts (user_id, phone, opt_in_source, opted_in, tags)
    SELECT u.id, '+1202555' || 1000 + n, 'csv', true, ARRAY['tag' || n]
    FROM users u, generate_series(1, 200) n;
INSERT INTO campaigns (user_id, name, message_type, message_content, status, scheduled_at)
    SELECT u.id, n, 'text', '{}',
           (CASE n WHEN 1 THEN 'scheduled' ELSE 'completed' END)::campaign_status,
           now() - n * interval '1 hour'
    FROM users u, generate_series(1, 100) n;
INSERT INTO messages (user_id, contact_id, direction, type, content, status, failed_at, retry_count)
    SELECT c.user_id, c.id, 'outbound', 'text', '{}',
           (CASE right(c.phone, 2) WHEN '10' THEN 'failed' ELSE 'sent' END)::message_status,
           now(), n + 1
    FROM contacts c, generate_series(1, 2) n;
INSERT INTO webhook_events (event_type, payload, processed)
    SELECT 'x', '{}', n % 100 <> 0 FROM generate_series(1, 10000) n;
"""


@pytest.mark.parametrize(
    ("index", "ask"),
    [
        ("ix_contacts_tags", lambda s: s.scalars(opted_in_contacts(OTHER, tag="new")).all()),
        ("ix_campaigns_due", claim_due_campaigns),
        ("ix_messages_to_retry", retry_failed_messages),
        ("ix_webhook_events_unprocessed", claim_webhook_events),
        ("ix_webhook_events_unprocessed", reprocess_failed_events),
    ],
)
def test_the_index_that_was_made_for_it_is_used(
    whatsapp: Prepared,
    sessions: sessionmaker[Session],
    index: str,
    ask: Callable[[Session], object],
) -> None:
    whatsapp.query(MANY)
    whatsapp.query("ANALYZE")
    with sessions() as session:
        # Prepared, with a plan for any parameters: what a long-lived application may come to.
        driver = session.connection().connection.driver_connection
        assert driver is not None
        driver.prepare_threshold = 0
        session.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
        ask(session)
        scans = text(f"SELECT pg_stat_get_xact_numscans('{index}'::regclass)")
        assert session.scalar(scans) > 0
