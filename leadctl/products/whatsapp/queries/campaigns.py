"""Starting the campaigns that are due."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from leadctl.products.whatsapp.models import (
    IS_SCHEDULED,
    Campaign,
    CampaignStatus,
    MessageType,
    Template,
    TemplateStatus,
    User,
)
from leadctl.products.whatsapp.queries.tenant import of_user


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
            of_user(Campaign.user_id, user_id),
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
