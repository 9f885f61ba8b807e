"""The fixtures of leadconnector: a user with a page, a webhook, and the link between them."""

from leadctl.apps.fixtures import Fixture

USER = Fixture(
    "users",
    key={"email": "test@example.com"},
    values={
        "name": "Test User",
        "facebook_id": "test_facebook_id",
        "access_token": "test_access_token",
        "refresh_token": "test_refresh_token",
        "image": "https://via.placeholder.com/150",
    },
)

PAGE = Fixture(
    "pages",
    key={"facebook_page_id": "test_page_id"},
    values={
        "name": "Test Business Page",
        "category": "Business",
        "access_token": "test_page_access_token",
        "user_id": USER.ref(),
    },
)

WEBHOOK = Fixture(
    "webhooks",
    key={"id": "test_webhook_id"},
    values={
        "name": "Test Webhook",
        "url": "https://webhook.site/test",
        "user_id": USER.ref(),
        "headers": {"Content-Type": "application/json"},
    },
)

LINK = Fixture("page_webhook_configs", key={"page_id": PAGE.ref(), "webhook_id": WEBHOOK.ref()})

FIXTURES = (USER, PAGE, WEBHOOK, LINK)
