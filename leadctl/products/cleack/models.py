"""The models of cleack: users, what they pay with, and the draws that they hold.

The price list is at the end.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Connection,
    FetchedValue,
    ForeignKey,
    Index,
    MetaData,
    UniqueConstraint,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from leadctl.models import TYPES, CreatedAt, CuidId, Timestamps, new_metadata, one_of
from leadctl.models.base import encrypted, enum_column
from leadctl.models.values import HASH_PATTERN
from leadctl.postgres.queries import queries_of


class Base(DeclarativeBase):
    """The base of cleack's models."""

    metadata = new_metadata()
    type_annotation_map = TYPES


@event.listens_for(Base.metadata, "after_create")
def create_triggers(_metadata: MetaData, connection: Connection, **_: Any) -> None:
    """Create functions and triggers on the models' tables."""
    for block in queries_of(__file__, "triggers.sql").blocks:
        connection.execute(text(block.sql))


class TransactionType(enum.Enum):
    """Why a balance of credits changed; only USAGE takes credits away."""

    PURCHASE = "purchase"
    USAGE = "usage"
    REFUND = "refund"
    BONUS = "bonus"


class PlanType(enum.Enum):
    """What a subscription is to."""

    MONTHLY = "monthly"
    ANNUAL = "annual"
    ENTERPRISE = "enterprise"


class SubscriptionStatus(enum.Enum):
    """Where a subscription stands; a cancelled one is valid until its end date."""

    ACTIVE = "active"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    PAST_DUE = "past_due"


class Platform(enum.Enum):
    """Where a draw is held."""

    INSTAGRAM = "instagram"
    FACEBOOK = "facebook"
    TIKTOK = "tiktok"
    TWITTER = "twitter"


class BlacklistPlatform(enum.Enum):
    """Where a username is excluded."""

    INSTAGRAM = "instagram"
    FACEBOOK = "facebook"
    TIKTOK = "tiktok"
    TWITTER = "twitter"
    ALL = "all"


class DrawStatus(enum.Enum):
    """How far a draw has come."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class DrawAction(enum.Enum):
    """What happened to a draw."""

    CREATED = "created"
    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETRIED = "retried"


class MetricType(enum.Enum):
    """What is measured of the whole system."""

    DAILY_DRAWS = "daily_draws"
    USER_SIGNUPS = "user_signups"
    REVENUE = "revenue"
    AVG_PARTICIPANTS_PER_DRAW = "avg_participants_per_draw"
    ERROR_RATE = "error_rate"


class User(CuidId, Timestamps, Base):
    """Somebody who holds draws."""

    __tablename__ = "users"

    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str | None]
    password_hash: Mapped[str]
    email_verified: Mapped[bool] = mapped_column(server_default=text("false"), index=True)
    verification_token: Mapped[str | None] = mapped_column(unique=True)

    # "all": what belongs to a user is deleted by the server, and never touched by the ORM, which
    # the ledger would refuse.
    credits: Mapped[list["Credit"]] = relationship(
        back_populates="user", passive_deletes="all", order_by="Credit.entry"
    )
    subscriptions: Mapped[list["Subscription"]] = relationship(
        back_populates="user", passive_deletes="all"
    )
    social_accounts: Mapped[list["SocialAccount"]] = relationship(
        back_populates="user", passive_deletes="all"
    )
    draws: Mapped[list["Draw"]] = relationship(back_populates="user", passive_deletes="all")
    blacklist: Mapped[list["BlacklistEntry"]] = relationship(
        back_populates="user", passive_deletes="all"
    )
    draw_history: Mapped[list["DrawHistory"]] = relationship(
        back_populates="user", passive_deletes="all"
    )

    __table_args__ = (
        CheckConstraint(f"password_hash ~ '{HASH_PATTERN}'", name="password_hash_bcrypt"),
        Index("ix_users_created_at", "created_at"),
    )


class Credit(CuidId, CreatedAt, Base):
    """An entry of a user's ledger of credits.

    The server writes `entry` and `balance`, whatever was given, and lets nobody change an entry.
    """

    __tablename__ = "credits"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    entry: Mapped[int] = mapped_column(server_default=FetchedValue())
    """Which of the user's entries it is, from 1: their order, which no clock decides."""
    transaction_type: Mapped[TransactionType] = mapped_column(one_of(TransactionType), index=True)
    amount: Mapped[int]
    balance: Mapped[int] = mapped_column(server_default=FetchedValue())
    """The user's credits after this entry."""
    metadata_: Mapped[dict[str, Any] | None] = mapped_column("metadata")

    user: Mapped[User] = relationship(back_populates="credits")

    __table_args__ = (
        UniqueConstraint("user_id", "entry"),
        CheckConstraint(
            "CASE transaction_type WHEN 'usage' THEN amount < 0 ELSE amount > 0 END",
            name="amount_sign",
        ),
        CheckConstraint("balance >= 0", name="balance_not_negative"),
        Index("ix_credits_created_at", "created_at"),
    )


class Subscription(CuidId, Timestamps, Base):
    """A user's subscription, with the terms that it was sold on: list prices change."""

    __tablename__ = "subscriptions"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    plan_type: Mapped[PlanType] = mapped_column(one_of(PlanType))
    status: Mapped[SubscriptionStatus] = enum_column(SubscriptionStatus.ACTIVE, index=True)
    price_cents: Mapped[int]
    """US cents: for a year with the annual plan, for a month with the others."""
    credits_per_month: Mapped[int]
    start_date: Mapped[datetime] = mapped_column(server_default=text("now()"))
    end_date: Mapped[datetime | None] = mapped_column(index=True)
    """When what was paid for ends; NULL is an enterprise contract without an end."""
    auto_renew: Mapped[bool] = mapped_column(server_default=text("true"))
    stripe_subscription_id: Mapped[str | None] = mapped_column(unique=True)
    apple_subscription_id: Mapped[str | None] = mapped_column(unique=True)

    user: Mapped[User] = relationship(back_populates="subscriptions")

    __table_args__ = (
        CheckConstraint("price_cents >= 0", name="price_cents_not_negative"),
        CheckConstraint("credits_per_month >= 0", name="credits_per_month_not_negative"),
        CheckConstraint("end_date > start_date", name="end_after_start"),
        CheckConstraint("end_date IS NOT NULL OR plan_type = 'enterprise'", name="end_known"),
    )


class SocialAccount(CuidId, Timestamps, Base):
    """A user's account on a platform; one that was disconnected is kept as inactive."""

    __tablename__ = "social_accounts"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    platform: Mapped[Platform] = mapped_column(one_of(Platform), index=True)
    platform_user_id: Mapped[str] = mapped_column(index=True)
    username: Mapped[str | None]
    access_token: Mapped[str] = encrypted("cleack.social_accounts.access_token")
    refresh_token: Mapped[str | None] = encrypted("cleack.social_accounts.refresh_token")
    token_expires_at: Mapped[datetime | None]
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))

    user: Mapped[User] = relationship(back_populates="social_accounts")

    __table_args__ = (UniqueConstraint("user_id", "platform"),)


class Draw(CuidId, Timestamps, Base):
    """A draw of winners among those who commented on a post."""

    __tablename__ = "draws"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    platform: Mapped[Platform] = mapped_column(one_of(Platform), index=True)
    post_url: Mapped[str]
    status: Mapped[DrawStatus] = enum_column(DrawStatus.PENDING, index=True)
    config: Mapped[dict[str, Any]]
    """The object `filters`, the object `rules`, and `winners_count`, from 1."""
    participants: Mapped[int] = mapped_column(server_default=text("0"))
    winners: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB(none_as_null=True))
    """Of a completed draw: objects with `username`, `user_id`, `selected_at`, maybe `comment`."""
    certificate_hash: Mapped[str | None]
    """Of a completed draw: what `certificate.certificate_hash` returns."""
    video_url: Mapped[str | None]
    credits_used: Mapped[int] = mapped_column(server_default=text("0"))
    error: Mapped[str | None]
    """Why the draw failed."""
    executed_at: Mapped[datetime | None] = mapped_column(index=True)

    user: Mapped[User] = relationship(back_populates="draws")
    history: Mapped[list["DrawHistory"]] = relationship(
        back_populates="draw", passive_deletes="all", order_by="DrawHistory.step"
    )

    # The checks of JSON are written so that odd JSON makes them false: neither NULL, which would
    # pass, nor an error.  A filter of a path looks into arrays that it meets; type() does not, so
    # types are asked for, those of the elements first.
    __table_args__ = (
        CheckConstraint(
            "(jsonb_typeof(config -> 'filters') = 'object'"
            " AND jsonb_typeof(config -> 'rules') = 'object'"
            " AND jsonb_typeof(config -> 'winners_count') = 'number'"
            " AND config ->> 'winners_count' ~ '^[1-9][0-9]{0,8}$') IS TRUE",
            name="config_shape",
        ),
        CheckConstraint(
            "winners IS NULL OR jsonb_typeof(winners) = 'array'"
            " AND NOT jsonb_path_exists(winners, '$[*].type() ? (@ != \"object\")')"
            " AND NOT jsonb_path_exists(winners, '$[*] ? (!("
            '@.username.type() == "string"'
            ' && @.user_id.type() == "string"'
            ' && @.selected_at.type() == "string"'
            ' && (!exists(@.comment) || @.comment.type() == "string" || @.comment.type() == "null")'
            "))')",
            name="winners_shape",
        ),
        CheckConstraint(
            "CASE status WHEN 'completed'"
            " THEN num_nulls(winners, certificate_hash, executed_at) = 0"
            " ELSE num_nonnulls(winners, certificate_hash) = 0 END",
            name="completed_is_certified",
        ),
        CheckConstraint("certificate_hash ~ '^[0-9a-f]{64}$'", name="certificate_hash_sha256"),
        CheckConstraint("credits_used >= 0", name="credits_used_not_negative"),
        CheckConstraint("participants >= 0", name="participants_not_negative"),
        Index("ix_draws_created_at", "created_at"),
    )


class DrawHistory(CuidId, CreatedAt, Base):
    """A step of a draw, written by the server."""

    __tablename__ = "draw_history"

    draw_id: Mapped[str] = mapped_column(ForeignKey("draws.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    step: Mapped[int]
    """Which of the draw's steps it is, from 1: their order, which no clock decides."""
    action: Mapped[DrawAction] = mapped_column(one_of(DrawAction), index=True)
    details: Mapped[dict[str, Any] | None]
    metadata_: Mapped[dict[str, Any] | None] = mapped_column("metadata")

    draw: Mapped[Draw] = relationship(back_populates="history")
    user: Mapped[User] = relationship(back_populates="draw_history")

    __table_args__ = (
        UniqueConstraint("draw_id", "step"),
        Index("ix_draw_history_created_at", "created_at"),
    )


class BlacklistEntry(CuidId, Timestamps, Base):
    """A username that a user excludes from draws; an entry that was lifted is kept as inactive."""

    __tablename__ = "blacklist"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    username: Mapped[str] = mapped_column(index=True)
    platform: Mapped[BlacklistPlatform] = enum_column(BlacklistPlatform.ALL, index=True)
    reason: Mapped[str | None]
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))

    user: Mapped[User] = relationship(back_populates="blacklist")

    __table_args__ = (UniqueConstraint("user_id", "username", "platform"),)


class SystemMetric(CuidId, CreatedAt, Base):
    """One measurement of the whole system."""

    __tablename__ = "system_metrics"

    metric_type: Mapped[MetricType] = mapped_column(one_of(MetricType))
    value: Mapped[float]
    metadata_: Mapped[dict[str, Any] | None] = mapped_column("metadata")

    # A NaN or an infinity would make a number of every sum and mean over it.
    __table_args__ = (
        CheckConstraint("value > '-Infinity' AND value < 'Infinity'", name="value_finite"),
        Index("ix_system_metrics_metric_type_created_at", "metric_type", "created_at"),
        Index("ix_system_metrics_created_at", "created_at"),
    )


@dataclass(frozen=True)
class Terms:
    """What a subscription is sold on; it keeps them when the list changes."""

    price_cents: int
    """US cents: for a year with the annual plan, for a month with the others."""
    credits_per_month: int


PRICE_LIST: Mapping[PlanType, Terms] = {
    PlanType.MONTHLY: Terms(price_cents=14_99, credits_per_month=10),
    PlanType.ANNUAL: Terms(price_cents=99_00, credits_per_month=50),
}
"""What a plan costs and brings today; the enterprise plan is agreed with each customer."""
