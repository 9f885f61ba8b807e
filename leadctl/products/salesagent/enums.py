"""The enums of salesagent: every status, type and kind that a column can have."""

import enum


class Region(enum.Enum):
    """Where an organisation's data must stay."""

    EU = "EU"
    US = "US"
    CA = "CA"


class Language(enum.Enum):
    """A language of the product, as ISO 639-1 has it."""

    FR = "fr"
    EN = "en"


class UserRole(enum.Enum):
    """What a user may do in the organisation."""

    OWNER = "OWNER"
    ADMIN = "ADMIN"
    MEMBER = "MEMBER"


class UserStatus(enum.Enum):
    """Whether a user may sign in."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


class Plan(enum.Enum):
    """What an organisation subscribes to."""

    FREE = "FREE"
    STARTER = "STARTER"
    PROFESSIONAL = "PROFESSIONAL"
    ENTERPRISE = "ENTERPRISE"


class SubscriptionStatus(enum.Enum):
    """Whether a subscription is paid for."""

    TRIALING = "TRIALING"
    ACTIVE = "ACTIVE"
    PAST_DUE = "PAST_DUE"
    CANCELED = "CANCELED"


class BillingInterval(enum.Enum):
    """What a subscription's price is for."""

    MONTHLY = "MONTHLY"
    YEARLY = "YEARLY"


class Currency(enum.Enum):
    """What a subscription is paid in: the currency of a region."""

    EUR = "EUR"
    USD = "USD"
    CAD = "CAD"


class AuditAction(enum.Enum):
    """What somebody did."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    RESTORE = "RESTORE"
    LOGIN = "LOGIN"
    LOGOUT = "LOGOUT"
    EXPORT = "EXPORT"


class ProspectStage(enum.Enum):
    """How far a prospect has come."""

    NEW = "NEW"
    CONTACTED = "CONTACTED"
    ENGAGED = "ENGAGED"
    QUALIFIED = "QUALIFIED"
    MEETING = "MEETING"
    WON = "WON"
    LOST = "LOST"


class ProspectSource(enum.Enum):
    """Where a prospect was found."""

    MANUAL = "MANUAL"
    IMPORT = "IMPORT"
    ENRICHMENT = "ENRICHMENT"
    INBOUND = "INBOUND"
    REFERRAL = "REFERRAL"


class SequenceStatus(enum.Enum):
    """Whether an email sequence may be used."""

    DRAFT = "DRAFT"
    ACTIVE = "ACTIVE"
    ARCHIVED = "ARCHIVED"


class CampaignStatus(enum.Enum):
    """How far a campaign has come."""

    DRAFT = "DRAFT"
    SCHEDULED = "SCHEDULED"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"


class MessageDirection(enum.Enum):
    """Who wrote: the organisation (OUTBOUND) or the prospect (INBOUND)."""

    OUTBOUND = "OUTBOUND"
    INBOUND = "INBOUND"


class MessageChannel(enum.Enum):
    """What a message was sent through."""

    EMAIL = "EMAIL"
    LINKEDIN = "LINKEDIN"
    SMS = "SMS"


class MessageStatus(enum.Enum):
    """How far a message has come; RECEIVED is an inbound one's only status."""

    DRAFT = "DRAFT"
    QUEUED = "QUEUED"
    SENT = "SENT"
    DELIVERED = "DELIVERED"
    BOUNCED = "BOUNCED"
    FAILED = "FAILED"
    RECEIVED = "RECEIVED"


class ActivityType(enum.Enum):
    """What is to be done, or was done."""

    TASK = "TASK"
    CALL = "CALL"
    EMAIL = "EMAIL"
    MEETING = "MEETING"
    NOTE = "NOTE"


class ActivityStatus(enum.Enum):
    """Whether it is done."""

    PENDING = "PENDING"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"


class ActivityPriority(enum.Enum):
    """How soon somebody should look at it."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"


class InsightType(enum.Enum):
    """What an insight is about."""

    QUALIFICATION = "QUALIFICATION"
    NEXT_ACTION = "NEXT_ACTION"
    TIMING = "TIMING"
    MESSAGING = "MESSAGING"
    RISK = "RISK"


class InsightStatus(enum.Enum):
    """What somebody made of an insight."""

    NEW = "NEW"
    ACCEPTED = "ACCEPTED"
    DISMISSED = "DISMISSED"


ENUMS: tuple[type[enum.Enum], ...] = (
    Region,
    Language,
    UserRole,
    UserStatus,
    Plan,
    SubscriptionStatus,
    BillingInterval,
    Currency,
    AuditAction,
    ProspectStage,
    ProspectSource,
    SequenceStatus,
    CampaignStatus,
    MessageDirection,
    MessageChannel,
    MessageStatus,
    ActivityType,
    ActivityStatus,
    ActivityPriority,
    InsightType,
    InsightStatus,
)
