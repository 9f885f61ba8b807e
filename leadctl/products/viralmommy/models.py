"""The models of viralmommy: users, their videos and platforms, and what is published where."""

import enum
from datetime import date as day
from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from leadctl.models import (
    TYPES,
    CuidId,
    SoftDelete,
    Timestamps,
    new_metadata,
    one_of,
)
from leadctl.models.base import children, encrypted, enum_column

# The conditions of partial indexes.  Queries take them from here: the server uses such an index
# only for a query that implies its condition, and a parameter implies nothing.
IS_ACTIVE = text("status = 'ACTIVE'")
IS_WAITING = text("status IN ('PENDING', 'DELAYED')")
IS_FINISHED = text("status IN ('COMPLETED', 'FAILED')")
NOT_DELETED = text("deleted_at IS NULL")
DELETED = text("deleted_at IS NOT NULL")


class Base(DeclarativeBase):
    """The base of viralmommy's models."""

    metadata = new_metadata()
    type_annotation_map = TYPES


class Platform(enum.Enum):
    """Where videos are published."""

    TIKTOK = "TIKTOK"
    INSTAGRAM = "INSTAGRAM"
    YOUTUBE = "YOUTUBE"


class ConnectionStatus(enum.Enum):
    """Whether a platform still accepts a connection's tokens."""

    ACTIVE = "ACTIVE"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"


class VideoStatus(enum.Enum):
    """Whether a video can be published."""

    PROCESSING = "PROCESSING"
    READY = "READY"
    FAILED = "FAILED"


class JobStatus(enum.Enum):
    """How far a publishing job has come; the states are BullMQ's."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    DELAYED = "DELAYED"


class User(CuidId, Timestamps, Base):
    """Somebody who makes videos."""

    __tablename__ = "users"

    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str | None]

    platform_connections: Mapped[list["PlatformConnection"]] = children("user")
    published_posts: Mapped[list["PublishedPost"]] = children("user")
    videos: Mapped[list["Video"]] = children("user")
    publish_jobs: Mapped[list["PublishJob"]] = children("user")


class PlatformConnection(CuidId, Timestamps, Base):
    """A user's account on a platform, with the tokens to publish to it."""

    __tablename__ = "platform_connections"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    platform: Mapped[Platform] = mapped_column(one_of(Platform))
    access_token: Mapped[str] = encrypted("viralmommy.platform_connections.access_token")
    refresh_token: Mapped[str | None] = encrypted("viralmommy.platform_connections.refresh_token")
    expires_at: Mapped[datetime | None]
    platform_user_id: Mapped[str]
    platform_username: Mapped[str]
    status: Mapped[ConnectionStatus] = mapped_column(one_of(ConnectionStatus), index=True)

    user: Mapped[User] = relationship(back_populates="platform_connections")

    __table_args__ = (
        UniqueConstraint("user_id", "platform"),
        Index("ix_platform_connections_expiring", "expires_at", postgresql_where=IS_ACTIVE),
    )


class Video(CuidId, Timestamps, SoftDelete, Base):
    """A video file in Cloudflare R2.

    The key stays taken while the row is marked as deleted: it names one object, and the row can
    come back.
    """

    __tablename__ = "videos"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    r2_key: Mapped[str] = mapped_column(unique=True)
    r2_url: Mapped[str]
    title: Mapped[str]
    duration: Mapped[int]
    """Seconds."""
    # Prisma's Int ends at 2 GiB, which a few minutes of 4K video exceed.
    file_size: Mapped[int] = mapped_column(BigInteger)
    """Bytes."""
    format: Mapped[str]
    """As "mp4"."""
    resolution: Mapped[str]
    """As "1080x1920"."""
    aspect_ratio: Mapped[str]
    """As "9:16"."""
    status: Mapped[VideoStatus] = enum_column(VideoStatus.PROCESSING, index=True)

    user: Mapped[User] = relationship(back_populates="videos")
    published_posts: Mapped[list["PublishedPost"]] = children("video")

    __table_args__ = (
        CheckConstraint("duration > 0", name="duration_positive"),
        CheckConstraint("file_size > 0", name="file_size_positive"),
        Index("ix_videos_created_at", "created_at"),
        Index("ix_videos_deleted_at", "deleted_at", postgresql_where=DELETED),
    )


class PublishedPost(CuidId, SoftDelete, Base):
    """A video as it was published on a platform, with its engagement when last synced."""

    __tablename__ = "published_posts"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id", ondelete="CASCADE"), index=True)
    platform: Mapped[Platform] = mapped_column(one_of(Platform), index=True)
    platform_post_id: Mapped[str]
    caption: Mapped[str]
    hashtags: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    published_at: Mapped[datetime] = mapped_column(server_default=text("now()"), index=True)
    views: Mapped[int] = mapped_column(server_default=text("0"))
    likes: Mapped[int] = mapped_column(server_default=text("0"))
    comments: Mapped[int] = mapped_column(server_default=text("0"))
    shares: Mapped[int] = mapped_column(server_default=text("0"))
    last_synced_at: Mapped[datetime | None]

    user: Mapped[User] = relationship(back_populates="published_posts")
    video: Mapped[Video] = relationship(back_populates="published_posts")

    __table_args__ = (
        UniqueConstraint("platform", "platform_post_id"),
        CheckConstraint("views >= 0", name="views_not_negative"),
        CheckConstraint("likes >= 0", name="likes_not_negative"),
        CheckConstraint("comments >= 0", name="comments_not_negative"),
        CheckConstraint("shares >= 0", name="shares_not_negative"),
        Index("ix_published_posts_hashtags", "hashtags", postgresql_using="gin"),
        Index("ix_published_posts_newest", "user_id", "published_at", postgresql_where=NOT_DELETED),
        Index("ix_published_posts_deleted_at", "deleted_at", postgresql_where=DELETED),
    )


class YouTubeQuota(CuidId, Timestamps, Base):
    """How many of a day's units of YouTube's API are spent; the server lets nobody overspend."""

    __tablename__ = "youtube_quotas"

    # A date, not the document's text: nothing but a day fits, and days compare and subtract.
    date: Mapped[day] = mapped_column(unique=True)
    used: Mapped[int] = mapped_column(server_default=text("0"))
    limit: Mapped[int] = mapped_column(server_default=text("10000"))

    __table_args__ = (
        CheckConstraint('"limit" > 0', name="limit_positive"),
        CheckConstraint('used >= 0 AND used <= "limit"', name="used_within_limit"),
    )


class PublishJob(CuidId, Timestamps, Base):
    """An attempt to publish a video, now or later; what is finished is kept as history."""

    __tablename__ = "publish_jobs"

    job_id: Mapped[str] = mapped_column(unique=True)
    """BullMQ's."""
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    # No foreign key, as in the document: a job's history outlives its video.
    video_id: Mapped[str]
    platform: Mapped[Platform] = mapped_column(one_of(Platform))
    status: Mapped[JobStatus] = enum_column(JobStatus.PENDING, index=True)
    caption: Mapped[str]
    hashtags: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    scheduled_for: Mapped[datetime | None] = mapped_column(index=True)
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    error_message: Mapped[str | None]
    attempt_number: Mapped[int] = mapped_column(server_default=text("0"))

    user: Mapped[User] = relationship(back_populates="publish_jobs")

    __table_args__ = (
        CheckConstraint("attempt_number >= 0", name="attempt_number_not_negative"),
        CheckConstraint("completed_at >= started_at", name="completed_after_start"),
        CheckConstraint("failed_at >= started_at", name="failed_after_start"),
        Index("ix_publish_jobs_created_at", "created_at"),
        Index(
            "ix_publish_jobs_due",
            text("coalesce(scheduled_for, created_at)"),
            postgresql_where=IS_WAITING,
        ),
        Index("ix_publish_jobs_finished", "updated_at", postgresql_where=IS_FINISHED),
    )
