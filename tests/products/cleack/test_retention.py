"""Cleack's retention rules: which rows are due."""

import pytest

from leadctl.apps.retention import Rule
from leadctl.products.cleack.retention import RULES
from leadctl.settings.durations import parse_seconds
from tests.conftest import Prepared

BY_NAME = {rule.name: rule for rule in RULES}


def due(cleack: Prepared, rule: Rule) -> list[str]:
    """The ids of the rows that a rule would delete."""
    rows = cleack.query(
        f"SELECT id FROM {rule.table} WHERE {rule.age_column} < now() - make_interval(secs => %s)"
        f" AND {rule.condition or 'true'} ORDER BY id",
        parse_seconds(rule.older_than),
    )
    return [row[0] for row in rows]


@pytest.mark.parametrize("rule", RULES, ids=list(BY_NAME))
def test_nothing_of_the_fixtures_is_due(cleack: Prepared, rule: Rule) -> None:
    assert due(cleack, rule) == []


@pytest.mark.parametrize("rule", RULES, ids=list(BY_NAME))
def test_the_age_is_indexed(cleack: Prepared, rule: Rule) -> None:
    assert cleack.query(
        "SELECT count(*) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid"
        " AND a.attnum = i.indkey[0] WHERE i.indrelid = %s::regclass AND a.attname = %s",
        rule.table,
        rule.age_column,
    ) != [(0,)]


def test_users_who_never_verified_and_have_nothing(cleack: Prepared) -> None:
    cleack.query(
        "INSERT INTO users (id, email, password_hash, email_verified, verification_token,"
        " created_at) SELECT v.id, v.id || '@x', password_hash, v.verified,"
        " CASE WHEN v.asked THEN v.id END, now() - make_interval(days => v.days)"
        " FROM users, (VALUES ('due', false, true, 366), ('young', false, true, 364),"
        " ('verified', true, true, 366), ('never asked', false, false, 366),"
        " ('draws', false, true, 366), ('pays', false, true, 366), ('connects', false, true, 366),"
        " ('bonus', false, true, 366), ('excludes', false, true, 366)) AS v (id, verified, asked, days)"
    )
    cleack.query(
        "INSERT INTO credits (id, user_id, transaction_type, amount)"
        " VALUES ('b', 'bonus', 'bonus', 3)"
    )
    cleack.query(
        "INSERT INTO draws (id, user_id, platform, post_url, config)"
        " SELECT 'd', 'draws', platform, post_url, config FROM draws"
    )
    cleack.query(
        "INSERT INTO subscriptions (id, user_id, plan_type, price_cents, credits_per_month)"
        " VALUES ('s', 'pays', 'enterprise', 1, 1)"
    )
    cleack.query(
        "INSERT INTO social_accounts (id, user_id, platform, platform_user_id, access_token)"
        " VALUES ('a', 'connects', 'tiktok', '1', 'lc1.')"
    )
    cleack.query("INSERT INTO blacklist (id, user_id, username) VALUES ('x', 'excludes', 'y')")
    assert due(cleack, BY_NAME["unverified-users"]) == ["due"]


def test_the_history_of_draws_that_ended(cleack: Prepared) -> None:
    cleack.query("DELETE FROM draws")
    for status in ("pending", "processing", "failed", "cancelled"):
        cleack.query(
            "INSERT INTO draws (id, user_id, platform, post_url, config, status)"
            """ SELECT %s, id, 'tiktok', 'u', '{"filters": {}, "rules": {}, "winners_count": 1}',"""
            " %s FROM users",
            status,
            status,
        )
    cleack.query(
        "INSERT INTO draw_history (id, draw_id, user_id, step, action, created_at)"
        " SELECT d.id || days, d.id, user_id, days, 'created', now() - make_interval(days => days)"
        " FROM draws d, unnest(ARRAY[729, 731]) AS days"
    )
    assert due(cleack, BY_NAME["draw-history"]) == ["cancelled731"]


def test_old_metrics(cleack: Prepared) -> None:
    cleack.query(
        "INSERT INTO system_metrics (id, metric_type, value, created_at)"
        " SELECT 'm' || days, 'revenue', 1, now() - make_interval(days => days)"
        " FROM unnest(ARRAY[1094, 1096]) AS days"
    )
    assert due(cleack, BY_NAME["system-metrics"]) == ["m1096"]


def test_subscriptions_that_expired_long_ago(cleack: Prepared) -> None:
    cleack.query(
        "INSERT INTO subscriptions (id, user_id, plan_type, price_cents, credits_per_month, status,"
        " start_date, end_date)"
        " SELECT status::text || days, id, 'annual', 1, 1, status, '2000-01-01',"
        " now() - make_interval(days => days) FROM users, unnest(ARRAY[3649, 3651]) AS days,"
        " unnest(enum_range(NULL::subscription_status)) AS status"
    )
    assert due(cleack, BY_NAME["expired-subscriptions"]) == ["expired3651"]
