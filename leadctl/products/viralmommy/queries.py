"""What viralmommy asks of its data.  Every function leaves the commit to its caller."""

from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy import ColumnElement, Date, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload

from leadctl.models import Page, only_active, paginate, rows_changed
from leadctl.products.viralmommy.models import (
    IS_ACTIVE,
    IS_WAITING,
    NOT_DELETED,
    ConnectionStatus,
    JobStatus,
    Platform,
    PlatformConnection,
    PublishedPost,
    PublishJob,
    Video,
    VideoStatus,
    YouTubeQuota,
)

UPLOAD_UNITS = 1_600
"""What an upload takes of YouTube's quota."""
DAILY_LIMIT = 10_000
"""The units of a day, where YouTube granted no more."""

# Not now(), which is when the transaction began, perhaps before the job was made.
_NOW = func.statement_timestamp()
_TODAY: ColumnElement[date] = func.timezone("UTC", _NOW).cast(Date)
_DUE = func.coalesce(PublishJob.scheduled_for, PublishJob.created_at)
_FRESH = {"populate_existing": True}
"""Objects that the session already has are given what the statement returned."""


def active_connections(session: Session, user_id: str) -> Sequence[PlatformConnection]:
    """Return a user's connections whose tokens the platforms accept, by platform."""
    return session.scalars(
        select(PlatformConnection)
        .where(PlatformConnection.user_id == user_id, IS_ACTIVE)
        .order_by(PlatformConnection.platform)
    ).all()


def expiring_connections(session: Session, before: datetime) -> Sequence[PlatformConnection]:
    """Return every user's active connections that expire before a time, the soonest first."""
    return session.scalars(
        select(PlatformConnection)
        .where(PlatformConnection.expires_at < before, IS_ACTIVE)
        .order_by(PlatformConnection.expires_at)
    ).all()


def upsert_connection(
    session: Session,
    user_id: str,
    platform: Platform,
    *,
    platform_user_id: str,
    platform_username: str,
    access_token: str,
    refresh_token: str | None = None,
    expires_at: datetime | None = None,
) -> PlatformConnection:
    """Make a user's connection to a platform, or replace what it consists of; it is active then.

    Nothing of the earlier tokens is kept: they may be another account's.
    """
    values = {
        "platform_user_id": platform_user_id,
        "platform_username": platform_username,
        "access_token": access_token,
        "refresh_token": refresh_token,
        "expires_at": expires_at,
        "status": ConnectionStatus.ACTIVE,
    }
    made = insert(PlatformConnection).values(user_id=user_id, platform=platform, **values)
    statement = made.on_conflict_do_update(
        index_elements=["user_id", "platform"],
        set_={name: made.excluded[name] for name in values} | {"updated_at": _NOW},
    ).returning(PlatformConnection)
    return session.scalars(statement, execution_options=_FRESH).one()


def published_posts(
    session: Session,
    user_id: str,
    *,
    hashtag: str | None = None,
    page: int = 1,
    limit: int = 20,
) -> Page[PublishedPost]:
    """Return a page of a user's posts, the newest first, each with its video.

    `hashtag` leaves only the posts that have it, spelled just so.  A post whose video is marked
    as deleted is still on its platform, and is returned.
    """
    query = (
        only_active(select(PublishedPost))
        .where(PublishedPost.user_id == user_id)
        .options(joinedload(PublishedPost.video))
    )
    if hashtag is not None:
        query = query.where(PublishedPost.hashtags.contains([hashtag]))
    return paginate(
        session,
        query,
        page=page,
        limit=limit,
        sort_by=PublishedPost.published_at,
        descending=True,
    )


def ready_videos(session: Session, user_id: str) -> Sequence[Video]:
    """Return a user's videos that are ready and not published anywhere, the newest first.

    A post that is marked as deleted does not count: its video may be published again.
    """
    published = Video.published_posts.any(PublishedPost.deleted_at.is_(None))
    return session.scalars(
        only_active(select(Video))
        .where(Video.user_id == user_id, Video.status == VideoStatus.READY, ~published)
        .order_by(Video.created_at.desc(), Video.id)
    ).all()


def delete_video(session: Session, user_id: str, video_id: str) -> bool:
    """Mark a user's video as deleted, and fail its jobs that wait, so that none publishes it.

    Say whether there was such a video.
    """
    there = update(Video).where(Video.id == video_id, Video.user_id == user_id, NOT_DELETED)
    if not rows_changed(session, there.values(deleted_at=_NOW)):
        return False
    session.execute(
        update(PublishJob)
        .where(PublishJob.video_id == video_id, PublishJob.user_id == user_id, IS_WAITING)
        .values(
            status=JobStatus.FAILED,
            failed_at=_not_before_start(),
            error_message="The video was deleted.",
        )
    )
    return True


def restore_video(session: Session, user_id: str, video_id: str) -> bool:
    """Take the mark of deletion from a user's video; jobs that failed by it stay so.

    Say whether there was such a video.
    """
    deleted = update(Video).where(
        Video.id == video_id, Video.user_id == user_id, Video.deleted_at.is_not(None)
    )
    return rows_changed(session, deleted.values(deleted_at=None)) == 1


def spend_quota(
    session: Session,
    units: int = UPLOAD_UNITS,
    on: date | None = None,
    limit: int = DAILY_LIMIT,
) -> bool:
    """Spend units of a day's YouTube quota where all of them are left; say whether they were.

    One statement, so that callers at once never spend more than there is.  `on` is today in UTC
    where it is not given, as in the document; YouTube's own day begins at midnight in California.
    `limit` is what a day without a row gets, and the most that is spent at once; a day with a row
    keeps its own limit.  Raises ValueError for fewer units than one.
    """
    if units < 1:
        raise ValueError(f"units must be at least 1, not {units}")
    if units > limit:
        return False
    made = insert(YouTubeQuota).values(date=on or _TODAY, used=units, limit=limit)
    statement = made.on_conflict_do_update(
        index_elements=["date"],
        set_={"used": YouTubeQuota.used + made.excluded.used, "updated_at": _NOW},
        # A difference, since a sum could be more than an integer holds.
        where=made.excluded.used <= YouTubeQuota.limit - YouTubeQuota.used,
    ).returning(YouTubeQuota)
    return session.scalars(statement, execution_options=_FRESH).first() is not None


def remaining_quota(session: Session, on: date | None = None, limit: int = DAILY_LIMIT) -> int:
    """Return how many units of a day's YouTube quota are left; `limit` where none was spent."""
    left = session.scalar(
        select(YouTubeQuota.limit - YouTubeQuota.used).where(YouTubeQuota.date == (on or _TODAY))
    )
    return limit if left is None else left


def claim_due_jobs(session: Session, limit: int = 1) -> Sequence[PublishJob]:
    """Make up to `limit` of every user's due jobs active and return them, the longest due first.

    A job is due at the time that it is scheduled for, one without at once.  Several workers may
    claim at once: none waits for another, and no job is claimed twice.  Where the transaction is
    rolled back the jobs are due again.
    """
    due = (
        select(PublishJob.id)
        .where(IS_WAITING, _DUE <= _NOW)
        .order_by(_DUE)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    claimed = session.scalars(
        update(PublishJob)
        .where(PublishJob.id == due.c.id)
        .values(
            status=JobStatus.ACTIVE,
            started_at=_NOW,
            completed_at=None,
            failed_at=None,
            error_message=None,
            attempt_number=PublishJob.attempt_number + 1,
        )
        .returning(PublishJob),
        execution_options={**_FRESH, "synchronize_session": False},
    )
    return sorted(claimed, key=lambda job: job.scheduled_for or job.created_at)


def complete_job(session: Session, job_id: str) -> bool:
    """Make an active job, named by BullMQ's id, completed; False where no such job is active."""
    return _finish(
        session, job_id, {"status": JobStatus.COMPLETED, "completed_at": _not_before_start()}
    )


def fail_job(
    session: Session, job_id: str, error: str, *, retry_at: datetime | None = None
) -> bool:
    """Make an active job, named by BullMQ's id, failed, or delayed until `retry_at`.

    Say whether such a job was active.
    """
    outcome: dict[str, object] = {"status": JobStatus.FAILED}
    if retry_at is not None:
        outcome = {"status": JobStatus.DELAYED, "scheduled_for": retry_at}
    return _finish(
        session, job_id, {**outcome, "failed_at": _not_before_start(), "error_message": error}
    )


def _finish(session: Session, job_id: str, values: dict[str, object]) -> bool:
    active = update(PublishJob).where(
        PublishJob.job_id == job_id, PublishJob.status == JobStatus.ACTIVE
    )
    return rows_changed(session, active.values(values)) == 1


def _not_before_start() -> ColumnElement[datetime]:
    # A clock that was set back, or a worker whose clock is ahead, must not keep a job from ending.
    return func.greatest(PublishJob.started_at, _NOW)
