"""What viralmommy asks of its data: per user, atomic, and by the indexes that were made for it."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from leadctl.crypto import Key, Keyring, using
from leadctl.postgres.engine import run_engine
from leadctl.products.viralmommy import queries
from leadctl.products.viralmommy.models import (
    ConnectionStatus,
    JobStatus,
    Platform,
    PlatformConnection,
    PublishedPost,
    PublishJob,
    User,
    Video,
    VideoStatus,
    YouTubeQuota,
)
from tests.conftest import KEY, Prepared

pytestmark = pytest.mark.thorough

DAY = date(2026, 1, 31)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
FAR_AHEAD = datetime(2999, 1, 1, tzinfo=UTC)


@pytest.fixture
def engine(viralmommy: Prepared) -> Engine:
    return run_engine(viralmommy.target(app="viralmommy"), "test")


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """A session with two users, `ada` and `bea`, that may read tokens."""
    with using(Keyring([Key.from_hex("ours", KEY)])), Session(engine) as session:
        session.add_all([User(id="ada", email="ada@example.com"), User(id="bea", email="b@x.org")])
        session.commit()
        yield session


def video(name: str, user: str = "ada", **values: object) -> Video:
    values = {"status": VideoStatus.READY, "title": name, "r2_key": name, **values}
    fixed = {"duration": 1, "file_size": 1, "format": "mp4", "resolution": "1x1"}
    return Video(id=name, user_id=user, r2_url="https://r2", aspect_ratio="1:1", **fixed, **values)


def post(name: str, video_id: str, user: str = "ada", **values: object) -> PublishedPost:
    values = {"platform": Platform.TIKTOK, "caption": "c", **values}
    return PublishedPost(id=name, platform_post_id=name, user_id=user, video_id=video_id, **values)


def job(name: str, user: str = "ada", video_id: str = "v", **values: object) -> PublishJob:
    values = {"platform": Platform.YOUTUBE, "caption": "c", **values}
    return PublishJob(id=name, job_id=f"bull:{name}", user_id=user, video_id=video_id, **values)


def test_active_connections(session: Session) -> None:
    for user in ("ada", "bea"):
        for platform in Platform:
            queries.upsert_connection(
                session,
                user,
                platform,
                platform_user_id="1",
                platform_username="a",
                access_token="t",
                expires_at=LONG_AGO if platform is Platform.TIKTOK else None,
            )
    revoked = queries.active_connections(session, "ada")[1]
    revoked.status = ConnectionStatus.REVOKED
    session.flush()
    found = queries.active_connections(session, "ada")
    assert [(c.user_id, c.platform) for c in found] == [
        ("ada", Platform.TIKTOK),
        ("ada", Platform.YOUTUBE),
    ]
    assert queries.active_connections(session, "nobody") == []
    expiring = queries.expiring_connections(session, datetime(2020, 1, 2, tzinfo=UTC))
    assert {c.user_id for c in expiring} == {"ada", "bea"}
    assert queries.expiring_connections(session, LONG_AGO) == []


def test_a_connection_is_made_once_and_then_replaced(engine: Engine, session: Session) -> None:
    def connect(name: str, refresh_token: str | None) -> PlatformConnection:
        return queries.upsert_connection(
            session,
            "ada",
            Platform.TIKTOK,
            platform_user_id=name,
            platform_username=name,
            access_token=f"token of {name}",
            refresh_token=refresh_token,
            expires_at=FAR_AHEAD,
        )

    made = connect("first", "refresh")
    made.status = ConnectionStatus.EXPIRED
    session.commit()
    changed = made.updated_at
    replaced = connect("second", None)
    assert replaced is made
    assert made.status is ConnectionStatus.ACTIVE
    assert (made.access_token, made.refresh_token) == ("token of second", None)
    assert made.platform_username == "second"
    assert made.updated_at > changed
    stored = session.scalar(text("SELECT access_token FROM platform_connections LIMIT 1"))
    assert stored.startswith("lc1.")
    session.rollback()
    assert made.access_token == "token of first"  # the commit is the caller's


def test_published_posts(session: Session) -> None:
    session.add_all([video("v"), video("w", deleted_at=LONG_AGO), video("b", "bea")])
    session.flush()
    session.add_all(
        [
            post("1", "v", published_at=LONG_AGO, hashtags=["mom", "hack"]),
            post("2", "w", published_at=LONG_AGO + timedelta(days=2), hashtags=["Mom"]),
            post("3", "v", published_at=LONG_AGO + timedelta(days=1)),
            post("4", "v", published_at=FAR_AHEAD, deleted_at=LONG_AGO, hashtags=["mom"]),
            post("5", "b", "bea", hashtags=["mom"]),
        ]
    )
    session.flush()
    session.expunge_all()
    page = queries.published_posts(session, "ada")
    tagged = queries.published_posts(session, "ada", hashtag="mom")
    second = queries.published_posts(session, "ada", page=2, limit=2)
    session.expunge_all()  # nothing more can be loaded: the videos came along
    assert [(p.id, p.video.id) for p in page.data] == [("2", "w"), ("3", "v"), ("1", "v")]
    assert page.data[1].hashtags == []
    assert [p.id for p in tagged.data] == ["1"]
    assert ([p.id for p in second.data], second.total, second.has_next) == (["1"], 3, False)


def test_ready_videos(session: Session) -> None:
    session.add_all(
        [
            video("older", created_at=LONG_AGO),
            video("newer", created_at=LONG_AGO + timedelta(days=1)),
            video("processing", status=VideoStatus.PROCESSING),
            video("failed", status=VideoStatus.FAILED),
            video("deleted", deleted_at=LONG_AGO),
            video("published"),
            video("taken down", created_at=FAR_AHEAD),
            video("hers", "bea"),
        ]
    )
    session.flush()
    session.add_all([post("1", "published"), post("2", "taken down", deleted_at=LONG_AGO)])
    session.flush()
    assert [v.id for v in queries.ready_videos(session, "ada")] == ["taken down", "newer", "older"]
    assert [v.id for v in queries.ready_videos(session, "bea")] == ["hers"]


def test_a_deleted_video_is_not_published_and_comes_back(session: Session) -> None:
    session.add_all([video("v"), video("w")])
    session.add_all(
        [
            job("waiting", scheduled_for=FAR_AHEAD, status=JobStatus.DELAYED),
            job("ahead", started_at=FAR_AHEAD),
            job("done", status=JobStatus.COMPLETED),
            job("running", status=JobStatus.ACTIVE),
            job("other", video_id="w"),
            job("hers", "bea"),
        ]
    )
    session.flush()
    assert not queries.delete_video(session, "bea", "v")
    assert queries.delete_video(session, "ada", "v")
    assert not queries.delete_video(session, "ada", "v")
    session.expire_all()
    jobs = {job.id: job for job in session.scalars(select(PublishJob))}
    failed = {job.id: job.error_message for job in jobs.values() if job.status is JobStatus.FAILED}
    assert failed == dict.fromkeys(["waiting", "ahead"], "The video was deleted.")
    assert jobs["ahead"].failed_at == FAR_AHEAD
    assert [v.id for v in queries.ready_videos(session, "ada")] == ["w"]
    assert not queries.restore_video(session, "bea", "v")
    assert queries.restore_video(session, "ada", "v")
    assert not queries.restore_video(session, "ada", "v")
    assert {v.id for v in queries.ready_videos(session, "ada")} == {"v", "w"}


@pytest.mark.parametrize(
    ("limit", "units", "spent"),
    [(10_000, 1_600, 0), (10_000, 1_600, 9_999), (100, 7, 3), (49, 1, 0), (1_000, 1, 0)],
)
def test_fifty_at_once_never_overspend(
    viralmommy: Prepared, engine: Engine, limit: int, units: int, spent: int
) -> None:
    if spent:
        viralmommy.query(
            'INSERT INTO youtube_quotas (id, date, used, "limit") VALUES (%s, %s, %s, %s)',
            *("q", DAY, spent, limit),
        )
    together = threading.Barrier(50)

    def spend(_: int) -> bool:
        with Session(engine) as session:
            session.connection()
            together.wait(60)
            done = queries.spend_quota(session, units, DAY, limit)
            session.commit()
            return done

    with ThreadPoolExecutor(50) as pool:
        succeeded = sum(pool.map(spend, range(50)))
    assert succeeded == min(50, (limit - spent) // units)
    assert viralmommy.query('SELECT date, used, "limit" FROM youtube_quotas') == [
        (DAY, spent + succeeded * units, limit)
    ]


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.integers(1, 5_000), st.sampled_from([DAY, DAY + timedelta(days=1)]))),
    st.integers(1, 12_000),
)
def test_spending_is_a_sum_that_stops_at_the_limit(
    engine: Engine, spends: list[tuple[int, date]], limit: int
) -> None:
    used: dict[date, int] = {}
    with Session(engine) as session:
        for units, day in spends:
            fits = used.get(day, 0) + units <= limit
            assert queries.spend_quota(session, units, day, limit) == fits
            used[day] = used.get(day, 0) + units * fits
            assert queries.remaining_quota(session, day, limit) == limit - used[day]


def test_the_edges_of_the_quota(viralmommy: Prepared, session: Session) -> None:
    assert queries.remaining_quota(session) == 10_000
    assert queries.spend_quota(session)
    ((today,),) = session.execute(text("SELECT (now() AT TIME ZONE 'UTC')::date"))
    quota = session.scalars(select(YouTubeQuota)).one()
    assert (quota.date, quota.used, quota.limit) == (today, 1_600, 10_000)
    assert queries.spend_quota(session, 8_400)
    assert (quota.used, queries.remaining_quota(session)) == (10_000, 0)  # the object is fresh
    assert not queries.spend_quota(session, 1)
    for units in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            queries.spend_quota(session, units)
    session.rollback()
    assert viralmommy.query("SELECT * FROM youtube_quotas") == []
    largest = 2**31 - 1
    assert queries.spend_quota(session, largest - 1, DAY, largest)
    assert not queries.spend_quota(session, 2, DAY, largest)
    assert queries.spend_quota(session, 1, DAY, largest)
    assert not queries.spend_quota(session, 1, DAY)  # the row's own limit counts


def test_due_jobs_are_claimed_in_order(session: Session) -> None:
    session.add_all(
        [
            job("later", scheduled_for=FAR_AHEAD, status=JobStatus.DELAYED),
            job("second", created_at=LONG_AGO + timedelta(days=1)),
            job("first", "bea", scheduled_for=LONG_AGO, status=JobStatus.DELAYED),
            job("third", scheduled_for=LONG_AGO + timedelta(days=2), attempt_number=2),
            job("now", failed_at=LONG_AGO, error_message="before"),
            job("running", status=JobStatus.ACTIVE),
            job("done", status=JobStatus.COMPLETED, created_at=LONG_AGO),
        ]
    )
    session.flush()
    assert [job.id for job in queries.claim_due_jobs(session, 3)] == ["first", "second", "third"]
    (now,) = queries.claim_due_jobs(session, 3)
    assert (now.id, now.status, now.attempt_number) == ("now", JobStatus.ACTIVE, 1)
    assert (now.failed_at, now.error_message) == (None, None)
    assert now.started_at is not None
    third = session.get_one(PublishJob, "third")
    assert (third.status, third.attempt_number) == (JobStatus.ACTIVE, 3)
    assert queries.claim_due_jobs(session, 3) == []


def test_no_job_is_claimed_twice(viralmommy: Prepared, engine: Engine) -> None:
    viralmommy.query("INSERT INTO users (id, email) VALUES ('ada', 'ada@example.com')")
    viralmommy.query(
        "INSERT INTO publish_jobs (id, job_id, user_id, video_id, platform, caption)"
        " SELECT n, n, 'ada', 'v', 'TIKTOK', 'c' FROM generate_series(1, 200) n"
    )
    together = threading.Barrier(8)

    def work(_: int) -> list[str]:
        mine: list[str] = []
        together.wait(60)
        while True:
            with Session(engine) as session, session.begin():
                claimed = [job.id for job in queries.claim_due_jobs(session, 3)]
            if not claimed:
                return mine
            mine += claimed

    with ThreadPoolExecutor(8) as pool:
        claimed = [id for mine in pool.map(work, range(8)) for id in mine]  # noqa: A001
    assert len(claimed) == len(set(claimed)) == 200
    assert viralmommy.query("SELECT DISTINCT status::text, attempt_number FROM publish_jobs") == [
        ("ACTIVE", 1)
    ]


def test_a_claim_waits_for_nobody_and_is_undone_by_a_rollback(
    engine: Engine, session: Session
) -> None:
    session.add_all([job("one", scheduled_for=LONG_AGO), job("two")])
    session.commit()
    with Session(engine) as other:
        other.execute(text("SET LOCAL lock_timeout = '1ms'"))
        assert [job.id for job in queries.claim_due_jobs(session)] == ["one"]
        assert [job.id for job in queries.claim_due_jobs(other, 5)] == ["two"]
        session.rollback()
        assert [job.id for job in queries.claim_due_jobs(other, 5)] == ["one"]


def test_jobs_end_once(session: Session) -> None:
    session.add_all([job("good"), job("bad"), job("again"), job("idle", scheduled_for=FAR_AHEAD)])
    session.flush()
    claimed = {job.id: job for job in queries.claim_due_jobs(session, 9)}
    assert set(claimed) == {"good", "bad", "again"}
    assert queries.complete_job(session, "bull:good")
    assert not queries.complete_job(session, "bull:good")
    assert not queries.fail_job(session, "bull:good", "too late")
    assert queries.fail_job(session, "bull:bad", "100% refused")
    assert queries.fail_job(session, "bull:again", "busy", retry_at=LONG_AGO)
    assert not queries.complete_job(session, "bull:idle")
    assert not queries.complete_job(session, "nothing")
    session.expire_all()
    good, bad, again = claimed["good"], claimed["bad"], claimed["again"]
    assert (good.status, good.error_message, good.failed_at) == (JobStatus.COMPLETED, None, None)
    assert good.completed_at >= good.started_at
    assert (bad.status, bad.error_message) == (JobStatus.FAILED, "100% refused")
    assert (again.status, again.scheduled_for) == (JobStatus.DELAYED, LONG_AGO)
    (retried,) = queries.claim_due_jobs(session, 9)
    assert (retried.id, retried.attempt_number, retried.failed_at) == ("again", 2, None)


def test_a_worker_whose_clock_is_ahead_can_end_its_job(session: Session) -> None:
    session.add(job("ahead", status=JobStatus.ACTIVE, started_at=FAR_AHEAD))
    session.flush()
    assert queries.complete_job(session, "bull:ahead")
    assert session.get_one(PublishJob, "ahead").completed_at == FAR_AHEAD


MANY = """
INSERT INTO users (id, email) SELECT n, n FROM generate_series(1, 5000) n;
INSERT INTO videos (id, user_id, r2_key, r2_url, title, duration, file_size, format, resolution,
                    aspect_ratio)
    SELECT n, 'ada', n, 'u', 't', 1, 1, 'mp4', '1x1', '1:1' FROM generate_series(1, 5000) n;
INSERT INTO published_posts (id, user_id, video_id, platform, platform_post_id, caption, hashtags,
                             published_at)
    SELECT n, n % 50 + 1, n, 'TIKTOK', n, 'c', ARRAY['tag' || n], now() - n * interval '1 hour'
    FROM generate_series(1, 5000) n;
INSERT INTO publish_jobs (id, job_id, user_id, video_id, platform, caption, status)
    SELECT n, n, 'ada', 'v', 'TIKTOK', 'c',
           (CASE WHEN n % 500 = 0 THEN 'PENDING' ELSE 'COMPLETED' END)::job_status
    FROM generate_series(1, 5000) n;
INSERT INTO platform_connections (id, user_id, platform, access_token, platform_user_id,
                                  platform_username, status, expires_at)
    SELECT n, n, 'TIKTOK', 'x', 'i', 'n',
           (CASE WHEN n % 500 = 0 THEN 'ACTIVE' ELSE 'EXPIRED' END)::connection_status,
           '2020-01-01'::timestamptz + n * interval '1 day'
    FROM generate_series(1, 5000) n;
"""


@pytest.mark.parametrize(
    ("index", "ask"),
    [
        ("ix_published_posts_newest", lambda s: queries.published_posts(s, "7")),
        ("ix_published_posts_hashtags", lambda s: queries.published_posts(s, "7", hashtag="x")),
        ("ix_publish_jobs_due", lambda s: queries.claim_due_jobs(s)),
        ("ix_platform_connections_expiring", lambda s: queries.expiring_connections(s, LONG_AGO)),
    ],
)
def test_the_index_that_was_made_for_it_is_used(
    viralmommy: Prepared, session: Session, index: str, ask: Callable[[Session], object]
) -> None:
    viralmommy.query(MANY)
    viralmommy.query("ANALYZE")
    # Prepared, with a plan for any parameters: what a long-lived application may come to.
    driver = session.connection().connection.driver_connection
    driver.prepare_threshold = 0
    session.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
    ask(session)
    assert session.scalar(text(f"SELECT pg_stat_get_xact_numscans('{index}'::regclass)")) > 0
