"""The models of salesagent, from the modules that define them."""

from leadctl.products.salesagent.accounts import (
    AuditLog,
    LoginSession,
    Organisation,
    Subscription,
    User,
)
from leadctl.products.salesagent.base import Base
from leadctl.products.salesagent.outreach import Campaign, EmailSequence, Message, SequenceStep
from leadctl.products.salesagent.prospecting import Activity, AiInsight, Icp, Prospect

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
