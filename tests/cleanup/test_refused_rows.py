"""cleanup where rows may not go: the others go, these are counted and named, the run ends."""

import json
import time
from pathlib import Path

import pytest

from tests.conftest import Cli, Prepared
from tests.leads import due_leads, ids
from tests.processes import run

RULE = ("cleanup", "--rule", "archived-leads", "-o", "json")
TRIGGER = (
    "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " IF EXISTS (SELECT FROM held WHERE lead = old.id) THEN {} END IF; RETURN old; END $$;"
    "CREATE TRIGGER hold {} DELETE ON leads FOR EACH ROW EXECUTE FUNCTION hold();"
)
REFUSALS = {
    "a reference": "ALTER TABLE held ADD FOREIGN KEY (lead) REFERENCES leads",
    "a reference that restricts": (
        "ALTER TABLE held ADD FOREIGN KEY (lead) REFERENCES leads ON DELETE RESTRICT"
    ),
    "a deferred reference": (
        "ALTER TABLE held ADD FOREIGN KEY (lead) REFERENCES leads DEFERRABLE INITIALLY DEFERRED"
    ),
    "a column that a reference would empty": (
        "ALTER TABLE held ADD FOREIGN KEY (lead) REFERENCES leads ON DELETE SET NULL"
    ),
    "a trigger": TRIGGER.format(
        "RAISE EXCEPTION 'on legal hold' USING ERRCODE = '45000';", "BEFORE"
    ),
    "a trigger without a word": TRIGGER.format("RETURN NULL;", "BEFORE"),
    "a trigger that divides by zero": TRIGGER.format("PERFORM 1 / 0;", "AFTER"),
}


def hold(database: Prepared, refusal: str, leads: list[str]) -> None:
    database.query("CREATE TABLE held (lead text NOT NULL)")
    database.query("CREATE INDEX ON held (lead)")
    for lead in leads:
        database.query("INSERT INTO held VALUES (%s)", lead)
    for statement in REFUSALS[refusal].split("$$;"):
        database.query(statement + ("$$" if statement.count("$$") == 1 else ""))


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_may_go_goes(filled: Prepared, refusal: str) -> None:
    due = due_leads(filled)
    held = [sorted(due)[place] for place in (0, 7, 8, len(due) - 1)]
    hold(filled, refusal, held)
    done = run(*RULE, "--confirm", filled.name, env={"DATABASE_URL": filled.url}, timeout=60)
    assert done.returncode == 7, done.stderr
    (rule,) = json.loads(done.stdout)["rules"]
    assert due_leads(filled) == set(held)
    assert (rule["status"], rule["rows"]) == ("partly", len(due) - len(held))
    assert (rule["refused"], rule["backlog"]) == (len(held), len(held))
    assert {found["key"] for found in rule["refusals"]} == {f"id={lead}" for lead in held}
    assert all(found["reason"] for found in rule["refusals"])
    open_ones = filled.query(
        "SELECT state FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
    )
    assert open_ones == []


@pytest.mark.parametrize("refusal", ["a deferred reference", "a trigger without a word"])
def test_none_of_the_held_is_in_an_archive(filled: Prepared, refusal: str, tmp_path: Path) -> None:
    due = due_leads(filled)
    held = sorted(due)[5:8]
    hold(filled, refusal, held)
    command = (*RULE, "--confirm", filled.name, "--archive", str(tmp_path))
    done = run(*command, env={"DATABASE_URL": filled.url}, timeout=60)
    assert done.returncode == 7, done.stderr
    assert due_leads(filled) == set(held)
    (folder,) = {path.parent for path in tmp_path.glob("*/manifest.json")}
    manifest = json.loads((folder / "manifest.json").read_text())
    rows = sum(segment["rows"]["leads"] for segment in manifest["segments"])
    assert rows == len(due) - len(held)
    back = run("cleanup", "unarchive", str(folder), env={"DATABASE_URL": filled.url})
    assert back.returncode == 0, back.stderr
    assert due_leads(filled) == due


def test_rules_after_one_that_was_refused_at_its_commit_run(filled: Prepared) -> None:
    """What is refused at the commit leaves a session that serves the next rule."""
    held = sorted(due_leads(filled))[:1]
    hold(filled, "a deferred reference", held)
    command = ("cleanup", "-o", "json", "--confirm", filled.name)
    done = run(*command, env={"DATABASE_URL": filled.url}, timeout=60)
    assert done.returncode == 7, done.stderr
    first, second = json.loads(done.stdout)["rules"]
    assert (first["status"], second["status"]) == ("partly", "done")
    assert second["rows"] > 0


@pytest.mark.parametrize("refers", ["n - 1", "n + 1"], ids=["to older", "to newer"])
def test_rows_that_refer_to_rows_of_their_table(filled: Prepared, cli: Cli, refers: str) -> None:
    """Whatever their direction, and over many batches."""
    filled.query("ALTER TABLE leads ADD COLUMN answers text REFERENCES leads")
    filled.query("CREATE INDEX ON leads (answers)")
    filled.query(
        "UPDATE leads SET status = 'ARCHIVED', created_at = created_at - '1 year'::interval"
    )
    filled.query(
        "WITH numbered AS (SELECT id, row_number() OVER (ORDER BY created_at) AS n FROM leads)"
        " UPDATE leads SET answers = other.id FROM numbered, numbered AS other"
        f" WHERE leads.id = numbered.id AND other.n = numbered.{refers}"
    )
    count = len(ids(filled, "leads"))
    done = cli(*RULE, "--confirm", filled.name, url=filled.url)
    assert done.code == 0, done.err
    (rule,) = done.json["rules"]
    assert (rule["rows"], rule["refused"]) == (count, 0)
    assert rule["batches"] > 3
    assert ids(filled, "leads") == set()


def test_a_full_disk_is_no_refusal_of_rows(filled: Prepared, cli: Cli) -> None:
    filled.query(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$"
    )
    filled.query(
        "CREATE TRIGGER full_disk BEFORE DELETE ON leads FOR EACH ROW EXECUTE FUNCTION full_disk()"
    )
    done = cli(*RULE, url=filled.url)
    assert done.code == 1
    assert done.json["rules"][0]["status"] == "failed"


def test_the_time_of_a_run_holds_within_a_batch(filled: Prepared) -> None:
    filled.query(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$"
    )
    filled.query(
        "CREATE TRIGGER wait BEFORE DELETE ON leads FOR EACH STATEMENT EXECUTE FUNCTION wait()"
    )
    began = time.monotonic()
    done = run(*RULE, "--max-seconds", "1", env={"DATABASE_URL": filled.url}, timeout=60)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 30
    assert json.loads(done.stdout)["stopped"] == "max_seconds"


def test_people_and_prometheus_are_told(filled: Prepared, cli: Cli, tmp_path: Path) -> None:
    held = sorted(due_leads(filled))[:1]
    hold(filled, "a reference", held)
    metrics = tmp_path / "leadctl.prom"
    command = ("cleanup", "--rule", "archived-leads", "--metrics-file", str(metrics))
    done = cli(*command, "-q", url=filled.url)
    assert done.code == 7
    assert f"id={held[0]} may not go" in done.out
    (line,) = [
        text
        for text in metrics.read_text().splitlines()
        if text.startswith("leadctl_cleanup_refused_rows{")
    ]
    assert line.endswith(" 1")
