"""cleanup: what goes, what stays, what a dry run says."""

import re
from pathlib import Path

import pytest

from tests.conftest import Cli, Prepare, Prepared
from tests.leads import LEADS, due_leads, ids, slow


def test_the_rules_of_leadconnector(filled: Prepared, cli: Cli) -> None:
    due = due_leads(filled)
    before = ids(filled, "leads")
    along = filled.query("SELECT count(*) FROM webhook_deliveries WHERE lead_id = ANY (%s)", [*due])
    deliveries = filled.query(
        "SELECT count(*) FROM webhook_deliveries WHERE status IN ('SUCCESS', 'FAILED')"
        " AND created_at < now() - interval '90 days' AND lead_id <> ALL (%s)",
        [*due],
    )
    outcome = cli("cleanup", "-o", "json", "--confirm", filled.name, url=filled.url)
    assert outcome.code == 0, outcome.err
    leads, finished = outcome.json["rules"]
    assert (leads["rows"], leads["cascaded"]) == (
        len(due),
        {"webhook_deliveries": along[0][0]},
    )
    assert finished["rows"] == deliveries[0][0]
    assert ids(filled, "leads") == before - due
    new_ones = filled.query("SELECT count(*) FROM leads WHERE status = 'NEW'")
    assert new_ones == [(LEADS // 5,)]
    again = cli("cleanup", "-o", "json", url=filled.url).json
    assert (again["rows"], again["cascaded"], again["stopped"]) == (0, 0, None)


def test_days_and_rule(filled: Prepared, cli: Cli) -> None:
    due = due_leads(filled, 120)
    outcome = cli(
        "cleanup", "--days", "120", "--rule", "archived-leads", "-o", "json", url=filled.url
    )
    assert outcome.json["rows"] == len(due) > 0
    assert cli("cleanup", "--days", "0", url=filled.url).code == 2
    assert cli("cleanup", "--rule", "archived-lead", url=filled.url).code == 2


def test_days_does_not_level_rules_that_differ(prepared: Prepare, cli: Cli) -> None:
    database = prepared("viralmommy")
    outcome = cli("cleanup", "--days", "5", "--app", "viralmommy", url=database.url)
    assert outcome.code == 2
    assert "different" in outcome.err


@pytest.mark.few(3)
@pytest.mark.parametrize("app", ["leadconnector", "salesagent", "viralmommy", "whatsapp", "cleack"])
def test_the_rules_of_every_app_fit_its_schema(
    app: str, prepared: Prepare, cli: Cli, tmp_path: Path
) -> None:
    database = prepared(app)
    preview = cli("cleanup", "--dry-run", "-o", "json", "--app", app, url=database.url)
    assert preview.code == 0, preview.err
    for rule in preview.json["rules"]:
        assert not [text for text in rule["warnings"] if "index" in text], rule
    listed = cli("cleanup", "--list", "-o", "json", "--app", app, url=database.url).json
    assert len(listed["rules"]) == len(preview.json["rules"]) > 0
    done = cli("cleanup", "-o", "json", "--app", app, url=database.url)
    assert done.code == 0, done.err


def test_a_dry_run_counts_to_the_row_and_changes_nothing(filled: Prepared, cli: Cli) -> None:
    runs = filled.query("SELECT count(*) FROM leadctl.run")
    before = ids(filled, "leads"), ids(filled, "webhook_deliveries")
    preview = cli("cleanup", "--dry-run", "-o", "json", url=filled.url).json
    assert (ids(filled, "leads"), ids(filled, "webhook_deliveries")) == before
    assert filled.query("SELECT count(*) FROM leadctl.run") == runs
    done = cli("cleanup", "-o", "json", "--confirm", filled.name, url=filled.url).json
    first, ran = preview["rules"][0], done["rules"][0]
    assert (first["due"], first["cascaded"]) == (ran["rows"], ran["cascaded"])
    assert first["oldest"] < first["newest"] < first["cutoff"]
    assert any('DELETE FROM ONLY "public"."leads" WHERE' in text for text in first["statements"])


def test_reading_makes_no_schema_of_ours(filled: Prepared, cli: Cli) -> None:
    filled.query("DROP SCHEMA leadctl CASCADE")
    for flag in ("--list", "--dry-run"):
        assert cli("cleanup", flag, url=filled.url).code == 0
    assert filled.query("SELECT to_regnamespace('leadctl')") == [(None,)]


def test_bounds_stop_it_and_the_next_run_goes_on(filled: Prepared, cli: Cli) -> None:
    due = due_leads(filled)
    oldest = filled.query(
        "SELECT id FROM leads WHERE status = 'ARCHIVED' ORDER BY created_at LIMIT 100"
    )
    outcome = cli(
        "cleanup", "--rule", "archived-leads", "--max-rows", "100", "-o", "json", url=filled.url
    )
    assert outcome.code == 0
    (rule,) = outcome.json["rules"]
    assert (rule["rows"], rule["status"], rule["reason"]) == (100, "stopped", "max_rows")
    assert rule["backlog"] == len(due) - 100
    assert not {row[0] for row in oldest} & ids(filled, "leads")
    rest = cli("cleanup", "--rule", "archived-leads", "-o", "json", url=filled.url).json
    assert rest["rows"] == len(due) - 100


def test_what_goes_along_into_partitions_is_counted(filled: Prepared, cli: Cli) -> None:
    filled.query("CREATE TABLE notes (lead_id text REFERENCES leads ON DELETE CASCADE)"
                 " PARTITION BY HASH (lead_id)")  # fmt: skip
    for remainder in (0, 1):
        filled.query(
            f"CREATE TABLE notes_{remainder} PARTITION OF notes"
            f" FOR VALUES WITH (MODULUS 2, REMAINDER {remainder})"
        )
    filled.query("CREATE INDEX ON notes (lead_id)")
    filled.query("INSERT INTO notes SELECT id FROM leads, generate_series(1, 3)")
    due = len(due_leads(filled))
    flags = ("cleanup", "--rule", "archived-leads", "-o", "json")
    preview = cli(*flags, "--dry-run", url=filled.url).json["rules"][0]
    done = [
        cli(*flags, *bounds, url=filled.url).json["rules"][0]["cascaded"]
        for bounds in (("--max-rows", "100"), ())
    ]
    assert preview["cascaded"] == {"notes": 3 * due, "webhook_deliveries": 2 * due}
    assert done[0] == {"notes": 300, "webhook_deliveries": 200}
    assert done[1] == {"notes": 3 * due - 300, "webhook_deliveries": 2 * due - 200}


def test_ages_that_python_does_not_have(filled: Prepared, cli: Cli) -> None:
    filled.query(
        "UPDATE leads SET status = 'ARCHIVED', created_at = CASE id WHEN 'l1' THEN '-infinity'"
        " WHEN 'l2' THEN '0044-03-15 BC' ELSE 'infinity' END::timestamptz"
        " WHERE id IN ('l1', 'l2', 'l3')"
    )
    flags = ("cleanup", "--rule", "archived-leads", "-o", "json")
    preview = cli(*flags, "--dry-run", url=filled.url)
    assert preview.code == 0, preview.err
    assert preview.json["rules"][0]["oldest"] == "-infinity"
    shown = cli(*flags[:3], "--dry-run", url=filled.url).out
    assert "Ages" in shown
    assert "-infinity to " in shown
    for moment, said in (
        ("0044-03-15 BC", "0044-03-15 00:00:00+00 BC"),
        ("0001-01-01", "0001-01-01T00:00:00Z"),
        ("0001-01-02", "0001-01-02T00:00:00Z"),
    ):
        filled.query("UPDATE leads SET created_at = %s WHERE id IN ('l1', 'l2')", moment)
        preview = cli(*flags, "--dry-run", url=filled.url)
        assert preview.json["rules"][0]["oldest"] == said
    filled.query("UPDATE leads SET created_at = '-infinity' WHERE id = 'l1'")
    for bounds in (("--max-rows", "1"), ("--max-rows", "1", "--archive", "archives"), ()):
        outcome = cli(*flags, *bounds, url=filled.url)
        assert outcome.code == 0, outcome.err
    assert ids(filled, "leads") & {"l1", "l2", "l3"} == {"l3"}
    assert not due_leads(filled)


def test_an_index_of_the_due_rows_alone(filled: Prepared, cli: Cli) -> None:
    filled.query("DROP INDEX ix_leads_created_at")
    flags = ("cleanup", "--rule", "archived-leads", "--dry-run", "-o", "json")
    (rule,) = cli(*flags, url=filled.url).json["rules"]
    assert "No index serves" in rule["warnings"][0]
    filled.query("CREATE INDEX ON leads (created_at) WHERE status = 'ARCHIVED'")
    (rule,) = cli(*flags, url=filled.url).json["rules"]
    assert rule["warnings"] == []
    assert any("SKIP LOCKED" in text for text in rule["statements"])
    assert cli("cleanup", "--rule", "archived-leads", url=filled.url).code == 0
    assert not due_leads(filled)


def test_rows_of_one_age(filled: Prepared, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """An age cannot part them, so they go one by one."""
    for name in ("_FIRST", "_FEWEST", "_MOST"):
        monkeypatch.setattr(f"leadctl.cleanup.ranges.{name}", 10)
    filled.query(
        "UPDATE leads SET created_at = date_trunc('month', now() - interval '120 days')"
        " WHERE created_at < now() - interval '100 days'"
    )
    due = len(due_leads(filled))
    outcome = cli("cleanup", "--rule", "archived-leads", "-o", "json", url=filled.url)
    assert (outcome.json["rows"], due_leads(filled)) == (due, set())


@pytest.mark.thorough
def test_timeouts_of_the_role_end_no_run(filled: Prepared, cli: Cli, tmp_path: Path) -> None:
    """How long a statement, a transaction and a pause may take is the command's affair."""
    slow(filled, 0.005)
    due = len(due_leads(filled))
    timeouts = ["statement_timeout", "idle_in_transaction_session_timeout"]
    if filled.server.major >= 17:
        timeouts.append("transaction_timeout")
    setting = f"ALTER DATABASE {filled.name} SET {{}} = '5ms'"
    filled.query(";".join(setting.format(name) for name in timeouts))
    for options in (("--list",), ("--dry-run",), ("--archive", str(tmp_path))):
        done = cli("cleanup", *options, "--rule", "archived-leads", "-o", "json", url=filled.url)
        assert done.code == 0, done.err
    assert done.json["rows"] == due


@pytest.mark.thorough
def test_a_bound_of_time(filled: Prepared, cli: Cli) -> None:
    slow(filled, 0.01)
    flags = ("cleanup", "--rule", "archived-leads", "-o", "json")
    outcome = cli(*flags, "--max-seconds", "1", url=filled.url)
    assert outcome.code == 0
    (rule,) = outcome.json["rules"]
    assert (rule["status"], rule["reason"]) == ("stopped", "max_seconds")
    assert 0 < rule["rows"] < 440
    assert rule["rows"] + rule["backlog"] == 440


class TestRules:
    def test_overrides(self, filled: Prepared, cli: Cli) -> None:
        Path("leadctl.toml").write_text(
            '[retention.archived-leads]\nolder_than = "P120D"\nmax_rows = 7\n'
            "[retention.finished-deliveries]\nenabled = false\n"
        )
        (rule,) = cli("cleanup", "-o", "json", url=filled.url).json["rules"]
        assert (rule["rows"], rule["reason"]) == (7, "max_rows")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ('table = "nothing"\nage_column = "x"', "does not exist"),
            ('table = "leads"\nage_column = "created"', "leads.created, which does not exist"),
            ('table = "leads"\nage_column = "id"', "which is of type text"),
            ('table = "leads"\nage_column = "created_at"\ncondition = "colour = 1"', "colour"),
            ('table = "leads"\nage_column = "created_at"\ncondition = "true) OR (x"', "x"),
        ],
    )
    def test_what_does_not_fit_runs_nothing(
        self, text: str, said: str, filled: Prepared, cli: Cli
    ) -> None:
        Path("leadctl.toml").write_text(
            f'[[apps.leadconnector.retention]]\nname = "mine"\nolder_than = "1d"\n{text}\n'
        )
        outcome = cli("cleanup", url=filled.url)
        assert outcome.code == 3
        assert said in outcome.err
        assert len(ids(filled, "leads")) == LEADS

    def test_a_foreign_key_without_an_index(self, filled: Prepared, cli: Cli) -> None:
        filled.query("DROP INDEX ix_webhook_deliveries_lead_id, idx_deliveries_lead_status")
        outcome = cli("cleanup", url=filled.url)
        assert outcome.code == 5
        assert 'CREATE INDEX CONCURRENTLY ON webhook_deliveries ("lead_id")' in outcome.err
        assert len(ids(filled, "leads")) == LEADS

    def test_an_index_that_is_missing_is_named_as_the_server_makes_it(
        self, filled: Prepared, cli: Cli
    ) -> None:
        filled.query(
            'CREATE TABLE "Old P" (id int PRIMARY KEY, at date) PARTITION BY HASH (id);'
            'CREATE TABLE part PARTITION OF "Old P" FOR VALUES WITH (MODULUS 1, REMAINDER 0);'
            'CREATE TABLE "the refs" ("of P" int REFERENCES "Old P" ON DELETE CASCADE)'
            ' PARTITION BY HASH ("of P")'
        )
        Path("leadctl.toml").write_text(
            '[[apps.leadconnector.retention]]\nname = "m e"\ntable = "Old P"\n'
            'age_column = "at"\nolder_than = "1d"\n'
        )
        refused = cli("cleanup", "--rule", "m e", url=filled.url)
        assert refused.code == 5
        filled.query(re.findall("CREATE INDEX.*", refused.err)[0])
        done = cli("cleanup", "--rule", "m e", "-o", "json", url=filled.url)
        (warning,) = done.json["rules"][0]["warnings"]
        filled.query(re.findall("CREATE INDEX.*", warning)[0])
        assert cli("cleanup", "--rule", "m e", "-o", "json", url=filled.url).code == 0

    def test_a_row_that_something_refers_to(self, filled: Prepared, cli: Cli) -> None:
        filled.query(
            "CREATE TABLE notes (lead_id text REFERENCES leads);CREATE INDEX ON notes (lead_id);"
        )
        filled.query("INSERT INTO notes SELECT id FROM leads WHERE status = 'ARCHIVED'")
        outcome = cli("cleanup", "--rule", "archived-leads", "-o", "json", url=filled.url)
        assert outcome.code == 7
        (rule,) = outcome.json["rules"]
        assert (rule["status"], rule["rows"], rule["refused"]) == ("partly", 0, 440)
        assert len(ids(filled, "leads")) == LEADS

    def test_a_condition_with_a_percent_sign_and_a_comment(
        self, filled: Prepared, cli: Cli
    ) -> None:
        Path("leadctl.toml").write_text(
            "[retention.archived-leads]\ncondition = \"form_id LIKE 'nothing%' -- never\"\n"
        )
        outcome = cli("cleanup", "--rule", "archived-leads", "-o", "json", url=filled.url)
        assert (outcome.code, outcome.json["rows"]) == (0, 0)
