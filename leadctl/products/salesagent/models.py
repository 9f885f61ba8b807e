"""The models of salesagent, from the modules that define them."""

from leadctl.products.salesagent.accounts import (
    AuditLog,
    Base,
    LoginSession,
    Organisation,
    Subscription,
    User,
)
from leadctl.products.salesagent.outreach import (
    Activity,
    AiInsight,
    Campaign,
    EmailSequence,
    Icp,
    Message,
    Prospect,
    SequenceStep,
)

__all__ = [
    "Activity",
    "AiInsight",
    "AuditLog",
    "Base",
    "Campaign",
    "EmailSequence",
    "Icp",
    "LoginSession",
    "Message",
    "Organisation",
    "Prospect",
    "SequenceStep",
    "Subscription",
    "User",
]
