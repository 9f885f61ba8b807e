"""cleanup: what the fuse holds back."""

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Cli, Prepared
from tests.leads import LEADS, due_leads, ids


def test_more_than_a_share_wants_consent(filled: Prepared, cli: Cli) -> None:
    filled.query("UPDATE leads SET status = 'ARCHIVED', created_at = now() - interval '1 year'")
    before = ids(filled, "leads")
    for consent, code in ((), 5), (("--confirm", "wrong"), 5), (("--confirm", filled.name), 0):
        outcome = cli("cleanup", "--rule", "archived-leads", *consent, url=filled.url)
        assert outcome.code == code, outcome.err
        if consent != ("--confirm", "wrong"):  # refused before it is a run
            assert last_run(filled) == ("done" if code == 0 else "failed")
        assert (ids(filled, "leads") == before) == (code == 5)


@pytest.mark.parametrize("runs_of_others", [0, 100])
def test_far_more_than_usual_wants_consent(
    runs_of_others: int, filled: Prepared, cli: Cli, tmp_path: Path
) -> None:
    filled.query("UPDATE leads SET status = 'NEW'")
    rule = ("cleanup", "--rule", "archived-leads")
    for number in range(3):
        filled.query("UPDATE leads SET status = 'ARCHIVED' WHERE id = 'l' || (3900 + %s)", number)
        assert cli(*rule, url=filled.url).code == 0
    ((before,),) = filled.query("SELECT extract(epoch FROM max(ended_at)) FROM leadctl.run")
    filled.query(
        "INSERT INTO leadctl.run (command, app, schema, run_by, session, session_start, summary)"
        " SELECT 'cleanup', 'leadconnector', 'public', 'me', 1, now(),"
        """ '{"rules": {"finished-deliveries": {"status": "done", "rows": 0}}}'"""
        " FROM generate_series(1, %s)",
        runs_of_others,
    )
    filled.query(
        "UPDATE leads SET status = 'ARCHIVED' WHERE created_at < now() - interval '140 days'"
    )
    refused = cli(*rule, "--metrics-file", str(tmp_path / "m.prom"), url=filled.url)
    assert refused.code == 5
    assert "usual" in refused.err
    # When it last succeeded is known, however often others ran since.
    metrics = (tmp_path / "m.prom").read_text()
    success = re.search(r"(?m)^leadctl_cleanup_last_success_timestamp_seconds.* (.+)$", metrics)
    assert success
    assert float(success[1]) == pytest.approx(float(before))


def test_what_runs_that_were_stopped_left_is_usual(filled: Prepared, cli: Cli) -> None:
    filled.query(
        "UPDATE leads SET status = 'ARCHIVED' WHERE created_at < now() - interval '140 days'"
    )
    filled.query(
        "INSERT INTO leadctl.run (command, app, schema, run_by, session, session_start, summary)"
        " SELECT 'cleanup', 'leadconnector', 'public', 'me', 1, now(),"
        """ '{"rules": {"archived-leads": {"status": "stopped", "rows": 0, "backlog": 1200}}}'"""
        " FROM generate_series(1, 3)"
    )
    due = due_leads(filled)
    done = cli("cleanup", "--rule", "archived-leads", "-o", "json", url=filled.url)
    assert (done.code, done.json["rows"]) == (0, len(due)), done.err


def test_other_rules_go_on(filled: Prepared, cli: Cli) -> None:
    filled.query("UPDATE leads SET status = 'ARCHIVED', created_at = now() - interval '1 year'")
    outcome = cli("cleanup", "-o", "json", url=filled.url)
    assert outcome.code == 5
    assert [rule["status"] for rule in outcome.json["rules"]] == ["refused", "done"]
    assert json.loads(outcome.err)["code"] == "fuse_blown"
    assert last_run(filled) == "partly"


def last_run(database: Prepared) -> str:
    """Return how the newest run ended, as the journal has it."""
    (found,) = database.query("SELECT outcome FROM leadctl.run ORDER BY id DESC LIMIT 1")
    return str(found[0])


def test_what_it_says_is_said_once(filled: Prepared, cli: Cli) -> None:
    """The first rule's reason is the command's error; those of others stand in their lines."""
    filled.query("UPDATE leads SET status = 'ARCHIVED', created_at = now() - interval '1 year'")
    outcome = cli("cleanup", url=filled.url)
    assert outcome.code == 5
    said = outcome.out + outcome.err
    assert said.count("stopped before deleting anything of leads") == 1
    assert outcome.out.startswith("archived-leads: refused\n")
    Path("leadctl.toml").write_text(
        '[[apps.leadconnector.retention]]\nname = "again"\ntable = "leads"\n'
        'age_column = "created_at"\nolder_than = "1 day"\n'
    )
    outcome = cli("cleanup", url=filled.url)
    (second,) = [line for line in outcome.out.splitlines() if "again" in line]
    assert second.startswith("Rule again stopped before deleting anything of leads")
    assert second.count("again") == 1


def test_a_clock_that_is_wrong(filled: Prepared, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from leadctl.cleanup import run as module

    later = filled.query("SELECT now() + interval '1 year'")[0][0]
    monkeypatch.setattr(
        module, "datetime", type("Clock", (), {"now": staticmethod(lambda _: later)})
    )
    before = ids(filled, "leads")
    outcome = cli("cleanup", url=filled.url)
    assert (outcome.code, ids(filled, "leads")) == (5, before)
    assert "clock" in outcome.err


def test_an_age_of_nothing(filled: Prepared, cli: Cli) -> None:
    for age in ("0d", "0", "90", "6m", ""):
        Path("leadctl.toml").write_text(f'[retention.archived-leads]\nolder_than = "{age}"\n')
        outcome = cli("cleanup", url=filled.url)
        assert outcome.code == 3, (age, outcome.err)
    assert len(ids(filled, "leads")) == LEADS


def test_a_null_age_is_never_due(filled: Prepared, cli: Cli) -> None:
    Path("leadctl.toml").write_text(
        '[[apps.leadconnector.retention]]\nname = "processed"\ntable = "leads"\n'
        'age_column = "processed_at"\nolder_than = "1 day"\n'
    )
    outcome = cli("cleanup", "--rule", "processed", "-o", "json", url=filled.url)
    assert (outcome.code, outcome.json["rows"]) == (0, 0)
    assert "No index serves" in outcome.json["rules"][0]["warnings"][0]


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of a hundred pages is a large one."""
    monkeypatch.setattr("leadctl.cleanup.preview._SAMPLE_PAGES", 30)


@pytest.mark.usefixtures("sampled")
def test_a_sample_spares_the_count(
    filled: Prepared, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadctl.cleanup.preview._counted", None)
    due = len(due_leads(filled))
    flags = ("cleanup", "--rule", "archived-leads", "-o", "json")
    (rule,) = cli(*flags, "--max-rows", "10", url=filled.url).json["rules"]
    assert rule["rows"] == 10
    assert rule["backlog"] == pytest.approx(due - 10, abs=due)
    assert cli(*flags, url=filled.url).json["rows"] == due - 10


@pytest.mark.usefixtures("sampled")
def test_a_sample_is_not_misled_by_old_statistics(filled: Prepared, cli: Cli) -> None:
    """The planner still believes what was so before the update."""
    filled.query("ALTER TABLE leads SET (autovacuum_enabled = off)")
    filled.query("UPDATE leads SET status = 'ARCHIVED', created_at = now() - interval '1 year'")
    refused = cli("cleanup", "--rule", "archived-leads", url=filled.url)
    assert refused.code == 5
    assert len(ids(filled, "leads")) == LEADS


@pytest.mark.usefixtures("sampled")
def test_what_is_far_from_usual_is_found_however_small_its_share(
    filled: Prepared, cli: Cli
) -> None:
    Path("leadctl.toml").write_text("[retention.archived-leads]\nfuse_rows = 5\n")
    filled.query("UPDATE leads SET status = 'NEW'")
    rule = ("cleanup", "--rule", "archived-leads")
    for number in range(3):
        filled.query("UPDATE leads SET status = 'ARCHIVED' WHERE id = 'l' || (3900 + %s)", number)
        assert cli(*rule, url=filled.url).code == 0
    filled.query("UPDATE leads SET status = 'ARCHIVED' WHERE id > 'l397' AND id < 'l399'")
    refused = cli(*rule, url=filled.url)
    assert refused.code == 5
    assert "usual" in refused.err


def test_one_row_is_told_in_the_singular(filled: Prepared, cli: Cli) -> None:
    Path("leadctl.toml").write_text(
        "[retention.archived-leads]\nfuse_rows = 0\nfuse_share = 0.00001\n"
    )
    filled.query("UPDATE leads SET status = 'NEW'")
    filled.query("UPDATE leads SET status = 'ARCHIVED' WHERE id = 'l3900'")
    refused = cli("cleanup", "--rule", "archived-leads", url=filled.url)
    assert refused.code == 5
    assert "1 row is due" in refused.err
