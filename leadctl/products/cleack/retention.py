"""The retention rules of cleack.

None is for credits, an append-only ledger.  What the document keeps as inactive (accounts,
blacklist entries) is kept.  A draw goes only with its user: its certificate is the user's proof.
"""

from leadctl.apps.retention import Rule

RULES = (
    # A verification token is a column of its user, and has no age of its own.  Who has credits, be
    # it a bonus, stays: no rule deletes from the ledger, nor rows that it does not name.
    Rule(
        "unverified-users",
        table="users",
        age_column="created_at",
        older_than="365d",
        condition="NOT email_verified AND verification_token IS NOT NULL"
        " AND NOT EXISTS (SELECT FROM credits WHERE user_id = users.id)"
        " AND NOT EXISTS (SELECT FROM subscriptions WHERE user_id = users.id)"
        " AND NOT EXISTS (SELECT FROM social_accounts WHERE user_id = users.id)"
        " AND NOT EXISTS (SELECT FROM draws WHERE user_id = users.id)"
        " AND NOT EXISTS (SELECT FROM blacklist WHERE user_id = users.id)",
        description="Users who never verified their address and have nothing, with their token.",
    ),
    # Of draws that ended for good: a failed one can be retried, and its next step counts on from
    # those that exist.
    Rule(
        "draw-history",
        table="draw_history",
        age_column="created_at",
        older_than="730d",
        condition="EXISTS (SELECT FROM draws"
        " WHERE id = draw_history.draw_id AND status IN ('completed', 'cancelled'))",
        archive=True,
        description="The audit trail of draws that are no longer contested.",
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
