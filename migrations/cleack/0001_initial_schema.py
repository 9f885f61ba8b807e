"""Initial schema.

Revision: cleack_0001
Follows:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "cleack_0001"
down_revision = None

PLATFORMS = ("instagram", "facebook", "tiktok", "twitter")
TRANSACTION_TYPE = pg.ENUM(
    "purchase", "usage", "refund", "bonus", name="transaction_type", create_type=False
)
PLAN_TYPE = pg.ENUM("monthly", "annual", "enterprise", name="plan_type", create_type=False)
SUBSCRIPTION_STATUS = pg.ENUM(
    "active", "cancelled", "expired", "past_due", name="subscription_status", create_type=False
)
PLATFORM = pg.ENUM(*PLATFORMS, name="platform", create_type=False)
BLACKLIST_PLATFORM = pg.ENUM(*PLATFORMS, "all", name="blacklist_platform", create_type=False)
DRAW_STATUS = pg.ENUM(
    "pending",
    "processing",
    "completed",
    "failed",
    "cancelled",
    name="draw_status",
    create_type=False,
)
DRAW_ACTION = pg.ENUM(
    "created",
    "started",
    "completed",
    "failed",
    "cancelled",
    "retried",
    name="draw_action",
    create_type=False,
)
METRIC_TYPE = pg.ENUM(
    "daily_draws",
    "user_signups",
    "revenue",
    "avg_participants_per_draw",
    "error_rate",
    name="metric_type",
    create_type=False,
)
ENUMS = (
    TRANSACTION_TYPE,
    PLAN_TYPE,
    SUBSCRIPTION_STATUS,
    PLATFORM,
    BLACKLIST_PLATFORM,
    DRAW_STATUS,
    DRAW_ACTION,
    METRIC_TYPE,
)

NOW = sa.text("now()")
TRUE = sa.text("true")
ZERO = sa.text("0")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    for enum in ENUMS:
        enum.create(op.get_bind(), checkfirst=False)
    op.create_table(
        "users",
        sa.Column("id", sa.Text),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("email_verified", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("verification_token", sa.Text),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
        sa.UniqueConstraint("verification_token", name="uq_users_verification_token"),
        sa.CheckConstraint(
            r"password_hash ~ '^\$2[aby]\$1[0-9]\$[./A-Za-z0-9]{53}$'",
            name=op.f("ck_users_password_hash_bcrypt"),
        ),
    )
    op.create_table(
        "credits",
        sa.Column("id", sa.Text),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("entry", sa.Integer, nullable=False),
        sa.Column("transaction_type", TRANSACTION_TYPE, nullable=False),
        sa.Column("amount", sa.Integer, nullable=False),
        sa.Column("balance", sa.Integer, nullable=False),
        sa.Column("metadata", pg.JSONB),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_credits"),
        sa.UniqueConstraint("user_id", "entry", name="uq_credits_user_id_entry"),
        of_user("credits"),
        sa.CheckConstraint(
            "CASE transaction_type WHEN 'usage' THEN amount < 0 ELSE amount > 0 END",
            name=op.f("ck_credits_amount_sign"),
        ),
        sa.CheckConstraint("balance >= 0", name=op.f("ck_credits_balance_not_negative")),
    )
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.Text),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("plan_type", PLAN_TYPE, nullable=False),
        sa.Column("status", SUBSCRIPTION_STATUS, nullable=False, server_default="active"),
        sa.Column("price_cents", sa.Integer, nullable=False),
        sa.Column("credits_per_month", sa.Integer, nullable=False),
        sa.Column("start_date", TIME, nullable=False, server_default=NOW),
        sa.Column("end_date", TIME),
        sa.Column("auto_renew", sa.Boolean, nullable=False, server_default=TRUE),
        sa.Column("stripe_subscription_id", sa.Text),
        sa.Column("apple_subscription_id", sa.Text),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_subscriptions"),
        sa.UniqueConstraint(
            "stripe_subscription_id", name="uq_subscriptions_stripe_subscription_id"
        ),
        sa.UniqueConstraint("apple_subscription_id", name="uq_subscriptions_apple_subscription_id"),
        of_user("subscriptions"),
        sa.CheckConstraint(
            "price_cents >= 0", name=op.f("ck_subscriptions_price_cents_not_negative")
        ),
        sa.CheckConstraint(
            "credits_per_month >= 0", name=op.f("ck_subscriptions_credits_per_month_not_negative")
        ),
        sa.CheckConstraint("end_date > start_date", name=op.f("ck_subscriptions_end_after_start")),
        sa.CheckConstraint(
            "end_date IS NOT NULL OR plan_type = 'enterprise'",
            name=op.f("ck_subscriptions_end_known"),
        ),
    )
    op.create_table(
        "social_accounts",
        sa.Column("id", sa.Text),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("platform", PLATFORM, nullable=False),
        sa.Column("platform_user_id", sa.Text, nullable=False),
        sa.Column("username", sa.Text),
        sa.Column("access_token", sa.Text, nullable=False),
        sa.Column("refresh_token", sa.Text),
        sa.Column("token_expires_at", TIME),
        sa.Column("is_active", sa.Boolean, nullable=False, server_default=TRUE),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_social_accounts"),
        sa.UniqueConstraint("user_id", "platform", name="uq_social_accounts_user_id_platform"),
        of_user("social_accounts"),
    )
    op.create_table(
        "draws",
        sa.Column("id", sa.Text),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("platform", PLATFORM, nullable=False),
        sa.Column("post_url", sa.Text, nullable=False),
        sa.Column("status", DRAW_STATUS, nullable=False, server_default="pending"),
        sa.Column("config", pg.JSONB, nullable=False),
        sa.Column("participants", sa.Integer, nullable=False, server_default=ZERO),
        sa.Column("winners", pg.JSONB),
        sa.Column("certificate_hash", sa.Text),
        sa.Column("video_url", sa.Text),
        sa.Column("credits_used", sa.Integer, nullable=False, server_default=ZERO),
        sa.Column("error", sa.Text),
        sa.Column("executed_at", TIME),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_draws"),
        of_user("draws"),
        # False for odd JSON: neither NULL, which would pass, nor an error.
        sa.CheckConstraint(
            "(jsonb_typeof(config -> 'filters') = 'object'"
            " AND jsonb_typeof(config -> 'rules') = 'object'"
            " AND jsonb_typeof(config -> 'winners_count') = 'number'"
            " AND config ->> 'winners_count' ~ '^[1-9][0-9]{0,8}$') IS TRUE",
            name=op.f("ck_draws_config_shape"),
        ),
        sa.CheckConstraint(
            "winners IS NULL OR jsonb_typeof(winners) = 'array'"
            " AND NOT jsonb_path_exists(winners, '$[*].type() ? (@ != \"object\")')"
            " AND NOT jsonb_path_exists(winners, '$[*] ? (!("
            '@.username.type() == "string"'
            ' && @.user_id.type() == "string"'
            ' && @.selected_at.type() == "string"'
            ' && (!exists(@.comment) || @.comment.type() == "string" || @.comment.type() == "null")'
            "))')",
            name=op.f("ck_draws_winners_shape"),
        ),
        sa.CheckConstraint(
            "CASE status WHEN 'completed'"
            " THEN num_nulls(winners, certificate_hash, executed_at) = 0"
            " ELSE num_nonnulls(winners, certificate_hash) = 0 END",
            name=op.f("ck_draws_completed_is_certified"),
        ),
        sa.CheckConstraint(
            "certificate_hash ~ '^[0-9a-f]{64}$'", name=op.f("ck_draws_certificate_hash_sha256")
        ),
        sa.CheckConstraint("credits_used >= 0", name=op.f("ck_draws_credits_used_not_negative")),
        sa.CheckConstraint("participants >= 0", name=op.f("ck_draws_participants_not_negative")),
    )
    op.create_table(
        "draw_history",
        sa.Column("id", sa.Text),
        sa.Column("draw_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("action", DRAW_ACTION, nullable=False),
        sa.Column("details", pg.JSONB),
        sa.Column("metadata", pg.JSONB),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_draw_history"),
        sa.UniqueConstraint("draw_id", "step", name="uq_draw_history_draw_id_step"),
        sa.ForeignKeyConstraint(
            ["draw_id"], ["draws.id"], name="fk_draw_history_draw_id_draws", ondelete="CASCADE"
        ),
        of_user("draw_history"),
    )
    op.create_table(
        "blacklist",
        sa.Column("id", sa.Text),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("username", sa.Text, nullable=False),
        sa.Column("platform", BLACKLIST_PLATFORM, nullable=False, server_default="all"),
        sa.Column("reason", sa.Text),
        sa.Column("is_active", sa.Boolean, nullable=False, server_default=TRUE),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_blacklist"),
        sa.UniqueConstraint(
            "user_id", "username", "platform", name="uq_blacklist_user_id_username_platform"
        ),
        of_user("blacklist"),
    )
    op.create_table(
        "system_metrics",
        sa.Column("id", sa.Text),
        sa.Column("metric_type", METRIC_TYPE, nullable=False),
        sa.Column("value", sa.Double, nullable=False),
        sa.Column("metadata", pg.JSONB),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_system_metrics"),
        sa.CheckConstraint(
            "value > '-Infinity' AND value < 'Infinity'",
            name=op.f("ck_system_metrics_value_finite"),
        ),
    )
    for table, *columns in (
        ("users", "created_at"),
        ("users", "email_verified"),
        ("credits", "user_id"),
        ("credits", "created_at"),
        ("credits", "transaction_type"),
        ("subscriptions", "user_id"),
        ("subscriptions", "status"),
        ("subscriptions", "end_date"),
        ("social_accounts", "user_id"),
        ("social_accounts", "platform"),
        ("social_accounts", "platform_user_id"),
        ("draws", "user_id"),
        ("draws", "status"),
        ("draws", "platform"),
        ("draws", "created_at"),
        ("draws", "executed_at"),
        ("draw_history", "draw_id"),
        ("draw_history", "user_id"),
        ("draw_history", "created_at"),
        ("draw_history", "action"),
        ("blacklist", "user_id"),
        ("blacklist", "platform"),
        ("blacklist", "username"),
        ("system_metrics", "metric_type", "created_at"),
        ("system_metrics", "created_at"),
    ):
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, columns)


def downgrade() -> None:
    for table in (
        "system_metrics",
        "blacklist",
        "draw_history",
        "draws",
        "social_accounts",
        "subscriptions",
        "credits",
        "users",
    ):
        op.drop_table(table)
    for enum in ENUMS:
        enum.drop(op.get_bind(), checkfirst=False)


def of_user(table: str) -> sa.ForeignKeyConstraint:
    """What belongs to a user goes with the user."""
    return sa.ForeignKeyConstraint(
        ["user_id"], ["users.id"], name=f"fk_{table}_user_id_users", ondelete="CASCADE"
    )
