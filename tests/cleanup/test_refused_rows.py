"""cleanup where rows may not go: the others go, these are counted and named, the run ends."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Cli, Prepared
from tests.leads import due_leads, ids, scatter, slow
from tests.processes import run

RULE = ("cleanup", "--rule", "archived-leads", "-o", "json")
DUE_BY_AGE = (
    "SELECT id FROM leads WHERE status = 'ARCHIVED' AND created_at < now() - interval '90 days'"
    " ORDER BY created_at DESC"
)
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
    "a rule": (
        "CREATE RULE hold AS ON DELETE TO leads"
        " WHERE old.id IN (SELECT lead FROM held) DO INSTEAD NOTHING"
    ),
    "a trigger that divides by zero": TRIGGER.format("PERFORM 1 / 0;", "AFTER"),
}


def hold(database: Prepared, refusal: str, leads: list[str]) -> None:
    database.query("CREATE TABLE held (lead text NOT NULL)")
    database.query("CREATE INDEX ON held (lead)")
    for lead in leads:
        database.query("INSERT INTO held VALUES (%s)", lead)
    for statement in REFUSALS[refusal].split("$$;"):
        database.query(statement + ("$$" if statement.count("$$") == 1 else ""))


@pytest.mark.parametrize("order", ["by age", "by heap"])
@pytest.mark.few(3)
@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_may_go_goes(filled: Prepared, refusal: str, order: str) -> None:
    if order == "by heap":
        scatter(filled)
    else:
        filled.query("CREATE INDEX ON leads (created_at) WHERE status = 'ARCHIVED'")
    due = due_leads(filled)
    held = [sorted(due)[place] for place in (0, 7, 8, len(due) - 1)]
    hold(filled, refusal, held)
    done = run(*RULE, "--confirm", filled.name, env={"DATABASE_URL": filled.url}, timeout=60)
    assert done.returncode == 7, done.stderr
    assert "Pipeline" not in done.stderr
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


@pytest.mark.thorough
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


REFERS = {
    "to older": "other.n = numbered.n - 1",
    "to newer": "other.n = numbered.n + 1",
    "to any": "other.n = numbered.n * 211 % 307",  # a permutation: chains that end in cycles
}


@pytest.mark.few(3)
@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("refers", REFERS)
def test_rows_that_refer_to_rows_of_their_table(
    filled: Prepared, cli: Cli, tmp_path: Path, refers: str, *, archived: bool
) -> None:
    """Whatever their direction."""
    count = refer_to_each_other(filled, REFERS[refers])
    options = ("--archive", str(tmp_path)) if archived else ()
    done = cli(*RULE, *options, "--confirm", filled.name, url=filled.url)
    assert done.code == 0, done.err
    (rule,) = done.json["rules"]
    assert (rule["rows"], rule["refused"]) == (count, 0)
    assert ids(filled, "leads") == set()


@pytest.mark.thorough
@pytest.mark.parametrize("refers", ["to older", "to newer"])
@pytest.mark.parametrize("limits", ["a transaction", "the run"])
def test_more_answers_than_a_transaction_takes(
    filled: Prepared, cli: Cli, monkeypatch: pytest.MonkeyPatch, refers: str, limits: str
) -> None:
    """They go batch by batch, in the order that lets them."""
    count = refer_to_each_other(filled, REFERS[refers])
    for name in ("_FIRST", "_FEWEST", "_MOST"):
        monkeypatch.setattr(f"leadctl.cleanup.ranges.{name}", 10)
    options = ()
    if limits == "a transaction":
        monkeypatch.setattr("leadctl.cleanup.batches._MOST_TOGETHER", 30)
    else:
        options = ("--max-rows", str(count - 100))
    done = cli(*RULE, *options, "--confirm", filled.name, url=filled.url)
    assert done.code == 0, done.err
    (rule,) = done.json["rules"]
    assert rule["batches"] > 3
    assert (rule["rows"], rule["refused"]) == (count - 100 * (limits == "the run"), 0)
    assert len(ids(filled, "leads")) == count - rule["rows"]


@pytest.mark.parametrize("among_others", [False, True])
def test_a_circle_too_large_for_a_transaction_is_left_and_named(
    filled: Prepared, cli: Cli, monkeypatch: pytest.MonkeyPatch, *, among_others: bool
) -> None:
    filled.query("ALTER TABLE leads ADD next text REFERENCES leads; CREATE INDEX ON leads (next)")
    due = sorted(due_leads(filled))
    if among_others:
        due = [lead for (lead,) in filled.query(DUE_BY_AGE)]
    circle = due[:120:2] if among_others else due[:60]
    for key, follower in zip(circle, [*circle[1:], circle[0]], strict=True):
        filled.query("UPDATE leads SET next = %s WHERE id = %s", follower, key)
    for name in ("_MOST_TOGETHER", "_MOST_IN_CIRCLES"):
        monkeypatch.setattr(f"leadctl.cleanup.batches.{name}", 30)
    for name in ("_FIRST", "_FEWEST", "_MOST"):  # else one batch has all of it
        monkeypatch.setattr(f"leadctl.cleanup.ranges.{name}", 10)
    before = ids(filled, "leads")
    done = cli(*RULE, "--confirm", filled.name, url=filled.url)
    assert done.code == 7, done.err
    (rule,) = done.json["rules"]
    assert (rule["status"], rule["refused"]) == ("partly", len(circle))
    reason = "over 30 rows would have to be deleted with it in one transaction"
    assert rule["refusals"][0]["reason"] == reason
    assert before - ids(filled, "leads") == set(due) - set(circle)


PARTITIONED = """
CREATE TABLE posts (id int, at timestamptz NOT NULL, up int, up_at timestamptz,
    PRIMARY KEY (id, at), FOREIGN KEY (up, up_at) REFERENCES posts) PARTITION BY HASH (id);
CREATE TABLE posts_0 PARTITION OF posts FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE posts_1 PARTITION OF posts FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE posts_2 PARTITION OF posts FOR VALUES WITH (MODULUS 3, REMAINDER 2);
CREATE INDEX ON posts (at); CREATE INDEX ON posts (up, up_at);
INSERT INTO posts SELECT n, timestamptz '2020-01-01' + n * interval '1 min' FROM generate_series(1, 60) n;
UPDATE posts SET up = id - 1, up_at = at - interval '1 min' WHERE id % 6 <> 1;
"""
POSTS_RULE = """
[[apps.leadconnector.retention]]
name = "posts"
table = "posts"
age_column = "at"
older_than = "1d"
"""


def test_rows_that_refer_to_rows_of_other_partitions(
    leadconnector: Prepared, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leadconnector.query(PARTITIONED)
    leadconnector.query("INSERT INTO posts SELECT 100, now(), id, at FROM posts WHERE id = 14")
    (tmp_path / "leadctl.toml").write_text(POSTS_RULE)
    monkeypatch.chdir(tmp_path)
    command = ("cleanup", "--rule", "posts", "-o", "json", "--confirm", leadconnector.name)
    done = cli(*command, url=leadconnector.url)
    assert done.code == 7, done.err
    (rule,) = done.json["rules"]
    left = {key for (key,) in leadconnector.query("SELECT id FROM posts")}
    assert left == {13, 14, 100}
    assert (rule["rows"], rule["refused"]) == (58, 2)


def test_a_thread_with_an_answer_that_is_not_due(filled: Prepared, cli: Cli) -> None:
    """What the answer refers to stays, up to the first row; other threads go."""
    refer_to_each_other(filled, "other.n = numbered.n - 1 AND numbered.n % 10 <> 1")
    numbers = "SELECT id, row_number() OVER (ORDER BY created_at) AS n FROM leads"
    kept = {
        key for (key,) in filled.query(f"SELECT id FROM ({numbers}) AS x WHERE n BETWEEN 41 AND 46")
    }
    filled.query(
        f"UPDATE leads SET created_at = now() FROM ({numbers}) AS x WHERE x.id = leads.id AND n = 46"
    )
    done = cli(*RULE, "--confirm", filled.name, url=filled.url)
    assert done.code == 7, done.err
    (rule,) = done.json["rules"]
    assert ids(filled, "leads") == kept
    assert rule["refused"] == len(kept) - 1


def refer_to_each_other(database: Prepared, condition: str) -> int:
    """Make all leads due, and each refer to another one; return how many there are."""
    database.query("ALTER TABLE leads ADD COLUMN answers text REFERENCES leads")
    database.query("CREATE INDEX ON leads (answers)")
    database.query(
        "UPDATE leads SET status = 'ARCHIVED', created_at = created_at - '1 year'::interval"
    )
    database.query(
        "WITH numbered AS (SELECT id, row_number() OVER (ORDER BY created_at) AS n FROM leads)"
        " UPDATE leads SET answers = other.id FROM numbered, numbered AS other"
        f" WHERE leads.id = numbered.id AND {condition}"
    )
    return len(ids(database, "leads"))


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("keeps", ["a trigger", "a rule"])
def test_a_row_that_goes_along_and_is_kept_without_a_word(
    filled: Prepared, cli: Cli, tmp_path: Path, keeps: str, *, archived: bool
) -> None:
    """PostgreSQL leaves it without the row that it refers to; that one stays, too."""
    due = due_leads(filled)
    held = sorted(due)[3:5]
    filled.query("CREATE TABLE held (delivery text PRIMARY KEY)")
    for lead in held:
        filled.query(
            "INSERT INTO held SELECT min(id) FROM webhook_deliveries WHERE lead_id = %s", lead
        )
    if keeps == "a rule":
        filled.query(
            "CREATE RULE hold AS ON DELETE TO webhook_deliveries"
            " WHERE old.id IN (SELECT delivery FROM held) DO INSTEAD NOTHING"
        )
    else:
        filled.query(
            "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF EXISTS (SELECT FROM public.held WHERE delivery = old.id) THEN RETURN NULL; END IF;"
            " RETURN old; END $$"
        )
        filled.query(
            "CREATE TRIGGER hold BEFORE DELETE ON webhook_deliveries"
            " FOR EACH ROW EXECUTE FUNCTION hold()"
        )
    before = len(ids(filled, "webhook_deliveries"))
    options = ("--archive", str(tmp_path)) if archived else ()
    done = cli(*RULE, *options, "--confirm", filled.name, url=filled.url)
    assert done.code == 7, done.err
    (rule,) = done.json["rules"]
    assert due_leads(filled) == set(held)
    assert rule["cascaded"] == {
        "webhook_deliveries": before - len(ids(filled, "webhook_deliveries"))
    }
    lost = "SELECT count(*) FROM webhook_deliveries d WHERE NOT EXISTS (SELECT FROM leads WHERE id = lead_id)"
    assert filled.query(lost) == [(0,)]
    assert (rule["rows"], rule["refused"]) == (len(due) - 2, 2)


@pytest.mark.parametrize("action", ["RESTRICT", "NO ACTION"])
def test_a_row_refused_beside_others_that_refer_to_each_other(
    filled: Prepared, cli: Cli, action: str
) -> None:
    """What a trigger refuses comes first; that others must go together shows in the parts."""
    count = refer_to_each_other(filled, REFERS["to any"])
    filled.query(
        "ALTER TABLE leads DROP CONSTRAINT leads_answers_fkey,"
        f" ADD FOREIGN KEY (answers) REFERENCES leads ON DELETE {action}"
    )
    # The oldest, which is of the first batch; nobody answers it, and it answers nobody.
    ((lonely,),) = filled.query("SELECT id FROM leads ORDER BY created_at LIMIT 1")
    filled.query("UPDATE leads SET answers = NULL WHERE %s IN (id, answers)", lonely)
    hold(filled, "a trigger", [lonely])
    done = cli(*RULE, "--confirm", filled.name, url=filled.url)
    assert done.code == 7, done.err
    (rule,) = done.json["rules"]
    assert ids(filled, "leads") == {lonely}
    assert (rule["rows"], rule["refused"]) == (count - 1, 1)


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


@pytest.mark.thorough
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


@pytest.mark.thorough
@pytest.mark.parametrize("archived", [False, True])
def test_a_run_on_slow_rows_keeps_its_time_and_gets_on(
    filled: Prepared, cli: Cli, tmp_path: Path, *, archived: bool
) -> None:
    """A batch as large as the first ones are would take 20 s."""
    slow(filled, 0.1)
    due = due_leads(filled)
    options = ("--archive", str(tmp_path)) if archived else ()
    done = cli(*RULE, "--max-seconds", "4", *options, url=filled.url)
    assert done.json["stopped"] == "max_seconds"
    assert done.json["seconds"] < 10
    assert done.json["rows"] == len(due) - len(due_leads(filled)) > 0


def test_people_and_prometheus_are_told(filled: Prepared, cli: Cli, tmp_path: Path) -> None:
    held = sorted(due_leads(filled))[:1]
    hold(filled, "a reference", held)
    metrics = tmp_path / "leadctl.prom"
    command = ("cleanup", "--rule", "archived-leads", "--metrics-file", str(metrics))
    done = cli(*command, "-q", url=filled.url)
    assert done.code == 7
    assert f"id={held[0]} cannot be deleted" in done.out
    said = dict(line.rsplit(" ", 1) for line in metrics.read_text().splitlines() if "{" in line)
    for name in ("refused_rows", "partly"):
        assert [
            value for key, value in said.items() if key.startswith(f"leadctl_cleanup_{name}{{")
        ] == ["1"]


@contextmanager
def sweeper(database: Prepared, denied: str) -> Iterator[str]:
    """Provide the URL of a role that may do everything but one thing with the leads."""
    role = f"sweeper_{database.name}"
    database.query(
        f"CREATE ROLE {role} LOGIN PASSWORD 'sweeps'; GRANT CREATE ON DATABASE {database.name} TO {role};"
        f"GRANT ALL ON SCHEMA public, leadctl TO {role};"
        f"GRANT ALL ON ALL TABLES IN SCHEMA public, leadctl TO {role};"
        f"REVOKE {denied} ON leads FROM {role}"
    )
    try:
        yield database.url.replace("postgres:correct%20horse%20battery", f"{role}:sweeps")
    finally:
        database.query(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize("denied", ["DELETE", "SELECT"])
def test_a_rule_that_the_role_may_not_run_ends_no_other(
    filled: Prepared, cli: Cli, denied: str
) -> None:
    count = "SELECT count(*) FROM webhook_deliveries"
    ((before,),) = filled.query(count)
    leads = filled.query("SELECT count(*) FROM leads")
    with sweeper(filled, denied) as url:
        outcome = cli("cleanup", "-o", "json", url=url)
    assert (outcome.code, "permission denied for table leads" in outcome.err) == (4, True)
    rules = {rule["table"]: rule for rule in outcome.json["rules"]}
    assert (rules["leads"]["status"], rules["leads"]["rows"]) == ("failed", 0)
    still_due = len(due_leads(filled)) if denied == "DELETE" else None  # nobody could look
    assert rules["leads"]["backlog"] == still_due
    gone = rules["webhook_deliveries"]["rows"]
    assert gone > 0
    assert filled.query(count) == [(before - gone,)]
    assert filled.query("SELECT count(*) FROM leads") == leads


@pytest.mark.parametrize(
    ("state", "code", "cause"),
    [
        ("denied", 4, "permission denied for table leads"),
        pytest.param("locked", 1, "lock timeout", marks=pytest.mark.thorough),
        ("missing", 3, "public.leads, which does not exist"),
    ],
)
@pytest.mark.parametrize("flag", ["--list", "--dry-run"])
def test_a_rule_that_cannot_be_read_hides_no_other(
    filled: Prepared, cli: Cli, flag: str, state: str, code: int, cause: str
) -> None:
    with ExitStack() as stack:
        url = filled.url
        if state == "denied":
            url = stack.enter_context(sweeper(filled, "SELECT"))
        elif state == "locked":
            holder = stack.enter_context(psycopg.connect(filled.url))
            holder.execute("LOCK TABLE leads")
        else:
            filled.query("DROP TABLE leads CASCADE")
        outcome = cli("cleanup", flag, "-o", "json", url=url)
        told = cli("cleanup", flag, url=url)
    assert (outcome.code, told.code) == (code, code), outcome.err
    (skipped,), (other,) = outcome.json["skipped"], outcome.json["rules"]
    assert (skipped["rule"], skipped["table"]) == ("archived-leads", "leads")
    assert cause in skipped["reason"]
    assert cause in told.err
    assert [(other["due"],)] == filled.query(
        "SELECT count(*) FROM webhook_deliveries WHERE status IN ('SUCCESS', 'FAILED')"
        " AND created_at < now() - interval '90 days'"
    )
    assert "archived-leads: skipped" in told.out
    assert "finished-deliveries" in told.out
