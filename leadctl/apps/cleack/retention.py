"""The retention rules of cleack.

None is for credits, an append-only ledger, nor for users who never verified their address: an
account that somebody still has a password for does not go by its age.  What the document keeps as
inactive (accounts, blacklist entries) is kept.
"""

from leadctl.apps.retention import Rule

RULES = (
    Rule(
        "draw-history",
        table="draw_history",
        age_column="created_at",
        older_than="730d",
        archive=True,
        description="The audit trail of draws that nobody contests any more.",
    ),
    Rule(
        "system-metrics",
        table="system_metrics",
        age_column="created_at",
        older_than="1095d",
        archive=True,
        description="Measurements older than any year-on-year comparison.",
    ),
    Rule(
        "expired-subscriptions",
        table="subscriptions",
        age_column="end_date",
        older_than="3650d",
        condition="status = 'expired'",
        archive=True,
        description="Subscriptions older than the ten years that bookkeeping may ask for.",
    ),
)
