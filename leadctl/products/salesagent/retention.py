"""The retention rules of salesagent: what its document cleans up."""

from leadctl.apps.retention import Rule

_CHILDREN_FIRST = (
    "messages",
    "activities",
    "ai_insights",
    "campaigns",
    "sequence_steps",
    "email_sequences",
    "prospects",
    "icps",
    "sessions",
    "subscriptions",
    "audit_logs",
    "users",
    "organisations",
)
"""So that a row goes by its own table's rule, which counts it, and not along with another row."""

RULES = (
    Rule(
        "expired-sessions",
        table="sessions",
        age_column="expires_at",
        older_than="0d",
        expiry=True,
        description="Sessions that have expired.",
    ),
    *(
        Rule(
            f"deleted-{table.replace('_', '-')}",
            table=table,
            age_column="deleted_at",
            older_than="30d",
            description=f"Rows of {table} that were marked as deleted.",
        )
        for table in _CHILDREN_FIRST
    ),
)
