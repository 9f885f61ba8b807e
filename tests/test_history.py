"""The journal: what ran, when, by whom, and how it ended; killed runs show as such."""

import time
from pathlib import Path

from tests.conftest import KEY, Cli, Prepared
from tests.leads import fill
from tests.processes import start
from tests.servers import PASSWORD, Server


def test_runs_are_journaled(server: Server, database: str, cli: Cli) -> None:
    url = server.url(database)
    assert cli("history", "-o", "json", url=url).json["runs"] == []
    cli("migrate", url=url)
    cli("seed", url=url)
    cli("migrate", url=url)  # nothing to do: nothing to journal
    cli("stats", url=url)
    runs = cli("history", "-o", "json", url=url).json["runs"]
    assert [(entry["command"], entry["outcome"]) for entry in runs] == [
        ("seed", "done"),
        ("migrate", "done"),
    ]
    assert runs[0]["summary"] == {"inserted": 4}
    assert runs[1]["summary"] == {"applied": ["leadconnector_0001", "leadconnector_0002"]}
    assert runs[0]["run_by"].startswith("postgres, ")
    assert runs[0]["started_at"].endswith("Z")
    assert "seed" in cli("history", url=url).out


def test_a_failed_run_says_why(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query("UPDATE users SET email = 'other@example.com'")
    assert cli("seed", url=leadconnector.url).code == 1
    newest = cli("history", "--limit", "1", "-o", "json", url=leadconnector.url).json["runs"][0]
    assert newest["outcome"] == "failed"
    assert newest["summary"]["error"] == "seed_failed"


def test_facts_are_for_people(leadconnector: Prepared, cli: Cli) -> None:
    """The table has no text of Python's; the JSON has every fact."""
    fill(leadconnector, 1, deliveries=0)
    leadconnector.query(
        "UPDATE leads SET status = 'ARCHIVED', created_at = now() - interval '2 years'"
    )
    assert cli("cleanup", "--confirm", leadconnector.name, url=leadconnector.url).code == 0
    assert cli("seed", "--bulk", "2000", "--yes", "-q", url=leadconnector.url).code == 0
    shown = cli("history", url=leadconnector.url, env={"COLUMNS": "200"}).out
    assert "archived-leads: rows 1" in shown
    assert "rows 2,000" in shown
    assert not set("{}[]'_") & set(shown.partition("When")[2].replace("vacuum_seconds", ""))
    (cleanup,) = (
        run
        for run in cli("history", "-o", "json", url=leadconnector.url).json["runs"]
        if run["command"] == "cleanup"
    )
    assert cleanup["summary"]["rules"]["archived-leads"]["rows"] == 1


def test_a_killed_run_shows_as_such(shop: Path, server: Server, database: str, cli: Cli) -> None:
    (shop / "migrations" / "0002_slow.py").write_text(
        '"""Slow."""\nfrom alembic import op\nrevision = "shop_0002"\ndown_revision = "shop_0001"\n'
        "def upgrade():\n    op.execute('SELECT pg_sleep(60)')\n"
    )
    url = server.url(database)
    process = start("migrate", env={"DATABASE_URL": url}, cwd=shop)
    outcomes = []
    deadline = time.monotonic() + 30
    while not outcomes and time.monotonic() < deadline:
        time.sleep(0.2)
        outcomes = [
            entry["outcome"] for entry in cli("history", "-o", "json", url=url).json["runs"]
        ]
    assert outcomes == ["running"]
    process.kill()
    process.communicate()
    while outcomes == ["running"] and time.monotonic() < deadline:
        time.sleep(0.2)
        outcomes = [
            entry["outcome"] for entry in cli("history", "-o", "json", url=url).json["runs"]
        ]
    assert outcomes == ["killed"]


def test_no_secret_is_journaled(server: Server, database: str, cli: Cli) -> None:
    url = server.url(database)
    cli("migrate", url=url)
    cli("seed", url=url)
    with server.connect(database) as connection:
        for table in ("identity", "migration", "run"):
            text = str(connection.execute(f"SELECT * FROM leadctl.{table}").fetchall())
            assert PASSWORD not in text
            assert KEY not in text
            assert "test_access_token" not in text


def test_a_newer_state_is_refused(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query("UPDATE leadctl.identity SET state_version = 99")
    for arguments in (
        ["seed"],
        ["reset", "--yes"],
        ["db", "environment", "x"],
        ["migrate", "status"],
    ):
        outcome = cli(*arguments, url=leadconnector.url)
        assert outcome.code == 5, arguments
        assert "newer leadctl" in outcome.err
