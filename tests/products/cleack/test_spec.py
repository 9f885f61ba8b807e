"""Every table, column, enum, unique, index and cascade of cleack's document."""

import subprocess
import sys
from collections.abc import Callable

import pytest
from psycopg.errors import UniqueViolation

from leadctl.apps.registry import builtin_migrations
from leadctl.catalog.compare import compare
from leadctl.catalog.definitions import read_catalog
from leadctl.postgres.connect import connect
from leadctl.postgres.engine import run_engine
from leadctl.products.cleack.models import Base
from tests.conftest import Cli, Prepared
from tests.postgres import Server
from tests.processes import environment
from tests.spec import Table, missing

TEXT, TIME = "text", "timestamp with time zone"

TABLES = {
    "users": Table(
        {
            "id": TEXT,
            "email": TEXT,
            "name": f"{TEXT}?",
            "password_hash": TEXT,
            "email_verified": "boolean",
            "verification_token": f"{TEXT}?",
            "created_at": TIME,
            "updated_at": TIME,
        },
        unique=["email", "verification_token"],
        indexes=["created_at", "email_verified"],
        defaults={"email_verified": "false", "created_at": "now()"},
    ),
    "credits": Table(
        {
            "id": TEXT,
            "user_id": TEXT,
            "entry": "integer",
            "transaction_type": "transaction_type",
            "amount": "integer",
            "balance": "integer",
            "metadata": "jsonb?",
            "created_at": TIME,
        },
        unique=["user_id, entry"],
        indexes=["user_id", "created_at", "transaction_type"],
        cascades={"user_id": "users"},
        defaults={"created_at": "now()"},
    ),
    "subscriptions": Table(
        {
            "id": TEXT,
            "user_id": TEXT,
            "plan_type": "plan_type",
            "status": "subscription_status",
            "price_cents": "integer",
            "credits_per_month": "integer",
            "start_date": TIME,
            "end_date": f"{TIME}?",
            "auto_renew": "boolean",
            "stripe_subscription_id": f"{TEXT}?",
            "apple_subscription_id": f"{TEXT}?",
            "created_at": TIME,
            "updated_at": TIME,
        },
        unique=["stripe_subscription_id", "apple_subscription_id"],
        indexes=["user_id", "status", "end_date"],
        cascades={"user_id": "users"},
        defaults={
            "status": "'active'",
            "auto_renew": "true",
            "start_date": "now()",
            "created_at": "now()",
        },
    ),
    "social_accounts": Table(
        {
            "id": TEXT,
            "user_id": TEXT,
            "platform": "platform",
            "platform_user_id": TEXT,
            "username": f"{TEXT}?",
            "access_token": TEXT,
            "refresh_token": f"{TEXT}?",
            "token_expires_at": f"{TIME}?",
            "is_active": "boolean",
            "created_at": TIME,
            "updated_at": TIME,
        },
        unique=["user_id, platform"],
        indexes=["user_id", "platform", "platform_user_id"],
        cascades={"user_id": "users"},
        defaults={"is_active": "true", "created_at": "now()"},
    ),
    "draws": Table(
        {
            "id": TEXT,
            "user_id": TEXT,
            "platform": "platform",
            "post_url": TEXT,
            "status": "draw_status",
            "config": "jsonb",
            "participants": "integer",
            "winners": "jsonb?",
            "certificate_hash": f"{TEXT}?",
            "video_url": f"{TEXT}?",
            "credits_used": "integer",
            "error": f"{TEXT}?",
            "executed_at": f"{TIME}?",
            "created_at": TIME,
            "updated_at": TIME,
        },
        indexes=["user_id", "status", "platform", "created_at", "executed_at"],
        cascades={"user_id": "users"},
        defaults={
            "status": "'pending'",
            "participants": "0",
            "credits_used": "0",
            "created_at": "now()",
        },
    ),
    "draw_history": Table(
        {
            "id": TEXT,
            "draw_id": TEXT,
            "user_id": TEXT,
            "step": "integer",
            "action": "draw_action",
            "details": "jsonb?",
            "metadata": "jsonb?",
            "created_at": TIME,
        },
        unique=["draw_id, step"],
        indexes=["draw_id", "user_id", "created_at", "action"],
        cascades={"draw_id": "draws", "user_id": "users"},
        defaults={"created_at": "now()"},
    ),
    "blacklist": Table(
        {
            "id": TEXT,
            "user_id": TEXT,
            "username": TEXT,
            "platform": "blacklist_platform",
            "reason": f"{TEXT}?",
            "is_active": "boolean",
            "created_at": TIME,
            "updated_at": TIME,
        },
        unique=["user_id, username, platform"],
        indexes=["user_id", "platform", "username"],
        cascades={"user_id": "users"},
        defaults={"is_active": "true", "created_at": "now()"},
    ),
    "system_metrics": Table(
        {
            "id": TEXT,
            "metric_type": "metric_type",
            "value": "double precision",
            "metadata": "jsonb?",
            "created_at": TIME,
        },
        defaults={"created_at": "now()"},
    ),
}

ENUMS = {
    "transaction_type": ["purchase", "usage", "refund", "bonus"],
    "plan_type": ["monthly", "annual", "enterprise"],
    "subscription_status": ["active", "cancelled", "expired", "past_due"],
    "platform": ["instagram", "facebook", "tiktok", "twitter"],
    "draw_status": ["pending", "processing", "completed", "failed", "cancelled"],
    "draw_action": ["created", "started", "completed", "failed", "cancelled", "retried"],
    "blacklist_platform": ["instagram", "facebook", "tiktok", "twitter", "all"],
    "metric_type": [
        "daily_draws",
        "user_signups",
        "revenue",
        "avg_participants_per_draw",
        "error_rate",
    ],
}


@pytest.fixture
def cleack(prepared: Callable[[str], Prepared]) -> Prepared:
    """A database with cleack, migrated and seeded."""
    return prepared("cleack")


def test_the_document(cleack: Prepared) -> None:
    with connect(cleack.target(app="cleack")) as connection:
        catalog = read_catalog(connection, "public")
    assert set(catalog.names("table")) == set(TABLES)
    assert [gap for name, table in TABLES.items() for gap in missing(catalog, name, table)] == []
    assert {name: catalog.objects[f"enum {name}"]["values"] for name in ENUMS} == ENUMS
    assert set(catalog.names("enum")) == set(ENUMS)


def test_no_index_is_there_twice(cleack: Prepared) -> None:
    rows = cleack.query(
        "SELECT indrelid::regclass, indkey, count(*) FROM pg_index i"
        " JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = 'public'::regnamespace"
        " GROUP BY 1, 2 HAVING count(*) > 1"
    )
    assert rows == []


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


def test_a_second_seed_changes_nothing(cleack: Prepared, cli: Cli) -> None:
    tables = " || ".join(
        f"(SELECT coalesce(jsonb_agg(t ORDER BY id), '[]') FROM {name} t)" for name in TABLES
    )
    before = cleack.query(f"SELECT {tables}")
    outcome = cli("seed", "--app", "cleack", "-o", "json", url=cleack.url)
    assert {table["inserted"] for table in outcome.json["tables"]} == {0}
    assert cleack.query(f"SELECT {tables}") == before


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
    with connect(target) as connection:
        before = read_catalog(connection, "public")
    with run_engine(target, "test").begin() as connection:
        Base.metadata.create_all(connection)
    with connect(target) as connection:
        assert compare(before, read_catalog(connection, "public")) == []


def test_plain_alembic_makes_the_same_and_takes_it_back(
    cleack: Prepared, database: str, server: Server
) -> None:
    def alembic(*arguments: str) -> None:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "alembic",
                "-c",
                builtin_migrations() / "cleack" / "alembic.ini",
                *arguments,
            ],
            env=environment({"DATABASE_URL": server.url(database)}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def is_the_same() -> None:
        with connect(cleack.target(app="cleack")) as ours, server.connect(database) as theirs:
            theirs.execute("SET search_path = public")
            assert compare(read_catalog(ours, "public"), read_catalog(theirs, "public")) == []

    alembic("upgrade", "head")
    is_the_same()
    alembic("downgrade", "base")
    with server.connect(database) as theirs:
        assert read_catalog(theirs, "public").objects == {}
    alembic("upgrade", "head")
    is_the_same()
