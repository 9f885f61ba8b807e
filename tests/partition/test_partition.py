"""Partitions: the revision that makes them, and cleanup that drops them as a whole."""

import json
import random
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations

from leadctl.postgres.engine import run_engine
from tests.cleanup.test_cleanup_faults import archived
from tests.conftest import Cli, Prepare, Prepared
from tests.processes import ROOT, run, start

MONTHS = 8


@pytest.fixture
def events(prepared: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """Whatsapp as a team's own app: its revisions in a folder that can be written to."""
    shutil.copytree(ROOT / "migrations" / "whatsapp", tmp_path / "revisions")
    (tmp_path / "leadctl.toml").write_text(
        '[apps.events]\nmodels = "leadctl.products.whatsapp.models:Base"\nmigrations = "revisions"\n'
        'rules = "leadctl.products.whatsapp.retention:RULES"\n'
        "[retention.webhook-events]\narchive = false\n"
    )
    database = prepared("whatsapp")
    database.query("UPDATE leadctl.migration SET app = 'events'")
    return database


@pytest.fixture
def partitioned(events: Prepared, cli: Cli) -> Prepared:
    events.query("DELETE FROM webhook_events")
    events.query(
        "INSERT INTO webhook_events (event_type, payload, received_at)"
        " SELECT 'message', '{}', now() - make_interval(days => n) FROM generate_series(0, 20) AS n"
    )
    written = cli("partition", "webhook_events", "-o", "json", url=events.url)
    assert written.code == 0, written.err
    assert written.json["primary_key"] == ["id", "received_at"]
    done = cli("migrate", url=events.url)
    assert done.code == 0, done.err
    return events


def parts(database: Prepared) -> dict[str, str]:
    return dict(
        database.query(
            "SELECT c.relname::text, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i"
            " JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'webhook_events'::regclass"
        )
    )


def old_months(database: Prepared, rows: int = 50) -> None:
    """Replace the first partition by one a month, half of them old."""
    database.query("ALTER TABLE webhook_events DETACH PARTITION webhook_events_first")
    database.query("DROP TABLE webhook_events_first")
    for month in range(MONTHS):
        database.query(
            "DO $$ DECLARE a timestamptz := date_trunc('month', now(), 'UTC')"
            f" - interval '{month} months'; BEGIN EXECUTE format('CREATE TABLE %I PARTITION OF"
            " webhook_events FOR VALUES FROM (%L) TO (%L)', 'old_' || to_char(a, 'YYYY_MM'), a,"
            " a + interval '1 month'); END $$"
        )
    database.query(
        "INSERT INTO webhook_events (event_type, payload, received_at) SELECT 'message',"
        " jsonb_build_object('n', n), date_trunc('month', now(), 'UTC') - make_interval(months => m)"
        " + make_interval(hours => n) FROM generate_series(0, %s) AS m, generate_series(1, %s) AS n",
        MONTHS - 1,
        rows,
    )
    database.query("ANALYZE")


def test_the_revision(partitioned: Prepared, cli: Cli) -> None:
    assert partitioned.query("SELECT count(*) FROM webhook_events") == [(21,)]
    found = parts(partitioned)
    assert len(found) == 5
    assert "FROM (MINVALUE)" in found["webhook_events_first"]
    partitioned.query(
        "INSERT INTO webhook_events (event_type, payload, received_at)"
        " VALUES ('x', '{}', now() + interval '3 months')"
    )
    names = {row[0] for row in partitioned.query(
        "SELECT indexname FROM pg_indexes WHERE tablename = 'webhook_events'"
    )}  # fmt: skip
    assert {
        "pk_webhook_events",
        "ix_webhook_events_received_at",
        "ix_webhook_events_unprocessed",
    } <= names
    keys = partitioned.query(
        "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = 'webhook_events'::regclass"
    )
    assert len(keys) == 2
    again = cli("partition", "webhook_events", url=partitioned.url)
    assert again.code == 5
    assert "already" in again.err


def test_grants_are_kept_and_the_way_back(events: Prepared, cli: Cli) -> None:
    role = f"reader_{events.name}"
    events.query(f"CREATE ROLE {role}")
    try:
        events.query(f"GRANT SELECT ON webhook_events TO {role}")
        before = events.query("SELECT count(*) FROM webhook_events")
        written = cli(
            "partition", "webhook_events", "--by", "week", "-o", "json", url=events.url
        ).json
        assert cli("migrate", url=events.url).code == 0
        allowed = "SELECT has_table_privilege(%s, 'webhook_events', 'SELECT')"
        assert events.query(allowed, role) == [(True,)]
        namespace: dict[str, Any] = {}
        with (
            run_engine(events.target(), "test").begin() as connection,
            Operations.context(MigrationContext.configure(connection)),
        ):
            exec(Path(written["path"]).read_text(), namespace)
            namespace["downgrade"]()
        assert events.query(allowed, role) == [(True,)]
        assert parts(events) == {}
        assert events.query("SELECT count(*) FROM webhook_events") == before
        assert events.query(
            "SELECT count(*) FROM pg_class WHERE relname LIKE 'webhook_events_2%%'"
        ) == [(0,)]
    finally:
        events.query(f"DROP OWNED BY {role}")
        events.query(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("table", "flags", "reasons"),
    [
        (
            "messages",
            ["--column", "created_at"],
            ["fk_webhook_events_message_id_messages", "uq_messages"],
        ),
        ("messages", [], ["every foreign key that refers to it", "name it with --column"]),
        ("webhook_events", ["--column", "event_type"], ["not a time"]),
        ("webhook_events", ["--column", "processed_at"], ["NULL"]),
        ("webhook_events", ["--column", "colour"], ["no column colour"]),
        ("nothing", ["--column", "x"], ["does not exist"]),
        ("nothing", [], ["does not exist"]),
    ],
)
def test_what_does_not_allow_it(
    table: str, flags: list[str], reasons: list[str], events: Prepared, cli: Cli
) -> None:
    outcome = cli("partition", table, *flags, url=events.url)
    assert outcome.code == 5, outcome.err
    for reason in reasons:
        assert reason in outcome.err
    assert cli("partition", "messages", "--by", "hour", url=events.url).code == 2


def test_whole_partitions_go(partitioned: Prepared, cli: Cli) -> None:
    old_months(partitioned)
    cutoff = datetime.now(UTC)
    flags = ("cleanup", "-o", "json", "--confirm", partitioned.name)
    preview = cli("cleanup", "--dry-run", "-o", "json", url=partitioned.url).json["rules"][0]
    (rule,) = cli(*flags, url=partitioned.url).json["rules"]
    assert len(rule["partitions"]) in {4, 5}
    assert rule["rows"] == preview["due"]
    assert rule["partitions"] == sorted(rule["partitions"])
    left = partitioned.query("SELECT min(received_at), count(*) FROM webhook_events")
    assert (cutoff - left[0][0]).days <= 90
    assert left[0][1] == MONTHS * 50 - rule["rows"]
    (again,) = cli(*flags, url=partitioned.url).json["rules"]
    assert (again["rows"], again["partitions"], again["status"]) == (0, [], "done")


def test_with_a_default_partition(partitioned: Prepared, cli: Cli) -> None:
    old_months(partitioned)
    partitioned.query("CREATE TABLE rest PARTITION OF webhook_events DEFAULT")
    (rule,) = cli("cleanup", "-o", "json", "--confirm", partitioned.name, url=partitioned.url).json[
        "rules"
    ]
    assert rule["partitions"]
    assert "rest" in parts(partitioned)


def test_next_partitions_are_made_ahead(partitioned: Prepared, cli: Cli) -> None:
    for name in sorted(parts(partitioned))[1:3]:
        later = parts(partitioned)
        if name != min(later):
            newest = max(key for key in later if key != "webhook_events_first")
            partitioned.query(f"DROP TABLE {newest}")
    before = parts(partitioned)
    assert cli("cleanup", url=partitioned.url).code == 0
    after = parts(partitioned)
    assert before.items() < after.items()
    assert len(after) == 5
    indexes = partitioned.query(
        "SELECT tablename, count(*) FROM pg_indexes WHERE tablename = ANY (%s) GROUP BY 1",
        [*after.keys()],
    )
    assert len({count for _, count in indexes}) == 1


def test_none_is_made_ahead_that_would_be_due(partitioned: Prepared, cli: Cli) -> None:
    """The newest partition is years old: those of the years between would go in the same run."""
    for name in parts(partitioned):
        partitioned.query(f"DROP TABLE {name}")
    partitioned.query(
        "CREATE TABLE long_ago PARTITION OF webhook_events"
        " FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2020-02-01 00:00+00');"
        "INSERT INTO webhook_events (event_type, payload, received_at)"
        " VALUES ('message', '{}', '2020-01-10')"
    )
    (rule,) = cli("cleanup", "-o", "json", url=partitioned.url).json["rules"]
    assert rule["partitions"] == ["long_ago"]
    assert 6 <= len(parts(partitioned)) <= 9  # three months are kept, four are made ahead


def test_archived_before(partitioned: Prepared, cli: Cli) -> None:
    old_months(partitioned)
    before = partitioned.query("SELECT * FROM webhook_events ORDER BY id")
    flags = ("cleanup", "--archive", "archive", "-o", "json", "--confirm", partitioned.name)
    (rule,) = cli(*flags, url=partitioned.url).json["rules"]
    assert rule["partitions"]
    manifest = json.loads((Path(rule["archive"]) / "manifest.json").read_text())
    assert (
        sum(segment["rows"]["webhook_events"] for segment in manifest["segments"]) == rule["rows"]
    )
    refused = cli("cleanup", "unarchive", rule["archive"], url=partitioned.url)
    assert refused.code == 1  # there is no partition for such rows any more
    partitioned.query("CREATE TABLE rest PARTITION OF webhook_events DEFAULT")
    restored = cli("cleanup", "unarchive", rule["archive"], url=partitioned.url)
    assert restored.code == 0, restored.err
    assert partitioned.query("SELECT * FROM webhook_events ORDER BY id") == before


@pytest.mark.thorough
def test_leftovers_of_an_interrupted_detach(partitioned: Prepared, cli: Cli) -> None:
    """A reader makes the detach wait; the run is killed there, and the next one finishes it."""
    old_months(partitioned)
    env = {"DATABASE_URL": partitioned.url}
    command = ("cleanup", "-o", "json", "--confirm", partitioned.name)
    with partitioned.server.connect(partitioned.name) as reader, reader.transaction():
        reader.execute("SELECT FROM webhook_events LIMIT 1")
        process = start(*command, env=env, cwd=Path.cwd())
        pending = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhdetachpending"
        partitioned.wait_for(pending)
        ((name,),) = partitioned.query(pending)
        process.kill()
        process.communicate()
        partitioned.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE%%'"
            " AND pid <> pg_backend_pid() AND datname = current_database()"
        )
    done = run(*command, env=env, cwd=Path.cwd())
    assert done.returncode == 0, done.stderr
    assert name in json.loads(done.stdout)["rules"][0]["partitions"]
    assert partitioned.query(pending) == []
    assert partitioned.query("SELECT to_regclass(%s)", name) == [(None,)]


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(5, marks=pytest.mark.thorough),
        pytest.param(25, marks=pytest.mark.slow),
    ],
)
def test_kills(partitioned: Prepared, cli: Cli, kills: int, tmp_path: Path) -> None:
    old_months(partitioned, 500)
    before = {row[0] for row in partitioned.query("SELECT id::text FROM webhook_events")}
    env = {"DATABASE_URL": partitioned.url}
    command = ("cleanup", "-o", "json", "--archive", "archive", "--confirm", partitioned.name)
    rng = random.Random(kills)
    for _ in range(kills):
        process = start(*command, env=env, cwd=Path.cwd())
        time.sleep(rng.uniform(0.4, 0.6))
        process.kill()
        process.communicate()
    time.sleep(1.5)
    done = run(*command, env=env, cwd=Path.cwd())
    assert done.returncode == 0, done.stderr
    gone = archived(Path("archive"), "webhook_events")
    left = {row[0] for row in partitioned.query("SELECT id::text FROM webhook_events")}
    assert max(gone.values()) == 1
    assert not left & gone.keys()
    assert left | gone.keys() == before
    assert not list(Path("archive").glob("*/*.partial"))
    assert not partitioned.query(
        "SELECT 1 FROM pg_class WHERE obj_description(oid, 'pg_class') LIKE 'leadctl cleanup%%'"
    )
