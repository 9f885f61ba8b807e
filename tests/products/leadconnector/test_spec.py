"""Every table, column, enum, unique, index and cascade of leadconnector's document."""

import pytest

from leadctl.catalog.definitions import read_catalog
from leadctl.postgres.connect import connect
from tests.conftest import Prepared
from tests.spec import Table, missing

TEXT, TIME = "text", "timestamp with time zone"

TABLES = {
    "users": Table(
        {
            "id": TEXT,
            "email": TEXT,
            "name": f"{TEXT}?",
            "facebook_id": TEXT,
            "access_token": TEXT,
            "refresh_token": f"{TEXT}?",
            "token_expiry": f"{TIME}?",
            "image": f"{TEXT}?",
            "created_at": TIME,
            "updated_at": TIME,
            "last_login": f"{TIME}?",
        },
        unique=["email", "facebook_id"],
        indexes=["last_login"],
        defaults={"created_at": "now()"},
    ),
    "pages": Table(
        {
            "id": TEXT,
            "facebook_page_id": TEXT,
            "name": TEXT,
            "category": f"{TEXT}?",
            "access_token": TEXT,
            "is_active": "boolean",
            "user_id": TEXT,
            "created_at": TIME,
            "updated_at": TIME,
        },
        unique=["facebook_page_id"],
        indexes=["user_id", "is_active", "updated_at"],
        cascades={"user_id": "users"},
        defaults={"is_active": "true", "created_at": "now()"},
    ),
    "leads": Table(
        {
            "id": TEXT,
            "facebook_lead_id": TEXT,
            "page_id": TEXT,
            "form_id": TEXT,
            "form_name": TEXT,
            "campaign_id": f"{TEXT}?",
            "campaign_name": f"{TEXT}?",
            "adset_id": f"{TEXT}?",
            "adset_name": f"{TEXT}?",
            "ad_id": f"{TEXT}?",
            "ad_name": f"{TEXT}?",
            "lead_data": "jsonb",
            "status": "lead_status",
            "created_at": TIME,
            "processed_at": f"{TIME}?",
        },
        unique=["facebook_lead_id"],
        indexes=["page_id", "status", "created_at", "form_id", "campaign_id", "page_id, status"],
        cascades={"page_id": "pages"},
        defaults={"status": "'NEW'", "created_at": "now()"},
    ),
    "webhooks": Table(
        {
            "id": TEXT,
            "user_id": TEXT,
            "name": TEXT,
            "url": TEXT,
            "method": "http_method",
            "headers": "jsonb?",
            "auth_type": "auth_type",
            "auth_config": "jsonb?",
            "retry_count": "integer",
            "timeout_ms": "integer",
            "is_active": "boolean",
            "last_success": f"{TIME}?",
            "last_failure": f"{TIME}?",
            "created_at": TIME,
            "updated_at": TIME,
        },
        indexes=["user_id", "is_active"],
        cascades={"user_id": "users"},
        defaults={
            "method": "'POST'",
            "auth_type": "'NONE'",
            "retry_count": "3",
            "timeout_ms": "30000",
            "is_active": "true",
            "created_at": "now()",
        },
    ),
    "page_webhook_configs": Table(
        {
            "id": TEXT,
            "page_id": TEXT,
            "webhook_id": TEXT,
            "is_active": "boolean",
            "created_at": TIME,
        },
        unique=["page_id, webhook_id"],
        indexes=["page_id", "webhook_id"],
        cascades={"page_id": "pages", "webhook_id": "webhooks"},
        defaults={"is_active": "true", "created_at": "now()"},
    ),
    "webhook_deliveries": Table(
        {
            "id": TEXT,
            "webhook_id": TEXT,
            "lead_id": TEXT,
            "status": "delivery_status",
            "status_code": "integer?",
            "response_body": f"{TEXT}?",
            "error": f"{TEXT}?",
            "attempt_number": "integer",
            "next_retry_at": f"{TIME}?",
            "created_at": TIME,
            "completed_at": f"{TIME}?",
        },
        indexes=[
            "webhook_id",
            "lead_id",
            "status",
            "next_retry_at",
            "created_at",
            "webhook_id, status",
            "lead_id, status",
        ],
        cascades={"webhook_id": "webhooks", "lead_id": "leads"},
        defaults={"status": "'PENDING'", "attempt_number": "1", "created_at": "now()"},
    ),
}

ENUMS = {
    "lead_status": ["NEW", "PROCESSING", "DELIVERED", "FAILED", "ARCHIVED"],
    "delivery_status": ["PENDING", "SUCCESS", "FAILED", "RETRYING"],
    "http_method": ["POST", "PUT", "PATCH"],
    "auth_type": ["NONE", "BASIC", "BEARER", "API_KEY", "CUSTOM"],
}

PERFORMANCE_INDEXES = {
    "idx_leads_form_id",
    "idx_leads_campaign_id",
    "idx_webhook_deliveries_created_at",
    "idx_users_last_login",
    "idx_pages_updated_at",
    "idx_leads_page_status",
    "idx_deliveries_webhook_status",
    "idx_deliveries_lead_status",
}


def test_the_document(leadconnector: Prepared) -> None:
    with connect(leadconnector.target()) as connection:
        catalog = read_catalog(connection, "public")
    assert set(catalog.names("table")) == set(TABLES)
    assert [gap for name, table in TABLES.items() for gap in missing(catalog, name, table)] == []
    assert {name: catalog.objects[f"enum {name}"]["values"] for name in ENUMS} == ENUMS
    assert set(catalog.names("enum")) == set(ENUMS)
    assert set(catalog.names("index")) >= PERFORMANCE_INDEXES


def test_no_index_is_there_twice(leadconnector: Prepared) -> None:
    rows = leadconnector.query(
        "SELECT indrelid::regclass, indkey, count(*) FROM pg_index i"
        " JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = 'public'::regnamespace"
        " GROUP BY 1, 2 HAVING count(*) > 1"
    )
    assert rows == []


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
