"""The enums of salesagent: every status, type and kind that a column can have."""

import enum


class Choice(enum.Enum):
    """What all of them are."""


class Region(Choice):
    """Where an organisation's data must stay."""

    EU = "EU"
    US = "US"
    CA = "CA"


class Language(Choice):
    """A language of the product, as ISO 639-1 has it."""

    FR = "fr"
    EN = "en"


class UserRole(Choice):
    """What a user may do in the organisation."""

    OWNER = "OWNER"
    ADMIN = "ADMIN"
    MEMBER = "MEMBER"


class UserStatus(Choice):
    """Whether a user may sign in."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


class Plan(Choice):
    """What an organisation subscribes to."""

    FREE = "FREE"
    STARTER = "STARTER"
    PROFESSIONAL = "PROFESSIONAL"
    ENTERPRISE = "ENTERPRISE"


class SubscriptionStatus(Choice):
    """Whether a subscription is paid for."""

    TRIALING = "TRIALING"
    ACTIVE = "ACTIVE"
    PAST_DUE = "PAST_DUE"
    CANCELED = "CANCELED"


class BillingInterval(Choice):
    """What a subscription's price is for."""

    MONTHLY = "MONTHLY"
    YEARLY = "YEARLY"


class Currency(Choice):
    """What a subscription is paid in: the currency of a region."""

    EUR = "EUR"
    USD = "USD"
    CAD = "CAD"


class AuditAction(Choice):
    """What somebody did."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    RESTORE = "RESTORE"
    LOGIN = "LOGIN"
    LOGOUT = "LOGOUT"
    EXPORT = "EXPORT"


class ProspectStage(Choice):
    """How far a prospect has come."""

    NEW = "NEW"
    CONTACTED = "CONTACTED"
    ENGAGED = "ENGAGED"
    QUALIFIED = "QUALIFIED"
    MEETING = "MEETING"
    WON = "WON"
    LOST = "LOST"


class ProspectSource(Choice):
    """Where a prospect was found."""

    MANUAL = "MANUAL"
    IMPORT = "IMPORT"
    ENRICHMENT = "ENRICHMENT"
    INBOUND = "INBOUND"
    REFERRAL = "REFERRAL"


class SequenceStatus(Choice):
    """Whether an email sequence may be used."""

    DRAFT = "DRAFT"
    ACTIVE = "ACTIVE"
    ARCHIVED = "ARCHIVED"


class CampaignStatus(Choice):
    """How far a campaign has come."""

    DRAFT = "DRAFT"
    SCHEDULED = "SCHEDULED"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"


class MessageDirection(Choice):
    """Who wrote: the organisation (OUTBOUND) or the prospect (INBOUND)."""

    OUTBOUND = "OUTBOUND"
    INBOUND = "INBOUND"


class MessageChannel(Choice):
    """What a message was sent through."""

    EMAIL = "EMAIL"
    LINKEDIN = "LINKEDIN"
    SMS = "SMS"


class MessageStatus(Choice):
    """How far a message has come; RECEIVED is an inbound one's only status."""

    DRAFT = "DRAFT"
    QUEUED = "QUEUED"
    SENT = "SENT"
    DELIVERED = "DELIVERED"
    BOUNCED = "BOUNCED"
    FAILED = "FAILED"
    RECEIVED = "RECEIVED"


class ActivityType(Choice):
    """What is to be done, or was done."""

    TASK = "TASK"
    CALL = "CALL"
    EMAIL = "EMAIL"
    MEETING = "MEETING"
    NOTE = "NOTE"


class ActivityStatus(Choice):
    """Whether it is done."""

    PENDING = "PENDING"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"


class ActivityPriority(Choice):
    """How soon somebody should look at it."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"


class InsightType(Choice):
    """What an insight is about."""

    QUALIFICATION = "QUALIFICATION"
    NEXT_ACTION = "NEXT_ACTION"
    TIMING = "TIMING"
    MESSAGING = "MESSAGING"
    RISK = "RISK"


class InsightStatus(Choice):
    """What somebody made of an insight."""

    NEW = "NEW"
    ACCEPTED = "ACCEPTED"
    DISMISSED = "DISMISSED"


ENUMS = Choice.__subclasses__()
