"""The course of a message: onward only, whatever order reports come in, and counted exactly."""

import itertools
import random
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from leadctl.models import with_retry
from leadctl.postgres.engine import run_engine
from leadctl.products.whatsapp.models import Message, MessageStatus
from leadctl.products.whatsapp.queries import (
    record_failed,
    record_sent,
    retry_failed_messages,
    update_message_status,
)
from tests.conftest import Prepare, Prepared

pytestmark = pytest.mark.thorough

QUEUED, SENT, DELIVERED, READ, FAILED = MessageStatus
REPORTED = (SENT, DELIVERED, READ, FAILED)
RANK = {QUEUED: 0, SENT: 1, FAILED: 2, DELIVERED: 3, READ: 4}
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

CAMPAIGN = "11111111-1111-4111-8111-111111111111"
MAKE = """
DELETE FROM campaigns; DELETE FROM messages;
INSERT INTO campaigns (id, user_id, name, message_type, message_content)
    SELECT %(id)s::uuid, id, 'Test', 'text', '{}' FROM users;
INSERT INTO messages (user_id, contact_id, campaign_id, whatsapp_message_id, direction, type, content)
    SELECT c.user_id, c.id, %(id)s::uuid, 'm' || n, 'outbound', 'text', '{}'
    FROM contacts c, generate_series(1, 100) n WHERE c.phone = '+12025550101'
""".replace("%(id)s", f"'{CAMPAIGN}'")


@pytest.fixture
def whatsapp(prepared: Prepare) -> Prepared:
    """Whatsapp with one campaign of a hundred queued messages, m1 to m100."""
    database = prepared("whatsapp")
    database.query(MAKE)
    return database


@pytest.fixture
def sessions(whatsapp: Prepared) -> sessionmaker[Session]:
    return sessionmaker(run_engine(whatsapp.target(app="whatsapp"), "test"))


def counted(database: Prepared) -> tuple[int, ...]:
    ((sent, delivered, read, failed),) = database.query(
        "SELECT sent_count, delivered_count, read_count, failed_count FROM campaigns"
    )
    return sent, delivered, read, failed


def naive(database: Prepared) -> tuple[int, ...]:
    """Count as the document defines it: fetch the messages and look at each."""
    found = [
        MessageStatus(status)
        for (status,) in database.query(
            "SELECT status::text FROM messages WHERE direction = 'outbound'"
            " AND campaign_id IS NOT NULL"
        )
    ]
    return tuple(
        sum(status in statuses for status in found)
        for statuses in ({SENT, DELIVERED, READ}, {DELIVERED, READ}, {READ}, {FAILED})
    )


def status_of(database: Prepared, wamid: str) -> MessageStatus:
    ((status,),) = database.query(
        "SELECT status::text FROM messages WHERE whatsapp_message_id = %s", wamid
    )
    return MessageStatus(status)


def blocked(database: Prepared) -> None:
    """Return when one of the other sessions waits for a lock."""
    database.wait_for(
        "SELECT 1 FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )


def together(*calls: Callable[[], object]) -> list[object]:
    """Run the calls in threads that start at once, and return what they return."""
    ready = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> object:
        ready.wait(60)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_every_report_meets_every_status(
    whatsapp: Prepared, sessions: sessionmaker[Session]
) -> None:
    for was, reported in itertools.product(MessageStatus, REPORTED):
        whatsapp.query(MAKE)
        with sessions.begin() as session:
            if was is not QUEUED:
                assert update_message_status(session, "m1", was)
            changed = update_message_status(session, "m1", reported)
        onward = RANK[reported] > RANK[was]
        assert status_of(whatsapp, "m1") is (reported if onward else was), (was, reported)
        # A report that is late still tells when that was, unless that is known or a failure.
        assert changed == (onward or reported not in {was, FAILED}), (was, reported)
        assert counted(whatsapp) == naive(whatsapp), (was, reported)


def test_no_order_of_reports_takes_a_message_back(
    whatsapp: Prepared, sessions: sessionmaker[Session]
) -> None:
    orders = [order for size in range(1, 5) for order in itertools.permutations(REPORTED, size)]
    with sessions.begin() as session:
        for number, order in enumerate(orders, 1):
            query = select(Message).filter_by(whatsapp_message_id=f"m{number}")
            message = session.scalars(query).one()
            before = message.status
            for status in order * 2:  # everything twice: webhooks are delivered at least once
                update_message_status(session, f"m{number}", status)
                assert RANK[message.status] >= RANK[before]
                before = message.status
            assert before is max(order, key=RANK.__getitem__), order
    assert len(orders) == 64
    assert counted(whatsapp) == naive(whatsapp)


def test_times_are_those_of_the_reports_and_stay(
    whatsapp: Prepared, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as session:
        message = session.scalars(select(Message).filter_by(whatsapp_message_id="m1")).one()
        made = message.updated_at
        assert update_message_status(session, "m1", READ, at=NOON)
        assert (message.status, message.read_at, message.delivered_at) == (READ, NOON, None)
        assert message.updated_at > made
        earlier, later = NOON - timedelta(minutes=1), NOON + timedelta(minutes=1)
        assert update_message_status(session, "m1", DELIVERED, at=earlier)
        assert not update_message_status(session, "m1", DELIVERED, at=later)
        assert not update_message_status(session, "m1", READ, at=later)
        assert not update_message_status(session, "m1", FAILED, at=later, error_code="1")
        assert (message.status, message.delivered_at, message.read_at) == (READ, earlier, NOON)
        assert (message.failed_at, message.error_code) == (None, None)
        assert update_message_status(session, "m2", SENT)
    assert whatsapp.query(
        "SELECT sent_at = updated_at FROM messages WHERE whatsapp_message_id = 'm2'"
    ) == [(True,)]


def test_a_failure_keeps_its_error(whatsapp: Prepared, sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        assert update_message_status(
            session, "m1", FAILED, at=NOON, error_code="131026", error_message="Undeliverable"
        )
        assert not update_message_status(session, "m1", FAILED, error_code="2")
    assert whatsapp.query(
        "SELECT failed_at, error_code, error_message FROM messages WHERE status = 'failed'"
    ) == [(NOON, "131026", "Undeliverable")]


def test_what_is_not_there_or_not_the_user_s_changes_nothing(
    whatsapp: Prepared, sessions: sessionmaker[Session]
) -> None:
    ((user,),) = whatsapp.query("SELECT id FROM users")
    with sessions.begin() as session:
        assert not update_message_status(session, "unknown", SENT)
        assert not update_message_status(session, "m1", SENT, user_id=uuid.uuid4())
        assert update_message_status(session, "m1", SENT, user_id=user)
        with pytest.raises(ValueError, match="queued again"):
            update_message_status(session, "m1", QUEUED)
    assert counted(whatsapp) == (1, 0, 0, 0)


def test_what_a_campaign_does_not_count(
    whatsapp: Prepared, sessions: sessionmaker[Session]
) -> None:
    whatsapp.query("UPDATE messages SET direction = 'inbound' WHERE whatsapp_message_id = 'm1'")
    whatsapp.query("UPDATE messages SET campaign_id = NULL WHERE whatsapp_message_id = 'm2'")
    with sessions.begin() as session:
        assert update_message_status(session, "m1", READ)
        assert update_message_status(session, "m2", READ)
    assert counted(whatsapp) == (0, 0, 0, 0)


def test_a_count_that_is_wrong_does_not_stop_a_message(
    whatsapp: Prepared, sessions: sessionmaker[Session]
) -> None:
    whatsapp.query("UPDATE messages SET status = 'failed' WHERE whatsapp_message_id = 'm1'")
    with sessions.begin() as session:
        assert update_message_status(session, "m1", DELIVERED)
    assert counted(whatsapp) == (1, 1, 0, 0)


def test_sending_gives_a_message_its_id(
    whatsapp: Prepared, sessions: sessionmaker[Session]
) -> None:
    whatsapp.query("UPDATE messages SET whatsapp_message_id = NULL")
    ((user, ids),) = whatsapp.query(
        "SELECT user_id, array_agg(id ORDER BY id) FROM messages GROUP BY user_id"
    )
    first, second, third = ids[:3]
    with sessions.begin() as session:
        assert not record_sent(session, uuid.uuid4(), first, "wamid.0")
        assert record_sent(session, user, first, "wamid.1", at=NOON)
        assert not record_sent(session, user, first, "wamid.2")
        assert update_message_status(session, "wamid.1", DELIVERED)
        assert not record_failed(session, uuid.uuid4(), second, error_code="1")
        assert record_failed(session, user, second, at=NOON, error_code="1", error_message="No")
        assert not record_sent(session, user, second, "wamid.3")
        assert record_sent(session, user, third, "wamid.4")
        assert record_failed(session, user, third)
    assert whatsapp.query("SELECT sent_at FROM messages WHERE whatsapp_message_id = 'wamid.1'") == [
        (NOON,)
    ]
    assert counted(whatsapp) == naive(whatsapp) == (1, 1, 0, 2)


def test_a_report_waits_for_another_and_counts_from_there(
    whatsapp: Prepared, sessions: sessionmaker[Session]
) -> None:
    """Both start from `queued`; the second must count from what the first made of it."""
    for number, (first, second) in enumerate(itertools.permutations(REPORTED, 2), 1):
        wamid = f"m{number}"
        with ThreadPoolExecutor(1) as pool:
            with sessions.begin() as session:
                assert update_message_status(session, wamid, first)

                def report(wamid: str = wamid, status: MessageStatus = second) -> None:
                    with sessions.begin() as other:
                        update_message_status(other, wamid, status)

                waiting = pool.submit(report)
                blocked(whatsapp)
            waiting.result(60)
        assert status_of(whatsapp, wamid) is max(first, second, key=RANK.__getitem__)
        assert counted(whatsapp) == naive(whatsapp), (first, second)


def test_reports_from_many_sides_at_once(
    whatsapp: Prepared, sessions: sessionmaker[Session]
) -> None:
    reports = [(f"m{n}", status) for n in range(1, 21) for status in REPORTED[: 1 + n % 4]]

    def work(seed: int) -> None:
        mine = random.Random(seed).sample(reports, len(reports))
        for wamid, status in mine:
            with sessions.begin() as session:
                update_message_status(session, wamid, status)

    together(*(lambda seed=seed: work(seed) for seed in range(4)))
    expected: dict[str, MessageStatus] = {}
    for wamid, status in reports:
        expected[wamid] = max(expected.get(wamid, QUEUED), status, key=RANK.__getitem__)
    assert {wamid: status_of(whatsapp, wamid) for wamid in expected} == expected
    assert counted(whatsapp) == naive(whatsapp)


def test_a_deadlock_of_two_that_report_several_is_retried(
    whatsapp: Prepared, sessions: sessionmaker[Session]
) -> None:
    def report(session: Session, *wamids: str) -> None:
        for wamid in wamids:
            update_message_status(session, wamid, DELIVERED)

    with ThreadPoolExecutor(1) as pool:
        waiting = None

        def first(session: Session) -> None:
            nonlocal waiting
            report(session, "m1")  # and holds the campaign
            if waiting is None:
                waiting = pool.submit(with_retry, sessions, lambda other: report(other, "m2", "m1"))
                blocked(whatsapp)  # it holds m2
            report(session, "m2")

        with_retry(sessions, first)
        assert waiting is not None
        waiting.result(60)
    assert counted(whatsapp) == naive(whatsapp) == (2, 2, 0, 0)


def fail(database: Prepared, numbers: Sequence[int]) -> None:
    """Let messages fail, m1 the longest ago, as the sender would; m1 is the last to be stored."""
    for number in reversed(numbers):
        database.query(
            "UPDATE messages SET status = 'failed', failed_at = %s, sent_at = %s,"
            " error_code = '1' WHERE whatsapp_message_id = %s",
            NOON + timedelta(minutes=number),
            NOON,
            f"m{number}",
        )
    database.query(
        "UPDATE campaigns SET failed_count ="
        " (SELECT count(*) FROM messages WHERE status = 'failed' AND direction = 'outbound')"
    )


def test_failed_messages_are_queued_again(
    whatsapp: Prepared, sessions: sessionmaker[Session]
) -> None:
    fail(whatsapp, range(1, 6))
    ids = [
        row[0]
        for row in whatsapp.query(
            "SELECT id FROM messages WHERE status = 'failed' ORDER BY failed_at"
        )
    ]
    before = NOON + timedelta(minutes=3)
    with sessions.begin() as session:
        assert retry_failed_messages(session, user_id=uuid.uuid4()) == []
        queued = retry_failed_messages(session, limit=1)
        assert [message.id for message in queued] == ids[:1]
        (message,) = queued
        assert (message.status, message.retry_count) == (QUEUED, 1)
        assert (message.whatsapp_message_id, message.sent_at) == (None, None)
        assert (message.error_code, message.failed_at) == ("1", NOON + timedelta(minutes=1))
        assert not update_message_status(session, "m1", DELIVERED)
        queued = retry_failed_messages(session, failed_before=before)
        assert [message.id for message in queued] == ids[1:2]
        assert {message.id for message in retry_failed_messages(session)} == set(ids[2:])
        assert retry_failed_messages(session) == []
    assert counted(whatsapp) == naive(whatsapp) == (0, 0, 0, 0)


def test_a_message_is_tried_again_three_times(
    whatsapp: Prepared, sessions: sessionmaker[Session]
) -> None:
    ((user, message),) = whatsapp.query(
        "SELECT user_id, id FROM messages WHERE whatsapp_message_id = 'm1'"
    )
    with sessions.begin() as session:
        for attempt in range(4):
            assert record_sent(session, user, message, f"wamid.{attempt}")
            assert update_message_status(session, f"wamid.{attempt}", FAILED)
            assert len(retry_failed_messages(session)) == (attempt < 3)
    assert whatsapp.query("SELECT retry_count FROM messages WHERE status = 'failed'") == [(3,)]
    assert counted(whatsapp) == naive(whatsapp) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE messages SET direction = 'inbound'",
        "UPDATE contacts SET is_blocked = true",
        "UPDATE contacts SET opted_in = false, opted_out_at = now()",
        "UPDATE users SET is_active = false",
    ],
)
def test_messages_that_are_not_tried_again(
    whatsapp: Prepared, sessions: sessionmaker[Session], change: str
) -> None:
    fail(whatsapp, [1])
    whatsapp.query(change)
    with sessions.begin() as session:
        assert retry_failed_messages(session) == []


def test_an_answer_to_who_never_opted_in_is_tried_again(
    whatsapp: Prepared, sessions: sessionmaker[Session]
) -> None:
    fail(whatsapp, [1])
    whatsapp.query("UPDATE contacts SET opted_in = false, opted_out_at = NULL")
    with sessions.begin() as session:
        assert len(retry_failed_messages(session)) == 1


def test_no_failed_message_is_queued_twice(
    whatsapp: Prepared, sessions: sessionmaker[Session]
) -> None:
    fail(whatsapp, range(1, 41))
    taken: list[uuid.UUID] = []

    def work() -> None:
        while True:
            with sessions.begin() as session:
                queued = [message.id for message in retry_failed_messages(session, limit=3)]
            if not queued:
                return
            taken.extend(queued)

    together(work, work, work, work)
    assert len(taken) == len(set(taken)) == 40
    assert counted(whatsapp) == naive(whatsapp) == (0, 0, 0, 0)
