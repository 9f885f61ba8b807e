"""Indexes of foreign keys and of what is searched for.

Built without blocking writers, so outside a transaction: each statement can be run again.

Revision: salesagent_0002
Follows: salesagent_0001
"""

import sqlalchemy as sa
from alembic import op

revision = "salesagent_0002"
down_revision = "salesagent_0001"

PLAIN = (
    ("sessions", "organisation_id", "user_id"),
    ("sessions", "expires_at"),
    ("subscriptions", "organisation_id", "status"),
    ("subscriptions", "current_period_end"),
    ("audit_logs", "organisation_id", "created_at"),
    ("audit_logs", "user_id"),
    ("audit_logs", "entity", "entity_id"),
    ("prospects", "organisation_id", "user_id"),
    ("prospects", "organisation_id", "icp_id"),
    ("prospects", "organisation_id", "stage"),
    ("prospects", "organisation_id", "created_at"),
    ("prospects", "score"),
    ("activities", "organisation_id", "prospect_id"),
    ("activities", "organisation_id", "user_id", "due_at"),
    ("activities", "organisation_id", "status", "due_at"),
    ("activities", "organisation_id", "created_at"),
    ("email_sequences", "organisation_id", "status"),
    ("sequence_steps", "organisation_id", "sequence_id"),
    ("campaigns", "organisation_id", "user_id"),
    ("campaigns", "organisation_id", "sequence_id"),
    ("campaigns", "organisation_id", "icp_id"),
    ("campaigns", "organisation_id", "status"),
    ("messages", "organisation_id", "prospect_id"),
    ("messages", "organisation_id", "campaign_id"),
    ("messages", "organisation_id", "step_id"),
    ("messages", "organisation_id", "user_id"),
    ("messages", "organisation_id", "created_at"),
    ("messages", "organisation_id", "status"),
    ("ai_insights", "organisation_id", "prospect_id"),
    ("ai_insights", "organisation_id", "campaign_id"),
    ("ai_insights", "organisation_id", "type", "status"),
)
DELETED = (
    "organisations",
    "users",
    "sessions",
    "subscriptions",
    "audit_logs",
    "icps",
    "prospects",
    "activities",
    "email_sequences",
    "sequence_steps",
    "campaigns",
    "messages",
    "ai_insights",
)
SPECIAL = {
    "ix_prospects_email": ("prospects", [sa.text("lower(email)")], {}),
    "ix_prospects_company_domain": ("prospects", [sa.text("lower(company_domain)")], {}),
    "ix_prospects_tags": ("prospects", ["tags"], {"postgresql_using": "gin"}),
    "ix_prospects_enrichment": (
        "prospects",
        ["enrichment"],
        {"postgresql_using": "gin", "postgresql_ops": {"enrichment": "jsonb_path_ops"}},
    ),
    "ix_messages_scheduled_at": (
        "messages",
        ["scheduled_at"],
        {"postgresql_where": sa.text("status = 'QUEUED'")},
    ),
}
INDEXES = {
    **{f"ix_{table}_{'_'.join(columns)}": (table, list(columns), {}) for table, *columns in PLAIN},
    **{
        f"ix_{table}_deleted_at": (
            table,
            ["deleted_at"],
            {"postgresql_where": sa.text("deleted_at IS NOT NULL")},
        )
        for table in DELETED
    },
    **SPECIAL,
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for name, (table, columns, options) in INDEXES.items():
            op.create_index(
                name, table, columns, postgresql_concurrently=True, if_not_exists=True, **options
            )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name, (table, _, _) in INDEXES.items():
            op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)
