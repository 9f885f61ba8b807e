"""Who uses salesagent: organisations, their users, sessions, subscriptions, and the audit log."""

from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column, relationship

from leadctl.models.passwords import HASH_PATTERN
from leadctl.products.salesagent.base import (
    OrganisationRecord,
    Record,
    address_check,
    deleted_rows,
    domain_check,
    object_check,
    owned,
    unique_while_live,
)
from leadctl.products.salesagent.enums import (
    AuditAction,
    BillingInterval,
    Currency,
    Language,
    Plan,
    Region,
    SubscriptionStatus,
    UserRole,
    UserStatus,
)


class Organisation(Record):
    """A tenant: everything else belongs to one, and goes with it."""

    __tablename__ = "organisations"

    name: Mapped[str]
    domain: Mapped[str | None]
    region: Mapped[Region]
    language: Mapped[Language] = mapped_column(server_default=Language.EN.value)

    __table_args__ = (
        domain_check("domain"),
        unique_while_live("uq_organisations_domain", "lower(domain)"),
        deleted_rows(),
    )


class User(OrganisationRecord):
    """Somebody who signs in; the hash is loaded only where it is asked for."""

    __tablename__ = "users"

    email: Mapped[str]
    password_hash: Mapped[str] = mapped_column(deferred=True)
    first_name: Mapped[str]
    last_name: Mapped[str]
    role: Mapped[UserRole] = mapped_column(server_default=UserRole.MEMBER.value)
    status: Mapped[UserStatus] = mapped_column(server_default=UserStatus.ACTIVE.value)
    language: Mapped[Language] = mapped_column(server_default=Language.EN.value)
    last_login_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("organisation_id", "id"),
        address_check("email"),
        CheckConstraint(f"password_hash ~ '{HASH_PATTERN}'", name="password_hash_bcrypt"),
        unique_while_live("uq_users_email", "lower(email)"),
        deleted_rows(),
    )


class LoginSession(OrganisationRecord):
    """A user's session: the token itself is with the user, here is its SHA-256."""

    __tablename__ = "sessions"

    user_id: Mapped[str]
    token_hash: Mapped[str] = mapped_column(unique=True)
    ip_address: Mapped[IPv4Address | IPv6Address | None] = mapped_column(INET)
    user_agent: Mapped[str | None]
    expires_at: Mapped[datetime] = mapped_column(index=True)

    user: Mapped[User] = relationship(foreign_keys="LoginSession.user_id")

    __table_args__ = (
        owned("user_id", "users"),
        CheckConstraint("token_hash ~ '^[0-9a-f]{64}$'", name="token_hash_sha256"),
        CheckConstraint("expires_at > created_at", name="expires_after_creation"),
        Index(None, "organisation_id", "user_id"),
        deleted_rows(),
    )


class Subscription(OrganisationRecord):
    """What an organisation pays for; prices are in cents, for one interval."""

    __tablename__ = "subscriptions"

    plan: Mapped[Plan] = mapped_column(server_default=Plan.FREE.value)
    status: Mapped[SubscriptionStatus] = mapped_column(
        server_default=SubscriptionStatus.TRIALING.value
    )
    billing_interval: Mapped[BillingInterval] = mapped_column(
        server_default=BillingInterval.MONTHLY.value
    )
    price_cents: Mapped[int] = mapped_column(server_default=text("0"))
    currency: Mapped[Currency] = mapped_column(server_default=Currency.EUR.value)
    seats: Mapped[int] = mapped_column(server_default=text("1"))
    current_period_start: Mapped[datetime] = mapped_column(server_default=text("now()"))
    current_period_end: Mapped[datetime | None]
    canceled_at: Mapped[datetime | None]
    external_id: Mapped[str | None] = mapped_column(unique=True)
    """The payment provider's name for it."""

    __table_args__ = (
        CheckConstraint("price_cents >= 0", name="price_not_negative"),
        CheckConstraint("seats > 0", name="seats_positive"),
        CheckConstraint("current_period_end > current_period_start", name="period_ends_after"),
        # Not the other way round: what was canceled runs until the end of what is paid for.
        CheckConstraint(
            "status <> 'CANCELED' OR canceled_at IS NOT NULL", name="canceled_has_time"
        ),
        unique_while_live(
            "uq_subscriptions_organisation_id", "organisation_id", where="status <> 'CANCELED'"
        ),
        Index(None, "organisation_id", "status"),
        Index(None, "current_period_end"),
        deleted_rows(),
    )


class AuditLog(Record):
    """What somebody did to a row; entries are added, and outlive what they tell of.

    So `actor`, `entity` and `entity_id` are texts, and stay when user, organisation or row go.
    """

    __tablename__ = "audit_logs"

    organisation_id: Mapped[str | None] = mapped_column(
        ForeignKey("organisations.id", ondelete="SET NULL"), sort_order=-50
    )
    user_id: Mapped[str | None] = mapped_column(
        ForeignKey("users.id", ondelete="SET NULL"), index=True
    )
    actor: Mapped[str]
    """Who it was at the time: an email address, or the name of a job."""
    action: Mapped[AuditAction]
    entity: Mapped[str]
    """The table of the row."""
    entity_id: Mapped[str]
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
    ip_address: Mapped[IPv4Address | IPv6Address | None] = mapped_column(INET)
    user_agent: Mapped[str | None]

    __table_args__ = (
        object_check("before"),
        object_check("after"),
        Index(None, "organisation_id", "created_at"),
        Index(None, "entity", "entity_id"),
        deleted_rows(),
    )
