"""What whatsapp asks of its database: contacts, campaigns, messages, webhook events.

They take a session and do not commit.  `user_id` is the tenant: pages that a user sees name it,
background jobs that serve everybody leave it out.

What moves a message locks it and then its campaign, until the caller commits.  Callers that record
several messages in one transaction may meet in a deadlock: `leadctl.models.with_retry` is for that.

A webhook event waits while it is neither processed nor has an error.  It is claimed by a lock, so
whoever claims it also does what it asks for and marks it before committing; should that process
die, the event waits again.
"""

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    case,
    delete,
    func,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from leadctl.models import rows_changed
from leadctl.products.whatsapp.models import (
    IS_SCHEDULED,
    MAY_BE_RETRIED,
    UNPROCESSED,
    Campaign,
    CampaignStatus,
    Contact,
    Message,
    MessageDirection,
    MessageStatus,
    MessageType,
    Template,
    TemplateStatus,
    User,
    WebhookEvent,
)


def _of_user(column: InstrumentedAttribute[Any], user_id: uuid.UUID | None) -> ColumnElement[bool]:
    """Return the condition that a row is the user's; None is every user."""
    return true() if user_id is None else column == user_id


def opted_in_contacts(user_id: uuid.UUID, *, tag: str | None = None) -> Select[Contact]:
    """Select a user's contacts that agreed to messages and are not blocked; those with a tag.

    It is a query, to be paged through or streamed: `paginate(session, opted_in_contacts(user))`.
    """
    query = select(Contact).where(
        Contact.user_id == user_id, Contact.opted_in, Contact.is_blocked.is_(False)
    )
    return query if tag is None else query.where(Contact.tags.contains([tag]))


def _may_be_answered() -> ColumnElement[bool]:
    """Return the condition that a contact is not blocked and did not opt out.

    One that never opted in may have written first, and may get an answer.
    """
    return Contact.is_blocked.is_(False) & or_(Contact.opted_in, Contact.opted_out_at.is_(None))


def claim_due_campaigns(
    session: Session,
    *,
    limit: int = 10,
    now: datetime | None = None,
    user_id: uuid.UUID | None = None,
) -> Sequence[Campaign]:
    """Start scheduled campaigns whose time has come, the earliest first, and return them.

    Each is returned to one caller only, and is `processing` when that caller commits.  Left alone
    are those of a user who is not active, and those whose template is gone or not approved: they
    are due as soon as that changes.
    """
    approved = select(Template.id).where(
        Template.id == Campaign.template_id, Template.status == TemplateStatus.APPROVED
    )
    due = (
        select(Campaign.id)
        .join(Campaign.user)
        .where(
            IS_SCHEDULED,
            Campaign.scheduled_at <= (now or func.now()),
            or_(Campaign.message_type == MessageType.TEXT, approved.exists()),
            User.is_active,
            _of_user(Campaign.user_id, user_id),
        )
        .order_by(Campaign.scheduled_at)
        .limit(limit)
        .with_for_update(of=Campaign, skip_locked=True)
        .cte("due")
    )
    started = session.scalars(
        update(Campaign)
        .where(Campaign.id == due.c.id)
        .values(
            status=CampaignStatus.PROCESSING,
            started_at=func.coalesce(Campaign.started_at, func.now()),
        )
        .returning(Campaign),
        execution_options={"synchronize_session": False, "populate_existing": True},
    )
    return sorted(started, key=lambda campaign: (campaign.scheduled_at, campaign.id))


_QUEUED, _SENT, _DELIVERED, _READ, _FAILED = MessageStatus

_COURSE = (_QUEUED, _SENT, _FAILED, _DELIVERED, _READ)
"""A message only moves on, so that reports may come late, twice and in any order.

A failure comes after sending, and before delivery: what arrived did not fail, whichever of the
two is reported first.
"""

_TIMES: dict[MessageStatus, InstrumentedAttribute[datetime | None]] = {
    _SENT: Message.sent_at,
    _DELIVERED: Message.delivered_at,
    _READ: Message.read_at,
}

_COUNTED = {
    Campaign.sent_count: {_SENT, _DELIVERED, _READ},
    Campaign.delivered_count: {_DELIVERED, _READ},
    Campaign.read_count: {_READ},
    Campaign.failed_count: {_FAILED},
}
"""Which statuses a campaign's count is of."""

_Move = tuple[uuid.UUID | None, MessageStatus, MessageStatus]
"""A campaign, and where one of its messages was and is."""


def update_message_status(
    session: Session,
    whatsapp_message_id: str,
    status: MessageStatus,
    *,
    at: datetime | None = None,
    error_code: str | None = None,
    error_message: str | None = None,
    user_id: uuid.UUID | None = None,
) -> bool:
    """Record what WhatsApp reports about a message, and return whether that changed it.

    A message never goes back: of a report that comes late only its time is kept, one that was
    recorded changes nothing, nor does one about a message that is not there.  `at` is when it
    happened, now by default; the error is kept where the status is `failed`.

    Raises ValueError for `queued`, which WhatsApp does not report.
    """
    which = (Message.whatsapp_message_id == whatsapp_message_id, _of_user(Message.user_id, user_id))
    if status is _QUEUED:
        raise ValueError("a message is queued again by retry_failed_messages")
    if status is _FAILED:
        return _fail(session, which, at, error_code, error_message)
    time = _TIMES[status]
    values = {time: func.coalesce(time, at or func.now())}
    return _move(session, (*which, or_(_behind(status), time.is_(None))), status, values)


def record_sent(
    session: Session,
    user_id: uuid.UUID,
    message_id: uuid.UUID,
    whatsapp_message_id: str,
    *,
    at: datetime | None = None,
) -> bool:
    """Record that WhatsApp took a queued message, under which id; return whether it was queued."""
    which = (Message.id == message_id, Message.user_id == user_id, _behind(_SENT))
    values = {Message.sent_at: at or func.now(), Message.whatsapp_message_id: whatsapp_message_id}
    return _move(session, which, _SENT, values)


def record_failed(
    session: Session,
    user_id: uuid.UUID,
    message_id: uuid.UUID,
    *,
    at: datetime | None = None,
    error_code: str | None = None,
    error_message: str | None = None,
) -> bool:
    """Record that a message could not be sent; return whether it was still under way."""
    which = (Message.id == message_id, Message.user_id == user_id)
    return _fail(session, which, at, error_code, error_message)


def retry_failed_messages(
    session: Session,
    *,
    limit: int = 100,
    failed_before: datetime | None = None,
    user_id: uuid.UUID | None = None,
) -> Sequence[Message]:
    """Queue messages again that failed, the longest failed first, and return them in any order.

    Each is returned to one caller only, three times in all.  `failed_before` gives a
    temporary failure time to pass.  Left alone are those to a contact that was blocked or opted
    out since, and those of a user who is not active.

    The WhatsApp id goes, since it is the failed attempt's: what is still reported about that one
    does not touch the new one.  The error stays until another takes its place.
    """
    failed = (
        select(Message.id)
        .join(Message.contact)
        .join(Message.user)
        .where(
            MAY_BE_RETRIED,
            Message.direction == MessageDirection.OUTBOUND,
            _may_be_answered(),
            User.is_active,
            _of_user(Message.user_id, user_id),
        )
        .order_by(Message.failed_at)
        .limit(limit)
        .with_for_update(of=Message, skip_locked=True)
    )
    if failed_before is not None:
        failed = failed.where(Message.failed_at < failed_before)
    chosen = failed.cte("failed")
    queued = session.scalars(
        update(Message)
        .where(Message.id == chosen.c.id)
        .values(
            status=_QUEUED,
            retry_count=Message.retry_count + 1,
            whatsapp_message_id=None,
            sent_at=None,
        )
        .returning(Message),
        execution_options={"synchronize_session": False, "populate_existing": True},
    ).all()
    _count(session, ((message.campaign_id, _FAILED, _QUEUED) for message in queued))
    return queued


def _behind(status: MessageStatus) -> ColumnElement[bool]:
    return Message.status.in_(_COURSE[: _COURSE.index(status)])


def _fail(
    session: Session,
    which: Iterable[ColumnElement[bool]],
    at: datetime | None,
    error_code: str | None,
    error_message: str | None,
) -> bool:
    values = {
        Message.failed_at: at or func.now(),
        Message.error_code: error_code,
        Message.error_message: error_message,
    }
    return _move(session, (*which, _behind(_FAILED)), _FAILED, values)


def _move(
    session: Session,
    which: Iterable[ColumnElement[bool]],
    status: MessageStatus,
    values: dict[InstrumentedAttribute[Any], Any],
) -> bool:
    """Move the message that meets all conditions on to a status, unless it is further already."""
    # RETURNING knows where the message was only since PostgreSQL 18, so that is read with its lock.
    before = select(Message.id, Message.status).where(*which).with_for_update().cte("before")
    reported = literal(status, Message.status.type)
    furthest = case((_behind(status), reported), else_=Message.status)
    moved = session.execute(
        update(Message)
        .where(Message.id == before.c.id)
        .values({Message.status: furthest, **values})
        .returning(Message.campaign_id, Message.direction, before.c.status, Message.status)
    ).first()
    if moved is None:
        return False
    campaign_id, direction, was, is_now = moved
    if direction is MessageDirection.OUTBOUND:
        _count(session, [(campaign_id, was, is_now)])
    return True


def _count(session: Session, moves: Iterable[_Move]) -> None:
    """Add to the campaigns' counts what messages moved.

    Adding is right whoever else adds, and a message that was erased with its contact stays
    counted.  A count that was wrong before stops at nought instead of stopping the message.
    """
    changes: dict[uuid.UUID, Counter[InstrumentedAttribute[int]]] = defaultdict(Counter)
    for campaign_id, was, is_now in moves:
        if campaign_id is not None:
            for count, statuses in _COUNTED.items():
                changes[campaign_id][count] += (is_now in statuses) - (was in statuses)
    # In one order, so that two callers with the same campaigns do not wait for each other.
    for campaign_id, change in sorted(changes.items()):
        values = {
            count: func.greatest(count + difference, 0)
            for count, difference in change.items()
            if difference
        }
        if values:
            session.execute(update(Campaign).where(Campaign.id == campaign_id).values(values))


def claim_webhook_events(
    session: Session, *, limit: int = 100, user_id: uuid.UUID | None = None
) -> Sequence[WebhookEvent]:
    """Lock waiting events, the oldest first, and return them; another caller gets others."""
    query = (
        select(WebhookEvent)
        .where(
            UNPROCESSED,
            WebhookEvent.error_message.is_(None),
            _of_user(WebhookEvent.user_id, user_id),
        )
        .order_by(WebhookEvent.received_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    return session.scalars(query).all()


def mark_processed(
    session: Session, event_id: uuid.UUID, *, message_id: uuid.UUID | None = None
) -> bool:
    """Mark an event as processed, with the message it was about; return whether it was not yet."""
    about = {} if message_id is None else {"message_id": message_id}
    values = {"processed": True, "processed_at": func.now(), "error_message": None, **about}
    return _mark(session, event_id, values)


def mark_failed(session: Session, event_id: uuid.UUID, error: str) -> bool:
    """Mark an event as failed, so that it no longer waits; return whether it was unprocessed.

    What the processing wrote until then must not stay: run it in `session.begin_nested()`.
    """
    return _mark(session, event_id, {"error_message": error})


def _mark(session: Session, event_id: uuid.UUID, values: dict[str, Any]) -> bool:
    unprocessed = update(WebhookEvent).where(WebhookEvent.id == event_id, UNPROCESSED)
    return rows_changed(session, unprocessed.values(values)) == 1


def reprocess_failed_events(session: Session, *, user_id: uuid.UUID | None = None) -> int:
    """Let the events that failed wait again; return how many."""
    waiting = update(WebhookEvent).where(
        UNPROCESSED,
        WebhookEvent.error_message.is_not(None),
        _of_user(WebhookEvent.user_id, user_id),
    )
    return rows_changed(session, waiting.values(error_message=None))


def delete_old_events(session: Session, days: int = 90, *, user_id: uuid.UUID | None = None) -> int:
    """Delete the events received more than `days` days ago, processed or not; return how many.

    It is one statement; `leadctl cleanup` deletes the same rows in batches, and archives them.
    Raises ValueError for less than a day.
    """
    if days < 1:
        raise ValueError("days must be at least 1")
    old = delete(WebhookEvent).where(
        WebhookEvent.received_at < func.now() - timedelta(days=days),
        _of_user(WebhookEvent.user_id, user_id),
    )
    # To match them with the session's own events, the ids of all of them would be fetched.
    return rows_changed(session, old, synchronize_session=False)
