"""A fleet's migration under fire: killed at any moment, interrupted, with others at work."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import Prepared
from tests.fleet.test_fleet_migrate import APPLIED, declare, dump, standing
from tests.history import Project
from tests.processes import run, start
from tests.servers import Server

MIGRATE = ("migrate", "--fleet", "tenants", "-o", "json")


@pytest.fixture
def place(server: Server, database: str) -> Prepared:
    """An empty database."""
    return Prepared(database, server.url(database), server)


def check_whole(place: Prepared, count: int) -> None:
    """Ask the server whether each tenant is at the head, and each revision was applied once."""
    tenants = [f"t_{number}" for number in range(1, count + 1)]
    assert standing(place) == dict.fromkeys(sorted(tenants), APPLIED[-1:])
    records = place.query(
        "SELECT schema, array_agg(revision ORDER BY revision), count(fingerprint)"
        " FROM leadctl.migration GROUP BY 1 ORDER BY 1"
    )
    assert records == [(tenant, APPLIED, 1) for tenant in sorted(tenants)]
    assert place.query("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database ="
    assert place.query(f"{held} (SELECT oid FROM pg_database WHERE datname = %s)", place.name) == [
        (0,)
    ]
    indexes = place.query(
        "SELECT schemaname, count(*) FROM pg_indexes WHERE schemaname LIKE 't!_%%' ESCAPE '!'"
        " GROUP BY 1"
    )
    assert {found for _, found in indexes} == {indexes[0][1]}
    assert len({dump(place, tenant) for tenant in random.sample(tenants, 3)}) == 1


@pytest.mark.thorough
@pytest.mark.parametrize(
    "kills", [3, pytest.param(30, marks=[pytest.mark.slow, pytest.mark.thorough])]
)
def test_killed_at_random_moments_and_run_again(
    place: Prepared, tmp_path: Path, kills: int
) -> None:
    count = 40 if kills > 3 else 12
    declare(tmp_path, count)
    env = {"DATABASE_URL": place.url}
    killed = 0
    for _ in range(kills):
        process = start(*MIGRATE, env=env, cwd=tmp_path)
        began = time.monotonic()
        until = random.uniform(0.3, 6)
        while process.poll() is None and time.monotonic() - began < until:
            time.sleep(0.02)
        killed += process.poll() is None
        process.kill()
        process.communicate()
        if killed and process.returncode == 0 and kills > 3:
            place.query("DROP SCHEMA t_1, t_2, t_3, t_4, t_5, t_6 CASCADE")  # again something to do
            place.query("DELETE FROM leadctl.migration WHERE schema ~ '^t_[1-6]$'")
    place.wait_for(
        "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database()))"
    )
    done = run(*MIGRATE, env=env, cwd=tmp_path)
    assert done.returncode == 0, (done.stdout, done.stderr)
    check_whole(place, count)


@pytest.mark.thorough
def test_an_interrupt_ends_after_the_targets_in_flight(place: Prepared, tmp_path: Path) -> None:
    declare(tmp_path, 60)
    env = {"DATABASE_URL": place.url}
    process = start(*MIGRATE, "--jobs", "2", env=env, cwd=tmp_path)
    place.wait_for("SELECT 1 FROM pg_namespace WHERE nspname = 't_3'")
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Stopping after the targets that run now" in err
    # None stands in between, and the report names those that were not run.
    found = standing(place)
    assert 2 <= len(found) < 60
    assert set(map(tuple, found.values())) == {(APPLIED[-1],)}
    assert '"ended": "interrupted"' in out
    assert out.count('"state": "not run"') == 60 - len(found)
    assert run(*MIGRATE, env=env, cwd=tmp_path).returncode == 0
    check_whole(place, 60)


@pytest.mark.thorough
def test_a_second_interrupt_waits_for_no_target(
    place: Prepared, project: Project, tmp_path: Path
) -> None:
    declare(tmp_path, 6)
    project.revision("CREATE TABLE a (n int)")
    env = {"DATABASE_URL": place.url}
    assert run(*MIGRATE, env=env, cwd=tmp_path).returncode == 0
    project.revision("SELECT pg_sleep(300)", "CREATE TABLE b (n int)")
    process = start(*MIGRATE, env=env, cwd=tmp_path)
    sleeps = (
        "SELECT 1 FROM pg_stat_activity WHERE query ~ 'pg_sleep.300' AND state = 'active'"
        " AND datname = current_database() AND pid <> pg_backend_pid()"
    )
    place.wait_for(sleeps)
    os.kill(process.pid, signal.SIGINT)
    assert process.stderr is not None
    while "Stopping after the targets" not in process.stderr.readline():
        pass
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()[-1]) == (130, "Interrupted.")
    place.wait_for(f"SELECT 1 WHERE NOT EXISTS ({sleeps})")
    assert place.query("SELECT count(*) FROM pg_class WHERE relname = 'b'") == [(0,)]


@pytest.mark.thorough
def test_two_runs_at_once_apply_each_revision_once(place: Prepared, tmp_path: Path) -> None:
    declare(tmp_path, 12)
    env = {"DATABASE_URL": place.url}
    both = [start(*MIGRATE, env=env, cwd=tmp_path) for _ in range(2)]
    ended = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    check_whole(place, 12)
    done = place.query(
        "SELECT count(*) FROM leadctl.run WHERE outcome = 'done' AND summary ? 'applied'"
    )
    assert done == [(12,)]
