"""Whom an organisation sells to and what it sends: prospects, sequences, messages."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from leadctl.models import PhoneNumber, phone_check
from leadctl.products.salesagent.accounts import (
    OrganisationRecord,
    User,
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
    CampaignStatus,
    InsightStatus,
    InsightType,
    Language,
    MessageChannel,
    MessageDirection,
    MessageStatus,
    ProspectSource,
    ProspectStage,
    SequenceStatus,
)

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


class EmailSequence(OrganisationRecord):
    """Several emails, one after the other."""

    __tablename__ = "email_sequences"

    name: Mapped[str]
    description: Mapped[str | None]
    status: Mapped[SequenceStatus] = mapped_column(server_default=SequenceStatus.DRAFT.value)
    language: Mapped[Language] = mapped_column(server_default=Language.EN.value)

    steps: Mapped[list["SequenceStep"]] = relationship(
        back_populates="sequence",
        foreign_keys="SequenceStep.sequence_id",
        order_by="SequenceStep.position",
        passive_deletes="all",
    )

    __table_args__ = (
        UniqueConstraint("organisation_id", "id"),
        unique_while_live("uq_email_sequences_name", "organisation_id", "lower(name)"),
        Index(None, "organisation_id", "status"),
        deleted_rows(),
    )


class SequenceStep(OrganisationRecord):
    """One email of a sequence, as a template; the delay is counted from the step before."""

    __tablename__ = "sequence_steps"

    sequence_id: Mapped[str]
    position: Mapped[int]
    """Its place in the sequence, from 1."""
    delay_days: Mapped[int] = mapped_column(server_default=text("0"))
    subject_template: Mapped[str]
    body_template: Mapped[str]

    sequence: Mapped[EmailSequence] = relationship(
        back_populates="steps", foreign_keys="SequenceStep.sequence_id"
    )

    __table_args__ = (
        UniqueConstraint("organisation_id", "id"),
        owned("sequence_id", "email_sequences"),
        CheckConstraint("position > 0", name="position_positive"),
        CheckConstraint("delay_days >= 0", name="delay_not_negative"),
        unique_while_live("uq_sequence_steps_position", "sequence_id", "position"),
        Index(None, "organisation_id", "sequence_id"),
        deleted_rows(),
    )


class Campaign(OrganisationRecord):
    """A sequence that is sent to the prospects of a profile, by somebody, for a time."""

    __tablename__ = "campaigns"

    user_id: Mapped[str | None]
    """Who runs it."""
    sequence_id: Mapped[str | None]
    icp_id: Mapped[str | None]
    name: Mapped[str]
    description: Mapped[str | None]
    status: Mapped[CampaignStatus] = mapped_column(server_default=CampaignStatus.DRAFT.value)
    daily_limit: Mapped[int] = mapped_column(server_default=text("50"))
    """How many messages it may send a day."""
    starts_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]

    sequence: Mapped[EmailSequence | None] = relationship(foreign_keys="Campaign.sequence_id")

    __table_args__ = (
        UniqueConstraint("organisation_id", "id"),
        linked("user_id", "users"),
        linked("sequence_id", "email_sequences"),
        linked("icp_id", "icps"),
        CheckConstraint("daily_limit > 0", name="daily_limit_positive"),
        CheckConstraint("ends_at > starts_at", name="ends_after_start"),
        Index(None, "organisation_id", "user_id"),
        Index(None, "organisation_id", "sequence_id"),
        Index(None, "organisation_id", "icp_id"),
        Index(None, "organisation_id", "status"),
        deleted_rows(),
    )


class Message(OrganisationRecord):
    """A message to a prospect or from one.

    Its times are not compared with each other: they come from different clocks.
    """

    __tablename__ = "messages"

    prospect_id: Mapped[str]
    campaign_id: Mapped[str | None]
    step_id: Mapped[str | None]
    user_id: Mapped[str | None]
    """In whose name it was sent."""
    direction: Mapped[MessageDirection]
    channel: Mapped[MessageChannel] = mapped_column(server_default=MessageChannel.EMAIL.value)
    status: Mapped[MessageStatus]
    subject: Mapped[str | None]
    body: Mapped[str]
    external_id: Mapped[str | None]
    """The mail provider's name for it."""
    error: Mapped[str | None]
    scheduled_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    opened_at: Mapped[datetime | None]
    clicked_at: Mapped[datetime | None]
    replied_at: Mapped[datetime | None]
    bounced_at: Mapped[datetime | None]
    open_count: Mapped[int] = mapped_column(server_default=text("0"))
    click_count: Mapped[int] = mapped_column(server_default=text("0"))

    prospect: Mapped[Prospect] = relationship(
        back_populates="messages", foreign_keys="Message.prospect_id"
    )

    __table_args__ = (
        owned("prospect_id", "prospects"),
        linked("campaign_id", "campaigns"),
        linked("step_id", "sequence_steps"),
        linked("user_id", "users"),
        # Also of deleted ones: what the provider delivers again must not come back.
        UniqueConstraint("organisation_id", "external_id"),
        CheckConstraint(
            "(direction = 'INBOUND') = (status = 'RECEIVED')", name="inbound_is_received"
        ),
        CheckConstraint(
            "status NOT IN ('SENT', 'DELIVERED', 'BOUNCED') OR sent_at IS NOT NULL",
            name="sent_has_time",
        ),
        CheckConstraint(
            "sent_at IS NOT NULL OR num_nonnulls(opened_at, clicked_at, replied_at) = 0",
            name="only_sent_is_read",
        ),
        CheckConstraint("open_count >= 0", name="open_count_not_negative"),
        CheckConstraint("click_count >= 0", name="click_count_not_negative"),
        # Nobody gets the same email of a campaign twice, whoever sends and however often it runs.
        unique_while_live(
            "uq_messages_step",
            "campaign_id",
            "prospect_id",
            "step_id",
            where="direction = 'OUTBOUND'",
        ),
        Index(None, "organisation_id", "prospect_id"),
        Index(None, "organisation_id", "campaign_id"),
        Index(None, "organisation_id", "step_id"),
        Index(None, "organisation_id", "user_id"),
        Index(None, "organisation_id", "created_at"),
        Index(None, "organisation_id", "status"),
        Index(None, "scheduled_at", postgresql_where=text("status = 'QUEUED'")),
        deleted_rows(),
    )
