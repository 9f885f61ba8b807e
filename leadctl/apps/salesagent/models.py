"""The models of salesagent, from the modules that define them."""

from leadctl.apps.salesagent.accounts import (
    AuditLog,
    LoginSession,
    Organisation,
    Subscription,
    User,
)
from leadctl.apps.salesagent.base import Base
from leadctl.apps.salesagent.outreach import Campaign, EmailSequence, Message, SequenceStep
from leadctl.apps.salesagent.prospecting import Activity, AiInsight, Icp, Prospect

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
