"""The models of whatsapp: users, whom they write to, what they send, and what WhatsApp reports.

Every row of a user goes with the user.  What a nullable reference points to may go alone: the
comments at those columns say why the row stays.
"""

import enum
import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from leadctl.models import (
    TYPES,
    CreatedAt,
    PhoneNumber,
    Timestamps,
    UuidId,
    new_metadata,
    one_of,
    phone_check,
)
from leadctl.models.base import children, encrypted, enum_column

# The conditions of partial indexes.  Queries take them from here: the server uses such an index
# only for a query that implies its condition, and a parameter implies nothing.
IS_SCHEDULED = text("status = 'scheduled'")
MAY_BE_RETRIED = text("status = 'failed' AND retry_count < 3")
UNPROCESSED = text("NOT processed")


class Base(DeclarativeBase):
    """The base of whatsapp's models."""

    metadata = new_metadata()
    type_annotation_map = TYPES


class SubscriptionTier(enum.Enum):
    """What a user pays for."""

    FREE = "free"
    BASIC = "basic"
    PRO = "pro"


class OptInSource(enum.Enum):
    """Where a contact comes from."""

    MANUAL = "manual"
    CSV = "csv"
    API = "api"
    WEBHOOK = "webhook"


class TemplateCategory(enum.Enum):
    """What a template is for."""

    MARKETING = "marketing"
    UTILITY = "utility"
    AUTHENTICATION = "authentication"


class TemplateStatus(enum.Enum):
    """How far a template has come with Meta."""

    DRAFT = "draft"
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"


class MessageType(enum.Enum):
    """What a campaign sends."""

    TEXT = "text"
    TEMPLATE = "template"


class CampaignStatus(enum.Enum):
    """How far a campaign has come."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    PAUSED = "paused"


class MessageDirection(enum.Enum):
    """Who wrote a message."""

    OUTBOUND = "outbound"
    INBOUND = "inbound"


class MessageContentType(enum.Enum):
    """What a message is made of."""

    TEXT = "text"
    TEMPLATE = "template"
    IMAGE = "image"
    DOCUMENT = "document"


class MessageStatus(enum.Enum):
    """How far a message has come."""

    QUEUED = "queued"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"


def _not_negative(*columns: str) -> tuple[CheckConstraint, ...]:
    return tuple(
        CheckConstraint(f"{column} >= 0", name=f"{column}_not_negative") for column in columns
    )


class User(UuidId, Timestamps, Base):
    """A tenant: a business with its access to the WhatsApp Business API."""

    __tablename__ = "users"

    email: Mapped[str] = mapped_column(unique=True)
    business_name: Mapped[str | None]
    waba_id: Mapped[str | None]
    phone_number_id: Mapped[str | None]
    access_token: Mapped[str] = encrypted("whatsapp.users.access_token")
    webhook_verify_token: Mapped[str | None] = encrypted("whatsapp.users.webhook_verify_token")
    subscription_tier: Mapped[SubscriptionTier] = enum_column(SubscriptionTier.FREE)
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))

    contacts: Mapped[list["Contact"]] = children("user")
    templates: Mapped[list["Template"]] = children("user")
    campaigns: Mapped[list["Campaign"]] = children("user")
    messages: Mapped[list["Message"]] = children("user")
    webhook_events: Mapped[list["WebhookEvent"]] = children("user")


class Contact(UuidId, Timestamps, Base):
    """Somebody a user writes to, and whether that person agreed to it.

    A contact may opt in, out, and in again, so neither time has to come before the other.
    """

    __tablename__ = "contacts"

    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    phone: Mapped[str] = mapped_column(PhoneNumber, index=True)
    name: Mapped[str | None]
    email: Mapped[str | None]
    opted_in: Mapped[bool] = mapped_column(server_default=text("false"), index=True)
    opted_in_at: Mapped[datetime | None]
    opted_out_at: Mapped[datetime | None]
    # No default: where a consent comes from is evidence, and is never made up.
    opt_in_source: Mapped[OptInSource] = mapped_column(one_of(OptInSource))
    tags: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))
    is_blocked: Mapped[bool] = mapped_column(server_default=text("false"))
    blocked_reason: Mapped[str | None]

    user: Mapped[User] = relationship(back_populates="contacts")
    messages: Mapped[list["Message"]] = children("contact")

    __table_args__ = (
        UniqueConstraint("user_id", "phone"),
        phone_check("phone"),
        Index(None, "tags", postgresql_using="gin"),
    )


class Template(UuidId, Timestamps, Base):
    """A message that Meta approves before it may be sent."""

    __tablename__ = "templates"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str]
    whatsapp_template_id: Mapped[str | None]
    language: Mapped[str] = mapped_column(server_default="en_US")
    category: Mapped[TemplateCategory] = mapped_column(one_of(TemplateCategory))
    status: Mapped[TemplateStatus] = enum_column(TemplateStatus.DRAFT)
    components: Mapped[list[dict[str, Any]]] = mapped_column(JSONB(none_as_null=True))
    rejection_reason: Mapped[str | None]
    approved_at: Mapped[datetime | None]

    user: Mapped[User] = relationship(back_populates="templates")
    campaigns: Mapped[list["Campaign"]] = children("template")

    # Its index also serves the foreign key, whose column comes first.
    __table_args__ = (UniqueConstraint("user_id", "name"),)


class Campaign(UuidId, Timestamps, Base):
    """One message to many contacts, and how far it got.

    Each count is of messages that came at least that far: one that was read was also delivered.
    """

    __tablename__ = "campaigns"

    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[str]
    # A campaign that was sent happened, whatever becomes of its template.
    template_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("templates.id", ondelete="SET NULL"), index=True
    )
    message_type: Mapped[MessageType] = mapped_column(one_of(MessageType))
    message_content: Mapped[dict[str, Any]]
    status: Mapped[CampaignStatus] = enum_column(CampaignStatus.DRAFT, index=True)
    scheduled_at: Mapped[datetime | None] = mapped_column(index=True)
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    total_recipients: Mapped[int] = mapped_column(server_default=text("0"))
    sent_count: Mapped[int] = mapped_column(server_default=text("0"))
    delivered_count: Mapped[int] = mapped_column(server_default=text("0"))
    failed_count: Mapped[int] = mapped_column(server_default=text("0"))
    read_count: Mapped[int] = mapped_column(server_default=text("0"))
    error_message: Mapped[str | None]

    user: Mapped[User] = relationship(back_populates="campaigns")
    template: Mapped[Template | None] = relationship(back_populates="campaigns")
    messages: Mapped[list["Message"]] = children("campaign")

    __table_args__ = (
        *_not_negative(
            "total_recipients", "sent_count", "delivered_count", "failed_count", "read_count"
        ),
        CheckConstraint("completed_at >= started_at", name="completed_after_started"),
        Index("ix_campaigns_due", "scheduled_at", postgresql_where=IS_SCHEDULED),
    )


class Message(UuidId, Timestamps, Base):
    """One message to or from a contact.

    Its times come from several clocks, WhatsApp's in whole seconds, so none has to follow another.
    """

    __tablename__ = "messages"

    # What was said to a contact stays on record when the campaign goes.
    campaign_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("campaigns.id", ondelete="SET NULL"), index=True
    )
    contact_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("contacts.id", ondelete="CASCADE"), index=True
    )
    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    whatsapp_message_id: Mapped[str | None] = mapped_column(unique=True)
    direction: Mapped[MessageDirection] = mapped_column(one_of(MessageDirection))
    type: Mapped[MessageContentType] = mapped_column(one_of(MessageContentType))
    content: Mapped[dict[str, Any]]
    status: Mapped[MessageStatus] = enum_column(MessageStatus.QUEUED, index=True)
    sent_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    read_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    retry_count: Mapped[int] = mapped_column(server_default=text("0"))
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))

    campaign: Mapped[Campaign | None] = relationship(back_populates="messages")
    contact: Mapped[Contact] = relationship(back_populates="messages")
    user: Mapped[User] = relationship(back_populates="messages")
    webhook_events: Mapped[list["WebhookEvent"]] = children("message")

    __table_args__ = (
        *_not_negative("retry_count"),
        Index("ix_messages_to_retry", "failed_at", postgresql_where=MAY_BE_RETRIED),
    )


class WebhookEvent(UuidId, CreatedAt, Base):
    """What WhatsApp reported, as it came.

    It waits while it is neither processed nor has an error; one with an error has failed, until
    it is processed after all.
    """

    __tablename__ = "webhook_events"

    # An audit trail outlives what it is about, both references, until retention takes it.
    user_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("users.id", ondelete="SET NULL"), index=True
    )
    event_type: Mapped[str] = mapped_column(index=True)
    payload: Mapped[dict[str, Any]]
    message_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("messages.id", ondelete="SET NULL"), index=True
    )
    processed: Mapped[bool] = mapped_column(server_default=text("false"), index=True)
    processed_at: Mapped[datetime | None]
    error_message: Mapped[str | None]
    received_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)

    user: Mapped[User | None] = relationship(back_populates="webhook_events")
    message: Mapped[Message | None] = relationship(back_populates="webhook_events")

    __table_args__ = (
        Index("ix_webhook_events_unprocessed", "received_at", postgresql_where=UNPROCESSED),
    )
