"""Whom a user may write to."""

import uuid

from sqlalchemy import ColumnElement, Select, or_, select

from leadctl.products.whatsapp.models import Contact


def opted_in_contacts(user_id: uuid.UUID, *, tag: str | None = None) -> Select[Contact]:
    """Select a user's contacts that agreed to messages and are not blocked; those with a tag.

    It is a query, to be paged through or streamed: `paginate(session, opted_in_contacts(user))`.
    """
    query = select(Contact).where(
        Contact.user_id == user_id, Contact.opted_in, Contact.is_blocked.is_(False)
    )
    return query if tag is None else query.where(Contact.tags.contains([tag]))


def may_be_answered() -> ColumnElement[bool]:
    """Return the condition that a contact is not blocked and did not opt out.

    One that never opted in may have written first, and may get an answer.
    """
    return Contact.is_blocked.is_(False) & or_(Contact.opted_in, Contact.opted_out_at.is_(None))
