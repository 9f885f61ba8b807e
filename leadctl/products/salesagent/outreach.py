"""What an organisation sends: sequences with their steps, campaigns, and messages."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from leadctl.products.salesagent.base import (
    OrganisationRecord,
    deleted_rows,
    linked,
    owned,
    unique_while_live,
)
from leadctl.products.salesagent.enums import (
    CampaignStatus,
    Language,
    MessageChannel,
    MessageDirection,
    MessageStatus,
    SequenceStatus,
)
from leadctl.products.salesagent.prospecting import Prospect


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
