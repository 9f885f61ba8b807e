"""What viralmommy's document says: every table, column, enum, unique, index and cascade."""

from tests.products.spec import Table

TEXT, TIME = "text", "timestamp with time zone"

TABLES = {
    "users": Table(
        {
            "id": TEXT,
            "email": TEXT,
            "name": f"{TEXT}?",
            "created_at": TIME,
            "updated_at": TIME,
        },
        unique=["email"],
        defaults={"created_at": "now()"},
    ),
    "platform_connections": Table(
        {
            "id": TEXT,
            "user_id": TEXT,
            "platform": "platform",
            "access_token": TEXT,
            "refresh_token": f"{TEXT}?",
            "expires_at": f"{TIME}?",
            "platform_user_id": TEXT,
            "platform_username": TEXT,
            "status": "connection_status",
            "created_at": TIME,
            "updated_at": TIME,
        },
        unique=["user_id, platform"],
        indexes=["user_id", "status"],
        cascades={"user_id": "users"},
        defaults={"created_at": "now()"},
    ),
    "published_posts": Table(
        {
            "id": TEXT,
            "user_id": TEXT,
            "video_id": TEXT,
            "platform": "platform",
            "platform_post_id": TEXT,
            "caption": TEXT,
            "hashtags": "text[]",
            "published_at": TIME,
            "views": "integer",
            "likes": "integer",
            "comments": "integer",
            "shares": "integer",
            "last_synced_at": f"{TIME}?",
            "deleted_at": f"{TIME}?",  # "Consider adding `deletedAt` field for soft deletes"
        },
        unique=["platform, platform_post_id"],
        indexes=["user_id", "video_id", "platform", "published_at"],
        cascades={"user_id": "users", "video_id": "videos"},
        defaults={
            "hashtags": "'{}'",
            "published_at": "now()",
            "views": "0",
            "likes": "0",
            "comments": "0",
            "shares": "0",
        },
    ),
    "videos": Table(
        {
            "id": TEXT,
            "user_id": TEXT,
            "r2_key": TEXT,
            "r2_url": TEXT,
            "title": TEXT,
            "duration": "integer",
            "file_size": "bigint",  # Int in the document, which ends at 2 GiB
            "format": TEXT,
            "resolution": TEXT,
            "aspect_ratio": TEXT,
            "status": "video_status",
            "created_at": TIME,
            "updated_at": TIME,
            "deleted_at": f"{TIME}?",
        },
        unique=["r2_key"],
        indexes=["user_id", "status", "created_at"],
        cascades={"user_id": "users"},
        defaults={"status": "'PROCESSING'", "created_at": "now()"},
    ),
    "youtube_quotas": Table(
        {
            "id": TEXT,
            "date": "date",  # text as YYYY-MM-DD in the document
            "used": "integer",
            '"limit"': "integer",  # quoted by the catalog: SQL has a LIMIT of its own
            "created_at": TIME,
            "updated_at": TIME,
        },
        unique=["date"],  # and @@index([date]), which that gives
        defaults={"used": "0", '"limit"': "10000", "created_at": "now()"},
    ),
    "publish_jobs": Table(
        {
            "id": TEXT,
            "job_id": TEXT,
            "user_id": TEXT,
            "video_id": TEXT,
            "platform": "platform",
            "status": "job_status",
            "caption": TEXT,
            "hashtags": "text[]",
            "scheduled_for": f"{TIME}?",
            "started_at": f"{TIME}?",
            "completed_at": f"{TIME}?",
            "failed_at": f"{TIME}?",
            "error_message": f"{TEXT}?",
            "attempt_number": "integer",
            "created_at": TIME,
            "updated_at": TIME,
        },
        unique=["job_id"],
        indexes=["user_id", "status", "scheduled_for", "created_at"],
        cascades={"user_id": "users"},
        defaults={
            "status": "'PENDING'",
            "hashtags": "'{}'",
            "attempt_number": "0",
            "created_at": "now()",
        },
    ),
}

ENUMS = {
    "platform": ["TIKTOK", "INSTAGRAM", "YOUTUBE"],
    "connection_status": ["ACTIVE", "EXPIRED", "REVOKED"],
    "video_status": ["PROCESSING", "READY", "FAILED"],
    "job_status": ["PENDING", "ACTIVE", "COMPLETED", "FAILED", "DELAYED"],
}
