"""Bulk seed killed at random moments: the tables are as they were, and the next run is whole."""

import random
import time

import pytest

from leadctl.catalog.definitions import compare
from tests.conftest import KEY, Prepared
from tests.processes import kill_one_worker, run, start, wait_for
from tests.seed.test_bulk import catalog, contents

COMMAND = ("seed", "--bulk", "60000", "--span", "2025-01-01..2025-12-31")


def workers_of(database: Prepared) -> int:
    rows = database.query(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name LIKE 'leadctl seed%'"
    )
    return int(rows[0][0])


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(6, marks=pytest.mark.thorough),
        pytest.param(40, marks=pytest.mark.slow),
    ],
)
def test_kills(leadconnector: Prepared, kills: int) -> None:
    env = {"DATABASE_URL": leadconnector.url, "ENCRYPTION_KEY": KEY}
    before, rows = catalog(leadconnector), contents(leadconnector)
    rng = random.Random(kills)
    for _ in range(kills):
        process = start(*COMMAND, env=env)
        time.sleep(rng.uniform(0.5, 2.5))
        process.kill()
        process.communicate()
        wait_for(lambda: not workers_of(leadconnector))
        assert compare(before, catalog(leadconnector)) == []
        if contents(leadconnector) != rows:
            break  # it was done before it was killed
    done = run(*COMMAND, env=env)
    assert done.returncode == 0, done.stderr
    assert compare(before, catalog(leadconnector)) == []
    assert leadconnector.query("SELECT count(*) >= 26000 FROM leads") == [(True,)]


@pytest.mark.thorough
def test_killed_between_its_commit_and_its_end(leadconnector: Prepared) -> None:
    env = {"DATABASE_URL": leadconnector.url, "ENCRYPTION_KEY": KEY}
    with leadconnector.server.connect(leadconnector.name) as blocker:
        # ANALYZE, which comes after the commit, waits for this lock; the transaction does not.
        blocker.execute("BEGIN")
        blocker.execute("LOCK TABLE users IN SHARE UPDATE EXCLUSIVE MODE")
        process = start("seed", "--bulk", "2000", env=env)
        leadconnector.wait_for(
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'ANALYZE%'"
            " AND datname = current_database()"
        )
        process.kill()
        process.communicate()
    outcomes = leadconnector.query(
        "SELECT ended_at, outcome FROM leadctl.run WHERE command = 'seed --bulk'"
    )
    assert outcomes == [(None, None)]
    done = run("seed", "--bulk", "2000", env=env)
    assert done.returncode == 0, done.stderr


@pytest.mark.thorough
def test_an_interrupted_run_says_so_and_leaves_nothing(leadconnector: Prepared) -> None:
    import signal

    env = {"DATABASE_URL": leadconnector.url, "ENCRYPTION_KEY": KEY}
    before, rows = catalog(leadconnector), contents(leadconnector)
    process = start("seed", "--bulk", "2000000", env=env)
    leadconnector.wait_for(
        'SELECT 1 FROM pg_stat_activity WHERE query LIKE \'COPY "public"."leads"%\''
        " AND datname = current_database()"
    )
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (out, err.splitlines()[-1]) == ("", "Interrupted.")
    assert "Traceback" not in err
    assert compare(before, catalog(leadconnector)) == []
    assert contents(leadconnector) == rows
    assert leadconnector.query("SELECT outcome FROM leadctl.run WHERE command = 'seed --bulk'") == [
        ("interrupted",)
    ]


@pytest.mark.thorough
def test_a_process_that_makes_rows_is_killed(leadconnector: Prepared) -> None:
    env = {"DATABASE_URL": leadconnector.url, "ENCRYPTION_KEY": KEY}
    rows = contents(leadconnector)
    process = start("seed", "--bulk", "2000000", env=env)
    leadconnector.wait_for(
        'SELECT 1 FROM pg_stat_activity WHERE query LIKE \'COPY "public"."leads"%\''
        " AND datname = current_database()"
    )
    kill_one_worker(process)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "ended early" in err
    assert "Traceback" not in err
    assert contents(leadconnector) == rows
