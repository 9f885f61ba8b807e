"""cleanup with an archive, killed at random moments: no row is lost, none is there twice."""

import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import zstandard
from psycopg import sql

from tests.conftest import Prepared
from tests.leads import fill, ids
from tests.processes import run, start, wait_for
from tests.servers import MAJOR, RunningServer

LEADS, DELIVERIES = 4000, 2


def lines(path: Path) -> list[dict[str, Any]]:
    decompressor = zstandard.ZstdDecompressor()
    with (
        path.open("rb") as file,
        decompressor.stream_reader(file, read_across_frames=True) as reader,
    ):
        return [json.loads(line) for line in reader.read().splitlines()]


def archived(folder: Path, table: str) -> Counter[str]:
    """Return the ids of all archived rows of a table, by how often they are there."""
    return Counter(
        line["row"]["id"]
        for path in folder.glob("*/*.zst")
        for line in lines(path)
        if line["table"] == table
    )


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(8, marks=pytest.mark.thorough),
        pytest.param(50, marks=pytest.mark.slow),
    ],
)
def test_kills(leadconnector: Prepared, kills: int, tmp_path: Path) -> None:
    fill(leadconnector, LEADS * kills // 8, DELIVERIES)
    leadconnector.query("UPDATE leads SET status = 'ARCHIVED' WHERE id LIKE '%%7'")
    before = {table: ids(leadconnector, table) for table in ("leads", "webhook_deliveries")}
    folder = tmp_path / "archive"
    env = {"DATABASE_URL": leadconnector.url}
    command = ("cleanup", "--archive", str(folder), "--confirm", leadconnector.name)
    rng = random.Random(kills)
    bounded = ("--max-rows", str(LEADS // 30))
    for _ in range(kills):
        process = start(*command, *bounded, env=env)
        time.sleep(rng.uniform(0.35, 0.75))
        process.kill()
        process.communicate()
    done = run(*command, "-o", "json", env=env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stopped"] is None
    assert not list(folder.glob("*/*.partial"))
    for table, rows in before.items():
        gone = archived(folder, table)
        left = ids(leadconnector, table)
        assert max(gone.values()) == 1
        assert not left & gone.keys()
        assert left | gone.keys() == rows
    for manifest in folder.glob("*/manifest.json"):
        listed = {segment["file"] for segment in json.loads(manifest.read_text())["segments"]}
        assert listed == {path.name for path in manifest.parent.glob("*.zst")}


@pytest.mark.thorough
def test_every_moment_around_the_commit(leadconnector: Prepared, tmp_path: Path) -> None:
    """A server that is slow to delete shows what is there while the deletion is not committed."""
    fill(leadconnector, 200, 1)
    leadconnector.query(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(0.3); RETURN old; END $$"
    )
    leadconnector.query(
        "CREATE TRIGGER slow BEFORE DELETE ON leads FOR EACH STATEMENT EXECUTE FUNCTION slow()"
    )
    due = {
        row[0]
        for row in leadconnector.query(
            "SELECT id FROM leads WHERE status = 'ARCHIVED' AND created_at < now() - interval '90 days'"
        )
    }
    folder = tmp_path / "archive"
    command = ("cleanup", "--rule", "archived-leads", "--archive", str(folder))
    env = {"DATABASE_URL": leadconnector.url}
    process = start(*command, env=env)
    wait_for(lambda: any("000001" in m.read_text() for m in folder.glob("*/manifest.json")))
    process.kill()
    process.communicate()
    # The file is whole, and its rows are still in the table: it must not count as an archive.
    (partial,) = folder.glob("*/0*.partial")
    assert {line["row"]["id"] for line in lines(partial) if line["table"] == "leads"} == due
    assert not list(folder.glob("*/*.zst"))
    leadconnector.wait_for(
        "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid())"
    )
    assert due <= ids(leadconnector, "leads")
    # As if another kill had come while the manifest was written.
    (partial.parent / "manifest.json.partial").write_text("{")
    done = run(*command, env=env)
    assert done.returncode == 0, done.stderr
    assert not partial.exists()
    assert archived(folder, "leads") == Counter(due)
    assert not due & ids(leadconnector, "leads")


def test_a_run_that_was_killed_after_its_commit(leadconnector: Prepared, tmp_path: Path) -> None:
    """What a kill between commit and rename leaves is finished by the next run, and readable."""
    fill(leadconnector, 400, 1)
    folder = tmp_path / "archive"
    command = ("cleanup", "--rule", "archived-leads", "--archive", str(folder))
    env = {"DATABASE_URL": leadconnector.url}
    assert run(*command, env=env).returncode == 0
    path = min(folder.glob("*/*.zst"))
    gone = {line["row"]["id"] for line in lines(path) if line["table"] == "leads"}
    # A transaction that committed: this one.
    ((xid,),) = leadconnector.query("SELECT pg_current_xact_id()::text")
    partial = path.rename(path.with_name(f"{path.name}.{xid}.partial"))
    restored = run("cleanup", "unarchive", str(partial), env=env)
    assert restored.returncode == 0, restored.stderr
    assert gone <= ids(leadconnector, "leads")
    leadconnector.query(
        sql.SQL("DELETE FROM leads WHERE id = ANY ({})").format(list(gone)).as_string(None)
    )
    assert run(*command, env=env).returncode == 0
    assert not partial.exists()
    assert path.exists()


@pytest.mark.thorough
def test_a_run_holds_its_time_where_no_commit_returns(tmp_path: Path) -> None:
    """No standby is there that commits wait for: those of the journal do not wait."""
    with RunningServer(MAJOR, synchronous_commit="on") as server:
        env = {"DATABASE_URL": server.info.url("app"), "LEADCTL_APP": "leadconnector"}
        assert run("migrate", env=env, cwd=tmp_path).returncode == 0
        with server.info.connect() as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'gone'")
            connection.execute("SELECT pg_reload_conf()")
            wait_for(
                lambda: connection.execute("SHOW synchronous_standby_names").fetchone() == ("gone",)
            )
        done = run("cleanup", "--max-seconds", "5", "-o", "json", env=env, cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"]
