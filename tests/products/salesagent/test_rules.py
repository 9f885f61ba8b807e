"""What the database of salesagent refuses, keeps apart by organisation, and deletes along."""

import json
from string import ascii_letters, digits
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from tests.conftest import Prepare, Prepared

pytestmark = pytest.mark.thorough

HASH = f"$2b$10${'x' * 53}"
# Two organisations, the first with a row in every table.
ROWS = f"""
INSERT INTO organisations (id, name, domain, region)
    VALUES ('a', 'A', 'a.example', 'EU'), ('b', 'B', 'b.example', 'US');
INSERT INTO users (id, organisation_id, email, password_hash, first_name, last_name)
    VALUES ('u', 'a', 'u@a.example', '{HASH}', 'U', 'A'),
           ('v', 'b', 'v@b.example', '{HASH}', 'V', 'B');
INSERT INTO sessions (id, organisation_id, user_id, token_hash, expires_at)
    VALUES ('s', 'a', 'u', repeat('0', 64), now() + interval '1 day');
INSERT INTO subscriptions (id, organisation_id, external_id) VALUES ('s', 'a', 'x');
INSERT INTO audit_logs (id, organisation_id, user_id, actor, action, entity, entity_id)
    VALUES ('l', 'a', 'u', 'u@a.example', 'CREATE', 'prospects', 'p');
INSERT INTO icps (id, organisation_id, name) VALUES ('i', 'a', 'Best'), ('j', 'b', 'Best');
INSERT INTO prospects (id, organisation_id, user_id, icp_id, email)
    VALUES ('p', 'a', 'u', 'i', 'p@c.example'), ('q', 'b', 'v', 'j', 'p@c.example');
INSERT INTO activities (id, organisation_id, prospect_id, user_id, type, title)
    VALUES ('t', 'a', 'p', 'u', 'CALL', 'Call');
INSERT INTO email_sequences (id, organisation_id, name) VALUES ('e', 'a', 'First');
INSERT INTO sequence_steps (id, organisation_id, sequence_id, position, subject_template,
                            body_template)
    VALUES ('1', 'a', 'e', 1, 'Hello', 'Hello');
INSERT INTO campaigns (id, organisation_id, user_id, sequence_id, icp_id, name, starts_at)
    VALUES ('c', 'a', 'u', 'e', 'i', 'Spring', '2026-03-01');
INSERT INTO messages (id, organisation_id, prospect_id, campaign_id, step_id, user_id, direction,
                      status, body, external_id)
    VALUES ('m', 'a', 'p', 'c', '1', 'u', 'OUTBOUND', 'DRAFT', 'Hello', 'x');
INSERT INTO ai_insights (id, organisation_id, prospect_id, type, title, recommendation, confidence,
                         model)
    VALUES ('n', 'a', 'p', 'RISK', 'T', 'R', 0.5, 'm');
"""

CHECKS = {
    "organisations_domain_name": "organisations SET domain = 'https://a.example'",
    "users_email_address": "users SET email = 'a.example'",
    "users_password_hash_bcrypt": f"users SET password_hash = '{HASH.replace('$10$', '$09$')}'",
    "sessions_token_hash_sha256": "sessions SET token_hash = repeat('A', 64)",
    "sessions_expires_after_creation": "sessions SET expires_at = created_at",
    "subscriptions_price_not_negative": "subscriptions SET price_cents = -1",
    "subscriptions_seats_positive": "subscriptions SET seats = 0",
    "subscriptions_period_ends_after": "subscriptions"
    " SET current_period_end = current_period_start",
    "subscriptions_canceled_has_time": "subscriptions SET status = 'CANCELED'",
    "audit_logs_before_object": "audit_logs SET before = 'null'",
    "audit_logs_after_object": "audit_logs SET after = '[]'",
    "icps_min_employees_not_negative": "icps SET min_employees = -1",
    "icps_max_employees_not_negative": "icps SET max_employees = -1",
    "icps_employees_range": "icps SET min_employees = 2, max_employees = 1",
    "icps_min_score_range": "icps SET min_score = 101",
    "icps_criteria_object": "icps SET criteria = '1'",
    "prospects_email_address": "prospects SET email = 'a@b@c.example'",
    "prospects_company_domain_name": "prospects SET company_domain = 'p@c.example'",
    "prospects_phone_e164": "prospects SET phone = '0612345678'",
    "prospects_score_range": "prospects SET score = -1",
    "prospects_fit_score_range": "prospects SET fit_score = 101",
    "prospects_intent_score_range": "prospects SET intent_score = 101",
    "prospects_enrichment_object": "prospects SET enrichment = '\"x\"'",
    "activities_completed_has_time": "activities SET status = 'COMPLETED'",
    "sequence_steps_position_positive": "sequence_steps SET position = 0",
    "sequence_steps_delay_not_negative": "sequence_steps SET delay_days = -1",
    "campaigns_daily_limit_positive": "campaigns SET daily_limit = 0",
    "campaigns_ends_after_start": "campaigns SET ends_at = starts_at",
    "messages_inbound_is_received": "messages SET direction = 'INBOUND'",
    "messages_sent_has_time": "messages SET status = 'DELIVERED'",
    "messages_only_sent_is_read": "messages SET replied_at = now()",
    "messages_open_count_not_negative": "messages SET open_count = -1",
    "messages_click_count_not_negative": "messages SET click_count = -1",
    "ai_insights_confidence_range": "ai_insights SET confidence = 1.01",
    "ai_insights_one_subject": "ai_insights SET campaign_id = 'c'",
    "ai_insights_reviewed_has_time": "ai_insights SET status = 'ACCEPTED'",
    "ai_insights_evidence_object": "ai_insights SET evidence = 'true'",
}

ALLOWED = [
    "organisations SET domain = NULL",
    "users SET password_hash = replace(password_hash, '$2b$10$', '$2a$12$')",
    "subscriptions SET status = 'CANCELED', canceled_at = now()",
    "subscriptions SET canceled_at = now()",  # paid until the end of the period
    "audit_logs SET before = '{}', after = NULL",
    "icps SET min_employees = 1, max_employees = 1, min_score = 0",
    "prospects SET score = 0, fit_score = 100, intent_score = 100, phone = '+33612345678'",
    "activities SET status = 'COMPLETED', completed_at = now()",
    "messages SET direction = 'INBOUND', status = 'RECEIVED'",
    "messages SET status = 'SENT', sent_at = now(), opened_at = now() - interval '1 second'",
    "ai_insights SET confidence = 1, status = 'DISMISSED', reviewed_at = now()",
    "ai_insights SET confidence = 0, prospect_id = NULL",
]

OF_THE_OTHER = [
    "sessions SET user_id = 'v'",
    "prospects SET user_id = 'v' WHERE id = 'p'",
    "prospects SET icp_id = 'j' WHERE id = 'p'",
    "activities SET prospect_id = 'q'",
    "activities SET user_id = 'v'",
    "sequence_steps SET organisation_id = 'b'",
    "campaigns SET user_id = 'v'",
    "campaigns SET icp_id = 'j'",
    "messages SET prospect_id = 'q'",
    "messages SET organisation_id = 'b'",
    "ai_insights SET prospect_id = 'q'",
]

# Of two rows that differ in the id alone, the second is refused, unless the first is deleted.
ONCE = {
    "organisations": "uq_organisations_domain",
    "users": "uq_users_email",
    "subscriptions": "uq_subscriptions_organisation_id",
    "icps": "uq_icps_name",
    "prospects": "uq_prospects_email",
    "email_sequences": "uq_email_sequences_name",
    "sequence_steps": "uq_sequence_steps_position",
    "messages": "uq_messages_step",
}
PROPERTY = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def salesagent(prepared: Prepare) -> Prepared:
    database = prepared("salesagent")
    database.query("DELETE FROM organisations")
    database.query(ROWS)
    return database


def refusal(database: Prepared, statement: str, *params: Any) -> str | None:
    """Return the constraint that a statement breaks, if it does; nothing stays of it."""
    with database.server.connect(database.name) as connection:
        try:
            with connection.transaction(force_rollback=True):
                connection.execute(statement, params or None)
        except psycopg.errors.IntegrityError as error:
            return error.diag.constraint_name
    return None


def copy(table: str, **values: str) -> str:
    """Return the statement that inserts a table's first row once more, as the row `again`."""
    changes = json.dumps({"id": "again", **values})
    return (
        f"INSERT INTO {table} SELECT (jsonb_populate_record(t, '{changes}')).* FROM {table} t"
        " ORDER BY id LIMIT 1"
    )


def test_every_check_refuses(salesagent: Prepared) -> None:
    found = salesagent.query(
        "SELECT conname FROM pg_constraint"
        " WHERE contype = 'c' AND connamespace = 'public'::regnamespace"
    )
    names = {f"ck_{name}": statement for name, statement in CHECKS.items()}
    assert names.keys() == {name for (name,) in found}
    assert {name: refusal(salesagent, f"UPDATE {names[name]}") for name in names} == {
        name: name for name in names
    }


def test_what_is_allowed(salesagent: Prepared) -> None:
    assert {s: refusal(salesagent, f"UPDATE {s}") for s in ALLOWED} == dict.fromkeys(ALLOWED)


@pytest.mark.parametrize("statement", OF_THE_OTHER)
def test_no_row_refers_to_another_organisation(salesagent: Prepared, statement: str) -> None:
    assert str(refusal(salesagent, f"UPDATE {statement}")).startswith("fk_")


@pytest.mark.parametrize("table", ONCE)
def test_what_a_deleted_row_had_is_free_again(salesagent: Prepared, table: str) -> None:
    again = copy(table, external_id="y")  # the provider's names stay taken
    assert refusal(salesagent, again) == ONCE[table]
    salesagent.query(f"UPDATE {table} SET deleted_at = now()")
    salesagent.query(again)
    assert refusal(salesagent, f"UPDATE {table} SET deleted_at = NULL") == ONCE[table]
    salesagent.query(f"UPDATE {table} SET deleted_at = now() WHERE id = 'again'")
    salesagent.query(f"UPDATE {table} SET deleted_at = NULL WHERE id <> 'again'")


@pytest.mark.parametrize(
    ("table", "freed", "constraint"),
    [
        ("sessions", "", "uq_sessions_token_hash"),
        ("subscriptions", ", status = 'CANCELED', canceled_at = now()", "external_id"),
        ("messages", "", "uq_messages_organisation_id_external_id"),
    ],
)
def test_what_stays_taken_after_deletion(
    salesagent: Prepared, table: str, freed: str, constraint: str
) -> None:
    salesagent.query(f"UPDATE {table} SET deleted_at = now(){freed}")
    assert str(refusal(salesagent, copy(table, deleted_at="2026-01-01"))).endswith(constraint)


def test_a_canceled_subscription_makes_room(salesagent: Prepared) -> None:
    salesagent.query("UPDATE subscriptions SET status = 'CANCELED', canceled_at = now()")
    salesagent.query("INSERT INTO subscriptions (id, organisation_id) VALUES ('again', 'a')")
    assert refusal(
        salesagent, "INSERT INTO subscriptions (id, organisation_id) VALUES ('third', 'a')"
    )


def left(database: Prepared) -> set[str]:
    """Return the tables that still have a row of the first organisation."""
    tables = database.query("SELECT relname FROM pg_stat_user_tables WHERE schemaname = 'public'")
    return {
        name
        for (name,) in tables
        if name != "alembic_version"
        and database.query(
            f"SELECT 1 FROM {name} t WHERE coalesce(to_jsonb(t)->>'organisation_id', id)"
            " IN ('a', 'l')"
        )
    }


def test_an_organisation_takes_everything_along_but_the_audit_log(salesagent: Prepared) -> None:
    assert len(left(salesagent)) == 13
    salesagent.query("DELETE FROM organisations WHERE id = 'a'")
    assert left(salesagent) == {"audit_logs"}
    assert salesagent.query(
        "SELECT organisation_id, user_id, actor, entity_id FROM audit_logs WHERE id = 'l'"
    ) == [(None, None, "u@a.example", "p")]
    assert salesagent.query("SELECT id FROM users") == [("v",)]


@pytest.mark.parametrize(
    ("table", "gone", "emptied"),
    [
        (
            "users",
            {"sessions"},
            {"prospects", "activities", "campaigns", "messages", "audit_logs"},
        ),
        ("icps", set(), {"prospects", "campaigns"}),
        ("prospects", {"activities", "messages", "ai_insights"}, set()),
        ("email_sequences", {"sequence_steps"}, {"campaigns", "messages"}),
        ("sequence_steps", set(), {"messages"}),
        ("campaigns", set(), {"messages"}),
    ],
)
def test_what_a_row_takes_along(
    salesagent: Prepared, table: str, gone: set[str], emptied: set[str]
) -> None:
    others = left(salesagent) - {table}
    before = {name: salesagent.query(f"SELECT * FROM {name}") for name in others}
    salesagent.query(f"DELETE FROM {table} WHERE organisation_id = 'a'")
    assert others - left(salesagent) == gone
    changed = {n for n in others - gone if salesagent.query(f"SELECT * FROM {n}") != before[n]}
    assert changed == emptied


def test_a_campaign_takes_its_insights_along(salesagent: Prepared) -> None:
    salesagent.query("UPDATE ai_insights SET prospect_id = NULL, campaign_id = 'c'")
    salesagent.query("DELETE FROM campaigns")
    assert salesagent.query("SELECT id FROM ai_insights") == []


@pytest.mark.parametrize("table", ["users", "prospects"])
@given(text=st.text(st.sampled_from("aZ9.+@ \t\n\u00e9\U0001f600"), max_size=8) | st.emails())
@example(text="a@b\n")
@PROPERTY
def test_an_address_has_one_at_and_no_space(salesagent: Prepared, table: str, text: str) -> None:
    local, at, domain = text.partition("@")
    valid = bool(local and at and domain) and "@" not in domain and not set(text) & set(" \t\n")
    statement = f"UPDATE {table} SET email = %s WHERE organisation_id = 'a'"
    assert (refusal(salesagent, statement, text) is None) == valid


@given(first=st.text(ascii_letters + digits, min_size=1, max_size=2), data=st.data())
@PROPERTY
def test_addresses_are_unique_in_any_case(
    salesagent: Prepared, first: str, data: st.DataObject
) -> None:
    same = st.tuples(*(st.sampled_from([c.lower(), c.upper()]) for c in first)).map("".join)
    second = data.draw(same | st.text(ascii_letters + digits, min_size=1, max_size=2))
    salesagent.query("UPDATE users SET email = %s WHERE id = 'u'", f"{first}@c.example")
    refused = refusal(
        salesagent, "UPDATE users SET email = %s WHERE id = 'v'", f"{second}@C.example"
    )
    assert refused == ("uq_users_email" if first.lower() == second.lower() else None)


_ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"))
)
JSON = st.recursive(
    _ATOMS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab\u00e9 "), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("icps", "criteria"),
        ("prospects", "enrichment"),
        ("ai_insights", "evidence"),
        ("audit_logs", "after"),
    ],
)
@given(value=JSON)
@PROPERTY
def test_json_is_an_object_and_comes_back_as_it_was(
    salesagent: Prepared, table: str, column: str, value: Any
) -> None:
    statement = f"UPDATE {table} SET {column} = %s RETURNING {column}"
    assert (refusal(salesagent, statement, Jsonb(value)) is None) == isinstance(value, dict)
    if isinstance(value, dict):
        assert salesagent.query(statement, Jsonb(value))[0] == (value,)
