"""Every table, column, enum, unique, index and cascade of whatsapp's document."""

import re
from collections.abc import Callable

import pytest

from leadctl.catalog.definitions import Catalog, read_catalog
from leadctl.postgres.connect import connect
from tests.conftest import Prepared
from tests.spec import Table, missing

TEXT, TIME, UUID = "text", "timestamp with time zone", "uuid"

TABLES = {
    "users": Table(
        {
            "id": UUID,
            "email": TEXT,
            "business_name": f"{TEXT}?",
            "waba_id": f"{TEXT}?",
            "phone_number_id": f"{TEXT}?",
            "access_token": TEXT,
            "webhook_verify_token": f"{TEXT}?",
            "subscription_tier": "subscription_tier",
            "is_active": "boolean",
            "created_at": TIME,
            "updated_at": TIME,
        },
        unique=["email"],
        defaults={"id": "gen_random_uuid()", "is_active": "true", "created_at": "now()"},
    ),
    "contacts": Table(
        {
            "id": UUID,
            "user_id": UUID,
            "phone": TEXT,
            "name": f"{TEXT}?",
            "email": f"{TEXT}?",
            "opted_in": "boolean",
            "opted_in_at": f"{TIME}?",
            "opted_out_at": f"{TIME}?",
            "opt_in_source": "opt_in_source",
            "tags": "text[]",
            "metadata": "jsonb",
            "is_blocked": "boolean",
            "blocked_reason": f"{TEXT}?",
            "created_at": TIME,
            "updated_at": TIME,
        },
        unique=["user_id, phone"],
        indexes=["user_id", "phone", "opted_in", "tags"],
        cascades={"user_id": "users"},
        defaults={
            "id": "gen_random_uuid()",
            "opted_in": "false",
            "is_blocked": "false",
            "tags": "'{}'",
            "metadata": "'{}'",
            "created_at": "now()",
        },
    ),
    "templates": Table(
        {
            "id": UUID,
            "user_id": UUID,
            "name": TEXT,
            "whatsapp_template_id": f"{TEXT}?",
            "language": TEXT,
            "category": "template_category",
            "status": "template_status",
            "components": "jsonb",
            "rejection_reason": f"{TEXT}?",
            "approved_at": f"{TIME}?",
            "created_at": TIME,
            "updated_at": TIME,
        },
        unique=["user_id, name"],
        cascades={"user_id": "users"},
        defaults={
            "id": "gen_random_uuid()",
            "language": "'en_US'",
            "created_at": "now()",
        },
    ),
    "campaigns": Table(
        {
            "id": UUID,
            "user_id": UUID,
            "name": TEXT,
            "template_id": f"{UUID}?",
            "message_type": "message_type",
            "message_content": "jsonb",
            "status": "campaign_status",
            "scheduled_at": f"{TIME}?",
            "started_at": f"{TIME}?",
            "completed_at": f"{TIME}?",
            "total_recipients": "integer",
            "sent_count": "integer",
            "delivered_count": "integer",
            "failed_count": "integer",
            "read_count": "integer",
            "error_message": f"{TEXT}?",
            "created_at": TIME,
            "updated_at": TIME,
        },
        indexes=["user_id", "status", "scheduled_at"],
        cascades={"user_id": "users"},
        nullifies={"template_id": "templates"},
        defaults={
            "id": "gen_random_uuid()",
            "total_recipients": "0",
            "sent_count": "0",
            "delivered_count": "0",
            "failed_count": "0",
            "read_count": "0",
            "created_at": "now()",
        },
    ),
    "messages": Table(
        {
            "id": UUID,
            "campaign_id": f"{UUID}?",
            "contact_id": UUID,
            "user_id": UUID,
            "whatsapp_message_id": f"{TEXT}?",
            "direction": "message_direction",
            "type": "message_content_type",
            "content": "jsonb",
            "status": "message_status",
            "sent_at": f"{TIME}?",
            "delivered_at": f"{TIME}?",
            "read_at": f"{TIME}?",
            "failed_at": f"{TIME}?",
            "error_code": f"{TEXT}?",
            "error_message": f"{TEXT}?",
            "retry_count": "integer",
            "metadata": "jsonb",
            "created_at": TIME,
            "updated_at": TIME,
        },
        unique=["whatsapp_message_id"],  # its index is also the one the document lists
        indexes=["campaign_id", "contact_id", "user_id", "status"],
        cascades={"contact_id": "contacts", "user_id": "users"},
        nullifies={"campaign_id": "campaigns"},
        defaults={"id": "gen_random_uuid()", "retry_count": "0", "created_at": "now()"},
    ),
    "webhook_events": Table(
        {
            "id": UUID,
            "user_id": f"{UUID}?",
            "event_type": TEXT,
            "payload": "jsonb",
            "message_id": f"{UUID}?",
            "processed": "boolean",
            "processed_at": f"{TIME}?",
            "error_message": f"{TEXT}?",
            "received_at": TIME,
            "created_at": TIME,
        },
        indexes=["event_type", "processed", "received_at", "message_id"],
        nullifies={"user_id": "users", "message_id": "messages"},
        defaults={
            "id": "gen_random_uuid()",
            "processed": "false",
            "received_at": "now()",
            "created_at": "now()",
        },
    ),
}

ENUMS = {
    "subscription_tier": ["free", "basic", "pro"],
    "opt_in_source": ["manual", "csv", "api", "webhook"],
    "template_category": ["marketing", "utility", "authentication"],
    "template_status": ["draft", "pending", "approved", "rejected"],
    "message_type": ["text", "template"],
    "campaign_status": ["draft", "scheduled", "processing", "completed", "failed", "paused"],
    "message_direction": ["outbound", "inbound"],
    "message_content_type": ["text", "template", "image", "document"],
    "message_status": ["queued", "sent", "delivered", "read", "failed"],
}

FOR_QUERY_PATTERNS = {
    "ix_contacts_tags": "ON contacts USING gin (tags)",
    "ix_campaigns_due": "ON campaigns USING btree (scheduled_at)"
    " WHERE status = 'scheduled'::campaign_status",
    "ix_messages_to_retry": "ON messages USING btree (failed_at)"
    " WHERE status = 'failed'::message_status AND retry_count < 3",
    "ix_webhook_events_unprocessed": "ON webhook_events USING btree (received_at)"
    " WHERE NOT processed",
}


@pytest.fixture
def whatsapp(prepared: Callable[[str], Prepared]) -> Prepared:
    return prepared("whatsapp")


@pytest.fixture
def catalog(whatsapp: Prepared) -> Catalog:
    with connect(whatsapp.target(app="whatsapp")) as connection:
        return read_catalog(connection, "public")


def test_the_document(catalog: Catalog) -> None:
    assert set(catalog.names("table")) == set(TABLES)
    assert [gap for name, table in TABLES.items() for gap in missing(catalog, name, table)] == []
    assert {name: catalog.objects[f"enum {name}"]["values"] for name in ENUMS} == ENUMS
    assert set(catalog.names("enum")) == set(ENUMS)


def test_every_plain_index_of_the_document_is_whole(catalog: Catalog) -> None:
    """A partial index on the same column would not serve the document's other queries."""
    plain = {
        (str(catalog.objects[f"index {name}"]["table"]), column.group(1))
        for name in catalog.names("index")
        if (
            column := re.search(
                r"USING \w+ \(([^)]+)\)$", str(catalog.objects[f"index {name}"]["definition"])
            )
        )
    }
    wanted = {(name, column) for name, table in TABLES.items() for column in table.indexes}
    assert wanted <= plain


def test_indexes_of_the_query_patterns(catalog: Catalog) -> None:
    for name, definition in FOR_QUERY_PATTERNS.items():
        found = str(catalog.objects[f"index {name}"]["definition"])
        assert found == f"CREATE INDEX {name} {definition}"


def test_no_index_is_there_twice(whatsapp: Prepared) -> None:
    rows = whatsapp.query(
        "SELECT indrelid::regclass, indkey, count(*) FROM pg_index i"
        " JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = 'public'::regnamespace"
        " GROUP BY indrelid, indkey, pg_get_expr(indpred, indrelid) HAVING count(*) > 1"
    )
    assert rows == []


def test_every_foreign_key_has_an_index(whatsapp: Prepared) -> None:
    rows = whatsapp.query(
        "SELECT conrelid::regclass::text, conname FROM pg_constraint n"
        " WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND NOT EXISTS ("
        "   SELECT FROM pg_index i WHERE i.indrelid = n.conrelid AND i.indpred IS NULL"
        "   AND i.indkey[0] = n.conkey[1])"
    )
    assert rows == []
