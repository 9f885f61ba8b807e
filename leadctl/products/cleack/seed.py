"""The fixtures of cleack: a user with credits, a subscription, an account and a completed draw."""

from datetime import UTC, datetime, timedelta

from leadctl.apps.fixtures import Fixture
from leadctl.models import hashed
from leadctl.products.cleack.models import (
    PRICE_LIST,
    PlanType,
)
from leadctl.products.cleack.queries import certificate_hash

DRAW_ID = "test_draw_id"
CONFIG = {
    "filters": {"min_followers": 100, "exclude_suspicious": True, "exclude_businesses": False},
    "rules": {
        "require_like": True,
        "require_comment": True,
        "require_follow": False,
        "comment_keywords": ["amazing", "win"],
    },
    "winners_count": 2,
}
WINNERS = [
    {
        "username": "winner1",
        "user_id": "test_winner_1",
        "comment": "Amazing giveaway!",
        "selected_at": "2025-01-05T12:00:00Z",
    },
    {
        "username": "winner2",
        "user_id": "test_winner_2",
        "comment": "I want to win",
        "selected_at": "2025-01-05T12:00:01Z",
    },
]

USER = Fixture(
    "users",
    key={"email": "test@example.com"},
    values={
        "name": "Test User",
        "password_hash": hashed("test_password"),
        "email_verified": True,
    },
)

WELCOME_BONUS = Fixture(
    "credits",
    key={"user_id": USER.ref(), "transaction_type": "bonus"},
    values={"amount": 3, "metadata": {"reason": "welcome"}},
)

SUBSCRIPTION = Fixture(
    "subscriptions",
    key={"stripe_subscription_id": "test_stripe_subscription_id"},
    values={
        "user_id": USER.ref(),
        "plan_type": "monthly",
        "price_cents": PRICE_LIST[PlanType.MONTHLY].price_cents,
        "credits_per_month": PRICE_LIST[PlanType.MONTHLY].credits_per_month,
        "end_date": lambda: datetime.now(UTC) + timedelta(days=30),
    },
)

ACCOUNT = Fixture(
    "social_accounts",
    key={"user_id": USER.ref(), "platform": "instagram"},
    values={
        "platform_user_id": "test_instagram_id",
        "username": "test_user",
        "access_token": "test_access_token",
        "refresh_token": "test_refresh_token",
        "token_expires_at": lambda: datetime.now(UTC) + timedelta(days=60),
    },
)

DRAW = Fixture(
    "draws",
    key={"id": DRAW_ID},
    values={
        "user_id": USER.ref(),
        "platform": "instagram",
        "post_url": "https://www.instagram.com/p/test_post/",
        "status": "completed",
        "config": CONFIG,
        "participants": 128,
        "winners": WINNERS,
        "certificate_hash": certificate_hash(DRAW_ID, CONFIG, WINNERS),
        "credits_used": 1,
        "executed_at": lambda: datetime.now(UTC),
    },
)
"""Its history is written by the server."""

USAGE = Fixture(
    "credits",
    key={"user_id": USER.ref(), "transaction_type": "usage"},
    values={"amount": -1, "metadata": {"draw_id": DRAW_ID}},
)

BLACKLISTED = Fixture(
    "blacklist",
    key={"user_id": USER.ref(), "username": "test_spammer", "platform": "all"},
    values={"reason": "Takes part with several accounts"},
)

METRIC = Fixture(
    "system_metrics",
    key={"id": "test_metric_id"},
    values={"metric_type": "daily_draws", "value": 47, "metadata": {"date": "2025-01-05"}},
)

FIXTURES = (USER, WELCOME_BONUS, SUBSCRIPTION, ACCOUNT, DRAW, USAGE, BLACKLISTED, METRIC)
