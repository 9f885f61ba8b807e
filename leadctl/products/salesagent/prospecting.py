"""Whom an organisation sells to: profiles, prospects, activities and the AI's advice."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from leadctl.models import PhoneNumber, phone_check
from leadctl.products.salesagent.accounts import User
from leadctl.products.salesagent.base import (
    OrganisationRecord,
    address_check,
    deleted_rows,
    domain_check,
    linked,
    object_check,
    owned,
    score_check,
    unique_while_live,
)
from leadctl.products.salesagent.enums import (
    ActivityPriority,
    ActivityStatus,
    ActivityType,
    InsightStatus,
    InsightType,
    Language,
    ProspectSource,
    ProspectStage,
)

if TYPE_CHECKING:
    from leadctl.products.salesagent.outreach import Message

_NONE = text("'{}'")
"""An empty array, or an empty object."""


class Icp(OrganisationRecord):
    """An ideal customer profile: what the prospects that are worth the effort look like."""

    __tablename__ = "icps"

    name: Mapped[str]
    description: Mapped[str | None]
    industries: Mapped[list[str]] = mapped_column(server_default=_NONE)
    countries: Mapped[list[str]] = mapped_column(server_default=_NONE)
    job_titles: Mapped[list[str]] = mapped_column(server_default=_NONE)
    min_employees: Mapped[int | None]
    max_employees: Mapped[int | None]
    min_score: Mapped[int] = mapped_column(server_default=text("50"))
    """The score from which a prospect is qualified."""
    criteria: Mapped[dict[str, Any]] = mapped_column(server_default=_NONE)

    __table_args__ = (
        UniqueConstraint("organisation_id", "id"),
        CheckConstraint("min_employees >= 0", name="min_employees_not_negative"),
        CheckConstraint("max_employees >= min_employees", name="employees_range"),
        CheckConstraint("max_employees >= 0", name="max_employees_not_negative"),
        score_check("min_score"),
        object_check("criteria"),
        unique_while_live("uq_icps_name", "organisation_id", "lower(name)"),
        deleted_rows(),
    )


class Prospect(OrganisationRecord):
    """Somebody who may buy; a score is NULL until somebody or something has given one."""

    __tablename__ = "prospects"

    user_id: Mapped[str | None]
    """Who looks after the prospect."""
    icp_id: Mapped[str | None]
    email: Mapped[str]
    first_name: Mapped[str | None]
    last_name: Mapped[str | None]
    job_title: Mapped[str | None]
    phone: Mapped[str | None] = mapped_column(PhoneNumber)
    linkedin_url: Mapped[str | None]
    company_name: Mapped[str | None]
    company_domain: Mapped[str | None]
    country: Mapped[str | None]
    language: Mapped[Language] = mapped_column(server_default=Language.EN.value)
    stage: Mapped[ProspectStage] = mapped_column(server_default=ProspectStage.NEW.value)
    source: Mapped[ProspectSource] = mapped_column(server_default=ProspectSource.MANUAL.value)
    score: Mapped[int | None]
    fit_score: Mapped[int | None]
    intent_score: Mapped[int | None]
    tags: Mapped[list[str]] = mapped_column(server_default=_NONE)
    enrichment: Mapped[dict[str, Any]] = mapped_column(server_default=_NONE)
    """What other services know of person and company."""
    last_contacted_at: Mapped[datetime | None]
    unsubscribed_at: Mapped[datetime | None]

    user: Mapped[User | None] = relationship(foreign_keys="Prospect.user_id")
    icp: Mapped[Icp | None] = relationship(foreign_keys="Prospect.icp_id")
    activities: Mapped[list["Activity"]] = relationship(
        back_populates="prospect", foreign_keys="Activity.prospect_id", passive_deletes="all"
    )
    insights: Mapped[list["AiInsight"]] = relationship(
        back_populates="prospect", foreign_keys="AiInsight.prospect_id", passive_deletes="all"
    )
    messages: Mapped[list["Message"]] = relationship(
        back_populates="prospect", foreign_keys="Message.prospect_id", passive_deletes="all"
    )

    __table_args__ = (
        UniqueConstraint("organisation_id", "id"),
        linked("user_id", "users"),
        linked("icp_id", "icps"),
        address_check("email"),
        domain_check("company_domain"),
        phone_check("phone"),
        score_check("score"),
        score_check("fit_score"),
        score_check("intent_score"),
        object_check("enrichment"),
        unique_while_live("uq_prospects_email", "organisation_id", "lower(email)"),
        Index(None, "organisation_id", "user_id"),
        Index(None, "organisation_id", "icp_id"),
        Index("ix_prospects_email", text("lower(email)")),
        Index("ix_prospects_company_domain", text("lower(company_domain)")),
        Index(None, "score"),
        Index(None, "organisation_id", "stage"),
        Index(None, "organisation_id", "created_at"),
        Index(None, "tags", postgresql_using="gin"),
        Index(
            None,
            "enrichment",
            postgresql_using="gin",
            postgresql_ops={"enrichment": "jsonb_path_ops"},
        ),
        deleted_rows(),
    )


class Activity(OrganisationRecord):
    """Something to do, or that was done, about a prospect or on its own."""

    __tablename__ = "activities"

    prospect_id: Mapped[str | None]
    user_id: Mapped[str | None]
    """Who is to do it."""
    type: Mapped[ActivityType]
    status: Mapped[ActivityStatus] = mapped_column(server_default=ActivityStatus.PENDING.value)
    priority: Mapped[ActivityPriority] = mapped_column(server_default=ActivityPriority.MEDIUM.value)
    title: Mapped[str]
    description: Mapped[str | None]
    due_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]

    prospect: Mapped[Prospect | None] = relationship(
        back_populates="activities", foreign_keys="Activity.prospect_id"
    )

    __table_args__ = (
        owned("prospect_id", "prospects"),
        linked("user_id", "users"),
        CheckConstraint(
            "(status = 'COMPLETED') = (completed_at IS NOT NULL)", name="completed_has_time"
        ),
        Index(None, "organisation_id", "prospect_id"),
        Index(None, "organisation_id", "user_id", "due_at"),
        Index(None, "organisation_id", "status", "due_at"),
        Index(None, "organisation_id", "created_at"),
        deleted_rows(),
    )


class AiInsight(OrganisationRecord):
    """What the AI recommends about a prospect, about a campaign, or to the organisation."""

    __tablename__ = "ai_insights"

    prospect_id: Mapped[str | None]
    campaign_id: Mapped[str | None]
    type: Mapped[InsightType]
    status: Mapped[InsightStatus] = mapped_column(server_default=InsightStatus.NEW.value)
    title: Mapped[str]
    recommendation: Mapped[str]
    confidence: Mapped[float]
    """How sure the model is, from 0 to 1."""
    model: Mapped[str]
    """What made it."""
    evidence: Mapped[dict[str, Any]] = mapped_column(server_default=_NONE)
    reviewed_at: Mapped[datetime | None]

    prospect: Mapped[Prospect | None] = relationship(
        back_populates="insights", foreign_keys="AiInsight.prospect_id"
    )

    __table_args__ = (
        owned("prospect_id", "prospects"),
        owned("campaign_id", "campaigns"),
        CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence_range"),
        CheckConstraint("num_nonnulls(prospect_id, campaign_id) <= 1", name="one_subject"),
        CheckConstraint("(status = 'NEW') = (reviewed_at IS NULL)", name="reviewed_has_time"),
        object_check("evidence"),
        Index(None, "organisation_id", "prospect_id"),
        Index(None, "organisation_id", "campaign_id"),
        Index(None, "organisation_id", "type", "status"),
        deleted_rows(),
    )
