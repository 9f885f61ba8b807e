"""Cleack's queries: users, draws through their statuses, certificates, blacklist, metrics."""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session

from leadctl.crypto import Key, Keyring, using
from leadctl.models import paginate
from leadctl.postgres.engine import run_engine
from leadctl.products.cleack import queries
from leadctl.products.cleack.models import (
    BlacklistEntry,
    BlacklistPlatform,
    Credit,
    Draw,
    DrawStatus,
    MetricType,
    PlanType,
    Platform,
    SystemMetric,
    Terms,
    TransactionType,
    User,
)
from leadctl.products.cleack.queries import certificate_hash
from tests.conftest import KEY, Prepare

pytestmark = pytest.mark.thorough

CONFIG: dict[str, Any] = {"filters": {}, "rules": {}, "winners_count": 1}
HASH = "$2b$12$" + "a" * 53
WINNER = {"username": "w", "user_id": "1", "selected_at": "2025-01-05T12:00:00Z"}


@pytest.fixture
def engine(prepared: Prepare) -> Engine:
    return run_engine(prepared("cleack").target(app="cleack"), "test")


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session


@pytest.fixture
def user(session: Session) -> str:
    """The id of a user beside the one of the fixtures."""
    somebody = User(email="somebody@example.com", password_hash=HASH)
    session.add(somebody)
    session.commit()
    return somebody.id


def new_draw(session: Session, user: str, **values: Any) -> str:
    draw = Draw(user_id=user, platform=Platform.TIKTOK, post_url="u", config=CONFIG, **values)
    session.add(draw)
    session.commit()
    return draw.id


def actions(session: Session, user: str, draw: str) -> list[str]:
    return [step.action.value for step in session.scalars(queries.history_of(user, draw))]


def test_a_draw_from_beginning_to_end(session: Session, user: str) -> None:
    draw_id = new_draw(session, user)
    queries.start_draw(session, user, draw_id)
    assert queries.fail_draw(session, user, draw_id, "rate limit").error == "rate limit"
    assert queries.retry_draw(session, user, draw_id).error is None
    draw = queries.complete_draw(
        session, user, draw_id, winners=[WINNER], participants=7, video_url="https://v"
    )
    session.commit()
    assert (draw.status, draw.participants, draw.winners) == (DrawStatus.COMPLETED, 7, [WINNER])
    assert draw.executed_at is not None
    assert actions(session, user, draw_id) == [
        "created",
        "started",
        "failed",
        "retried",
        "completed",
    ]
    assert [step.action.value for step in draw.history] == actions(session, user, draw_id)


def test_the_documents_example_pays_and_starts_or_neither(session: Session, user: str) -> None:
    document = Path(__file__).parents[3] / "docs" / "apps" / "cleack.md"
    (example,) = re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    first, second = new_draw(session, user), new_draw(session, user)
    queries.add_credits(session, user, TransactionType.BONUS, 1)
    names["pay_and_start"](session, user, first)
    with pytest.raises(queries.NotEnoughCredits):
        names["pay_and_start"](session, user, second)
    session.rollback()
    found = [session.get_one(Draw, draw) for draw in (first, second)]
    assert [(draw.status, draw.credits_used) for draw in found] == [
        (DrawStatus.PROCESSING, 1),
        (DrawStatus.PENDING, 0),
    ]
    assert queries.current_balance(session, user) == 0


def test_cancelling(session: Session, user: str) -> None:
    pending, running = new_draw(session, user), new_draw(session, user)
    queries.start_draw(session, user, running)
    for draw in (pending, running):
        assert queries.cancel_draw(session, user, draw).status is DrawStatus.CANCELLED
    assert actions(session, user, pending) == ["created", "cancelled"]


@pytest.mark.parametrize(
    ("status", "allowed"),
    [
        ("pending", {"start", "cancel"}),
        ("processing", {"complete", "fail", "cancel"}),
        ("failed", {"retry"}),
        ("cancelled", set()),
    ],
)
def test_what_can_be_done_at_which_status(
    session: Session, user: str, status: str, allowed: set[str]
) -> None:
    verbs: dict[str, Callable[[str], Draw]] = {
        "start": lambda draw: queries.start_draw(session, user, draw),
        "complete": lambda draw: queries.complete_draw(
            session, user, draw, winners=[], participants=0
        ),
        "fail": lambda draw: queries.fail_draw(session, user, draw, "e"),
        "cancel": lambda draw: queries.cancel_draw(session, user, draw),
        "retry": lambda draw: queries.retry_draw(session, user, draw),
    }
    for name, verb in verbs.items():
        draw = new_draw(session, user, status=DrawStatus(status))
        if name in allowed:
            verb(draw)
        else:
            with pytest.raises(queries.WrongStatus, match=status):
                verb(draw)


def test_a_completed_draw_stays_completed(session: Session, user: str) -> None:
    draw = new_draw(session, user, status=DrawStatus.PROCESSING)
    queries.complete_draw(session, user, draw, winners=[], participants=0)
    for verb in (queries.start_draw, queries.cancel_draw, queries.retry_draw):
        with pytest.raises(queries.WrongStatus, match="completed"):
            verb(session, user, draw)


def test_a_draw_of_somebody_else_is_unknown(session: Session, user: str) -> None:
    for draw in ("test_draw_id", "none"):
        with pytest.raises(queries.UnknownDraw):
            queries.start_draw(session, user, draw)
    assert actions(session, user, "test_draw_id") == []


def test_of_two_who_start_a_draw_one_does(engine: Engine, session: Session, user: str) -> None:
    draw = new_draw(session, user)
    together = threading.Barrier(2)
    outcomes: list[str] = []

    def work() -> None:
        with Session(engine) as own:
            together.wait(10)
            try:
                queries.start_draw(own, user, draw)
                own.commit()
                outcomes.append("started")
            except queries.WrongStatus:
                outcomes.append("refused")

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "started"]
    assert actions(session, user, draw) == ["created", "started"]


def test_draws_of_a_user_by_status(session: Session, user: str) -> None:
    second = new_draw(session, user, status=DrawStatus.FAILED)
    first = new_draw(session, user, created_at=datetime(2025, 1, 1, tzinfo=UTC))
    assert [draw.id for draw in session.scalars(queries.draws_of(user))] == [second, first]
    assert [d.id for d in session.scalars(queries.draws_of(user, DrawStatus.FAILED))] == [second]
    assert session.scalars(queries.draws_of(user, DrawStatus.COMPLETED)).all() == []
    assert paginate(session, queries.draws_of(user), limit=1).total == 2


@pytest.mark.parametrize(
    "number", [1, 1.0, 1e22, -0.0, 0.1, 1e-7, 123456789012345678901234567890, 1e16]
)
def test_a_certificate_can_be_checked_against_what_is_stored(
    session: Session, user: str, number: float
) -> None:
    draw_id = new_draw(session, user, status=DrawStatus.PROCESSING)
    winner = {**WINNER, "comment": 'é\u2028😀 "quoted"', "followers": number}
    queries.complete_draw(session, user, draw_id, winners=[winner], participants=1)
    session.commit()
    session.expire_all()
    draw = session.get_one(Draw, draw_id)
    assert draw.winners is not None
    assert certificate_hash(draw.id, draw.config, draw.winners) == draw.certificate_hash


def test_a_certificate_is_of_one_draw_and_one_outcome() -> None:
    certificate = certificate_hash("d", CONFIG, [WINNER])
    canonical = (
        '{"config":{"filters":{},"rules":{},"winners_count":1},"draw_id":"d","winners":'
        '[{"selected_at":"2025-01-05T12:00:00Z","user_id":"1","username":"w"}]}'
    )
    assert certificate == hashlib.sha256(canonical.encode()).hexdigest()
    assert certificate == certificate_hash("d", dict(reversed(CONFIG.items())), [WINNER])
    assert certificate != certificate_hash("e", CONFIG, [WINNER])
    assert certificate != certificate_hash("d", {**CONFIG, "winners_count": 2}, [WINNER])
    assert certificate != certificate_hash("d", CONFIG, [])


def test_the_certificate_of_the_fixtures(session: Session) -> None:
    draw = session.get_one(Draw, "test_draw_id")
    assert draw.winners is not None
    assert certificate_hash(draw.id, draw.config, draw.winners) == draw.certificate_hash


def test_history_knows_who_acted(session: Session, user: str) -> None:
    draw = new_draw(session, user)
    queries.set_actor(session, ip="192.0.2.7", user_agent="Firefox \"x\" 'y'")
    queries.start_draw(session, user, draw)
    session.commit()
    queries.cancel_draw(session, user, draw)
    session.commit()
    assert [step.metadata_ for step in session.scalars(queries.history_of(user, draw))] == [
        None,
        {"ip": "192.0.2.7", "user_agent": "Firefox \"x\" 'y'"},
        None,
    ]


def test_verifying_an_address(session: Session, user: str) -> None:
    somebody = session.get_one(User, user)
    earlier = queries.new_verification_token(session, user)
    token = queries.new_verification_token(session, user)
    session.commit()
    assert (len(token), len(earlier)) == (43, 43)
    assert queries.user_to_verify(session, earlier) is None
    assert queries.verify_email(session, earlier) is None
    assert queries.user_to_verify(session, token) is somebody
    assert queries.verify_email(session, token) is somebody
    session.commit()
    assert (somebody.email_verified, somebody.verification_token) == (True, None)
    assert queries.verify_email(session, token) is None
    with pytest.raises(NoResultFound):
        queries.new_verification_token(session, "nobody")


def test_a_profile_shows_no_secrets(session: Session, user: str) -> None:
    assert queries.profile_of(session, user) == (user, "somebody@example.com", None)
    assert queries.profile_of(session, "nobody") is None


@pytest.mark.parametrize(
    ("username", "platform", "excluded"),
    [
        ("Spammer", Platform.INSTAGRAM, True),
        ("sPAMMER", Platform.INSTAGRAM, True),
        ("Spammer", Platform.TIKTOK, False),
        ("everywhere", Platform.TIKTOK, True),
        ("spammer2", Platform.INSTAGRAM, False),
        ("lifted", Platform.INSTAGRAM, False),
        ("test_spammer", Platform.INSTAGRAM, False),  # somebody else's entry
    ],
)
def test_the_blacklist(
    session: Session, user: str, username: str, platform: Platform, excluded: bool
) -> None:
    everywhere, instagram = BlacklistPlatform.ALL, BlacklistPlatform.INSTAGRAM
    session.add_all(
        [
            BlacklistEntry(user_id=user, username="spammer", platform=instagram),
            BlacklistEntry(user_id=user, username="Everywhere", platform=everywhere),
            BlacklistEntry(user_id=user, username="lifted", platform=everywhere, is_active=False),
        ]
    )
    assert queries.is_blacklisted(session, user, username, platform) is excluded


def test_metrics(session: Session) -> None:
    metric = queries.record_metric(
        session, MetricType.ERROR_RATE, 0.5, metadata={"date": "2025-01-05"}
    )
    session.commit()
    stored = session.scalars(
        select(SystemMetric).where(SystemMetric.metric_type == MetricType.ERROR_RATE)
    ).one()
    assert stored is metric
    assert (stored.value, stored.metadata_) == (0.5, {"date": "2025-01-05"})


def test_subscriptions_are_sold_on_the_list_or_on_terms_of_their_own(
    session: Session, user: str
) -> None:
    end = datetime.now(UTC) + timedelta(days=365)
    monthly = queries.subscribe(session, user, PlanType.MONTHLY, end, apple_subscription_id="a")
    annual = queries.subscribe(session, user, PlanType.ANNUAL, end, stripe_subscription_id="s")
    custom = queries.subscribe(
        session, user, PlanType.ENTERPRISE, None, terms=Terms(250_000, 5_000)
    )
    session.commit()
    assert [(s.price_cents, s.credits_per_month) for s in (monthly, annual, custom)] == [
        (1499, 10),
        (9900, 50),
        (250_000, 5_000),
    ]
    with pytest.raises(ValueError, match="enterprise"):
        queries.subscribe(session, user, PlanType.ENTERPRISE, None)


def test_relations_of_the_document(session: Session) -> None:
    with using(Keyring([Key.from_hex("ours", KEY)])):
        user = session.scalars(select(User)).one()
        assert [entry.balance for entry in user.credits] == [3, 2]
        assert [subscription.price_cents for subscription in user.subscriptions] == [1499]
        assert [account.access_token for account in user.social_accounts] == ["test_access_token"]
        assert [draw.user is user for draw in user.draws] == [True]
        assert [entry.username for entry in user.blacklist] == ["test_spammer"]
        assert len(user.draw_history) == 3
        session.delete(user)  # with everything of it loaded: the server does the rest
        session.commit()
        assert session.scalars(select(Credit)).all() == []
