"""Initial schema.

Revision: viralmommy_0001
Follows:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "viralmommy_0001"
down_revision = None

PLATFORM = pg.ENUM("TIKTOK", "INSTAGRAM", "YOUTUBE", name="platform", create_type=False)
CONNECTION_STATUS = pg.ENUM(
    "ACTIVE", "EXPIRED", "REVOKED", name="connection_status", create_type=False
)
VIDEO_STATUS = pg.ENUM("PROCESSING", "READY", "FAILED", name="video_status", create_type=False)
JOB_STATUS = pg.ENUM(
    "PENDING", "ACTIVE", "COMPLETED", "FAILED", "DELAYED", name="job_status", create_type=False
)
ENUMS = (PLATFORM, CONNECTION_STATUS, VIDEO_STATUS, JOB_STATUS)

NOW = sa.text("now()")
ZERO = sa.text("0")
NO_TAGS = sa.text("'{}'")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    for enum in ENUMS:
        enum.create(op.get_bind(), checkfirst=False)
    op.create_table(
        "users",
        sa.Column("id", sa.Text),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
    )
    op.create_table(
        "platform_connections",
        sa.Column("id", sa.Text),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("platform", PLATFORM, nullable=False),
        sa.Column("access_token", sa.Text, nullable=False),
        sa.Column("refresh_token", sa.Text),
        sa.Column("expires_at", TIME),
        sa.Column("platform_user_id", sa.Text, nullable=False),
        sa.Column("platform_username", sa.Text, nullable=False),
        sa.Column("status", CONNECTION_STATUS, nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_platform_connections"),
        sa.UniqueConstraint("user_id", "platform", name="uq_platform_connections_user_id_platform"),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
            name="fk_platform_connections_user_id_users",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "videos",
        sa.Column("id", sa.Text),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("r2_key", sa.Text, nullable=False),
        sa.Column("r2_url", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("duration", sa.Integer, nullable=False),
        sa.Column("file_size", sa.BigInteger, nullable=False),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("resolution", sa.Text, nullable=False),
        sa.Column("aspect_ratio", sa.Text, nullable=False),
        sa.Column("status", VIDEO_STATUS, nullable=False, server_default="PROCESSING"),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.Column("deleted_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_videos"),
        sa.UniqueConstraint("r2_key", name="uq_videos_r2_key"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_videos_user_id_users", ondelete="CASCADE"
        ),
        sa.CheckConstraint("duration > 0", name=op.f("ck_videos_duration_positive")),
        sa.CheckConstraint("file_size > 0", name=op.f("ck_videos_file_size_positive")),
    )
    op.create_table(
        "published_posts",
        sa.Column("id", sa.Text),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("video_id", sa.Text, nullable=False),
        sa.Column("platform", PLATFORM, nullable=False),
        sa.Column("platform_post_id", sa.Text, nullable=False),
        sa.Column("caption", sa.Text, nullable=False),
        sa.Column("hashtags", pg.ARRAY(sa.Text), nullable=False, server_default=NO_TAGS),
        sa.Column("published_at", TIME, nullable=False, server_default=NOW),
        sa.Column("views", sa.Integer, nullable=False, server_default=ZERO),
        sa.Column("likes", sa.Integer, nullable=False, server_default=ZERO),
        sa.Column("comments", sa.Integer, nullable=False, server_default=ZERO),
        sa.Column("shares", sa.Integer, nullable=False, server_default=ZERO),
        sa.Column("last_synced_at", TIME),
        sa.Column("deleted_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_published_posts"),
        sa.UniqueConstraint(
            "platform", "platform_post_id", name="uq_published_posts_platform_platform_post_id"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_published_posts_user_id_users", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["video_id"],
            ["videos.id"],
            name="fk_published_posts_video_id_videos",
            ondelete="CASCADE",
        ),
        *(
            sa.CheckConstraint(
                f"{counter} >= 0", name=op.f(f"ck_published_posts_{counter}_not_negative")
            )
            for counter in ("views", "likes", "comments", "shares")
        ),
    )
    op.create_table(
        "youtube_quotas",
        sa.Column("id", sa.Text),
        sa.Column("date", sa.Date, nullable=False),
        sa.Column("used", sa.Integer, nullable=False, server_default=ZERO),
        sa.Column("limit", sa.Integer, nullable=False, server_default=sa.text("10000")),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_youtube_quotas"),
        sa.UniqueConstraint("date", name="uq_youtube_quotas_date"),
        sa.CheckConstraint('"limit" > 0', name=op.f("ck_youtube_quotas_limit_positive")),
        sa.CheckConstraint(
            'used >= 0 AND used <= "limit"', name=op.f("ck_youtube_quotas_used_within_limit")
        ),
    )
    op.create_table(
        "publish_jobs",
        sa.Column("id", sa.Text),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("video_id", sa.Text, nullable=False),
        sa.Column("platform", PLATFORM, nullable=False),
        sa.Column("status", JOB_STATUS, nullable=False, server_default="PENDING"),
        sa.Column("caption", sa.Text, nullable=False),
        sa.Column("hashtags", pg.ARRAY(sa.Text), nullable=False, server_default=NO_TAGS),
        sa.Column("scheduled_for", TIME),
        sa.Column("started_at", TIME),
        sa.Column("completed_at", TIME),
        sa.Column("failed_at", TIME),
        sa.Column("error_message", sa.Text),
        sa.Column("attempt_number", sa.Integer, nullable=False, server_default=ZERO),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_publish_jobs"),
        sa.UniqueConstraint("job_id", name="uq_publish_jobs_job_id"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_publish_jobs_user_id_users", ondelete="CASCADE"
        ),
        sa.CheckConstraint(
            "attempt_number >= 0", name=op.f("ck_publish_jobs_attempt_number_not_negative")
        ),
        sa.CheckConstraint(
            "completed_at >= started_at", name=op.f("ck_publish_jobs_completed_after_start")
        ),
        sa.CheckConstraint(
            "failed_at >= started_at", name=op.f("ck_publish_jobs_failed_after_start")
        ),
    )
    for table, column in (
        ("platform_connections", "user_id"),
        ("platform_connections", "status"),
        ("videos", "user_id"),
        ("videos", "status"),
        ("videos", "created_at"),
        ("published_posts", "user_id"),
        ("published_posts", "video_id"),
        ("published_posts", "platform"),
        ("published_posts", "published_at"),
        ("publish_jobs", "user_id"),
        ("publish_jobs", "status"),
        ("publish_jobs", "scheduled_for"),
        ("publish_jobs", "created_at"),
    ):
        op.create_index(f"ix_{table}_{column}", table, [column])
    op.create_index(
        "ix_published_posts_hashtags", "published_posts", ["hashtags"], postgresql_using="gin"
    )
    for name, table, columns, condition in (
        ("expiring", "platform_connections", ["expires_at"], "status = 'ACTIVE'"),
        ("deleted_at", "videos", ["deleted_at"], "deleted_at IS NOT NULL"),
        ("newest", "published_posts", ["user_id", "published_at"], "deleted_at IS NULL"),
        ("deleted_at", "published_posts", ["deleted_at"], "deleted_at IS NOT NULL"),
        (
            "due",
            "publish_jobs",
            [sa.text("coalesce(scheduled_for, created_at)")],
            "status IN ('PENDING', 'DELAYED')",
        ),
        ("finished", "publish_jobs", ["updated_at"], "status IN ('COMPLETED', 'FAILED')"),
    ):
        op.create_index(f"ix_{table}_{name}", table, columns, postgresql_where=sa.text(condition))


def downgrade() -> None:
    for table in (
        "publish_jobs",
        "youtube_quotas",
        "published_posts",
        "videos",
        "platform_connections",
        "users",
    ):
        op.drop_table(table)
    for enum in ENUMS:
        enum.drop(op.get_bind(), checkfirst=False)
