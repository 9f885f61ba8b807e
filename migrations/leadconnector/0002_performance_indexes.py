"""Performance indexes.

Built without blocking writers, so outside a transaction: each statement can be run again.

Revision: leadconnector_0002
Follows: leadconnector_0001
"""

from alembic import op

revision = "leadconnector_0002"
down_revision = "leadconnector_0001"

INDEXES = {
    "idx_leads_form_id": ("leads", ["form_id"]),
    "idx_leads_campaign_id": ("leads", ["campaign_id"]),
    "idx_webhook_deliveries_created_at": ("webhook_deliveries", ["created_at"]),
    "idx_users_last_login": ("users", ["last_login"]),
    "idx_pages_updated_at": ("pages", ["updated_at"]),
    "idx_leads_page_status": ("leads", ["page_id", "status"]),
    "idx_deliveries_webhook_status": ("webhook_deliveries", ["webhook_id", "status"]),
    "idx_deliveries_lead_status": ("webhook_deliveries", ["lead_id", "status"]),
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for name, (table, columns) in INDEXES.items():
            op.create_index(name, table, columns, postgresql_concurrently=True, if_not_exists=True)


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name, (table, _) in INDEXES.items():
            op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)
