"""Initial schema.

Revision: salesagent_0001
Follows:
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "salesagent_0001"
down_revision = None


def _enum(name: str, values: str) -> pg.ENUM:
    return pg.ENUM(*values.split(), name=name, create_type=False)


REGION = _enum("region", "EU US CA")
LANGUAGE = _enum("language", "fr en")
USER_ROLE = _enum("user_role", "OWNER ADMIN MEMBER")
USER_STATUS = _enum("user_status", "ACTIVE SUSPENDED")
PLAN = _enum("plan", "FREE STARTER PROFESSIONAL ENTERPRISE")
SUBSCRIPTION_STATUS = _enum("subscription_status", "TRIALING ACTIVE PAST_DUE CANCELED")
BILLING_INTERVAL = _enum("billing_interval", "MONTHLY YEARLY")
CURRENCY = _enum("currency", "EUR USD CAD")
AUDIT_ACTION = _enum("audit_action", "CREATE UPDATE DELETE RESTORE LOGIN LOGOUT EXPORT")
PROSPECT_STAGE = _enum("prospect_stage", "NEW CONTACTED ENGAGED QUALIFIED MEETING WON LOST")
PROSPECT_SOURCE = _enum("prospect_source", "MANUAL IMPORT ENRICHMENT INBOUND REFERRAL")
SEQUENCE_STATUS = _enum("sequence_status", "DRAFT ACTIVE ARCHIVED")
CAMPAIGN_STATUS = _enum("campaign_status", "DRAFT SCHEDULED ACTIVE PAUSED COMPLETED CANCELED")
MESSAGE_DIRECTION = _enum("message_direction", "OUTBOUND INBOUND")
MESSAGE_CHANNEL = _enum("message_channel", "EMAIL LINKEDIN SMS")
MESSAGE_STATUS = _enum("message_status", "DRAFT QUEUED SENT DELIVERED BOUNCED FAILED RECEIVED")
ACTIVITY_TYPE = _enum("activity_type", "TASK CALL EMAIL MEETING NOTE")
ACTIVITY_STATUS = _enum("activity_status", "PENDING COMPLETED CANCELED")
ACTIVITY_PRIORITY = _enum("activity_priority", "LOW MEDIUM HIGH")
INSIGHT_TYPE = _enum("insight_type", "QUALIFICATION NEXT_ACTION TIMING MESSAGING RISK")
INSIGHT_STATUS = _enum("insight_status", "NEW ACCEPTED DISMISSED")
ENUMS = [value for value in list(globals().values()) if isinstance(value, pg.ENUM)]

TIME = sa.DateTime(timezone=True)
NOW, EMPTY = sa.text("now()"), sa.text("'{}'")
ADDRESS, DOMAIN = r"^[^@\s]+@[^@\s]+$", r"^[^@/\s]+$"

TABLES = (
    "organisations",
    "users",
    "sessions",
    "subscriptions",
    "audit_logs",
    "icps",
    "prospects",
    "activities",
    "email_sequences",
    "sequence_steps",
    "campaigns",
    "messages",
    "ai_insights",
)
UNIQUE_WHILE_LIVE = {
    "uq_organisations_domain": ("organisations", "lower(domain)"),
    "uq_users_email": ("users", "lower(email)"),
    "uq_subscriptions_organisation_id": ("subscriptions", "organisation_id"),
    "uq_icps_name": ("icps", "organisation_id", "lower(name)"),
    "uq_prospects_email": ("prospects", "organisation_id", "lower(email)"),
    "uq_email_sequences_name": ("email_sequences", "organisation_id", "lower(name)"),
    "uq_sequence_steps_position": ("sequence_steps", "sequence_id", "position"),
    "uq_messages_step": ("messages", "campaign_id", "prospect_id", "step_id"),
}
AND_ONLY = {
    "subscriptions": " AND status <> 'CANCELED'",
    "messages": " AND direction = 'OUTBOUND'",
}


def _has(name: str, kind: Any = sa.Text, default: Any = None) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, server_default=default)


def _number(name: str, default: int) -> sa.Column[Any]:
    return _has(name, sa.Integer, sa.text(str(default)))


def _may_have(*names: str, kind: Any = sa.Text) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind) for name in names]


def _check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    # op.f: under plain Alembic the models' naming convention would prefix the name once more.
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))


def _score(table: str, column: str) -> sa.CheckConstraint:
    return _check(table, f"{column}_range", f"{column} BETWEEN 0 AND 100")


def _object(table: str, column: str) -> sa.CheckConstraint:
    return _check(table, f"{column}_object", f"jsonb_typeof({column}) = 'object'")


def _key(table: str) -> sa.UniqueConstraint:
    """What foreign keys within an organisation refer to."""
    return sa.UniqueConstraint("organisation_id", "id", name=f"uq_{table}_organisation_id_id")


def _owned(table: str, column: str, parent: str, ondelete: str = "CASCADE") -> Any:
    return sa.ForeignKeyConstraint(
        ["organisation_id", column],
        [f"{parent}.organisation_id", f"{parent}.id"],
        name=f"fk_{table}_organisation_id_{column}_{parent}",
        ondelete=ondelete,
    )


def _linked(table: str, column: str, parent: str) -> Any:
    return _owned(table, column, parent, f"SET NULL ({column})")


def _to_organisation(table: str, ondelete: str = "CASCADE") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["organisation_id"],
        ["organisations.id"],
        name=f"fk_{table}_organisation_id_organisations",
        ondelete=ondelete,
    )


def _create(table: str, *parts: Any) -> None:
    op.create_table(
        table,
        sa.Column("id", sa.Text),
        *parts,
        _has("created_at", TIME, NOW),
        _has("updated_at", TIME, NOW),
        *_may_have("deleted_at", kind=TIME),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
    )


def _create_owned(table: str, *parts: Any) -> None:
    _create(table, _has("organisation_id"), *parts, _to_organisation(table))


def upgrade() -> None:
    for enum in ENUMS:
        enum.create(op.get_bind(), checkfirst=False)
    _create_accounts()
    _create_prospecting()
    _create_outreach()
    for name, (table, *columns) in UNIQUE_WHILE_LIVE.items():
        op.create_index(
            name,
            table,
            [sa.text(column) for column in columns],
            unique=True,
            postgresql_where=sa.text(f"deleted_at IS NULL{AND_ONLY.get(table, '')}"),
        )


def _create_accounts() -> None:
    _create(
        "organisations",
        _has("name"),
        *_may_have("domain"),
        _has("region", REGION),
        _has("language", LANGUAGE, "en"),
        _check("organisations", "domain_name", f"domain ~ '{DOMAIN}'"),
    )
    _create_owned(
        "users",
        _has("email"),
        _has("password_hash"),
        _has("first_name"),
        _has("last_name"),
        _has("role", USER_ROLE, "MEMBER"),
        _has("status", USER_STATUS, "ACTIVE"),
        _has("language", LANGUAGE, "en"),
        *_may_have("last_login_at", kind=TIME),
        _key("users"),
        _check("users", "email_address", f"email ~ '{ADDRESS}'"),
        _check(
            "users",
            "password_hash_bcrypt",
            r"password_hash ~ '^\$2[aby]\$1[0-9]\$[./A-Za-z0-9]{53}$'",
        ),
    )
    _create_owned(
        "sessions",
        _has("user_id"),
        _has("token_hash"),
        *_may_have("ip_address", kind=pg.INET),
        *_may_have("user_agent"),
        _has("expires_at", TIME),
        _owned("sessions", "user_id", "users"),
        sa.UniqueConstraint("token_hash", name="uq_sessions_token_hash"),
        _check("sessions", "token_hash_sha256", "token_hash ~ '^[0-9a-f]{64}$'"),
        _check("sessions", "expires_after_creation", "expires_at > created_at"),
    )
    _create_owned(
        "subscriptions",
        _has("plan", PLAN, "FREE"),
        _has("status", SUBSCRIPTION_STATUS, "TRIALING"),
        _has("billing_interval", BILLING_INTERVAL, "MONTHLY"),
        _number("price_cents", 0),
        _has("currency", CURRENCY, "EUR"),
        _number("seats", 1),
        _has("current_period_start", TIME, NOW),
        *_may_have("current_period_end", "canceled_at", kind=TIME),
        *_may_have("external_id"),
        sa.UniqueConstraint("external_id", name="uq_subscriptions_external_id"),
        _check("subscriptions", "price_not_negative", "price_cents >= 0"),
        _check("subscriptions", "seats_positive", "seats > 0"),
        _check("subscriptions", "period_ends_after", "current_period_end > current_period_start"),
        _check(
            "subscriptions",
            "canceled_has_time",
            "status <> 'CANCELED' OR canceled_at IS NOT NULL",
        ),
    )
    _create(
        "audit_logs",
        *_may_have("organisation_id", "user_id"),
        _has("actor"),
        _has("action", AUDIT_ACTION),
        _has("entity"),
        _has("entity_id"),
        *_may_have("before", "after", kind=pg.JSONB),
        *_may_have("ip_address", kind=pg.INET),
        *_may_have("user_agent"),
        _object("audit_logs", "before"),
        _object("audit_logs", "after"),
        _to_organisation("audit_logs", "SET NULL"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_audit_logs_user_id_users", ondelete="SET NULL"
        ),
    )


def _create_prospecting() -> None:
    _create_owned(
        "icps",
        _has("name"),
        *_may_have("description"),
        _has("industries", pg.ARRAY(sa.Text), EMPTY),
        _has("countries", pg.ARRAY(sa.Text), EMPTY),
        _has("job_titles", pg.ARRAY(sa.Text), EMPTY),
        *_may_have("min_employees", "max_employees", kind=sa.Integer),
        _number("min_score", 50),
        _has("criteria", pg.JSONB, EMPTY),
        _key("icps"),
        _check("icps", "min_employees_not_negative", "min_employees >= 0"),
        _check("icps", "max_employees_not_negative", "max_employees >= 0"),
        _check("icps", "employees_range", "max_employees >= min_employees"),
        _score("icps", "min_score"),
        _object("icps", "criteria"),
    )
    _create_owned(
        "prospects",
        *_may_have("user_id", "icp_id"),
        _has("email"),
        *_may_have("first_name", "last_name", "job_title", "phone", "linkedin_url"),
        *_may_have("company_name", "company_domain", "country"),
        _has("language", LANGUAGE, "en"),
        _has("stage", PROSPECT_STAGE, "NEW"),
        _has("source", PROSPECT_SOURCE, "MANUAL"),
        *_may_have("score", "fit_score", "intent_score", kind=sa.Integer),
        _has("tags", pg.ARRAY(sa.Text), EMPTY),
        _has("enrichment", pg.JSONB, EMPTY),
        *_may_have("last_contacted_at", "unsubscribed_at", kind=TIME),
        _key("prospects"),
        _linked("prospects", "user_id", "users"),
        _linked("prospects", "icp_id", "icps"),
        _check("prospects", "email_address", f"email ~ '{ADDRESS}'"),
        _check("prospects", "company_domain_name", f"company_domain ~ '{DOMAIN}'"),
        _check("prospects", "phone_e164", r"phone ~ '^\+[1-9][0-9]{6,14}$'"),
        _score("prospects", "score"),
        _score("prospects", "fit_score"),
        _score("prospects", "intent_score"),
        _object("prospects", "enrichment"),
    )
    _create_owned(
        "activities",
        *_may_have("prospect_id", "user_id"),
        _has("type", ACTIVITY_TYPE),
        _has("status", ACTIVITY_STATUS, "PENDING"),
        _has("priority", ACTIVITY_PRIORITY, "MEDIUM"),
        _has("title"),
        *_may_have("description"),
        *_may_have("due_at", "completed_at", kind=TIME),
        _owned("activities", "prospect_id", "prospects"),
        _linked("activities", "user_id", "users"),
        _check(
            "activities",
            "completed_has_time",
            "(status = 'COMPLETED') = (completed_at IS NOT NULL)",
        ),
    )


def _create_outreach() -> None:
    _create_owned(
        "email_sequences",
        _has("name"),
        *_may_have("description"),
        _has("status", SEQUENCE_STATUS, "DRAFT"),
        _has("language", LANGUAGE, "en"),
        _key("email_sequences"),
    )
    _create_owned(
        "sequence_steps",
        _has("sequence_id"),
        _has("position", sa.Integer),
        _number("delay_days", 0),
        _has("subject_template"),
        _has("body_template"),
        _key("sequence_steps"),
        _owned("sequence_steps", "sequence_id", "email_sequences"),
        _check("sequence_steps", "position_positive", "position > 0"),
        _check("sequence_steps", "delay_not_negative", "delay_days >= 0"),
    )
    _create_owned(
        "campaigns",
        *_may_have("user_id", "sequence_id", "icp_id"),
        _has("name"),
        *_may_have("description"),
        _has("status", CAMPAIGN_STATUS, "DRAFT"),
        _number("daily_limit", 50),
        *_may_have("starts_at", "ends_at", kind=TIME),
        _key("campaigns"),
        _linked("campaigns", "user_id", "users"),
        _linked("campaigns", "sequence_id", "email_sequences"),
        _linked("campaigns", "icp_id", "icps"),
        _check("campaigns", "daily_limit_positive", "daily_limit > 0"),
        _check("campaigns", "ends_after_start", "ends_at > starts_at"),
    )
    _create_owned(
        "messages",
        _has("prospect_id"),
        *_may_have("campaign_id", "step_id", "user_id"),
        _has("direction", MESSAGE_DIRECTION),
        _has("channel", MESSAGE_CHANNEL, "EMAIL"),
        _has("status", MESSAGE_STATUS),
        *_may_have("subject"),
        _has("body"),
        *_may_have("external_id", "error"),
        *_may_have("scheduled_at", "sent_at", "delivered_at", "opened_at", kind=TIME),
        *_may_have("clicked_at", "replied_at", "bounced_at", kind=TIME),
        _number("open_count", 0),
        _number("click_count", 0),
        _owned("messages", "prospect_id", "prospects"),
        _linked("messages", "campaign_id", "campaigns"),
        _linked("messages", "step_id", "sequence_steps"),
        _linked("messages", "user_id", "users"),
        sa.UniqueConstraint(
            "organisation_id", "external_id", name="uq_messages_organisation_id_external_id"
        ),
        _check(
            "messages", "inbound_is_received", "(direction = 'INBOUND') = (status = 'RECEIVED')"
        ),
        _check(
            "messages",
            "sent_has_time",
            "status NOT IN ('SENT', 'DELIVERED', 'BOUNCED') OR sent_at IS NOT NULL",
        ),
        _check(
            "messages",
            "only_sent_is_read",
            "sent_at IS NOT NULL OR num_nonnulls(opened_at, clicked_at, replied_at) = 0",
        ),
        _check("messages", "open_count_not_negative", "open_count >= 0"),
        _check("messages", "click_count_not_negative", "click_count >= 0"),
    )
    _create_owned(
        "ai_insights",
        *_may_have("prospect_id", "campaign_id"),
        _has("type", INSIGHT_TYPE),
        _has("status", INSIGHT_STATUS, "NEW"),
        _has("title"),
        _has("recommendation"),
        _has("confidence", sa.Float),
        _has("model"),
        _has("evidence", pg.JSONB, EMPTY),
        *_may_have("reviewed_at", kind=TIME),
        _owned("ai_insights", "prospect_id", "prospects"),
        _owned("ai_insights", "campaign_id", "campaigns"),
        _check("ai_insights", "confidence_range", "confidence BETWEEN 0 AND 1"),
        _check("ai_insights", "one_subject", "num_nonnulls(prospect_id, campaign_id) <= 1"),
        _check("ai_insights", "reviewed_has_time", "(status = 'NEW') = (reviewed_at IS NULL)"),
        _object("ai_insights", "evidence"),
    )


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
    for enum in ENUMS:
        enum.drop(op.get_bind(), checkfirst=False)
