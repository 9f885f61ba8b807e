"""Initial schema.

Revision: leadconnector_0001
Follows:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "leadconnector_0001"
down_revision = None

LEAD_STATUS = pg.ENUM(
    "NEW", "PROCESSING", "DELIVERED", "FAILED", "ARCHIVED", name="lead_status", create_type=False
)
DELIVERY_STATUS = pg.ENUM(
    "PENDING", "SUCCESS", "FAILED", "RETRYING", name="delivery_status", create_type=False
)
HTTP_METHOD = pg.ENUM("POST", "PUT", "PATCH", name="http_method", create_type=False)
AUTH_TYPE = pg.ENUM(
    "NONE", "BASIC", "BEARER", "API_KEY", "CUSTOM", name="auth_type", create_type=False
)
ENUMS = (LEAD_STATUS, DELIVERY_STATUS, HTTP_METHOD, AUTH_TYPE)

NOW = sa.text("now()")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    for enum in ENUMS:
        enum.create(op.get_bind(), checkfirst=False)
    op.create_table(
        "users",
        sa.Column("id", sa.Text),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("facebook_id", sa.Text, nullable=False),
        sa.Column("access_token", sa.Text, nullable=False),
        sa.Column("refresh_token", sa.Text),
        sa.Column("token_expiry", TIME),
        sa.Column("image", sa.Text),
        sa.Column("last_login", TIME),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
        sa.UniqueConstraint("facebook_id", name="uq_users_facebook_id"),
    )
    op.create_table(
        "pages",
        sa.Column("id", sa.Text),
        sa.Column("facebook_page_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("category", sa.Text),
        sa.Column("access_token", sa.Text, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.text("true")),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_pages"),
        sa.UniqueConstraint("facebook_page_id", name="uq_pages_facebook_page_id"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_pages_user_id_users", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "leads",
        sa.Column("id", sa.Text),
        sa.Column("facebook_lead_id", sa.Text, nullable=False),
        sa.Column("page_id", sa.Text, nullable=False),
        sa.Column("form_id", sa.Text, nullable=False),
        sa.Column("form_name", sa.Text, nullable=False),
        sa.Column("campaign_id", sa.Text),
        sa.Column("campaign_name", sa.Text),
        sa.Column("adset_id", sa.Text),
        sa.Column("adset_name", sa.Text),
        sa.Column("ad_id", sa.Text),
        sa.Column("ad_name", sa.Text),
        sa.Column("lead_data", pg.JSONB, nullable=False),
        sa.Column("status", LEAD_STATUS, nullable=False, server_default="NEW"),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("processed_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_leads"),
        sa.UniqueConstraint("facebook_lead_id", name="uq_leads_facebook_lead_id"),
        sa.ForeignKeyConstraint(
            ["page_id"], ["pages.id"], name="fk_leads_page_id_pages", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Text),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("method", HTTP_METHOD, nullable=False, server_default="POST"),
        sa.Column("headers", pg.JSONB),
        sa.Column("auth_type", AUTH_TYPE, nullable=False, server_default="NONE"),
        sa.Column("auth_config", pg.JSONB),
        sa.Column("retry_count", sa.Integer, nullable=False, server_default=sa.text("3")),
        sa.Column("timeout_ms", sa.Integer, nullable=False, server_default=sa.text("30000")),
        sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.text("true")),
        sa.Column("last_success", TIME),
        sa.Column("last_failure", TIME),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_webhooks_user_id_users", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "page_webhook_configs",
        sa.Column("id", sa.Text),
        sa.Column("page_id", sa.Text, nullable=False),
        sa.Column("webhook_id", sa.Text, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.text("true")),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_page_webhook_configs"),
        sa.UniqueConstraint(
            "page_id", "webhook_id", name="uq_page_webhook_configs_page_id_webhook_id"
        ),
        sa.ForeignKeyConstraint(
            ["page_id"],
            ["pages.id"],
            name="fk_page_webhook_configs_page_id_pages",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.id"],
            name="fk_page_webhook_configs_webhook_id_webhooks",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Text),
        sa.Column("webhook_id", sa.Text, nullable=False),
        sa.Column("lead_id", sa.Text, nullable=False),
        sa.Column("status", DELIVERY_STATUS, nullable=False, server_default="PENDING"),
        sa.Column("status_code", sa.Integer),
        sa.Column("response_body", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("attempt_number", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("next_retry_at", TIME),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("completed_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.id"],
            name="fk_webhook_deliveries_webhook_id_webhooks",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["lead_id"],
            ["leads.id"],
            name="fk_webhook_deliveries_lead_id_leads",
            ondelete="CASCADE",
        ),
    )
    for table, column in (
        ("pages", "user_id"),
        ("pages", "is_active"),
        ("leads", "page_id"),
        ("leads", "status"),
        ("leads", "created_at"),
        ("webhooks", "user_id"),
        ("webhooks", "is_active"),
        ("page_webhook_configs", "page_id"),
        ("page_webhook_configs", "webhook_id"),
        ("webhook_deliveries", "webhook_id"),
        ("webhook_deliveries", "lead_id"),
        ("webhook_deliveries", "status"),
        ("webhook_deliveries", "next_retry_at"),
    ):
        op.create_index(f"ix_{table}_{column}", table, [column])


def downgrade() -> None:
    for table in (
        "webhook_deliveries",
        "page_webhook_configs",
        "webhooks",
        "leads",
        "pages",
        "users",
    ):
        op.drop_table(table)
    for enum in ENUMS:
        enum.drop(op.get_bind(), checkfirst=False)
