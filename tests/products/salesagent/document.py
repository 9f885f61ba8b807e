"""What salesagent's document says: every table, column, enum, key and index."""

import re

from tests.products.spec import Table

TIMES = "created_at time = now(), updated_at time = now(), deleted_at time?"


def table(columns: str, unique: tuple[str, ...] = (), indexes: tuple[str, ...] = ()) -> Table:
    """Read columns as `name type = default, …`; every table has an id and three times besides.

    A name that SQL uses itself is quoted, as in the catalog.
    """
    kinds, defaults = {"id": "text"}, {}
    for line in f"{columns}, {TIMES}".split(","):
        column, _, default = line.strip().partition(" = ")
        name, kind = column.split(maxsplit=1)
        kinds[name] = re.sub("^time", "timestamp with time zone", kind)
        if default:
            defaults[name] = default
    return Table(kinds, unique=unique, indexes=indexes, defaults=defaults)


TABLES = {
    "organisations": table(
        """
        name text, domain text?, region region, language language = 'en'
        """
    ),
    "users": table(
        """
        organisation_id text, email text, password_hash text, first_name text, last_name text,
        role user_role = 'MEMBER', status user_status = 'ACTIVE', language language = 'en',
        last_login_at time?
        """,
        unique=("organisation_id, id",),
    ),
    "sessions": table(
        """
        organisation_id text, user_id text, token_hash text, ip_address inet?, user_agent text?,
        expires_at time
        """,
        unique=("token_hash",),
        indexes=("organisation_id, user_id", "expires_at"),
    ),
    "subscriptions": table(
        """
        organisation_id text, plan plan = 'FREE', status subscription_status = 'TRIALING',
        billing_interval billing_interval = 'MONTHLY', price_cents integer = 0,
        currency currency = 'EUR', seats integer = 1, current_period_start time = now(),
        current_period_end time?, canceled_at time?, external_id text?
        """,
        unique=("external_id",),
        indexes=("organisation_id, status", "current_period_end"),
    ),
    "audit_logs": table(
        """
        organisation_id text?, user_id text?, actor text, action audit_action, entity text,
        entity_id text, before jsonb?, after jsonb?, ip_address inet?, user_agent text?
        """,
        indexes=("organisation_id, created_at", "user_id", "entity, entity_id"),
    ),
    "icps": table(
        """
        organisation_id text, name text, description text?, industries text[] = '{}',
        countries text[] = '{}', job_titles text[] = '{}', min_employees integer?,
        max_employees integer?, min_score integer = 50, criteria jsonb = '{}'
        """,
        unique=("organisation_id, id",),
    ),
    "prospects": table(
        """
        organisation_id text, user_id text?, icp_id text?, email text, first_name text?,
        last_name text?, job_title text?, phone text?, linkedin_url text?, company_name text?,
        company_domain text?, country text?, language language = 'en',
        stage prospect_stage = 'NEW', source prospect_source = 'MANUAL', score integer?,
        fit_score integer?, intent_score integer?, tags text[] = '{}', enrichment jsonb = '{}',
        last_contacted_at time?, unsubscribed_at time?
        """,
        unique=("organisation_id, id",),
        indexes=(
            "lower(email)",  # the document's @@index([email]), in any case
            "lower(company_domain)",
            "score",
            "organisation_id, user_id",
            "organisation_id, icp_id",
            "organisation_id, stage",
            "organisation_id, created_at",
        ),
    ),
    "activities": table(
        """
        organisation_id text, prospect_id text?, user_id text?, type activity_type,
        status activity_status = 'PENDING', priority activity_priority = 'MEDIUM', title text,
        description text?, due_at time?, completed_at time?
        """,
        indexes=(
            "organisation_id, prospect_id",
            "organisation_id, user_id, due_at",
            "organisation_id, status, due_at",
            "organisation_id, created_at",
        ),
    ),
    "email_sequences": table(
        """
        organisation_id text, name text, description text?, status sequence_status = 'DRAFT',
        language language = 'en'
        """,
        unique=("organisation_id, id",),
        indexes=("organisation_id, status",),
    ),
    "sequence_steps": table(
        """
        organisation_id text, sequence_id text, "position" integer, delay_days integer = 0,
        subject_template text, body_template text
        """,
        unique=("organisation_id, id",),
        indexes=("organisation_id, sequence_id",),
    ),
    "campaigns": table(
        """
        organisation_id text, user_id text?, sequence_id text?, icp_id text?, name text,
        description text?, status campaign_status = 'DRAFT', daily_limit integer = 50,
        starts_at time?, ends_at time?
        """,
        unique=("organisation_id, id",),
        indexes=(
            "organisation_id, user_id",
            "organisation_id, sequence_id",
            "organisation_id, icp_id",
            "organisation_id, status",
        ),
    ),
    "messages": table(
        """
        organisation_id text, prospect_id text, campaign_id text?, step_id text?, user_id text?,
        direction message_direction, channel message_channel = 'EMAIL', status message_status,
        subject text?, body text, external_id text?, error text?, scheduled_at time?,
        sent_at time?, delivered_at time?, opened_at time?, clicked_at time?, replied_at time?,
        bounced_at time?, open_count integer = 0, click_count integer = 0
        """,
        unique=("organisation_id, external_id",),
        indexes=(
            "organisation_id, prospect_id",
            "organisation_id, campaign_id",
            "organisation_id, step_id",
            "organisation_id, user_id",
            "organisation_id, created_at",
            "organisation_id, status",
        ),
    ),
    "ai_insights": table(
        """
        organisation_id text, prospect_id text?, campaign_id text?, type insight_type,
        status insight_status = 'NEW', title text, recommendation text,
        confidence double precision, model text, evidence jsonb = '{}', reviewed_at time?
        """,
        indexes=(
            "organisation_id, prospect_id",
            "organisation_id, campaign_id",
            "organisation_id, type, status",
        ),
    ),
}

ENUMS = {
    "region": ["EU", "US", "CA"],
    "language": ["fr", "en"],
    "user_role": ["OWNER", "ADMIN", "MEMBER"],
    "user_status": ["ACTIVE", "SUSPENDED"],
    "plan": ["FREE", "STARTER", "PROFESSIONAL", "ENTERPRISE"],
    "subscription_status": ["TRIALING", "ACTIVE", "PAST_DUE", "CANCELED"],
    "billing_interval": ["MONTHLY", "YEARLY"],
    "currency": ["EUR", "USD", "CAD"],
    "audit_action": ["CREATE", "UPDATE", "DELETE", "RESTORE", "LOGIN", "LOGOUT", "EXPORT"],
    "prospect_stage": ["NEW", "CONTACTED", "ENGAGED", "QUALIFIED", "MEETING", "WON", "LOST"],
    "prospect_source": ["MANUAL", "IMPORT", "ENRICHMENT", "INBOUND", "REFERRAL"],
    "sequence_status": ["DRAFT", "ACTIVE", "ARCHIVED"],
    "campaign_status": ["DRAFT", "SCHEDULED", "ACTIVE", "PAUSED", "COMPLETED", "CANCELED"],
    "message_direction": ["OUTBOUND", "INBOUND"],
    "message_channel": ["EMAIL", "LINKEDIN", "SMS"],
    "message_status": ["DRAFT", "QUEUED", "SENT", "DELIVERED", "BOUNCED", "FAILED", "RECEIVED"],
    "activity_type": ["TASK", "CALL", "EMAIL", "MEETING", "NOTE"],
    "activity_status": ["PENDING", "COMPLETED", "CANCELED"],
    "activity_priority": ["LOW", "MEDIUM", "HIGH"],
    "insight_type": ["QUALIFICATION", "NEXT_ACTION", "TIMING", "MESSAGING", "RISK"],
    "insight_status": ["NEW", "ACCEPTED", "DISMISSED"],
}

# Column → table, within an organisation: deleted with the row, or emptied with it.
OWNED = {
    "sessions": {"user_id": "users"},
    "activities": {"prospect_id": "prospects"},
    "sequence_steps": {"sequence_id": "email_sequences"},
    "messages": {"prospect_id": "prospects"},
    "ai_insights": {"prospect_id": "prospects", "campaign_id": "campaigns"},
}
LINKED = {
    "prospects": {"user_id": "users", "icp_id": "icps"},
    "activities": {"user_id": "users"},
    "campaigns": {"user_id": "users", "sequence_id": "email_sequences", "icp_id": "icps"},
    "messages": {"campaign_id": "campaigns", "step_id": "sequence_steps", "user_id": "users"},
}
OF_AN_ORGANISATION = TABLES.keys() - {"organisations", "audit_logs"}

LIVE = "WHERE deleted_at IS NULL"
OTHER_INDEXES = {
    ("organisations", f"UNIQUE btree (lower(domain)) {LIVE}"),
    ("users", f"UNIQUE btree (lower(email)) {LIVE}"),
    (
        "subscriptions",
        f"UNIQUE btree (organisation_id) {LIVE} AND status <> 'CANCELED'::subscription_status",
    ),
    ("icps", f"UNIQUE btree (organisation_id, lower(name)) {LIVE}"),
    ("prospects", f"UNIQUE btree (organisation_id, lower(email)) {LIVE}"),
    ("prospects", "gin (tags)"),
    ("prospects", "gin (enrichment jsonb_path_ops)"),
    ("email_sequences", f"UNIQUE btree (organisation_id, lower(name)) {LIVE}"),
    ("sequence_steps", f'UNIQUE btree (sequence_id, "position") {LIVE}'),
    (
        "messages",
        f"UNIQUE btree (campaign_id, prospect_id, step_id) {LIVE}"
        " AND direction = 'OUTBOUND'::message_direction",
    ),
    ("messages", "btree (scheduled_at) WHERE status = 'QUEUED'::message_status"),
}
