"""The fixtures of viralmommy: a user with a connection to TikTok and a video that is ready."""

from datetime import UTC, datetime, timedelta

from leadctl.apps.fixtures import Fixture

USER = Fixture(
    "users",
    key={"email": "test@viralmommy.com"},
    values={"name": "Test Mom Creator"},
)

CONNECTION = Fixture(
    "platform_connections",
    key={"user_id": USER.ref(), "platform": "TIKTOK"},
    values={
        "access_token": "encrypted_test_token",
        "refresh_token": "encrypted_refresh_token",
        "expires_at": lambda: datetime.now(UTC) + timedelta(hours=24),
        "platform_user_id": "tiktok_user_123",
        "platform_username": "testmomcreator",
        "status": "ACTIVE",
    },
)

VIDEO = Fixture(
    "videos",
    key={"r2_key": "videos/test-video-123.mp4"},
    values={
        "user_id": USER.ref(),
        "r2_url": "https://r2.viralmommy.com/videos/test-video-123.mp4",
        "title": "Test Parenting Hack",
        "duration": 30,
        "file_size": 15_000_000,
        "format": "mp4",
        "resolution": "1080x1920",
        "aspect_ratio": "9:16",
        "status": "READY",
    },
)

FIXTURES = (USER, CONNECTION, VIDEO)
