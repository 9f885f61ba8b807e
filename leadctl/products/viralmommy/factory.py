"""The synthetic rows of viralmommy: a year of videos, published to three platforms."""

from dataclasses import dataclass

from leadctl.apps.synthetic.chunk import Chunk, Values
from leadctl.apps.synthetic.makers import (
    After,
    By,
    Link,
    Phrase,
    Pick,
    Reference,
    Unique,
    Whole,
    choice,
)
from leadctl.apps.synthetic.shapes import Factory, Shape

_HOUR = 3600
_RAN = ("COMPLETED", "FAILED", "ACTIVE")
_CAPTION = Phrase("{verb} the {adjective} {noun} with {first}")
_HASHTAGS = Pick({"{momlife}": 3, "{parenting,momhack}": 4, "{toddler,fyp,momtok}": 2, "{}": 1})


@dataclass(frozen=True)
class OfViews:
    """What a post's views bring it: on average from `percent` of them."""

    percent: int

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        return [
            views * self.percent * bits // (100 << 15)
            for views, bits in zip(chunk["views"], chunk.bits(str(self)), strict=True)
        ]


FACTORY = Factory(
    (
        Shape("users", share=2),
        Shape(
            "platform_connections",
            share=4,
            columns={
                "platform_user_id": Unique("digits"),
                "status": Pick({"ACTIVE": 84, "EXPIRED": 12, "REVOKED": 4}),
            },
        ),
        Shape(
            "videos",
            share=28,
            columns={
                "r2_key": Unique("cuid", "videos/{}.mp4"),
                "duration": Whole(6, 180, tail=2),
                "file_size": Whole(1_500_000, 400_000_000, tail=3),
                "format": Pick({"mp4": 93, "mov": 7}),
                "resolution": Pick({"1080x1920": 8, "720x1280": 2, "1920x1080": 1}),
                "aspect_ratio": Pick({"9:16": 9, "1:1": 1, "16:9": 1}),
                "status": Pick({"READY": 93, "PROCESSING": 3, "FAILED": 4}),
            },
        ),
        Shape(
            "published_posts",
            share=36,
            owner="videos",
            columns={
                "caption": _CAPTION,
                "hashtags": _HASHTAGS,
                "views": Whole(12, 2_500_000, tail=6),
                "likes": OfViews(9),
                "comments": OfViews(2),
                "shares": OfViews(1),
            },
        ),
        Shape(
            "youtube_quotas",
            share=0.05,
            columns={"used": Whole(0, 10_000, tail=2), "limit": choice("10000")},
        ),
        Shape(
            "publish_jobs",
            share=30,
            columns={
                "video_id": Reference(Link("videos", through="users"), "id"),
                "status": Pick(
                    {"COMPLETED": 86, "FAILED": 7, "PENDING": 3, "DELAYED": 3, "ACTIVE": 1}
                ),
                "caption": _CAPTION,
                "hashtags": _HASHTAGS,
                "started_at": After("created_at", 1, 3 * _HOUR, when=("status", _RAN)),
                "completed_at": After("started_at", 5, 900, when=("status", ("COMPLETED",))),
                "failed_at": After("started_at", 5, 900, when=("status", ("FAILED",))),
                "error_message": By("status", {"FAILED": "Upload timed out"}),
                "attempt_number": Pick({"1": 88, "2": 8, "3": 4}),
            },
        ),
    )
)
