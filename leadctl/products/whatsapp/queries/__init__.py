"""What whatsapp asks of its database, by subject.

They take a session and do not commit.  `user_id` is the tenant: pages that a user sees name it,
background jobs that serve everybody leave it out.
"""

from leadctl.products.whatsapp.queries.campaigns import claim_due_campaigns
from leadctl.products.whatsapp.queries.contacts import opted_in_contacts
from leadctl.products.whatsapp.queries.messages import (
    record_failed,
    record_sent,
    retry_failed_messages,
    update_message_status,
)
from leadctl.products.whatsapp.queries.webhook_events import (
    claim_webhook_events,
    delete_old_events,
    mark_failed,
    mark_processed,
    reprocess_failed_events,
)

__all__ = [
    "claim_due_campaigns",
    "claim_webhook_events",
    "delete_old_events",
    "mark_failed",
    "mark_processed",
    "opted_in_contacts",
    "record_failed",
    "record_sent",
    "reprocess_failed_events",
    "retry_failed_messages",
    "update_message_status",
]
