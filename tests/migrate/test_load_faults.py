"""migrate while others use the tables, and on a server that runs out of space."""

import statistics
import threading
import time
from pathlib import Path

import psycopg
import pytest

from tests.history import Project
from tests.processes import run, start
from tests.servers import MAJOR, RunningServer, Server, small_disk

LOCK_TIMEOUT = 0.4
SLACK = 3  # a writer in the queue of one that does not try again waits for 4 seconds
"""Seconds that a loaded machine may add to a wait."""


@pytest.mark.thorough
def test_a_long_reader_makes_no_queue(
    project: Project, server: Server, database: str, tmp_path: Path
) -> None:
    project.revision("CREATE TABLE t (id int PRIMARY KEY, n int)", "INSERT INTO t VALUES (1, 0)")
    env = {"DATABASE_URL": server.url(database)}
    assert run("migrate", env=env, cwd=tmp_path).returncode == 0
    project.revision("ALTER TABLE t ADD note text")
    waits: list[float] = []
    over = threading.Event()

    def write() -> None:
        with server.connect(database) as connection:
            while not over.is_set():
                began = time.monotonic()
                connection.execute("UPDATE t SET n = n + 1")
                waits.append(time.monotonic() - began)
                time.sleep(0.01)

    writer = threading.Thread(target=write)
    with server.connect(database) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM t")
        writer.start()
        try:
            migrate = start("migrate", "--lock-timeout", f"{LOCK_TIMEOUT}s", env=env, cwd=tmp_path)
            time.sleep(4)
            assert migrate.poll() is None  # it tries again and again
            reader.execute("COMMIT")
            _, said = migrate.communicate(timeout=60)
        finally:
            over.set()
            writer.join()
    assert migrate.returncode == 0, said
    assert "locked by others" in said
    assert len(waits) > 20
    assert max(waits) < LOCK_TIMEOUT + SLACK
    assert statistics.median(waits) < LOCK_TIMEOUT


@pytest.mark.thorough
def test_a_full_disk(project: Project, tmp_path: Path) -> None:
    with small_disk("24m") as folder, RunningServer(MAJOR) as full:
        with full.info.connect() as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
            connection.execute("CREATE DATABASE tight TABLESPACE small")
        env = {"DATABASE_URL": full.info.url("tight")}
        project.revision("CREATE TABLE t (id int)")
        path = project.revision(
            "CREATE TABLE u (a text)",
            "INSERT INTO u SELECT repeat(n::text, 100) FROM generate_series(1, 400000) n",
        )
        failed = run("migrate", env=env, cwd=tmp_path)
        assert failed.returncode == 1, failed.stderr
        assert "own_0002" in failed.stderr
        assert "A disk is full" in failed.stderr
        status = run("migrate", "status", env=env, cwd=tmp_path)
        assert status.returncode == 1
        assert "failed" in status.stdout
        with psycopg.connect(full.info.url("tight")) as connection:
            assert connection.execute("SELECT to_regclass('u')").fetchone() == (None,)
        path.write_text(path.read_text().replace("400000", "4"))
        assert run("migrate", env=env, cwd=tmp_path).returncode == 0
