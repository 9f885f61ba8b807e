"""What leadconnector's document says beyond its tables."""

import pytest

from tests.conftest import Prepared
from tests.products.leadconnector.document import PERFORMANCE_INDEXES


def test_performance_indexes(leadconnector: Prepared) -> None:
    names = leadconnector.query("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")
    assert {name for (name,) in names} >= PERFORMANCE_INDEXES


def test_seed_rows(leadconnector: Prepared) -> None:
    (user,) = leadconnector.query("SELECT email, name, facebook_id, image FROM users")
    assert user == (
        "test@example.com",
        "Test User",
        "test_facebook_id",
        "https://via.placeholder.com/150",
    )
    (page,) = leadconnector.query("SELECT facebook_page_id, name, category FROM pages")
    assert page == ("test_page_id", "Test Business Page", "Business")
    (hook,) = leadconnector.query("SELECT id, name, url, headers, method::text FROM webhooks")
    assert hook == (
        "test_webhook_id",
        "Test Webhook",
        "https://webhook.site/test",
        {"Content-Type": "application/json"},
        "POST",
    )
    assert leadconnector.query(
        "SELECT count(*) FROM page_webhook_configs c JOIN pages p ON p.id = c.page_id"
        " JOIN users u ON u.id = p.user_id WHERE c.webhook_id = 'test_webhook_id'"
    ) == [(1,)]


@pytest.mark.parametrize(
    ("table", "column"),
    [("users", "access_token"), ("users", "refresh_token"), ("pages", "access_token")],
)
def test_tokens_are_encrypted(leadconnector: Prepared, table: str, column: str) -> None:
    ((value,),) = leadconnector.query(f"SELECT {column} FROM {table}")
    assert value.startswith("lc1.")
    assert "token" not in value
