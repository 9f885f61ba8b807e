"""migrate under fire: many at once, and killed at any moment."""

import random
import time

import pytest

from tests.postgres import Server
from tests.processes import run, start


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


def test_the_holder_of_the_lock_is_named(server: Server, database: str) -> None:
    from leadctl.db.lock import schema_lock
    from leadctl.db.target import resolve
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


@pytest.mark.parametrize("seed", range(12))
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
