"""cleanup: what the fuse holds back."""

import json
from pathlib import Path

import pytest

from tests.conftest import Cli, Prepared
from tests.leads import LEADS, ids


def test_more_than_a_share_wants_consent(filled: Prepared, cli: Cli) -> None:
    filled.query("UPDATE leads SET status = 'ARCHIVED', created_at = now() - interval '1 year'")
    before = ids(filled, "leads")
    for consent, code in ((), 5), (("--confirm", "wrong"), 5), (("--confirm", filled.name), 0):
        outcome = cli("cleanup", "--rule", "archived-leads", *consent, url=filled.url)
        assert outcome.code == code, outcome.err
        assert (ids(filled, "leads") == before) == (code == 5)


def test_far_more_than_usual_wants_consent(filled: Prepared, cli: Cli) -> None:
    filled.query("UPDATE leads SET status = 'NEW'")
    rule = ("cleanup", "--rule", "archived-leads")
    for number in range(3):
        filled.query("UPDATE leads SET status = 'ARCHIVED' WHERE id = 'l' || (3900 + %s)", number)
        assert cli(*rule, url=filled.url).code == 0
    filled.query(
        "UPDATE leads SET status = 'ARCHIVED' WHERE created_at < now() - interval '140 days'"
    )
    refused = cli(*rule, url=filled.url)
    assert refused.code == 5
    assert "usual" in refused.err


def test_other_rules_go_on(filled: Prepared, cli: Cli) -> None:
    filled.query("UPDATE leads SET status = 'ARCHIVED', created_at = now() - interval '1 year'")
    outcome = cli("cleanup", "-o", "json", url=filled.url)
    assert outcome.code == 5
    assert [rule["status"] for rule in outcome.json["rules"]] == ["refused", "done"]
    assert json.loads(outcome.err)["code"] == "fuse_blown"


def test_a_clock_that_is_wrong(filled: Prepared, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from leadctl.operations.cleanup import run as module

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
