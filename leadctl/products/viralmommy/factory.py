"""The synthetic rows of viralmommy: a year of videos, published to three platforms."""

from leadctl.apps.synthetic.chunk import Chunk, Values
from leadctl.apps.synthetic.makers import (
    DAYS,
    After,
    Days,
    InTurn,
    Link,
    Made,
    Phrase,
    Pick,
    Reference,
    Unique,
    Whole,
    choice,
)
from leadctl.apps.synthetic.shapes import Factory, Shape

_HOUR, _DAY = 3600, 86_400
_HASHTAGS = Pick({"{momlife}": 3, "{parenting,momhack}": 4, "{toddler,fyp,momtok}": 2, "{}": 1})
_PLATFORMS = Pick({"TIKTOK": 5, "INSTAGRAM": 4, "YOUTUBE": 2})


def likes(chunk: Chunk) -> Values:
    """Likes, some hundredths of the views."""
    return _shares(chunk, "likes", 9)


def comments(chunk: Chunk) -> Values:
    """Comments, fewer than likes."""
    return _shares(chunk, "comments", 2)


def shares(chunk: Chunk) -> Values:
    """Shares, fewer still."""
    return _shares(chunk, "shares", 1)


def _shares(chunk: Chunk, name: str, percent: int) -> Values:
    return [
        views * percent * bits // (100 << 15)
        for views, bits in zip(chunk["views"], chunk.bits(name), strict=True)
    ]


def error_message(chunk: Chunk) -> Values:
    """Why a job failed."""
    reasons = chunk.draw("reason", _REASONS)
    return [
        reason if status == "FAILED" else None
        for status, reason in zip(chunk["status"], reasons, strict=True)
    ]


_REASONS = Pick(
    {"Token expired": 4, "Upload timed out": 3, "Quota exceeded": 2, "Rejected": 1}
).pool

FACTORY = Factory(
    (
        Shape(
            "users",
            share=2,
            columns={
                "name": Phrase("{first} {last}", null=0.1),
                "updated_at": After("created_at", 0, 90 * _DAY),
            },
        ),
        Shape(
            "platform_connections",
            share=4,
            even=True,
            at_most=3,
            columns={
                "platform": InTurn(("TIKTOK", "INSTAGRAM", "YOUTUBE")),
                "access_token": Unique("hex", name="access"),
                "refresh_token": Unique("hex", null=0.2, name="refresh"),
                "platform_user_id": Unique("digits"),
                "platform_username": Phrase("{noun}mom{number}"),
                "status": Pick({"ACTIVE": 84, "EXPIRED": 12, "REVOKED": 4}),
                "updated_at": After("created_at", 0, 90 * _DAY),
                "expires_at": After("updated_at", _DAY, 60 * _DAY, null=0.05, ahead=True),
            },
        ),
        Shape(
            "videos",
            share=28,
            columns={
                "r2_key": Unique("cuid", "videos/{}.mp4"),
                "r2_url": Unique("cuid", "https://r2.viralmommy.com/videos/{}.mp4"),
                "title": Phrase("{verb} your {noun}: {adjective} {noun}"),
                "duration": Whole(6, 180, tail=2),
                "file_size": Whole(1_500_000, 400_000_000, tail=3),
                "format": Pick({"mp4": 93, "mov": 7}),
                "resolution": Pick({"1080x1920": 8, "720x1280": 2, "1920x1080": 1}),
                "aspect_ratio": Pick({"9:16": 9, "1:1": 1, "16:9": 1}),
                "status": Pick({"READY": 93, "PROCESSING": 3, "FAILED": 4}),
                "updated_at": After("created_at", 30, 2 * _HOUR),
                "deleted_at": After("created_at", _DAY, 200 * _DAY, null=0.96),
            },
        ),
        Shape(
            "published_posts",
            share=36,
            owner="videos",
            columns={
                "platform": _PLATFORMS,
                "platform_post_id": Unique("digits"),
                "caption": Phrase("{verb} the {adjective} {noun} with {first}"),
                "hashtags": _HASHTAGS,
                "published_at": Made(),
                "views": Whole(12, 2_500_000, tail=6),
                "likes": likes,
                "comments": comments,
                "shares": shares,
                "last_synced_at": After("published_at", _HOUR, 30 * _DAY, null=0.05),
                "deleted_at": After("published_at", _DAY, 200 * _DAY, null=0.96),
            },
        ),
        Shape(
            "youtube_quotas",
            share=0.05,
            at_most=DAYS,
            columns={
                "date": Days(),
                "used": Whole(0, 10_000, tail=2),
                "limit": choice("10000"),
                "updated_at": After("created_at", 0, _DAY),
            },
        ),
        Shape(
            "publish_jobs",
            share=30,
            owner="users",
            columns={
                "job_id": Unique("digits"),
                "video_id": Reference(Link("videos", through="users"), "id"),
                "platform": _PLATFORMS,
                "status": Pick(
                    {"COMPLETED": 86, "FAILED": 7, "PENDING": 3, "DELAYED": 3, "ACTIVE": 1}
                ),
                "caption": Phrase("{verb} the {adjective} {noun} with {first}"),
                "hashtags": _HASHTAGS,
                "scheduled_for": After("created_at", _HOUR, 7 * _DAY, null=0.5, ahead=True),
                "started_at": After(
                    "created_at", 1, 3 * _HOUR, when=("status", ("COMPLETED", "FAILED", "ACTIVE"))
                ),
                "completed_at": After("started_at", 5, 900, when=("status", ("COMPLETED",))),
                "failed_at": After("started_at", 5, 900, when=("status", ("FAILED",))),
                "updated_at": After("created_at", 10, 4 * _HOUR),
                "error_message": error_message,
                "attempt_number": Pick({"1": 88, "2": 8, "3": 4}),
            },
        ),
    )
)
