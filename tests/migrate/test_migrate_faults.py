"""migrate under fire: many at once, and killed at any moment."""

import random
import time
from pathlib import Path

import pytest

from tests.history import Project
from tests.processes import run, start
from tests.servers import Server


def check_whole(server: Server, database: str) -> None:
    with server.connect(database) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [
            ("leadconnector_0002",)
        ]
        assert connection.execute(
            "SELECT revision FROM leadctl.migration ORDER BY revision"
        ).fetchall() == [("leadconnector_0001",), ("leadconnector_0002",)]
        assert connection.execute(
            "SELECT count(*) FROM pg_index WHERE NOT indisvalid OR NOT indisready"
        ).fetchone() == (0,)
        assert connection.execute(
            "SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'idx_%'"
        ).fetchone() == (8,)
        assert connection.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchone() == (0,)


@pytest.mark.thorough
def test_twenty_at_once_apply_each_revision_once(server: Server) -> None:
    database = server.create()
    server.drop(database)
    try:
        env = {"DATABASE_URL": server.url(database)}
        processes = [start("migrate", "-o", "json", env=env) for _ in range(20)]
        ended = [process.communicate(timeout=120) for process in processes]
        assert [process.returncode for process in processes] == [0] * 20, ended
        assert sum("Applying leadconnector_0001" in err for _, err in ended) == 1
        assert sum("Applying leadconnector_0002" in err for _, err in ended) == 1
        check_whole(server, database)
    finally:
        server.drop(database)


@pytest.mark.thorough
def test_the_holder_of_the_lock_is_named(server: Server, database: str) -> None:
    from leadctl.journal.lock import schema_lock
    from leadctl.postgres.target import resolve
    from leadctl.settings import load_settings

    settings = load_settings(environ={"DATABASE_URL": server.url(database)})
    target = resolve(settings, app="leadconnector")
    with schema_lock(target, "cleanup", 1, lambda _: None):
        began = time.monotonic()
        done = run("migrate", "--lock-wait", "1s", env={"DATABASE_URL": server.url(database)})
        assert done.returncode == 6
        assert "leadctl cleanup" in done.stderr
        assert time.monotonic() - began < 10
    assert run("migrate", env={"DATABASE_URL": server.url(database)}).returncode == 0


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.thorough) for seed in range(2, 12))]
)
def test_killed_at_any_moment(server: Server, seed: int) -> None:
    rng = random.Random(seed)
    database = server.create()
    server.drop(database)
    env = {"DATABASE_URL": server.url(database)}
    try:
        for _ in range(3):
            process = start("migrate", env=env)
            time.sleep(rng.uniform(0.15, 0.9))
            process.kill()
            process.communicate()
        status = run("migrate", "status", env=env)
        assert status.returncode in {0, 1}, status.stderr
        done = run("migrate", env=env)
        assert done.returncode == 0, done.stderr
        check_whole(server, database)
    finally:
        server.drop(database)


def _long_history(project: Project) -> list[str]:
    project.revision("CREATE TABLE a (id int, n int)", "CREATE TABLE b (id int)")
    project.revision("INSERT INTO a SELECT n, n FROM generate_series(1, 20000) n")
    project.revision(
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS a_id ON a (id)",
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS a_n ON a (n)",
        concurrently=True,
    )
    project.revision("ALTER TABLE a ADD x int", "UPDATE a SET x = n")
    project.revision("CREATE INDEX CONCURRENTLY IF NOT EXISTS a_x ON a (x)", concurrently=True)
    project.revision("INSERT INTO b SELECT id FROM a")
    return ["a_id", "a_n", "a_x"]


def _kill_backends(server: Server, database: str) -> None:
    with server.connect() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,)
        )


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["leadctl", "its backends"])
def test_a_hundred_kills(project: Project, tmp_path: Path, server: Server, victim: str) -> None:
    indexes = _long_history(project)
    rng = random.Random(victim)
    for moment in range(50):
        database = server.create()
        env = {"DATABASE_URL": server.url(database)}
        try:
            process = start("migrate", env=env, cwd=tmp_path)
            time.sleep(rng.uniform(0.3, 1.4))
            if victim == "leadctl":
                process.kill()
            else:
                _kill_backends(server, database)
            _, said = process.communicate(timeout=60)
            assert "Traceback" not in said
            done = run("migrate", env=env, cwd=tmp_path)
            assert done.returncode == 0, (moment, done.stderr)
            assert run("migrate", "status", env=env, cwd=tmp_path).returncode == 0
            with server.connect(database) as connection:
                assert connection.execute(
                    "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
                ).fetchone() == (0,)
                found = connection.execute(
                    "SELECT indexname FROM pg_indexes WHERE tablename = 'a' ORDER BY 1"
                ).fetchall()
                assert [name for (name,) in found] == indexes
                assert connection.execute("SELECT count(*) FROM a").fetchone() == (20_000,)
                assert connection.execute("SELECT count(*) FROM b").fetchone() == (20_000,)
        finally:
            server.drop(database)
