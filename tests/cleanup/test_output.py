"""cleanup as cron and people see it: output, metrics, signals, health."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli, Prepare, Prepared
from tests.leads import LEADS, ids, slow
from tests.processes import run, start, wait_for


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


class TestHealth:
    def test_last_success_and_backlog(self, filled: Prepared, cli: Cli) -> None:
        def check() -> dict[str, Any]:
            checks = cli("health-check", "-o", "json", url=filled.url).json["checks"]
            return next(found for found in checks if found["name"] == "cleanup")

        assert check()["status"] == "skipped"
        others = ("cleanup", "--confirm", filled.name)
        assert cli(*others, "--rule", "finished-deliveries", url=filled.url).code == 0
        assert check()["status"] == "warning"  # the other rule never ran
        bounded = ("cleanup", "--rule", "archived-leads", "--max-rows", "100")
        assert cli(*bounded, url=filled.url).code == 0
        assert (check()["status"], check()["value"]) == ("ok", 340)
        filled.query("UPDATE leadctl.run SET ended_at = now() - interval '3 days'")
        assert check()["status"] == "warning"
        assert cli("cleanup", "--rule", "archived-leads", url=filled.url).code == 0
        assert (check()["status"], check()["value"]) == ("warning", 0)
        assert cli("cleanup", url=filled.url).code == 0
        assert (check()["status"], check()["value"]) == ("ok", 0)


def test_undelete(prepared: Prepare, cli: Cli) -> None:
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


def test_a_run_with_nothing_due_asks_nothing_twice(filled: Prepared) -> None:
    filled.query("UPDATE leads SET created_at = now()")
    done = run("cleanup", "--rule", "archived-leads", "-vv", env={"DATABASE_URL": filled.url})
    assert done.returncode == 0, done.stderr
    asked = [
        line.partition(" ms ")[2].strip() for line in done.stderr.splitlines() if " ms " in line
    ]
    assert sum("trusted AS" in each for each in asked) == 1  # whose the schema leadctl is
    assert sum("AS selected" in each or "WITH selected" in each for each in asked) <= 2
    assert len(asked) < 35
