"""What viralmommy's document says beyond its tables, and its rules."""

from datetime import UTC, datetime

import psycopg
import pytest

from leadctl.catalog.definitions import Catalog, read_catalog
from leadctl.crypto import Key, Keyring, decrypt
from leadctl.postgres.connect import connect
from leadctl.products.viralmommy import seed
from tests.conftest import KEY, Cli, Prepared
from tests.products.viralmommy.document import TABLES


def catalog_of(database: Prepared) -> Catalog:
    with connect(database.target(app="viralmommy"), rows=True) as connection:
        return read_catalog(connection, "public")


def test_there_are_no_other_keys(viralmommy: Prepared) -> None:
    found = viralmommy.query(
        "SELECT c.relname, count(k.oid) FILTER (WHERE k.contype = 'f'),"
        " count(k.oid) FILTER (WHERE k.contype = 'u') FROM pg_class c"
        " JOIN pg_constraint k ON k.conrelid = c.oid"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relname <> 'alembic_version'"
        " GROUP BY c.relname"
    )
    assert {name: counts for name, *counts in found} == {
        name: [len(table.cascades), len(table.unique)] for name, table in TABLES.items()
    }


def test_what_the_indexes_beyond_the_document_are(viralmommy: Prepared) -> None:
    catalog = catalog_of(viralmommy)
    ordinary = {f"ix_{name}_{column}" for name, table in TABLES.items() for column in table.indexes}
    beyond = {
        name: str(catalog.objects[f"index {name}"]["definition"]).partition(" USING ")[2]
        for name in catalog.names("index")
        if name not in ordinary
    }
    assert beyond == {
        "ix_platform_connections_expiring": "btree (expires_at)"
        " WHERE status = 'ACTIVE'::connection_status",
        "ix_videos_deleted_at": "btree (deleted_at) WHERE deleted_at IS NOT NULL",
        "ix_published_posts_hashtags": "gin (hashtags)",
        "ix_published_posts_newest": "btree (user_id, published_at) WHERE deleted_at IS NULL",
        "ix_published_posts_deleted_at": "btree (deleted_at) WHERE deleted_at IS NOT NULL",
        "ix_publish_jobs_due": "btree (COALESCE(scheduled_for, created_at))"
        " WHERE status = ANY (ARRAY['PENDING'::job_status, 'DELAYED'::job_status])",
        "ix_publish_jobs_finished": "btree (updated_at)"
        " WHERE status = ANY (ARRAY['COMPLETED'::job_status, 'FAILED'::job_status])",
    }


BASE = """
INSERT INTO users (id, email) VALUES ('u', 'u@example.com');
INSERT INTO videos (id, user_id, r2_key, r2_url, title, duration, file_size, format, resolution,
                    aspect_ratio)
    VALUES ('v', 'u', 'k', 'https://k', 't', 1, 3000000000, 'mp4', '1x1', '1:1');
INSERT INTO published_posts (id, user_id, video_id, platform, platform_post_id, caption)
    VALUES ('p', 'u', 'v', 'YOUTUBE', 'x', 'c');
INSERT INTO youtube_quotas (id, date) VALUES ('q', '2026-01-31');
INSERT INTO publish_jobs (id, job_id, user_id, video_id, platform, caption, started_at)
    VALUES ('j', 'b', 'u', 'no video', 'TIKTOK', 'c', '2026-01-31 12:00Z');
INSERT INTO platform_connections (id, user_id, platform, access_token, platform_user_id,
                                  platform_username, status)
    VALUES ('c', 'u', 'TIKTOK', 'x', 'i', 'n', 'EXPIRED');
"""


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE videos SET duration = 0", "ck_videos_duration_positive"),
        ("UPDATE videos SET file_size = -1", "ck_videos_file_size_positive"),
        ("UPDATE published_posts SET views = -1", "ck_published_posts_views_not_negative"),
        ("UPDATE published_posts SET likes = -1", "ck_published_posts_likes_not_negative"),
        ("UPDATE published_posts SET comments = -1", "ck_published_posts_comments_not_negative"),
        ("UPDATE published_posts SET shares = -1", "ck_published_posts_shares_not_negative"),
        ('UPDATE youtube_quotas SET "limit" = 0', "ck_youtube_quotas_limit_positive"),
        ("UPDATE youtube_quotas SET used = -1", "ck_youtube_quotas_used_within_limit"),
        ("UPDATE youtube_quotas SET used = used + 10001", "ck_youtube_quotas_used_within_limit"),
        (
            'UPDATE youtube_quotas SET used = 5, "limit" = 4',
            "ck_youtube_quotas_used_within_limit",
        ),
        ("UPDATE publish_jobs SET attempt_number = -1", "ck_publish_jobs_attempt_number_not_neg"),
        (
            "UPDATE publish_jobs SET completed_at = '2026-01-31 11:59Z'",
            "ck_publish_jobs_completed_after_start",
        ),
        (
            "UPDATE publish_jobs SET failed_at = '2026-01-31 11:59Z'",
            "ck_publish_jobs_failed_after_start",
        ),
        (
            "INSERT INTO youtube_quotas (id, date) VALUES ('q2', '2026-01-31')",
            "uq_youtube_quotas_date",
        ),
        (
            "INSERT INTO platform_connections SELECT 'c2', user_id, platform, access_token, NULL,"
            " NULL, 'other', 'other', 'ACTIVE' FROM platform_connections WHERE id = 'c'",
            "uq_platform_connections_user_id_platform",
        ),
        (
            "INSERT INTO published_posts (id, user_id, video_id, platform, platform_post_id, caption)"
            " VALUES ('p2', 'u', 'v', 'YOUTUBE', 'x', 'again')",
            "uq_published_posts_platform_platform_post_id",
        ),
        (
            "INSERT INTO published_posts (id, user_id, video_id, platform, platform_post_id, caption)"
            " VALUES ('p2', 'u', 'no video', 'YOUTUBE', 'y', 'c')",
            "fk_published_posts_video_id_videos",
        ),
    ],
)
def test_the_server_refuses(viralmommy: Prepared, statement: str, constraint: str) -> None:
    viralmommy.query(BASE)
    with pytest.raises(psycopg.errors.IntegrityError) as refused:
        viralmommy.query(statement)
    assert str(refused.value.diag.constraint_name).startswith(constraint)


def test_a_date_is_a_day(viralmommy: Prepared) -> None:
    with pytest.raises(psycopg.errors.DatetimeFieldOverflow):
        viralmommy.query("INSERT INTO youtube_quotas (id, date) VALUES ('q', '2026-02-31')")


def test_a_deleted_user_takes_everything_along(viralmommy: Prepared) -> None:
    viralmommy.query(BASE)
    viralmommy.query("DELETE FROM users")
    assert viralmommy.query(
        "SELECT (SELECT count(*) FROM platform_connections), (SELECT count(*) FROM videos),"
        " (SELECT count(*) FROM published_posts), (SELECT count(*) FROM publish_jobs)"
    ) == [(0, 0, 0, 0)]


def test_a_deleted_video_takes_its_posts_and_leaves_the_jobs_history(viralmommy: Prepared) -> None:
    viralmommy.query(BASE)
    viralmommy.query("UPDATE publish_jobs SET video_id = 'v'")
    viralmommy.query("DELETE FROM videos WHERE id = 'v'")
    assert viralmommy.query("SELECT count(*) FROM published_posts") == [(0,)]
    assert viralmommy.query("SELECT id, video_id FROM publish_jobs") == [("j", "v")]


def test_seed_rows(viralmommy: Prepared) -> None:
    ((user_id, *user),) = viralmommy.query("SELECT id, email, name FROM users")
    assert user == ["test@viralmommy.com", "Test Mom Creator"]
    assert viralmommy.query(
        "SELECT user_id, platform::text, platform_user_id, platform_username, status::text"
        " FROM platform_connections"
    ) == [(user_id, "TIKTOK", "tiktok_user_123", "testmomcreator", "ACTIVE")]
    assert viralmommy.query(
        "SELECT user_id, r2_key, r2_url, title, duration, file_size, format, resolution,"
        " aspect_ratio, status::text, deleted_at FROM videos"
    ) == [
        (
            user_id,
            "videos/test-video-123.mp4",
            "https://r2.viralmommy.com/videos/test-video-123.mp4",
            "Test Parenting Hack",
            30,
            15_000_000,
            "mp4",
            "1080x1920",
            "9:16",
            "READY",
            None,
        )
    ]


def test_the_seeded_connection_expires_a_day_after_it_was_made() -> None:
    before = datetime.now(UTC)
    expires = seed.CONNECTION.values["expires_at"]
    assert callable(expires)
    assert (expires() - before).total_seconds() // 3600 == 24


@pytest.mark.parametrize(
    ("column", "token"),
    [("access_token", "encrypted_test_token"), ("refresh_token", "encrypted_refresh_token")],
)
def test_tokens_are_encrypted(viralmommy: Prepared, column: str, token: str) -> None:
    ((value,),) = viralmommy.query(f"SELECT {column} FROM platform_connections")
    assert value.startswith("lc1.")
    assert "token" not in value
    keys = Keyring([Key.from_hex("test", KEY)])
    assert decrypt(value, keys, f"viralmommy.platform_connections.{column}") == token


def test_reset_and_health(viralmommy: Prepared, cli: Cli) -> None:
    viralmommy.query(BASE)
    reset = cli("reset", "--yes", "--app", "viralmommy", "-o", "json", url=viralmommy.url)
    assert reset.code == 0, reset.err
    assert viralmommy.query("SELECT count(*) FROM users") == [(1,)]
    health = cli("health-check", "--app", "viralmommy", "-o", "json", url=viralmommy.url)
    states = {check["status"] for check in health.json["checks"]}
    assert (health.code, states) == (0, {"ok", "skipped"})
