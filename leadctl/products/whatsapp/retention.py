"""The retention rules of whatsapp: its document's deleteOldEvents(90).

An event goes whether or not it was processed: its payload has phone numbers and what people wrote,
and a report that is 90 days late is of no use.  The archive keeps what was never processed.
Messages have no rule, being the record of what was sent to whom.
"""

from leadctl.apps.retention import Rule

RULES = (
    Rule(
        "webhook-events",
        table="webhook_events",
        age_column="received_at",
        older_than="90d",
        archive=True,
        description="Webhook events, processed or not.",
    ),
)
