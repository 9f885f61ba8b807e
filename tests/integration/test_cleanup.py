"""cleanup: what goes, what stays, what stops it."""

import json
import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import Cli, Prepared
from tests.leads import fill, ids
from tests.postgres import RunningServer
from tests.processes import run, start

LEADS, DELIVERIES = 4000, 2


@pytest.fixture
def filled(leadconnector: Prepared) -> Prepared:
    fill(leadconnector, LEADS, DELIVERIES)
    return leadconnector


def due_leads(database: Prepared, days: int = 90) -> set[str]:
    return {
        row[0]
        for row in database.query(
            "SELECT id FROM leads WHERE status = 'ARCHIVED' AND created_at < now() - make_interval(days => %s)",
            days,
        )
    }


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


def test_days_does_not_level_rules_that_differ(
    prepared: Callable[[str], Prepared], cli: Cli
) -> None:
    database = prepared("viralmommy")
    outcome = cli("cleanup", "--days", "5", "--app", "viralmommy", url=database.url)
    assert outcome.code == 2
    assert "different" in outcome.err


@pytest.mark.parametrize("app", ["leadconnector", "salesagent", "viralmommy", "whatsapp", "cleack"])
def test_the_rules_of_every_app_fit_its_schema(
    app: str, prepared: Callable[[str], Prepared], cli: Cli, tmp_path: Path
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
    assert any(text.startswith("DELETE FROM ONLY leads WHERE") for text in first["statements"])


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


class TestFuse:
    def test_more_than_a_share_wants_consent(self, filled: Prepared, cli: Cli) -> None:
        filled.query("UPDATE leads SET status = 'ARCHIVED', created_at = now() - interval '1 year'")
        before = ids(filled, "leads")
        for consent, code in ((), 5), (("--confirm", "wrong"), 5), (("--confirm", filled.name), 0):
            outcome = cli("cleanup", "--rule", "archived-leads", *consent, url=filled.url)
            assert outcome.code == code, outcome.err
            assert (ids(filled, "leads") == before) == (code == 5)

    def test_far_more_than_usual_wants_consent(self, filled: Prepared, cli: Cli) -> None:
        filled.query("UPDATE leads SET status = 'NEW'")
        rule = ("cleanup", "--rule", "archived-leads")
        for number in range(3):
            filled.query(
                "UPDATE leads SET status = 'ARCHIVED' WHERE id = 'l' || (3900 + %s)", number
            )
            assert cli(*rule, url=filled.url).code == 0
        filled.query(
            "UPDATE leads SET status = 'ARCHIVED' WHERE created_at < now() - interval '140 days'"
        )
        refused = cli(*rule, url=filled.url)
        assert refused.code == 5
        assert "usual" in refused.err

    def test_other_rules_go_on(self, filled: Prepared, cli: Cli) -> None:
        filled.query("UPDATE leads SET status = 'ARCHIVED', created_at = now() - interval '1 year'")
        outcome = cli("cleanup", "-o", "json", url=filled.url)
        assert outcome.code == 5
        assert [rule["status"] for rule in outcome.json["rules"]] == ["refused", "done"]
        assert json.loads(outcome.err)["code"] == "fuse_blown"

    def test_a_clock_that_is_wrong(
        self, filled: Prepared, cli: Cli, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from leadctl.operations.cleanup import run as module

        later = filled.query("SELECT now() + interval '1 year'")[0][0]
        monkeypatch.setattr(
            module, "datetime", type("Clock", (), {"now": staticmethod(lambda _: later)})
        )
        before = ids(filled, "leads")
        outcome = cli("cleanup", url=filled.url)
        assert (outcome.code, ids(filled, "leads")) == (5, before)
        assert "clock" in outcome.err

    def test_an_age_of_nothing(self, filled: Prepared, cli: Cli) -> None:
        for age in ("0d", "0", "90", "6m", ""):
            Path("leadctl.toml").write_text(f'[retention.archived-leads]\nolder_than = "{age}"\n')
            outcome = cli("cleanup", url=filled.url)
            assert outcome.code == 3, (age, outcome.err)
        assert len(ids(filled, "leads")) == LEADS

    def test_a_null_age_is_never_due(self, filled: Prepared, cli: Cli) -> None:
        Path("leadctl.toml").write_text(
            '[[apps.leadconnector.retention]]\nname = "processed"\ntable = "leads"\n'
            'age_column = "processed_at"\nolder_than = "1 day"\n'
        )
        outcome = cli("cleanup", "--rule", "processed", "-o", "json", url=filled.url)
        assert (outcome.code, outcome.json["rows"]) == (0, 0)
        assert "No index serves" in outcome.json["rules"][0]["warnings"][0]


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
        assert "CREATE INDEX CONCURRENTLY ON webhook_deliveries (lead_id)" in outcome.err
        assert len(ids(filled, "leads")) == LEADS

    def test_a_row_that_something_refers_to(self, filled: Prepared, cli: Cli) -> None:
        filled.query(
            "CREATE TABLE notes (lead_id text REFERENCES leads);CREATE INDEX ON notes (lead_id);"
        )
        filled.query("INSERT INTO notes SELECT id FROM leads WHERE status = 'ARCHIVED'")
        outcome = cli("cleanup", "--rule", "archived-leads", "-o", "json", url=filled.url)
        assert outcome.code == 1
        assert outcome.json["rules"][0]["status"] == "failed"
        assert "NOT EXISTS" in json.loads(outcome.err)["hint"]
        assert len(ids(filled, "leads")) == LEADS

    def test_a_condition_with_a_percent_sign_and_a_comment(
        self, filled: Prepared, cli: Cli
    ) -> None:
        Path("leadctl.toml").write_text(
            "[retention.archived-leads]\ncondition = \"form_id LIKE 'nothing%' -- never\"\n"
        )
        outcome = cli("cleanup", "--rule", "archived-leads", "-o", "json", url=filled.url)
        assert (outcome.code, outcome.json["rows"]) == (0, 0)


class TestOutput:
    def test_quiet_is_silent(self, filled: Prepared) -> None:
        env = {"DATABASE_URL": filled.url}
        done = run("cleanup", "-q", "--rule", "archived-leads", env=env)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_a_failure_is_not(self, filled: Prepared) -> None:
        filled.query("UPDATE leads SET status = 'ARCHIVED', created_at = now() - interval '1 year'")
        done = run("cleanup", "-q", env={"DATABASE_URL": filled.url})
        assert done.returncode == 5
        assert "archived-leads" in done.stdout
        assert "--confirm" in done.stderr

    def test_metrics(self, filled: Prepared, cli: Cli, tmp_path: Path) -> None:
        path = tmp_path / "leadctl.prom"
        path.write_text("old")
        assert (
            cli(
                "cleanup", "--metrics-file", str(path), "--confirm", filled.name, url=filled.url
            ).code
            == 0
        )
        text = path.read_text()
        labels = (
            f'app="leadconnector",database="{filled.name}",schema="public",rule="archived-leads"'
        )
        assert re.search(rf"^leadctl_cleanup_rows{{{labels}}} \d+$", text, re.MULTILINE)
        assert f"leadctl_cleanup_backlog_rows{{{labels}}} 0\n" in text
        stamp = re.search(
            rf"^leadctl_cleanup_last_success_timestamp_seconds{{{labels}}} (.+)$",
            text,
            re.MULTILINE,
        )
        assert stamp
        assert abs(time.time() - float(stamp[1])) < 60
        assert [found.name for found in tmp_path.iterdir()] == ["leadctl.prom"]
        assert all(line.startswith(("#", "leadctl_cleanup_")) for line in text.splitlines())

    @pytest.mark.parametrize(
        ("number", "code", "reason"), [(2, 130, "interrupted"), (15, 143, "terminated")]
    )
    def test_a_signal_ends_it_with_a_summary(
        self, filled: Prepared, number: int, code: int, reason: str
    ) -> None:
        fill_more(filled)
        process = start(
            "cleanup", "-o", "json", "--rule", "archived-leads", "--confirm", filled.name,
            env={"DATABASE_URL": filled.url},
        )  # fmt: skip
        wait_for(lambda: len(ids(filled, "leads")) < LEADS * 6)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        result = json.loads(out)
        assert result["stopped"] == reason
        assert len(ids(filled, "leads")) == LEADS * 6 - result["rows"]
        ((outcome,),) = filled.query(
            "SELECT summary -> 'rules' -> 'archived-leads' ->> 'reason' FROM leadctl.run"
            " WHERE command = 'cleanup'"
        )
        assert outcome == reason


def fill_more(database: Prepared) -> None:
    """Make deletions slow, so that a run can be met at work."""
    database.query(
        "INSERT INTO leads (id, facebook_lead_id, page_id, form_id, form_name, lead_data, status, created_at)"
        " SELECT id || '-' || n, facebook_lead_id || '-' || n, page_id, form_id, form_name, lead_data,"
        " 'ARCHIVED', now() - interval '1 year' FROM leads, generate_series(1, 5) AS n"
    )
    slow(database)


def slow(database: Prepared, seconds: float = 0.0005) -> None:
    database.query(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN PERFORM pg_sleep({seconds}); RETURN old; END $$"
    )
    database.query(
        "CREATE TRIGGER slow BEFORE DELETE ON leads FOR EACH ROW EXECUTE FUNCTION slow()"
    )


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class TestHealth:
    def test_last_success_and_backlog(self, filled: Prepared, cli: Cli) -> None:
        def check() -> dict[str, Any]:
            checks = cli("health-check", "-o", "json", url=filled.url).json["checks"]
            return next(found for found in checks if found["name"] == "cleanup")

        assert check()["status"] == "skipped"
        bounded = ("cleanup", "--rule", "archived-leads", "--max-rows", "100")
        assert cli(*bounded, url=filled.url).code == 0
        assert (check()["status"], check()["value"]) == ("ok", 340)
        filled.query("UPDATE leadctl.run SET ended_at = now() - interval '3 days'")
        assert check()["status"] == "warning"
        assert cli("cleanup", "--rule", "archived-leads", url=filled.url).code == 0
        assert (check()["status"], check()["value"]) == ("ok", 0)


class TestPressure:
    """What makes a run wait; the patience is cut short, since a test has none."""

    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("leadctl.operations.cleanup.pressure._PATIENCE", 0.0)

    def test_a_vacuum_of_the_table(self, filled: Prepared, cli: Cli) -> None:
        with filled.server.connect(filled.name) as other:
            other.execute("SET vacuum_cost_delay = 100")
            other.execute("SET vacuum_cost_limit = 1")
            vacuum = threading.Thread(target=lambda: swallow(other, "VACUUM leads"))
            vacuum.start()
            try:
                wait_for(lambda: filled.query("SELECT 1 FROM pg_stat_progress_vacuum") != [])
                outcome = cli("cleanup", "--rule", "archived-leads", "-o", "json", url=filled.url)
            finally:
                other.cancel()
                vacuum.join()
        (rule,) = outcome.json["rules"]
        assert (outcome.code, rule["rows"], rule["reason"]) == (0, 0, "vacuum")
        assert "Waiting" in outcome.err

    def test_wal_that_waits_to_be_archived(self, cli: Cli) -> None:
        running = RunningServer(
            int(os.environ.get("LEADCTL_TEST_POSTGRES", "18")),
            archive_mode="on",
            archive_command="test ! -e stop",
        )
        try:
            server = running.info
            name = server.create()
            database = Prepared(name, server.url(name), server)
            assert cli("migrate", url=database.url).code == 0
            assert cli("seed", url=database.url).code == 0
            fill(database, 200)
            switch = "SELECT pg_switch_wal() FROM pg_logical_emit_message(true, '', 'x')"
            database.query(switch)
            wait_for(lambda: database.query("SELECT archived_count FROM pg_stat_archiver") > [(0,)])
            stop = Path(server.socket) / "data" / "stop"
            stop.touch()
            for _ in range(50):
                database.query(switch)
            flags = ("cleanup", "--rule", "archived-leads", "-o", "json")
            (rule,) = cli(*flags, url=database.url).json["rules"]
            assert (rule["rows"], rule["reason"]) == (0, "wal_archiving")
            stop.unlink()
            database.query("SELECT pg_switch_wal()")
            ready = "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%%.ready'"
            wait_for(lambda: database.query(ready) == [(0,)], 90)
            (rule,) = cli(*flags, url=database.url).json["rules"]
            assert (rule["rows"], rule["reason"]) == (22, None)
        finally:
            running.stop()


def swallow(connection: Any, statement: str) -> None:
    with suppress(psycopg.errors.QueryCanceled):
        connection.execute(statement)


class TestTogether:
    def test_two_runs(self, filled: Prepared) -> None:
        due = due_leads(filled)
        slow(filled, 0.02)
        env = {"DATABASE_URL": filled.url}
        rule = ("cleanup", "--rule", "archived-leads", "-o", "json")
        first = start(*rule, env=env)
        wait_for(
            lambda: (
                filled.query(
                    "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2"
                    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                )
                != []
            )
        )
        second = run(*rule, env=env)
        out, err = first.communicate(timeout=60)
        assert (first.returncode, second.returncode) == (0, 0), err + second.stderr
        (rule_of_second,) = json.loads(second.stdout)["rules"]
        assert (rule_of_second["status"], rule_of_second["rows"]) == ("overlap", 0)
        assert json.loads(out)["rows"] == len(due)

    def test_a_writer_that_makes_due_rows_not_due(self, filled: Prepared) -> None:
        slow(filled)
        saved: set[str] = set()
        due = sorted(due_leads(filled))
        stop = threading.Event()

        def save() -> None:
            with filled.server.connect(filled.name) as connection:
                for number, key in enumerate(reversed(due)):
                    if stop.is_set():
                        break
                    row = connection.execute(
                        "UPDATE leads SET status = 'NEW' WHERE id = %s AND status = 'ARCHIVED'"
                        " RETURNING id",
                        (key,),
                    ).fetchone()
                    if row:
                        saved.add(key)
                    if number % 3 == 0:
                        time.sleep(0.001)

        writer = threading.Thread(target=save)
        writer.start()
        try:
            done = run(
                "cleanup",
                "-o",
                "json",
                "--rule",
                "archived-leads",
                env={"DATABASE_URL": filled.url},
            )
        finally:
            stop.set()
            writer.join()
        assert done.returncode == 0, done.stderr
        left = ids(filled, "leads")
        assert saved <= left
        assert {key for key in due if key not in left}.isdisjoint(saved)
        assert saved

    def test_a_row_that_somebody_holds_is_left(self, filled: Prepared) -> None:
        held = sorted(due_leads(filled))[0]
        env = {"DATABASE_URL": filled.url}
        with filled.server.connect(filled.name) as connection, connection.transaction():
            connection.execute("SELECT FROM leads WHERE id = %s FOR UPDATE", (held,))
            done = run("cleanup", "-o", "json", "--rule", "archived-leads", env=env)
            assert done.returncode == 0, done.stderr
        assert due_leads(filled) == {held}
        assert (
            json.loads(run("cleanup", "-o", "json", "--rule", "archived-leads", env=env).stdout)[
                "rows"
            ]
            == 1
        )

    def test_a_child_that_somebody_holds_is_left(self, filled: Prepared) -> None:
        held = sorted(due_leads(filled))[0]
        with filled.server.connect(filled.name) as connection, connection.transaction():
            connection.execute(
                "SELECT FROM webhook_deliveries WHERE lead_id = %s FOR UPDATE", (held,)
            )
            done = run(
                "cleanup", "-o", "json", "--rule", "archived-leads",
                env={"DATABASE_URL": filled.url},
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        (rule,) = json.loads(done.stdout)["rules"]
        assert (rule["status"], rule["reason"]) == ("stopped", "rows_locked")
        assert due_leads(filled) == {held}

    def test_beside_migrate(self, filled: Prepared) -> None:
        filled.query("DELETE FROM alembic_version")
        filled.query("INSERT INTO alembic_version VALUES ('leadconnector_0001')")
        filled.query("DROP INDEX idx_leads_form_id, idx_leads_page_status")
        slow(filled, 0.001)
        due = due_leads(filled)
        env = {"DATABASE_URL": filled.url}
        process = start("cleanup", "-o", "json", "--rule", "archived-leads", env=env)
        migrated = run("migrate", env=env)
        out, err = process.communicate(timeout=60)
        assert migrated.returncode == 0, migrated.stderr
        assert process.returncode == 0, err
        assert json.loads(out)["rows"] == len(due)
        assert not due_leads(filled)

    def test_a_table_that_is_locked_all_the_time(self, filled: Prepared) -> None:
        before = ids(filled, "leads")
        with filled.server.connect(filled.name) as connection, connection.transaction():
            connection.execute("LOCK TABLE webhook_deliveries IN SHARE MODE")
            done = run(
                "cleanup", "-o", "json", "--rule", "archived-leads",
                env={"DATABASE_URL": filled.url},
            )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (rule,) = json.loads(done.stdout)["rules"]
        assert (rule["status"], rule["reason"]) == ("stopped", "table_locked")
        assert ids(filled, "leads") == before


def test_undelete(prepared: Callable[[str], Prepared], cli: Cli) -> None:
    database = prepared("viralmommy")
    ((key,),) = database.query("SELECT id FROM videos LIMIT 1")
    database.query("UPDATE videos SET deleted_at = now() WHERE id = %s", key)
    flags = ("--app", "viralmommy")
    done = cli("cleanup", "undelete", "videos", key, *flags, url=database.url)
    assert done.code == 0, done.err
    assert database.query("SELECT deleted_at FROM videos WHERE id = %s", key) == [(None,)]
    again = cli("cleanup", "undelete", "videos", key, *flags, url=database.url)
    assert again.code == 1
    assert cli("cleanup", "undelete", "nothing", key, *flags, url=database.url).code == 1
    assert cli("cleanup", "undelete", "users", key, *flags, url=database.url).code == 1
