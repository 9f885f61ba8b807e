"""What the server itself keeps right for cleack: rows, the ledger, the status flow, the history."""

import pytest
from psycopg.errors import (
    CheckViolation,
    ForeignKeyViolation,
    NotNullViolation,
    RestrictViolation,
)

from tests.conftest import Prepared


def refused(cleack: Prepared, statement: str, *params: object) -> str:
    """Run a statement that the server must reject; return the name of what rejects it."""
    with pytest.raises((CheckViolation, RestrictViolation)) as caught:
        cleack.query(statement, *params)
    return caught.value.diag.constraint_name or caught.value.diag.message_primary or ""


DRAW = "INSERT INTO draws (id, user_id, platform, post_url, {}) SELECT 'd', id, 'tiktok', 'u', {} FROM users"
CONFIG = """'{"filters": {}, "rules": {}, "winners_count": 1}'"""
DONE = f"'completed', {CONFIG}, repeat('a', 64), now()"

BAD_ROWS = {
    "UPDATE users SET password_hash = 'secret'": "ck_users_password_hash_bcrypt",
    "UPDATE users SET password_hash = replace(password_hash, '$12$', '$09$')": "ck_users_password_hash_bcrypt",
    "UPDATE subscriptions SET price_cents = -1": "ck_subscriptions_price_cents_not_negative",
    "UPDATE subscriptions SET credits_per_month = -1": "ck_subscriptions_credits_per_month_not_negative",
    "UPDATE subscriptions SET end_date = start_date": "ck_subscriptions_end_after_start",
    "UPDATE subscriptions SET end_date = NULL": "ck_subscriptions_end_known",
    "UPDATE draws SET credits_used = -1": "ck_draws_credits_used_not_negative",
    "UPDATE draws SET participants = -1": "ck_draws_participants_not_negative",
    "UPDATE system_metrics SET value = 'NaN'": "ck_system_metrics_value_finite",
    "UPDATE system_metrics SET value = '-Infinity'": "ck_system_metrics_value_finite",
    "UPDATE system_metrics SET value = 'Infinity'": "ck_system_metrics_value_finite",
    DRAW.format("config", "'{}'"): "ck_draws_config_shape",
    DRAW.format(
        "config, certificate_hash", f"{CONFIG}, repeat('a', 64)"
    ): "ck_draws_completed_is_certified",
    DRAW.format("config, winners", f"{CONFIG}, '[]'"): "ck_draws_completed_is_certified",
    DRAW.format(
        "status, config, certificate_hash, executed_at", DONE
    ): "ck_draws_completed_is_certified",
    DRAW.format(
        "status, config, certificate_hash, executed_at, winners", f"{DONE}, '[{{}}]'"
    ): "ck_draws_winners_shape",
    DRAW.format(
        "status, config, certificate_hash, executed_at, winners",
        DONE.replace("'a'", "'A'") + ", '[]'",
    ): "ck_draws_certificate_hash_sha256",
}


@pytest.mark.parametrize("statement", BAD_ROWS)
def test_bad_rows_are_refused(cleack: Prepared, statement: str) -> None:
    assert refused(cleack, statement) == BAD_ROWS[statement]


CREDIT = (
    "INSERT INTO credits (id, user_id, transaction_type, amount) SELECT {}, id, {}, {} FROM users"
)


@pytest.mark.parametrize(
    ("kind", "amount", "constraint"),
    [
        ("usage", 1, "ck_credits_amount_sign"),
        ("usage", 0, "ck_credits_amount_sign"),
        ("purchase", -1, "ck_credits_amount_sign"),
        ("refund", -1, "ck_credits_amount_sign"),
        ("bonus", 0, "ck_credits_amount_sign"),
        ("usage", -3, "ck_credits_balance_not_negative"),
    ],
)
def test_entries_of_the_ledger_make_sense(
    cleack: Prepared, kind: str, amount: int, constraint: str
) -> None:
    assert refused(cleack, CREDIT.format("'x'", f"'{kind}'", amount)) == constraint


def test_the_server_decides_entry_and_balance(cleack: Prepared) -> None:
    cleack.query(
        "INSERT INTO credits (id, user_id, transaction_type, amount, entry, balance, created_at)"
        " SELECT v.id, u.id, 'bonus', 10, 77, 1000, v.at::timestamptz FROM users u, (VALUES"
        " ('past', '2001-01-01'), ('future', '2999-01-01'), ('now', NULL)) AS v (id, at)"
    )
    rows = cleack.query("SELECT entry, balance, created_at FROM credits ORDER BY entry")
    assert [row[:2] for row in rows] == [(1, 3), (2, 2), (3, 12), (4, 22), (5, 32)]
    times = [row[2] for row in rows]
    assert times == sorted(set(times))
    ((in_the_future,),) = cleack.query("SELECT count(*) FROM credits WHERE created_at > now()")
    assert in_the_future == 0
    # The document's own way to the balance.
    assert cleack.query("SELECT balance FROM credits ORDER BY created_at DESC LIMIT 1") == [(32,)]


def test_the_ledger_is_append_only(cleack: Prepared) -> None:
    for statement in (
        "UPDATE credits SET amount = amount",
        "UPDATE credits SET balance = 1000",
        "DELETE FROM credits",
        "DELETE FROM credits WHERE entry = 2",
        "INSERT INTO credits SELECT * FROM credits WHERE entry = 1"
        " ON CONFLICT (id) DO UPDATE SET amount = 100",
    ):
        assert "credits is refused" in refused(cleack, statement)
    assert cleack.query("SELECT sum(amount), count(*) FROM credits") == [(2, 2)]


def test_nobody_has_a_ledger_without_being_there(cleack: Prepared) -> None:
    for user, error in (("'nobody'", ForeignKeyViolation), ("NULL", NotNullViolation)):
        with pytest.raises(error):
            cleack.query(
                "INSERT INTO credits (id, user_id, transaction_type, amount)"
                f" VALUES ('x', {user}, 'bonus', 1)"
            )


def test_copy_writes_the_ledger_too(cleack: Prepared) -> None:
    ((user,),) = cleack.query("SELECT id FROM users")
    columns = "id, user_id, transaction_type, amount"
    with (
        cleack.server.connect(cleack.name) as connection,
        connection.cursor() as cursor,
        cursor.copy(f"COPY credits ({columns}) FROM STDIN") as copy,
    ):
        for number in range(100):
            copy.write_row((f"a{number}", user, "usage", -1))
            copy.write_row((f"b{number}", user, "bonus", 1))
    assert cleack.query(
        "SELECT count(*), max(entry), bool_and(balance = running) FROM ("
        "SELECT entry, balance, sum(amount) OVER (ORDER BY entry) AS running FROM credits) c"
    ) == [(202, 202, True)]


FLOW = [
    ("pending", "processing"),
    ("pending", "cancelled"),
    ("processing", "completed"),
    ("processing", "failed"),
    ("processing", "cancelled"),
    ("failed", "processing"),
]
STATUSES = ["pending", "processing", "completed", "failed", "cancelled"]
RESULT = ", winners = '[]', certificate_hash = repeat('a', 64), executed_at = now()"


@pytest.mark.parametrize("before", STATUSES)
def test_the_status_flow(cleack: Prepared, before: str) -> None:
    for after in STATUSES:
        values = f"'{before}', {CONFIG}"
        columns = "status, config"
        if before == "completed":
            columns += ", winners, certificate_hash, executed_at"
            values += ", '[]', repeat('a', 64), now()"
        cleack.query("DELETE FROM draws")
        cleack.query(DRAW.format(columns, values))
        change = f"UPDATE draws SET status = '{after}'"
        if after == "completed" != before:
            change += RESULT
        if before == after or (before, after) in FLOW:
            cleack.query(change)
        else:
            assert refused(cleack, change) == "draws_status_flow"


def test_what_a_certificate_covers_stays(cleack: Prepared) -> None:
    for change in (
        "id = 'other'",
        "config = jsonb_set(config, '{winners_count}', '1')",
        "config = jsonb_set(config, '{filters,min_followers}', '100.0')",
        "winners = winners - 0",
        "certificate_hash = repeat('0', 64)",
    ):
        assert refused(cleack, f"UPDATE draws SET {change}") == "draws_certified"
    cleack.query("UPDATE draws SET video_url = 'https://example.com/video', participants = 129")


def test_a_draw_stays_with_its_user(cleack: Prepared) -> None:
    cleack.query(
        "INSERT INTO users (id, email, password_hash) SELECT 'other', 'o@x', password_hash FROM users"
    )
    assert refused(cleack, "UPDATE draws SET user_id = 'other'") == "draws_user"


def test_every_step_of_a_draw_is_recorded(cleack: Prepared) -> None:
    cleack.query("DELETE FROM draws")
    cleack.query(DRAW.format("config", CONFIG))
    for change in (
        "status = 'processing'",
        "participants = 5",
        "status = 'failed', error = 'rate limit'",
        "status = 'processing'",
        "status = 'processing'",
        f"status = 'completed' {RESULT}",
    ):
        cleack.query(f"UPDATE draws SET {change}")
    rows = cleack.query(
        "SELECT h.step, h.action::text, h.details, h.user_id = d.user_id, h.id ~ '^[a-z][a-z0-9]{23}$'"
        " FROM draw_history h JOIN draws d ON d.id = h.draw_id ORDER BY h.step"
    )
    assert [row[:3] for row in rows] == [
        (1, "created", {"new_status": "pending"}),
        (2, "started", {"old_status": "pending", "new_status": "processing"}),
        (3, "failed", {"old_status": "processing", "new_status": "failed", "error": "rate limit"}),
        (4, "retried", {"old_status": "failed", "new_status": "processing"}),
        (
            5,
            "completed",
            {
                "old_status": "processing",
                "new_status": "completed",
                "certificate_hash": "a" * 64,
            },
        ),
    ]
    assert {row[3:] for row in rows} == {(True, True)}


@pytest.mark.parametrize(
    ("status", "actions"),
    [
        ("pending", ["created"]),
        ("processing", ["created", "started"]),
        ("failed", ["created", "started", "failed"]),
        ("cancelled", ["created", "cancelled"]),
    ],
)
def test_a_draw_that_is_imported_has_a_whole_history(
    cleack: Prepared, status: str, actions: list[str]
) -> None:
    cleack.query("DELETE FROM draws")
    cleack.query(DRAW.format("status, config", f"'{status}', {CONFIG}"))
    rows = cleack.query("SELECT action::text, details FROM draw_history ORDER BY step")
    assert [action for action, _ in rows] == actions
    assert [details.get("imported") for _, details in rows] == [None] + [True] * (len(rows) - 1)
    assert [details.get("old_status") for _, details in rows[1:]] == [
        details["new_status"] for _, details in rows[:-1]
    ]


def test_the_audit_trail_is_not_edited(cleack: Prepared) -> None:
    assert "draw_history is refused" in refused(cleack, "UPDATE draw_history SET action = 'failed'")
    cleack.query("DELETE FROM draw_history WHERE step = 1")  # retention does it
    assert cleack.query("SELECT count(*) FROM draw_history") == [(2,)]


def test_an_archived_history_can_come_back(cleack: Prepared) -> None:
    with cleack.server.connect(cleack.name) as connection:
        connection.execute("CREATE TEMP TABLE archive AS SELECT * FROM draw_history")
        connection.execute("DELETE FROM draw_history")
        connection.execute("INSERT INTO draw_history SELECT * FROM archive")
    assert cleack.query("SELECT array_agg(step ORDER BY step) FROM draw_history") == [([1, 2, 3],)]


@pytest.mark.parametrize("path", ["public", "''", "pg_temp, public"])
def test_any_search_path_will_do(cleack: Prepared, path: str) -> None:
    """Also one with temporary tables in front that have the names of ours."""
    with cleack.server.connect(cleack.name) as connection:
        connection.execute(
            "CREATE TEMP TABLE credits AS"
            " SELECT user_id, 50 AS entry, 5000 AS balance, created_at FROM public.credits"
        )
        connection.execute("CREATE TEMP TABLE users AS SELECT FROM public.users LIMIT 0")
        connection.execute(f"SET search_path = {path}")
        connection.execute(
            "INSERT INTO public.credits (id, user_id, transaction_type, amount)"
            " SELECT 'x', user_id, 'bonus', 1 FROM public.credits LIMIT 1"
        )
        connection.execute(
            "INSERT INTO public.draws (id, user_id, platform, post_url, config)"
            " SELECT 'd', user_id, platform, post_url, config FROM public.draws"
        )
        with pytest.raises(RestrictViolation):
            connection.execute("DELETE FROM public.credits")
        shown = connection.execute("SHOW search_path").fetchone()
        assert shown is not None
        assert shown[0].strip('"') == path.strip("'")
    assert cleack.query("SELECT entry, balance FROM credits WHERE id = 'x'") == [(3, 3)]
    assert cleack.query("SELECT count(*) FROM draw_history WHERE draw_id = 'd'") == [(1,)]


def test_the_functions_do_not_mind_a_renamed_schema(cleack: Prepared) -> None:
    cleack.query("ALTER SCHEMA public RENAME TO moved")
    cleack.query(
        "INSERT INTO moved.credits (id, user_id, transaction_type, amount)"
        " SELECT 'x', id, 'bonus', 1 FROM moved.users"
    )
    assert cleack.query("SELECT balance FROM moved.credits WHERE id = 'x'") == [(3,)]
