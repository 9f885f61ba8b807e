"""What cleack's document says beyond its tables, and the two ways to make them."""

import pytest
from psycopg.errors import UniqueViolation

from leadctl.catalog.definitions import compare, read_catalog
from leadctl.postgres.connect import connect
from leadctl.postgres.engine import run_engine
from leadctl.products.cleack.models import Base
from tests.conftest import Prepared
from tests.products.cleack.document import TABLES


def test_seed_rows(cleack: Prepared) -> None:
    assert cleack.query("SELECT email, email_verified, verification_token FROM users") == [
        ("test@example.com", True, None)
    ]
    assert cleack.query(
        "SELECT transaction_type::text, amount, balance, metadata FROM credits ORDER BY entry"
    ) == [
        ("bonus", 3, 3, {"reason": "welcome"}),
        ("usage", -1, 2, {"draw_id": "test_draw_id"}),
    ]
    assert cleack.query(
        "SELECT plan_type::text, status::text, price_cents, credits_per_month FROM subscriptions"
    ) == [("monthly", "active", 1499, 10)]
    assert cleack.query("SELECT platform::text, username, is_active FROM social_accounts") == [
        ("instagram", "test_user", True)
    ]
    assert cleack.query(
        "SELECT d.status::text, jsonb_array_length(winners), config -> 'winners_count',"
        " array_agg(action::text ORDER BY step)"
        " FROM draws d JOIN draw_history h ON h.draw_id = d.id GROUP BY d.id"
    ) == [("completed", 2, 2, ["created", "started", "completed"])]
    assert cleack.query("SELECT username, platform::text, is_active FROM blacklist") == [
        ("test_spammer", "all", True)
    ]
    assert cleack.query("SELECT metric_type::text, value, metadata FROM system_metrics") == [
        ("daily_draws", 47.0, {"date": "2025-01-05"})
    ]


@pytest.mark.parametrize("column", ["access_token", "refresh_token"])
def test_tokens_are_encrypted(cleack: Prepared, column: str) -> None:
    ((value,),) = cleack.query(f"SELECT {column} FROM social_accounts")
    assert value.startswith("lc1.")
    assert "token" not in value


def test_what_is_unique(cleack: Prepared) -> None:
    copies = {
        "users": "id || 'x', email, name, password_hash, email_verified, 't'",
        "subscriptions": "id || 'x', user_id, plan_type, status, price_cents, credits_per_month,"
        " start_date, end_date, auto_renew, stripe_subscription_id",
        "social_accounts": "id || 'x', user_id, platform, platform_user_id, username, access_token",
        "blacklist": "id || 'x', user_id, username, platform",
    }
    for table, columns in copies.items():
        with pytest.raises(UniqueViolation):
            cleack.query(f"INSERT INTO {table} SELECT {columns} FROM {table}")
    cleack.query(
        "UPDATE subscriptions SET apple_subscription_id = 'a', stripe_subscription_id = NULL"
    )
    with pytest.raises(UniqueViolation):
        cleack.query(
            "INSERT INTO subscriptions (id, user_id, plan_type, price_cents, credits_per_month,"
            " apple_subscription_id) SELECT 'x', id, 'enterprise', 0, 0, 'a' FROM users"
        )


def test_everything_of_a_user_goes_with_the_user(cleack: Prepared) -> None:
    cleack.query("DELETE FROM users")
    for table in set(TABLES) - {"system_metrics"}:
        assert cleack.query(f"SELECT count(*) FROM {table}") == [(0,)], table
    assert cleack.query("SELECT count(*) FROM system_metrics") == [(1,)]


def test_the_history_of_a_draw_goes_with_the_draw(cleack: Prepared) -> None:
    cleack.query("DELETE FROM draws")
    assert cleack.query("SELECT count(*) FROM draw_history") == [(0,)]


def test_creating_the_models_where_they_are_changes_nothing(cleack: Prepared) -> None:
    target = cleack.target(app="cleack")
    with connect(target, rows=True) as connection:
        before = read_catalog(connection, "public")
    with run_engine(target, "test").begin() as connection:
        Base.metadata.create_all(connection)
    with connect(target, rows=True) as connection:
        assert compare(before, read_catalog(connection, "public")) == []
