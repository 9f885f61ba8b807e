"""What whatsapp's database refuses and lets pass, and what goes and stays when a row is deleted."""

import contextlib

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadctl.catalog.definitions import read_catalog
from leadctl.errors import InvalidPhoneNumber
from leadctl.models import PhoneNumber
from leadctl.postgres.connect import connect
from tests.conftest import Prepared

TABLES = ("users", "contacts", "templates", "campaigns", "messages", "webhook_events")


USER = "(SELECT id FROM users WHERE email = 'test@example.com')"
CONTACT = "(SELECT id FROM contacts WHERE phone = '+12025550101')"

REFUSED = {
    "uq_users_email": "INSERT INTO users (email, access_token) VALUES ('test@example.com', 'x')",
    "uq_contacts_user_id_phone": "INSERT INTO contacts (user_id, phone, opt_in_source)"
    f" VALUES ({USER}, '+12025550101', 'api')",
    "ck_contacts_phone_e164": "INSERT INTO contacts (user_id, phone, opt_in_source)"
    f" VALUES ({USER}, '0612345678', 'api')",
    "uq_templates_user_id_name": "INSERT INTO templates (user_id, name, category, components)"
    f" VALUES ({USER}, 'spring_sale', 'utility', '[]')",
    "uq_messages_whatsapp_message_id": "INSERT INTO messages"
    " (user_id, contact_id, direction, type, content, whatsapp_message_id)"
    f" VALUES ({USER}, {CONTACT}, 'outbound', 'text', '{{}}', 'wamid.test_read')",
    "ck_messages_retry_count_not_negative": "UPDATE messages SET retry_count = -1",
    "ck_campaigns_total_recipients_not_negative": "UPDATE campaigns SET total_recipients = -1",
    "ck_campaigns_sent_count_not_negative": "UPDATE campaigns SET sent_count = -1",
    "ck_campaigns_delivered_count_not_negative": "UPDATE campaigns SET delivered_count = -1",
    "ck_campaigns_failed_count_not_negative": "UPDATE campaigns SET failed_count = -1",
    "ck_campaigns_read_count_not_negative": "UPDATE campaigns SET read_count = -1",
    "ck_campaigns_completed_after_started": "UPDATE campaigns"
    " SET completed_at = started_at - interval '1 second'",
    "fk_contacts_user_id_users": "UPDATE contacts SET user_id = gen_random_uuid()",
    "fk_templates_user_id_users": "UPDATE templates SET user_id = gen_random_uuid()",
    "fk_campaigns_user_id_users": "UPDATE campaigns SET user_id = gen_random_uuid()",
    "fk_campaigns_template_id_templates": "UPDATE campaigns SET template_id = gen_random_uuid()",
    "fk_messages_user_id_users": "UPDATE messages SET user_id = gen_random_uuid()",
    "fk_messages_contact_id_contacts": "UPDATE messages SET contact_id = gen_random_uuid()",
    "fk_messages_campaign_id_campaigns": "UPDATE messages SET campaign_id = gen_random_uuid()",
    "fk_webhook_events_user_id_users": "UPDATE webhook_events SET user_id = gen_random_uuid()",
    "fk_webhook_events_message_id_messages": "UPDATE webhook_events"
    " SET message_id = gen_random_uuid()",
}


@pytest.mark.parametrize("constraint", REFUSED)
def test_bad_rows_are_refused(whatsapp: Prepared, constraint: str) -> None:
    with pytest.raises(psycopg.errors.IntegrityError) as error:
        whatsapp.query(REFUSED[constraint])
    assert error.value.diag.constraint_name == constraint


def test_every_constraint_is_tested(whatsapp: Prepared) -> None:
    with connect(whatsapp.target(app="whatsapp"), rows=True) as connection:
        constraints = read_catalog(connection, "public").names("constraint")
    names = {name.partition(".")[2] for name in constraints}
    assert {name for name in names if not name.startswith("pk_")} == set(REFUSED)


ALLOWED = {
    "a contact that came back": "UPDATE contacts SET opted_in = true,"
    " opted_out_at = '2026-01-01', opted_in_at = '2026-02-01'",
    "a contact that went away": "UPDATE contacts SET opted_in = false,"
    " opted_in_at = '2026-01-01', opted_out_at = '2026-02-01'",
    "the same phone at another user": "WITH other AS ("
    "INSERT INTO users (email, access_token) VALUES ('b@example.com', 'x') RETURNING id)"
    " INSERT INTO contacts (user_id, phone, opt_in_source)"
    " SELECT id, '+12025550101', 'manual' FROM other",
    "clocks that differ": "UPDATE messages SET sent_at = '2026-01-01 10:00:00.7',"
    " delivered_at = '2026-01-01 10:00:00'",
    "a campaign done at once": "UPDATE campaigns SET completed_at = started_at",
    "a campaign that failed before it began": "UPDATE campaigns SET status = 'failed',"
    " started_at = NULL, completed_at = now()",
    "more sent than planned": "UPDATE campaigns SET total_recipients = 0",
    "several messages without a WhatsApp id": "UPDATE messages SET whatsapp_message_id = NULL",
    "an event about nothing known": "INSERT INTO webhook_events (event_type, payload)"
    " VALUES ('account_update', '{}')",
    "a template of any shape": 'UPDATE templates SET components = \'{"body": "Hello"}\'',
}


@pytest.mark.parametrize("what", ALLOWED)
def test_unusual_rows_are_not_refused(whatsapp: Prepared, what: str) -> None:
    whatsapp.query(ALLOWED[what])


def counts(database: Prepared) -> dict[str, int]:
    return {name: database.query(f"SELECT count(*) FROM {name}")[0][0] for name in TABLES}


def test_deleting_a_user_takes_everything_along_but_the_audit_trail(whatsapp: Prepared) -> None:
    whatsapp.query("DELETE FROM users")
    assert counts(whatsapp) == dict.fromkeys(TABLES, 0) | {"webhook_events": 1}
    assert whatsapp.query("SELECT user_id, message_id FROM webhook_events") == [(None, None)]


def test_deleting_a_contact_takes_its_messages_along(whatsapp: Prepared) -> None:
    whatsapp.query("DELETE FROM contacts WHERE phone = '+12025550101'")
    assert (
        whatsapp.query("SELECT 1 FROM messages WHERE whatsapp_message_id = 'wamid.test_read'") == []
    )
    assert whatsapp.query("SELECT message_id, user_id IS NULL FROM webhook_events") == [
        (None, False)
    ]
    assert whatsapp.query("SELECT sent_count FROM campaigns") == [(2,)]


def test_campaigns_outlive_templates_and_messages_campaigns(whatsapp: Prepared) -> None:
    before = counts(whatsapp)
    whatsapp.query("DELETE FROM templates")
    assert whatsapp.query("SELECT template_id FROM campaigns") == [(None,)]
    whatsapp.query("DELETE FROM campaigns")
    assert whatsapp.query("SELECT DISTINCT campaign_id FROM messages") == [(None,)]
    assert counts(whatsapp) == before | {"templates": 0, "campaigns": 0}


def test_tokens_are_encrypted(whatsapp: Prepared) -> None:
    ((access, verify),) = whatsapp.query("SELECT access_token, webhook_verify_token FROM users")
    for value in (access, verify):
        assert value.startswith("lc1.")
        assert "token" not in value


def test_seeded_counts_are_those_of_the_messages(whatsapp: Prepared) -> None:
    ((campaign, found),) = whatsapp.query(
        "SELECT (sent_count, delivered_count, read_count, failed_count, total_recipients)::text,"
        " (SELECT (count(*) FILTER (WHERE status IN ('sent', 'delivered', 'read')),"
        "          count(*) FILTER (WHERE status IN ('delivered', 'read')),"
        "          count(*) FILTER (WHERE status = 'read'),"
        "          count(*) FILTER (WHERE status = 'failed'), count(*))::text"
        "  FROM messages WHERE campaign_id = campaigns.id) FROM campaigns"
    )
    assert campaign == found


E164_LIKE = st.one_of(
    st.from_regex(r"\+[0-9]{5,17}", fullmatch=True),
    st.from_regex(r"\+?[1-9][0-9 ().-]{5,15}\n?", fullmatch=True),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=18),
)


@pytest.mark.thorough
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(phone=E164_LIKE)
def test_server_and_models_take_what_is_e164_and_nothing_else(
    whatsapp: Prepared, phone: str
) -> None:
    digits = phone.removeprefix("+")
    is_e164 = (
        phone.startswith("+")
        and 7 <= len(digits) <= 15
        and set(digits) <= set("0123456789")
        and digits[0] != "0"
    )
    with (
        whatsapp.server.connect(whatsapp.name) as connection,
        connection.transaction(force_rollback=True),
    ):
        try:
            connection.execute("DELETE FROM contacts")
            connection.execute(
                "INSERT INTO contacts (user_id, phone, opt_in_source)"
                " SELECT id, %s, 'csv' FROM users",
                (phone,),
            )
            kept = True
        except psycopg.errors.CheckViolation:
            kept = False
    assert kept == is_e164
    with contextlib.nullcontext() if is_e164 else pytest.raises(InvalidPhoneNumber):
        PhoneNumber().process_bind_param(phone, None)
