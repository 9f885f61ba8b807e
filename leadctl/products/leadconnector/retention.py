"""The retention rules of leadconnector: its document's cleanupOldData."""

from leadctl.apps.retention import Rule

RULES = (
    Rule(
        "archived-leads",
        table="leads",
        age_column="created_at",
        older_than="90d",
        condition="status = 'ARCHIVED'",
        description="Leads that were archived, with their deliveries.",
    ),
    Rule(
        "finished-deliveries",
        table="webhook_deliveries",
        age_column="created_at",
        older_than="90d",
        condition="status IN ('SUCCESS', 'FAILED')",
        description="Deliveries that succeeded or failed for good.",
    ),
)
