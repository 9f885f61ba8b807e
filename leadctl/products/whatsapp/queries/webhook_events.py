"""The queue of webhook events.

An event waits while it is neither processed nor has an error.  It is claimed by a lock, so whoever
claims it also does what it asks for and marks it before committing; should that process die, the
event waits again.
"""

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import CursorResult, Result, delete, func, select, update
from sqlalchemy.orm import Session

from leadctl.products.whatsapp.models import UNPROCESSED, WebhookEvent
from leadctl.products.whatsapp.queries.tenant import of_user


def claim_webhook_events(
    session: Session, *, limit: int = 100, user_id: uuid.UUID | None = None
) -> Sequence[WebhookEvent]:
    """Lock waiting events, the oldest first, and return them; another caller gets others."""
    query = (
        select(WebhookEvent)
        .where(
            UNPROCESSED,
            WebhookEvent.error_message.is_(None),
            of_user(WebhookEvent.user_id, user_id),
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
    values = {} if message_id is None else {"message_id": message_id}
    marked = session.scalar(
        update(WebhookEvent)
        .where(WebhookEvent.id == event_id, UNPROCESSED)
        .values(processed=True, processed_at=func.now(), error_message=None, **values)
        .returning(WebhookEvent.id)
    )
    return marked is not None


def mark_failed(session: Session, event_id: uuid.UUID, error: str) -> bool:
    """Mark an event as failed, so that it no longer waits; return whether it was unprocessed.

    What the processing wrote until then must not stay: run it in `session.begin_nested()`.
    """
    marked = session.scalar(
        update(WebhookEvent)
        .where(WebhookEvent.id == event_id, UNPROCESSED)
        .values(error_message=error)
        .returning(WebhookEvent.id)
    )
    return marked is not None


def reprocess_failed_events(session: Session, *, user_id: uuid.UUID | None = None) -> int:
    """Let the events that failed wait again; return how many."""
    waiting = session.execute(
        update(WebhookEvent)
        .where(
            UNPROCESSED,
            WebhookEvent.error_message.is_not(None),
            of_user(WebhookEvent.user_id, user_id),
        )
        .values(error_message=None)
    )
    return _rows(waiting)


def delete_old_events(session: Session, days: int = 90, *, user_id: uuid.UUID | None = None) -> int:
    """Delete the events received more than `days` days ago, processed or not; return how many.

    It is one statement; `leadctl cleanup` deletes the same rows in batches, and archives them.
    Raises ValueError for less than a day.
    """
    if days < 1:
        raise ValueError("days must be at least 1")
    deleted = session.execute(
        delete(WebhookEvent).where(
            WebhookEvent.received_at < func.now() - timedelta(days=days),
            of_user(WebhookEvent.user_id, user_id),
        ),
        # To match them with the session's own events, the ids of all of them would be fetched.
        execution_options={"synchronize_session": False},
    )
    return _rows(deleted)


def _rows(result: Result[Any]) -> int:
    assert isinstance(result, CursorResult)
    return result.rowcount
