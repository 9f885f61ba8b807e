"""Initial schema.

Revision: whatsapp_0001
Follows:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "whatsapp_0001"
down_revision = None

SUBSCRIPTION_TIER = pg.ENUM("free", "basic", "pro", name="subscription_tier", create_type=False)
OPT_IN_SOURCE = pg.ENUM("manual", "csv", "api", "webhook", name="opt_in_source", create_type=False)
TEMPLATE_CATEGORY = pg.ENUM(
    "marketing", "utility", "authentication", name="template_category", create_type=False
)
TEMPLATE_STATUS = pg.ENUM(
    "draft", "pending", "approved", "rejected", name="template_status", create_type=False
)
MESSAGE_TYPE = pg.ENUM("text", "template", name="message_type", create_type=False)
CAMPAIGN_STATUS = pg.ENUM(
    "draft",
    "scheduled",
    "processing",
    "completed",
    "failed",
    "paused",
    name="campaign_status",
    create_type=False,
)
MESSAGE_DIRECTION = pg.ENUM("outbound", "inbound", name="message_direction", create_type=False)
MESSAGE_CONTENT_TYPE = pg.ENUM(
    "text", "template", "image", "document", name="message_content_type", create_type=False
)
MESSAGE_STATUS = pg.ENUM(
    "queued", "sent", "delivered", "read", "failed", name="message_status", create_type=False
)
ENUMS = (
    SUBSCRIPTION_TIER,
    OPT_IN_SOURCE,
    TEMPLATE_CATEGORY,
    TEMPLATE_STATUS,
    MESSAGE_TYPE,
    CAMPAIGN_STATUS,
    MESSAGE_DIRECTION,
    MESSAGE_CONTENT_TYPE,
    MESSAGE_STATUS,
)

NEW_ID = sa.text("gen_random_uuid()")
NOW = sa.text("now()")
EMPTY = sa.text("'{}'")
ZERO = sa.text("0")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    for enum in ENUMS:
        enum.create(op.get_bind(), checkfirst=False)
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid, server_default=NEW_ID),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("business_name", sa.Text),
        sa.Column("waba_id", sa.Text),
        sa.Column("phone_number_id", sa.Text),
        sa.Column("access_token", sa.Text, nullable=False),
        sa.Column("webhook_verify_token", sa.Text),
        sa.Column("subscription_tier", SUBSCRIPTION_TIER, nullable=False, server_default="free"),
        sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.text("true")),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
    )
    op.create_table(
        "contacts",
        sa.Column("id", sa.Uuid, server_default=NEW_ID),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("phone", sa.Text, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("email", sa.Text),
        sa.Column("opted_in", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("opted_in_at", TIME),
        sa.Column("opted_out_at", TIME),
        sa.Column("opt_in_source", OPT_IN_SOURCE, nullable=False),
        sa.Column("tags", pg.ARRAY(sa.Text), nullable=False, server_default=EMPTY),
        sa.Column("metadata", pg.JSONB, nullable=False, server_default=EMPTY),
        sa.Column("is_blocked", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("blocked_reason", sa.Text),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_contacts"),
        sa.UniqueConstraint("user_id", "phone", name="uq_contacts_user_id_phone"),
        sa.CheckConstraint(r"phone ~ '^\+[1-9][0-9]{6,14}$'", name="ck_contacts_phone_e164"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_contacts_user_id_users", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "templates",
        sa.Column("id", sa.Uuid, server_default=NEW_ID),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("whatsapp_template_id", sa.Text),
        sa.Column("language", sa.Text, nullable=False, server_default="en_US"),
        sa.Column("category", TEMPLATE_CATEGORY, nullable=False),
        sa.Column("status", TEMPLATE_STATUS, nullable=False, server_default="draft"),
        sa.Column("components", pg.JSONB, nullable=False),
        sa.Column("rejection_reason", sa.Text),
        sa.Column("approved_at", TIME),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_templates"),
        sa.UniqueConstraint("user_id", "name", name="uq_templates_user_id_name"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_templates_user_id_users", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "campaigns",
        sa.Column("id", sa.Uuid, server_default=NEW_ID),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("template_id", sa.Uuid),
        sa.Column("message_type", MESSAGE_TYPE, nullable=False),
        sa.Column("message_content", pg.JSONB, nullable=False),
        sa.Column("status", CAMPAIGN_STATUS, nullable=False, server_default="draft"),
        sa.Column("scheduled_at", TIME),
        sa.Column("started_at", TIME),
        sa.Column("completed_at", TIME),
        sa.Column("total_recipients", sa.Integer, nullable=False, server_default=ZERO),
        sa.Column("sent_count", sa.Integer, nullable=False, server_default=ZERO),
        sa.Column("delivered_count", sa.Integer, nullable=False, server_default=ZERO),
        sa.Column("failed_count", sa.Integer, nullable=False, server_default=ZERO),
        sa.Column("read_count", sa.Integer, nullable=False, server_default=ZERO),
        sa.Column("error_message", sa.Text),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_campaigns"),
        sa.CheckConstraint(
            "total_recipients >= 0", name="ck_campaigns_total_recipients_not_negative"
        ),
        sa.CheckConstraint("sent_count >= 0", name="ck_campaigns_sent_count_not_negative"),
        sa.CheckConstraint(
            "delivered_count >= 0", name="ck_campaigns_delivered_count_not_negative"
        ),
        sa.CheckConstraint("failed_count >= 0", name="ck_campaigns_failed_count_not_negative"),
        sa.CheckConstraint("read_count >= 0", name="ck_campaigns_read_count_not_negative"),
        sa.CheckConstraint(
            "completed_at >= started_at", name="ck_campaigns_completed_after_started"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_campaigns_user_id_users", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["template_id"],
            ["templates.id"],
            name="fk_campaigns_template_id_templates",
            ondelete="SET NULL",
        ),
    )
    op.create_table(
        "messages",
        sa.Column("id", sa.Uuid, server_default=NEW_ID),
        sa.Column("campaign_id", sa.Uuid),
        sa.Column("contact_id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("whatsapp_message_id", sa.Text),
        sa.Column("direction", MESSAGE_DIRECTION, nullable=False),
        sa.Column("type", MESSAGE_CONTENT_TYPE, nullable=False),
        sa.Column("content", pg.JSONB, nullable=False),
        sa.Column("status", MESSAGE_STATUS, nullable=False, server_default="queued"),
        sa.Column("sent_at", TIME),
        sa.Column("delivered_at", TIME),
        sa.Column("read_at", TIME),
        sa.Column("failed_at", TIME),
        sa.Column("error_code", sa.Text),
        sa.Column("error_message", sa.Text),
        sa.Column("retry_count", sa.Integer, nullable=False, server_default=ZERO),
        sa.Column("metadata", pg.JSONB, nullable=False, server_default=EMPTY),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
        sa.UniqueConstraint("whatsapp_message_id", name="uq_messages_whatsapp_message_id"),
        sa.CheckConstraint("retry_count >= 0", name="ck_messages_retry_count_not_negative"),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["campaigns.id"],
            name="fk_messages_campaign_id_campaigns",
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
            name="fk_messages_contact_id_contacts",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_messages_user_id_users", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "webhook_events",
        sa.Column("id", sa.Uuid, server_default=NEW_ID),
        sa.Column("user_id", sa.Uuid),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("payload", pg.JSONB, nullable=False),
        sa.Column("message_id", sa.Uuid),
        sa.Column("processed", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("processed_at", TIME),
        sa.Column("error_message", sa.Text),
        sa.Column("received_at", TIME, nullable=False, server_default=NOW),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_events"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_webhook_events_user_id_users", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["messages.id"],
            name="fk_webhook_events_message_id_messages",
            ondelete="SET NULL",
        ),
    )
    for table, column in (
        ("contacts", "user_id"),
        ("contacts", "phone"),
        ("contacts", "opted_in"),
        ("campaigns", "user_id"),
        ("campaigns", "template_id"),
        ("campaigns", "status"),
        ("campaigns", "scheduled_at"),
        ("messages", "campaign_id"),
        ("messages", "contact_id"),
        ("messages", "user_id"),
        ("messages", "status"),
        ("webhook_events", "user_id"),
        ("webhook_events", "event_type"),
        ("webhook_events", "message_id"),
        ("webhook_events", "processed"),
        ("webhook_events", "received_at"),
    ):
        op.create_index(f"ix_{table}_{column}", table, [column])
    op.create_index("ix_contacts_tags", "contacts", ["tags"], postgresql_using="gin")
    op.create_index(
        "ix_campaigns_due",
        "campaigns",
        ["scheduled_at"],
        postgresql_where=sa.text("status = 'scheduled'"),
    )
    op.create_index(
        "ix_messages_to_retry",
        "messages",
        ["failed_at"],
        postgresql_where=sa.text("status = 'failed' AND retry_count < 3"),
    )
    op.create_index(
        "ix_webhook_events_unprocessed",
        "webhook_events",
        ["received_at"],
        postgresql_where=sa.text("NOT processed"),
    )


def downgrade() -> None:
    for table in ("webhook_events", "messages", "campaigns", "templates", "contacts", "users"):
        op.drop_table(table)
    for enum in ENUMS:
        enum.drop(op.get_bind(), checkfirst=False)
