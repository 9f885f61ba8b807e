"""What all tables of salesagent have in common; who uses it: organisations and their users."""

from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column, relationship

from leadctl.models import TYPES, CuidId, SoftDelete, Timestamps, new_metadata, one_of
from leadctl.models.values import HASH_PATTERN
from leadctl.products.salesagent.enums import (
    ENUMS,
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

_ENUM_TYPES: dict[Any, Any] = {values: one_of(values) for values in ENUMS}


class Base(DeclarativeBase):
    """The base of salesagent's models; an enum's annotation is its column's type."""

    metadata = new_metadata()
    type_annotation_map = TYPES | _ENUM_TYPES


class Record(CuidId, Timestamps, SoftDelete, Base):
    """What every table has."""

    __abstract__ = True


class OrganisationRecord(Record):
    """What every table has whose rows belong to an organisation, and go with it."""

    __abstract__ = True

    organisation_id: Mapped[str] = mapped_column(
        ForeignKey("organisations.id", ondelete="CASCADE"), sort_order=-50
    )

    @declared_attr
    def organisation(cls) -> Mapped["Organisation"]:  # noqa: N805 - declared on the class
        """The organisation that the row belongs to."""
        return relationship("Organisation")


def owned(column: str, table: str) -> ForeignKeyConstraint:
    """Return the foreign key of a row that goes with another of the same organisation.

    The organisation is part of the key: no row can refer to one of another organisation.
    """
    return _within_organisation(column, table, "CASCADE")


def linked(column: str, table: str) -> ForeignKeyConstraint:
    """Return the foreign key of a row that stays without another of the same organisation."""
    return _within_organisation(column, table, f"SET NULL ({column})")


def _within_organisation(column: str, table: str, ondelete: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["organisation_id", column],
        [f"{table}.organisation_id", f"{table}.id"],
        ondelete=ondelete,
    )


def unique_while_live(name: str, *columns: str, where: str = "") -> Index:
    """Return the rule that rows which are not marked as deleted differ in some columns.

    A column may be an expression.  What a deleted row has is free again.
    """
    live = "deleted_at IS NULL" + (f" AND {where}" if where else "")
    return Index(
        name, *(text(column) for column in columns), unique=True, postgresql_where=text(live)
    )


def deleted_rows() -> Index:
    """Return the index that finds the deleted rows when they are due; others cost it nothing."""
    return Index(None, "deleted_at", postgresql_where=text("deleted_at IS NOT NULL"))


def address_check(column: str) -> CheckConstraint:
    """Return the rule that a column has an email address: one @ with something on both sides."""
    return CheckConstraint(rf"{column} ~ '^[^@\s]+@[^@\s]+$'", name=f"{column}_address")


def domain_check(column: str) -> CheckConstraint:
    """Return the rule that a column has a domain, and not an address or a URL."""
    return CheckConstraint(rf"{column} ~ '^[^@/\s]+$'", name=f"{column}_name")


def object_check(column: str) -> CheckConstraint:
    """Return the rule that a JSON column has an object, and not a list or a single value."""
    return CheckConstraint(f"jsonb_typeof({column}) = 'object'", name=f"{column}_object")


def score_check(column: str) -> CheckConstraint:
    """Return the rule that a score is from 0 to 100."""
    return CheckConstraint(f"{column} BETWEEN 0 AND 100", name=f"{column}_range")


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
