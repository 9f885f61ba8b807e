"""`leadctl stats`: numbers as the document defines them, on any database."""

import json
from collections.abc import Callable

import pytest

from tests.conftest import Cli, Prepared
from tests.servers import Server

ROWS = """
INSERT INTO users (id, email, facebook_id, access_token) VALUES ('u2', 'two@example.com', 'f2', 'x');
INSERT INTO pages (id, facebook_page_id, name, access_token, user_id)
    SELECT 'p' || n, 'fp' || n, 'Page', 'x', 'u2' FROM generate_series(1, 2) n;
INSERT INTO webhooks (id, user_id, name, url, is_active) VALUES
    ('w1', 'u2', 'One', 'https://one', true), ('w2', 'u2', 'Two', 'https://two', false),
    ('w3', 'u2', 'Three', 'https://three', true);
INSERT INTO leads (id, facebook_lead_id, page_id, form_id, form_name, lead_data, status)
    SELECT 'l' || n, 'fl' || n, 'p' || (1 + n % 2), 'f', 'Form', '{}',
           (ARRAY['NEW', 'PROCESSING', 'DELIVERED', 'FAILED', 'ARCHIVED'])[1 + n % 5]::lead_status
    FROM generate_series(1, 53) n;
INSERT INTO webhook_deliveries (id, webhook_id, lead_id, status)
    SELECT 'd' || n, 'w' || (1 + n % 2), 'l' || (1 + n % 53),
           (ARRAY['PENDING', 'SUCCESS', 'FAILED', 'RETRYING'])[1 + n % 4]::delivery_status
    FROM generate_series(1, 101) n;
"""


@pytest.fixture
def filled(leadconnector: Prepared) -> Prepared:
    leadconnector.query(ROWS)
    return leadconnector


def naive(database: Prepared, user: str) -> tuple[dict[str, int], dict[str, int]]:
    """Compute both statistics as the document does: fetch everything and count."""
    pages = {row[0] for row in database.query("SELECT id FROM pages WHERE user_id = %s", user)}
    leads = [
        status
        for page, status in database.query("SELECT page_id, status::text FROM leads")
        if page in pages
    ]
    hooks = dict(database.query("SELECT id, is_active FROM webhooks WHERE user_id = %s", user))
    deliveries = [
        status
        for hook, status in database.query(
            "SELECT webhook_id, status::text FROM webhook_deliveries"
        )
        if hook in hooks
    ]
    return (
        {
            "total": len(leads),
            "delivered": leads.count("DELIVERED"),
            "failed": leads.count("FAILED"),
            "pending": leads.count("NEW"),
        },
        {
            "total": len(hooks),
            "active": sum(hooks.values()),
            "successful": deliveries.count("SUCCESS"),
            "failed": deliveries.count("FAILED"),
        },
    )


def test_reports_have_the_document_s_numbers(filled: Prepared, cli: Cli) -> None:
    (counts,) = cli("stats", "counts", "-o", "json", url=filled.url).json["rows"]
    assert counts == {"users": 2, "pages": 3, "leads": 53, "webhooks": 4}
    ((seeded,),) = filled.query("SELECT id FROM users WHERE email = 'test@example.com'")
    for user, name in (("u2", "two@example.com"), (seeded, "test@example.com")):
        leads, webhooks = naive(filled, user)
        for given in (user, name):
            (row,) = cli("stats", "leads", "--user", given, "-o", "json", url=filled.url).json[
                "rows"
            ]
            assert row == leads
            found = cli("stats", "webhooks", "--user", given, "-o", "json", url=filled.url).json
            assert found["rows"] == [webhooks]
    (everybody,) = cli("stats", "leads", "-o", "json", url=filled.url).json["rows"]
    assert everybody["total"] == 53


def test_reports_by_group(filled: Prepared, cli: Cli) -> None:
    filled.query("UPDATE leads SET campaign_name = 'Spring' WHERE id < 'l2'")
    filled.query("UPDATE webhook_deliveries SET completed_at = created_at + interval '2 s'")

    def rows(report: str) -> list[dict[str, object]]:
        outcome = cli("stats", report, "--user", "u2", "-o", "json", url=filled.url)
        assert outcome.code == 0, outcome.err
        found: list[dict[str, object]] = outcome.json["rows"]
        return found

    assert [row["status"] for row in rows("leads-by-status")] == [
        "NEW",
        "PROCESSING",
        "DELIVERED",
        "FAILED",
        "ARCHIVED",
    ]
    for report in ("leads-by-status", "leads-by-page", "leads-by-campaign", "leads-by-day"):
        assert sum(int(str(row["leads"])) for row in rows(report)) == 53, report
    assert {row["campaign"] for row in rows("leads-by-campaign")} == {"Spring", "(none)"}
    assert len(rows("leads-by-day")) == 30
    deliveries = {row["webhook"]: row for row in rows("deliveries")}
    assert sum(int(str(row["deliveries"])) for row in deliveries.values()) == 101
    assert deliveries["One"]["median_seconds"] == 2
    assert deliveries["Three"]["success_percent"] is None


def test_what_does_not_exist_is_named(filled: Prepared, cli: Cli) -> None:
    outcome = cli("stats", "leads", "--user", "nobody@example.com", url=filled.url)
    assert (outcome.code, "nobody@example.com" in outcome.err) == (1, True)
    outcome = cli("stats", "webhoks", url=filled.url)
    assert (outcome.code, "Did you mean webhooks?" in outcome.err) == (2, True)
    assert cli("stats", "counts", "--user", "u2", url=filled.url).code == 2
    assert cli("stats", "--user", "u2", url=filled.url).code == 2
    assert cli("stats", "leads", "--schema", "elsewhere", url=filled.url).code == 1


def test_overview(filled: Prepared, cli: Cli) -> None:
    found = cli("stats", "-o", "json", url=filled.url).json
    assert found["database"]["name"] == filled.name
    assert found["database"]["server_version"].startswith(str(filled.server.major))
    assert found["reports"][:3] == ["counts", "leads", "webhooks"]
    tables = {table["name"]: table for table in found["tables"]}
    assert (tables["leads"]["rows"], tables["leads"]["exact"]) == (53, True)
    assert tables["leads"]["index_bytes"] > 0
    assert "alembic_version" not in tables
    assert "Reports: counts, leads, webhooks, " in cli("stats", url=filled.url).out


def test_large_tables_are_estimated_unless_asked(filled: Prepared, cli: Cli) -> None:
    filled.query("CREATE TABLE big AS SELECT n, repeat('x', 100) FROM generate_series(1, 20000) n")
    filled.query("ALTER TABLE big SET (autovacuum_enabled = false)")

    def big(*flags: str) -> tuple[int | None, bool]:
        tables = cli("stats", *flags, "-o", "json", url=filled.url).json["tables"]
        (table,) = [table for table in tables if table["name"] == "big"]
        return table["rows"], table["exact"]

    assert big() == (None, False)
    assert big("--exact") == (20000, True)
    filled.query("ANALYZE big; DELETE FROM big WHERE n <= 10000")
    assert big() == (20000, False)
    assert "~20,000" in cli("stats", url=filled.url).out
    assert big("--exact") == (10000, True)


def test_partitions_count_with_their_table(filled: Prepared, cli: Cli) -> None:
    filled.query(
        "CREATE TABLE events (at date, n int) PARTITION BY RANGE (at);"
        "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');"
        "CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');"
        "INSERT INTO events SELECT '2026-01-20'::date + n, n FROM generate_series(1, 30) n; ANALYZE"
    )
    tables = cli("stats", "-o", "json", url=filled.url).json["tables"]
    (events,) = [table for table in tables if table["name"].startswith("events")]
    assert (events["name"], events["rows"]) == ("events", 30)
    assert events["table_bytes"] >= 16384


def test_a_strange_database_with_a_role_that_may_read_nothing(
    server: object, database: str, cli: Cli
) -> None:
    with server.connect(database) as connection:  # type: ignore[attr-defined]
        connection.execute('CREATE TABLE "Strange ""Name" (id int); CREATE TABLE "select" (id int)')
        connection.execute('INSERT INTO "select" VALUES (1)')
        connection.execute(f"CREATE ROLE reader_{database} LOGIN PASSWORD 'reader pass'")
        connection.execute(f'GRANT SELECT ON "select" TO reader_{database}')
        url = server.url(database)  # type: ignore[attr-defined]
        reader = url.replace(
            "postgres:correct%20horse%20battery", f"reader_{database}:reader%20pass"
        )
        try:
            found = cli("stats", "-o", "json", url=reader).json
            rows = {table["name"]: (table["rows"], table["exact"]) for table in found["tables"]}
            assert rows == {'"select"': (1, True), '"Strange ""Name"': (None, False)}
            assert found["reports"] == []
            health = cli("health-check", "-o", "json", url=reader, env={"LEADCTL_APP": ""})
            assert health.code == 0
            states = {check["name"]: check["status"] for check in health.json["checks"]}
            known = {name for name, state in states.items() if state == "ok"}
            assert known == {
                "server",
                "latency",
                "connections",
                "kept-by-restores",
                "schema",
                "invalid-indexes",
                "duplicate-indexes",
                "narrow-foreign-keys",
                "missing-indexes",
                "unvalidated-constraints",
                "vacuum",
                "statistics",
                "bloat",
                "blocking",
                "prepared-transactions",
                "transaction-age",
                "multixact-age",
                "deadlocks",
                "temporary-files",
                "checksums",
            }
            assert set(states.values()) == {"ok", "skipped"}
            assert all(check["message"] for check in health.json["checks"])
            named = cli("health-check", "--app", "leadconnector", "-o", "json", url=reader)
            assert named.code == 2
            assert connection.execute("SELECT to_regnamespace('leadctl')").fetchone() == (None,)
        finally:
            connection.execute(f"DROP OWNED BY reader_{database}; DROP ROLE reader_{database}")


def test_json_is_one_document_on_standard_output(filled: Prepared, cli: Cli) -> None:
    for arguments in (["stats"], ["stats", "leads"], ["health-check"], ["history"], ["config"]):
        outcome = cli(*arguments, "-o", "json", url=filled.url)
        assert json.loads(outcome.out)
        assert outcome.err == ""


def test_locks_in_a_copy_of_the_database_are_not_its_own(
    copied: Callable[[str], Prepared], template: Callable[[str], str], cli: Cli
) -> None:
    """A database made from a template has its relations under the same numbers."""
    ours, theirs = copied(template("leadconnector")), copied(template("leadconnector"))
    ours.query("ANALYZE")

    def seen() -> list[object]:
        tables = cli("stats", "-o", "json", url=ours.url).json["tables"]
        indexes = cli("inspect", "indexes", "-o", "json", url=ours.url).json["reports"][0]["rows"]
        return [tables, *((row["index"], row["definition"]) for row in indexes)]

    before = seen()
    names = theirs.query(
        "SELECT string_agg(format('%I', tablename), ', ') FROM pg_tables"
        " WHERE schemaname = 'public'",
    )[0][0]
    with theirs.server.connect(theirs.name) as other, other.transaction():
        other.execute(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
        assert seen() == before


@pytest.mark.parametrize(
    ("breaking", "skipped", "reason"),
    [
        (
            "CREATE FUNCTION odd(n bigint) RETURNS boolean LANGUAGE sql AS 'SELECT 1 / 0 = n';"
            "CREATE POLICY odd ON leads TO {reader} USING (odd(1)); ALTER TABLE leads ENABLE ROW LEVEL SECURITY",
            {"rows of leads", "leads-by-status", "leads-by-day"},
            "division by zero",
        ),
        (
            "DROP TABLE leads CASCADE",
            {"leads-by-status", "leads-by-day"},
            'relation "leads" does not exist',
        ),
        (
            "ALTER TABLE webhook_deliveries RENAME TO moved;"
            "CREATE VIEW webhook_deliveries AS SELECT *, 1 / (random() * 0)::int AS odd FROM moved;"
            "ALTER TABLE moved RENAME status TO state; ALTER VIEW webhook_deliveries RENAME status TO state",
            {"deliveries"},
            "column d.status does not exist",
        ),
        (
            "REVOKE EXECUTE ON FUNCTION pg_database_size(oid) FROM PUBLIC",
            {"database"},
            "permission denied for function pg_database_size",
        ),
        (
            "REVOKE SELECT ON pg_locks FROM PUBLIC",
            {"tables"},
            "permission denied for view pg_locks",
        ),
        ("REVOKE SELECT ON pg_stat_activity, pg_stat_database FROM PUBLIC", set(), ""),
    ],
    ids=["policy", "table", "view", "size", "locks", "sessions"],
)
def test_a_part_that_cannot_be_read_hides_no_other(
    filled: Prepared, cli: Cli, breaking: str, skipped: set[str], reason: str
) -> None:
    reader = f"reader_{filled.name}"
    filled.query(f"CREATE ROLE {reader} LOGIN PASSWORD 'reader pass'")
    filled.query(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}")
    try:
        filled.query(breaking.format(reader=reader))
        url = filled.url.replace("postgres:correct%20horse%20battery", f"{reader}:reader%20pass")
        outcome = cli("stats", "-o", "json", url=url)
        assert outcome.code == 0, outcome.err
        found = outcome.json
        assert {each["part"] for each in found["skipped"]} == skipped
        assert all(reason in each["reason"] for each in found["skipped"])
        shown = {each["report"] for each in found["charts"]}
        assert shown == {"leads-by-status", "leads-by-day", "deliveries"} - skipped
        assert (found["database"] is None) == ("database" in skipped)
        names = {table["name"] for table in found["tables"]}
        assert ("users" in names) == ("tables" not in skipped)
        assert ("Skipped: " in cli("stats", url=url).out) == bool(skipped)
        assert ("Skipped: " in cli("stats", "-o", "csv", url=url).err) == bool(skipped)
        assert cli("inspect", "all", "-o", "json", url=url).code == 0
    finally:
        filled.query(f"DROP OWNED BY {reader}; DROP ROLE {reader}")


@pytest.mark.thorough
def test_a_lock_on_one_table_hides_no_other(filled: Prepared, cli: Cli) -> None:
    with filled.server.connect(filled.name) as other, other.transaction():
        other.execute("LOCK TABLE pages IN ACCESS EXCLUSIVE MODE")
        found = cli("stats", "-o", "json", url=filled.url).json
    assert {each["part"] for each in found["skipped"]} >= {"rows of pages"}
    assert {table["name"]: table["rows"] for table in found["tables"]}["leads"] == 53


def test_many_small_tables_are_counted_together_and_not_kept_locked(
    server: Server, database: str, cli: Cli
) -> None:
    strange = Prepared(database, server.url(database), server)
    reader = f"reader_{database}"
    strange.query(f"CREATE ROLE {reader} LOGIN PASSWORD 'reader pass'")
    url = strange.url.replace("postgres:correct%20horse%20battery", f"{reader}:reader%20pass")
    try:
        strange.query(
            "DO $$ BEGIN FOR i IN 1..250 LOOP"
            " EXECUTE format('CREATE TABLE few_%s AS SELECT 1 AS id', i); END LOOP; END $$;"
            "CREATE FUNCTION locked() RETURNS bigint LANGUAGE sql RETURN (SELECT count(*) FROM pg_locks"
            " WHERE pid = pg_backend_pid() AND relation::regclass::text LIKE 'few%');"
            "CREATE TABLE zz_last (locks bigint); INSERT INTO zz_last SELECT generate_series(0, 199);"
            "ALTER TABLE zz_last ENABLE ROW LEVEL SECURITY;"
            "CREATE POLICY counts ON zz_last USING (locks < locked());"
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader};"
            f"REVOKE ALL ON few_7 FROM {reader}"
        )
        found = cli("stats", "-o", "json", "-vv", url=url)
        rows = {table["name"]: table["rows"] for table in found.json["tables"]}
        assert [name for name, count in rows.items() if count != 1] == ["few_7", "zz_last"]
        assert rows["few_7"] is None
        assert rows["zz_last"] <= 100
        assert [each["part"] for each in found.json["skipped"]] == ["rows of few_7"]
        sent = [line for line in found.err.splitlines() if "count(*) FROM" in line]
        assert len(sent) < 130  # the hundred with few_7 one by one
    finally:
        strange.query(f"DROP OWNED BY {reader}; DROP ROLE {reader}")
