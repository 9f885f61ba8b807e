"""The models of leadconnector: users, their pages, the pages' leads, and webhooks that get them."""

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from leadctl.models import TYPES, CreatedAt, CuidId, Timestamps, new_metadata
from leadctl.models.base import children, encrypted, enum_column


class Base(DeclarativeBase):
    """The base of leadconnector's models."""

    metadata = new_metadata()
    type_annotation_map = TYPES


class LeadStatus(enum.Enum):
    """How far a lead has come."""

    NEW = "NEW"
    PROCESSING = "PROCESSING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    ARCHIVED = "ARCHIVED"


class DeliveryStatus(enum.Enum):
    """How an attempt to deliver a lead to a webhook went."""

    PENDING = "PENDING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    RETRYING = "RETRYING"


class HttpMethod(enum.Enum):
    """The method that a webhook is called with."""

    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"


class AuthType(enum.Enum):
    """How leadconnector authenticates to a webhook."""

    NONE = "NONE"
    BASIC = "BASIC"
    BEARER = "BEARER"
    API_KEY = "API_KEY"
    CUSTOM = "CUSTOM"


class User(CuidId, Timestamps, Base):
    """Somebody who signed in with Facebook."""

    __tablename__ = "users"

    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str | None]
    facebook_id: Mapped[str] = mapped_column(unique=True)
    access_token: Mapped[str] = encrypted("leadconnector.users.access_token")
    refresh_token: Mapped[str | None] = encrypted("leadconnector.users.refresh_token")
    token_expiry: Mapped[datetime | None]
    image: Mapped[str | None]
    last_login: Mapped[datetime | None]

    pages: Mapped[list["Page"]] = children("user")
    webhooks: Mapped[list["Webhook"]] = children("user")

    __table_args__ = (Index("idx_users_last_login", "last_login"),)


class Page(CuidId, Timestamps, Base):
    """A Facebook page that a user connected."""

    __tablename__ = "pages"

    facebook_page_id: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    category: Mapped[str | None]
    access_token: Mapped[str] = encrypted("leadconnector.pages.access_token")
    is_active: Mapped[bool] = mapped_column(server_default=text("true"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)

    user: Mapped[User] = relationship(back_populates="pages")
    leads: Mapped[list["Lead"]] = children("page")
    webhook_configs: Mapped[list["PageWebhookConfig"]] = children("page")

    __table_args__ = (Index("idx_pages_updated_at", "updated_at"),)


class Lead(CuidId, Base):
    """A lead that somebody left in a page's form."""

    __tablename__ = "leads"

    facebook_lead_id: Mapped[str] = mapped_column(unique=True)
    page_id: Mapped[str] = mapped_column(ForeignKey("pages.id", ondelete="CASCADE"), index=True)
    form_id: Mapped[str]
    form_name: Mapped[str]
    campaign_id: Mapped[str | None]
    campaign_name: Mapped[str | None]
    adset_id: Mapped[str | None]
    adset_name: Mapped[str | None]
    ad_id: Mapped[str | None]
    ad_name: Mapped[str | None]
    lead_data: Mapped[dict[str, Any]]
    status: Mapped[LeadStatus] = enum_column(LeadStatus.NEW, index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"), index=True)
    processed_at: Mapped[datetime | None]

    page: Mapped[Page] = relationship(back_populates="leads")
    deliveries: Mapped[list["WebhookDelivery"]] = children("lead")

    __table_args__ = (
        Index("idx_leads_form_id", "form_id"),
        Index("idx_leads_campaign_id", "campaign_id"),
        Index("idx_leads_page_status", "page_id", "status"),
    )


class Webhook(CuidId, Timestamps, Base):
    """An endpoint that leads are delivered to."""

    __tablename__ = "webhooks"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    url: Mapped[str]
    method: Mapped[HttpMethod] = enum_column(HttpMethod.POST)
    headers: Mapped[dict[str, Any] | None]
    auth_type: Mapped[AuthType] = enum_column(AuthType.NONE)
    auth_config: Mapped[dict[str, Any] | None]
    retry_count: Mapped[int] = mapped_column(server_default=text("3"))
    timeout_ms: Mapped[int] = mapped_column(server_default=text("30000"))
    is_active: Mapped[bool] = mapped_column(server_default=text("true"), index=True)
    last_success: Mapped[datetime | None]
    last_failure: Mapped[datetime | None]

    user: Mapped[User] = relationship(back_populates="webhooks")
    deliveries: Mapped[list["WebhookDelivery"]] = children("webhook")
    page_configs: Mapped[list["PageWebhookConfig"]] = children("webhook")


class PageWebhookConfig(CuidId, CreatedAt, Base):
    """Which webhook gets the leads of which page."""

    __tablename__ = "page_webhook_configs"

    page_id: Mapped[str] = mapped_column(ForeignKey("pages.id", ondelete="CASCADE"), index=True)
    webhook_id: Mapped[str] = mapped_column(
        ForeignKey("webhooks.id", ondelete="CASCADE"), index=True
    )
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))

    page: Mapped[Page] = relationship(back_populates="webhook_configs")
    webhook: Mapped[Webhook] = relationship(back_populates="page_configs")

    __table_args__ = (UniqueConstraint("page_id", "webhook_id"),)


class WebhookDelivery(CuidId, Base):
    """One attempt to deliver a lead to a webhook."""

    __tablename__ = "webhook_deliveries"

    webhook_id: Mapped[str] = mapped_column(
        ForeignKey("webhooks.id", ondelete="CASCADE"), index=True
    )
    lead_id: Mapped[str] = mapped_column(ForeignKey("leads.id", ondelete="CASCADE"), index=True)
    status: Mapped[DeliveryStatus] = enum_column(DeliveryStatus.PENDING, index=True)
    status_code: Mapped[int | None]
    response_body: Mapped[str | None]
    error: Mapped[str | None]
    attempt_number: Mapped[int] = mapped_column(server_default=text("1"))
    next_retry_at: Mapped[datetime | None] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    completed_at: Mapped[datetime | None]

    webhook: Mapped[Webhook] = relationship(back_populates="deliveries")
    lead: Mapped[Lead] = relationship(back_populates="deliveries")

    __table_args__ = (
        Index("idx_webhook_deliveries_created_at", "created_at"),
        Index("idx_deliveries_webhook_status", "webhook_id", "status"),
        Index("idx_deliveries_lead_status", "lead_id", "status"),
    )
